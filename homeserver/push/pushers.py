"""Where users want their notifications pushed. spec: client-server-api/#post_matrixclientv3pushersset"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

import orjson

from homeserver.core.errors import InvalidParam, MissingParam
from homeserver.core.identifiers import DeviceId, UserId
from homeserver.journal.journal import Journal
from homeserver.push.digest import APP_ID
from homeserver.runtime.clock import Clock
from homeserver.runtime.ids import Randomness
from homeserver.storage import contacts
from homeserver.storage import pushers as table
from homeserver.storage.database import Database, Tx
from homeserver.storage.pushers import PusherRow
from homeserver.storage.pushes import PusherKey

PUSHERS_PER_USER_MAX = 100
PUSHKEY_BYTES_MAX = 512
APP_ID_CHARS_MAX = 64
TEXT_BYTES_MAX = 512
DATA_BYTES_MAX = 8_192
_MSC3881 = "org.matrix.msc3881"
# Kept beside what the user has given, and never shown: whoever has one of the mails can end them.
_MAIL_TOKEN = "unsubscribe"
GATEWAY_PATH = "/_matrix/push/v1/notify"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pusher:
    """One place that notifications go to."""

    app_id: str
    pushkey: str
    kind: str
    app_display_name: str
    device_display_name: str
    lang: str
    data: dict[str, Any]
    profile_tag: str | None = None
    # As it is shown: whether it is pushed to, and which device has set it (MSC3881).
    is_enabled: bool = True
    device_id: DeviceId | None = None

    def shown(self) -> dict[str, Any]:
        """As GET /pushers gives it."""
        device = {f"{_MSC3881}.device_id": self.device_id} if self.device_id is not None else {}
        return {**self.as_json(), f"{_MSC3881}.enabled": self.is_enabled, **device}

    def as_json(self) -> dict[str, Any]:
        """The spec's form of it."""
        body: dict[str, Any] = {
            "app_id": self.app_id,
            "pushkey": self.pushkey,
            "kind": self.kind,
            "app_display_name": self.app_display_name,
            "device_display_name": self.device_display_name,
            "lang": self.lang,
            "data": self.data,
        }
        if self.profile_tag is not None:
            body["profile_tag"] = self.profile_tag
        return body


def parse_pusher(
    *,
    app_id: str,
    pushkey: str,
    kind: str,
    app_display_name: str | None,
    device_display_name: str | None,
    lang: str | None,
    data: dict[str, Any] | None,
    profile_tag: str | None,
) -> Pusher:
    """Raises MissingParam and InvalidParam for what no pusher may be."""
    check_key(app_id, pushkey)
    given = {
        "app_display_name": app_display_name,
        "device_display_name": device_display_name,
        "lang": lang,
        "data": data,
    }
    missing = [name for name, value in given.items() if value is None]
    if missing or app_display_name is None or device_display_name is None or lang is None or data is None:
        raise MissingParam("Missing parameters: " + ", ".join(missing))
    texts = {"app_display_name": app_display_name, "device_display_name": device_display_name, "lang": lang}
    for name, text in {**texts, "profile_tag": profile_tag or ""}.items():
        if len(text.encode()) > TEXT_BYTES_MAX:
            raise InvalidParam(f"{name} may have {TEXT_BYTES_MAX} bytes")
    if kind not in ("http", "email"):
        raise InvalidParam("kind must be http, email or null")
    if kind == "http":
        _check_data(data)
    elif app_id != APP_ID:
        raise InvalidParam(f"the app_id of an e-mail pusher is {APP_ID}")
    if len(orjson.dumps(data)) > DATA_BYTES_MAX:
        raise InvalidParam(f"data may have {DATA_BYTES_MAX} bytes")
    return Pusher(
        app_id=app_id,
        pushkey=pushkey,
        kind=kind,
        data=data,
        profile_tag=profile_tag,
        app_display_name=app_display_name,
        device_display_name=device_display_name,
        lang=lang,
    )


def check_key(app_id: str, pushkey: str) -> None:
    """Raises InvalidParam for an app id or key that the spec doesn't allow."""
    if not app_id or len(app_id) > APP_ID_CHARS_MAX or "\x00" in app_id:
        raise InvalidParam(f"app_id must have 1 to {APP_ID_CHARS_MAX} characters")
    if not pushkey or len(pushkey.encode()) > PUSHKEY_BYTES_MAX or "\x00" in pushkey:
        raise InvalidParam(f"pushkey must have 1 to {PUSHKEY_BYTES_MAX} bytes")


def _check_data(data: dict[str, Any]) -> None:
    url = data.get("url")
    if url is None:
        raise MissingParam("data.url is missing")
    try:
        parts = urlsplit(url) if isinstance(url, str) else None
        has_place = parts is not None and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        parts, has_place = None, False
    if parts is None or not has_place or parts.scheme != "https" or parts.path != GATEWAY_PATH:
        raise InvalidParam(f"data.url must be an HTTPS URL with the path {GATEWAY_PATH}")
    if parts.username or parts.password or parts.fragment:
        raise InvalidParam("data.url must hold neither a user name nor a fragment")
    if data.get("format") not in (None, "event_id_only"):
        raise InvalidParam("data.format must be event_id_only, or absent")


class Pushers:
    """A user's pushers."""

    def __init__(self, db: Database, journal: Journal, clock: Clock, randomness: Randomness) -> None:
        self._db = db
        self._journal = journal
        self._clock = clock
        self._randomness = randomness
        # Set by the assembly where this server sends mail.
        self.sends_mail = False

    async def of_user(self, user_id: UserId) -> list[Pusher]:
        return [_pusher(row) for row in await table.of_user(self._db, user_id)]

    async def set(
        self, user_id: UserId, device_id: DeviceId | None, pusher: Pusher, *, append: bool, enabled: bool | None = None
    ) -> None:
        """Adds or changes a pusher; unless `append`, the same app id and key are taken from other users.

        Whoever says whether it is `enabled` may be another device than the one that it tells: it stays that one's.

        Raises InvalidParam when the user has too many.
        """
        if pusher.kind == "email":
            await self._check_address(user_id, pusher.pushkey)
        description = pusher.as_json()
        del description["app_id"], description["pushkey"]
        if pusher.kind == "email":
            description[_MAIL_TOKEN] = self._randomness.token(16)
        row = PusherRow(
            user_id=user_id,
            app_id=pusher.app_id,
            pushkey=pusher.pushkey,
            device_id=device_id,
            description=orjson.dumps(description),
            changed_ts=self._clock.now_ms(),
            is_enabled=enabled is not False,
        )
        async with self._journal.write() as write:
            await table.lock(write.tx, user_id)
            others = await table.count_others(write.tx, user_id, pusher.app_id, pusher.pushkey)
            if others >= PUSHERS_PER_USER_MAX:
                raise InvalidParam(f"a user may have {PUSHERS_PER_USER_MAX} pushers")
            taken: list[UserId] = []
            if not append:
                taken = await table.delete_of_others(write.tx, user_id, pusher.app_id, pusher.pushkey)
            if enabled is not None:
                owner = await table.device_of(write.tx, user_id, pusher.app_id, pusher.pushkey)
                row = replace(row, device_id=owner or device_id)
            await table.upsert(write.tx, row)
            write.publish("pushers", user_ids=[user_id, *taken])

    async def _check_address(self, user_id: UserId, address: str) -> None:
        if not self.sends_mail:
            raise InvalidParam("this server sends no mail")
        if await contacts.holder(self._db, "email", address) != user_id:
            raise InvalidParam("this is no address of your account", errcode="M_THREEPID_NOT_FOUND")

    async def may_mail(self, row: PusherRow) -> bool:
        """Whether the address is still the user's."""
        return self.sends_mail and await contacts.holder(self._db, "email", row.pushkey) == row.user_id

    async def delete(self, user_id: UserId, app_id: str, pushkey: str) -> None:
        """Removes one; that it wasn't there is no error."""
        check_key(app_id, pushkey)
        async with self._journal.write() as write:
            await table.delete(write.tx, user_id, app_id, pushkey)
            write.publish("pushers", user_ids=[user_id])

    async def holds_mail_token(self, user_id: UserId, address: str, token: str) -> bool:
        """Whether this token is in mails that go to this address for this user."""
        rows = await table.of_user(self._db, user_id) if "\x00" not in user_id else []
        held = [mail_token(row) for row in rows if (row.app_id, row.pushkey) == (APP_ID, address)]
        return any(one is not None and hmac.compare_digest(one.encode(), token.encode()) for one in held)

    async def row(self, key: PusherKey) -> PusherRow | None:
        """One pusher as it is stored now, if it is to be told anything."""
        rows = await table.enabled_of_users(self._db, [key.user_id])
        return next((row for row in rows if (row.app_id, row.pushkey) == (key.app_id, key.pushkey)), None)

    async def set_health(self, row: PusherRow, failures: int, retry_ts: int) -> PusherRow:
        """Keeps how often in a row a gateway failed and when it is tried again; the pusher with that."""
        async with self._db.transaction() as tx:
            await table.set_health(tx, row, failures, retry_ts)
        return replace(row, failures=failures, retry_ts=retry_ts)

    async def devices_deleted(self, tx: Tx, user_id: UserId, device_ids: Sequence[DeviceId]) -> None:
        """Removes what these devices had set, in the transaction that deletes them."""
        await table.delete_of_devices(tx, user_id, list(device_ids))


def mail_token(row: PusherRow) -> str | None:
    """By which the mails of this pusher are ended; those of earlier versions were given none."""
    token: str | None = orjson.loads(row.description).get(_MAIL_TOKEN)
    return token


def _pusher(row: PusherRow) -> Pusher:
    described: dict[str, Any] = orjson.loads(row.description)
    described.pop(_MAIL_TOKEN, None)
    own = {"app_id": row.app_id, "pushkey": row.pushkey, "is_enabled": row.is_enabled, "device_id": row.device_id}
    return Pusher(**{**described, **own})
