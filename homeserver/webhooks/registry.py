"""Webhooks made, listed and removed, by those who may: whoever may send the state event `hansa.webhook` in the room."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from homeserver.core.errors import Forbidden, InvalidParam, LimitExceeded, NotFound
from homeserver.core.identifiers import RoomId, UserId
from homeserver.rooms.commands.membership import Membership
from homeserver.rooms.residents import Room, Rooms
from homeserver.runtime.clock import Clock
from homeserver.runtime.ids import Randomness
from homeserver.storage import event_webhooks, webhooks
from homeserver.storage.database import Database, Tx
from homeserver.storage.event_webhooks import EventWebhookRow
from homeserver.storage.webhooks import WebhookRow
from homeserver.webhooks.plain import check_template
from homeserver.webhooks.sources import Source

PERMISSION = "hansa.webhook"
PER_ROOM_MAX = 20
NAME_CHARS_MAX = 100
SECRET_CHARS_MAX = 500
URL_CHARS_MAX = 2_000
TYPES_MAX = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """An inbound webhook to be. `in_the_clear`: it may speak unencrypted in an encrypted room."""

    source: Source
    name: str
    signing_secret: str | None = None
    template: str | None = None
    in_the_clear: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Speaker:
    """The account that says what webhooks say; `make` sees to it that it exists."""

    user_id: UserId
    make: Callable[[], Awaitable[None]]


class Webhooks:
    """All of them. `on_change` is told when what rooms tell has changed."""

    def __init__(
        self, db: Database, rooms: Rooms, membership: Membership, speaker: Speaker, clock: Clock, randomness: Randomness
    ) -> None:
        self._db = db
        self._rooms = rooms
        self._membership = membership
        self._clock = clock
        self._randomness = randomness
        self.speaker = speaker
        self.on_change: Callable[[], Awaitable[None]] = _nobody

    async def make(self, room_id: RoomId, wish: Wish, *, by: UserId) -> tuple[WebhookRow, str]:
        """The webhook and the secret part of its URL, which nobody is told again.

        Raises Forbidden, InvalidParam, LimitExceeded.
        """
        room = await self._may_manage(room_id, by)
        if room.known_state("m.room.encryption") is not None and not wish.in_the_clear:
            raise InvalidParam("this room is encrypted, and a webhook isn't: allow it with in_the_clear")
        row, token = inbound(room_id, wish, by, self._clock, self._randomness)
        await self.enter(room_id, by)
        async with self._db.transaction() as tx:
            check_made(await webhooks.insert(tx, row, PER_ROOM_MAX))
        return row, token

    async def make_outbound(
        self, room_id: RoomId, name: str, url: str, types: Sequence[str], *, by: UserId
    ) -> EventWebhookRow:
        """Tells what happens in the room from now on, of these types (none: all), as far as its owner may read it.

        Raises Forbidden, InvalidParam, LimitExceeded.
        """
        room = await self._may_manage(room_id, by)
        row = outbound(room_id, name, url, types, by, room.newest, self._clock, self._randomness)
        async with self._db.transaction() as tx:
            check_made(await event_webhooks.insert(tx, row, PER_ROOM_MAX))
        await self.on_change()
        return row

    async def resume(self, room_id: RoomId, webhook_id: str, *, by: UserId) -> EventWebhookRow:
        """Switches on again one that was given up; it goes on where it was. Raises Forbidden, NotFound."""
        await self._may_manage(room_id, by)
        async with self._db.transaction() as tx:
            row = await event_webhooks.one(tx, webhook_id)
            if row is None or row.room_id != room_id:
                raise NotFound("this room has no such webhook")
            row = await switched_on(tx, row)
        await self.on_change()
        return row

    async def of_room(self, room_id: RoomId, *, by: UserId) -> tuple[list[WebhookRow], list[EventWebhookRow]]:
        """Those that tell the room, and those that it tells. Raises Forbidden."""
        await self._may_manage(room_id, by)
        return await webhooks.of_room(self._db, room_id), await event_webhooks.of_room(self._db, room_id)

    async def remove(self, room_id: RoomId, webhook_id: str, *, by: UserId) -> None:
        """Of either kind. Raises Forbidden, NotFound (also where it is another room's)."""
        await self._may_manage(room_id, by)
        async with self._db.transaction() as tx:
            told, tells = await webhooks.one(tx, webhook_id), await event_webhooks.one(tx, webhook_id)
            if told is not None and told.room_id == room_id:
                await webhooks.delete(tx, webhook_id)
            elif tells is not None and tells.room_id == room_id:
                await event_webhooks.delete(tx, webhook_id)
            else:
                raise NotFound("this room has no such webhook")
        await self.on_change()

    async def enter(self, room_id: RoomId, owner: UserId) -> None:
        """Brings the speaker into the room, as its owner could bring anybody. Raises Forbidden where they can't."""
        me = self.speaker.user_id
        room = await self._rooms.joined_room(room_id, owner)
        if room.membership(me) == "join":
            return
        await self.speaker.make()
        if room.known_text("m.room.join_rules", "join_rule") != "public" and room.membership(me) != "invite":
            await self._membership.invite(room_id, me, by=owner)
        await self._membership.join(room_id, me)

    async def _may_manage(self, room_id: RoomId, user_id: UserId) -> Room:
        room = await self._rooms.joined_room(room_id, user_id)
        levels = room.power_levels()
        if levels is None or not levels.may_send(user_id, PERMISSION, is_state=True):
            raise Forbidden("you may not manage webhooks in this room")
        return room


def inbound(room_id: RoomId, wish: Wish, owner: UserId, clock: Clock, randomness: Randomness) -> tuple[WebhookRow, str]:
    """A new webhook, not written yet, and the secret part of its URL. Raises InvalidParam."""
    _check_name(wish.name)
    if wish.template is not None:
        if wish.source is not Source.JSON:
            raise InvalidParam("a template is for the source `json`")
        check_template(wish.template)
    secret = wish.signing_secret
    if secret is not None and not (0 < len(secret) <= SECRET_CHARS_MAX and secret.isprintable()):
        raise InvalidParam(f"a secret has 1 to {SECRET_CHARS_MAX} characters")
    token = randomness.token(32)
    row = WebhookRow(
        webhook_id=randomness.letters(12),
        room_id=room_id,
        owner=owner,
        name=wish.name,
        source=wish.source.value,
        token_digest=digest(token),
        signing_secret=secret,
        template=wish.template,
        created_ts=clock.now_ms(),
    )
    return row, token


def outbound(
    room_id: RoomId,
    name: str,
    url: str,
    types: Sequence[str],
    owner: UserId,
    position: int,
    clock: Clock,
    randomness: Randomness,
) -> EventWebhookRow:
    """A new webhook that tells what comes after a place, not written yet. Raises InvalidParam."""
    _check_name(name)
    check_url(url)
    if len(types) > TYPES_MAX or any(not one or len(one) > 255 or "\x00" in one for one in types):
        raise InvalidParam(f"types may name {TYPES_MAX} types of events")
    return EventWebhookRow(
        webhook_id=randomness.letters(12),
        room_id=room_id,
        owner=owner,
        name=name,
        url=url,
        signing_secret=randomness.token(32),
        types=tuple(dict.fromkeys(types)),
        created_ts=clock.now_ms(),
        position=position,
    )


async def switched_on(tx: Tx, row: EventWebhookRow) -> EventWebhookRow:
    """The webhook as it is then; one that is on stays as it is: who delivers it knows better how far it is."""
    if row.is_enabled:
        return row
    row = replace(row, failures=0, failing_since_ts=None, retry_ts=0, is_enabled=True)
    await event_webhooks.set_progress(tx, row)
    return row


def check_url(url: str) -> None:
    """Whether deliveries may go there; which addresses may be reached is checked with each. Raises InvalidParam."""
    if not url.startswith(("https://", "http://")) or len(url) > URL_CHARS_MAX or not url.isprintable():
        raise InvalidParam("url must be one for http or https")


def check_made(is_made: bool) -> None:
    """Raises LimitExceeded for a room that can't have one more."""
    if not is_made:
        raise LimitExceeded(f"a room may have {PER_ROOM_MAX} webhooks", retry_after_ms=60_000)


def digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def path_of(webhook_id: str, token: str) -> str:
    """Where the source is to POST, below the server's public address."""
    return f"/_hansa/webhooks/{webhook_id}/{token}"


def _check_name(name: str) -> None:
    if not 0 < len(name) <= NAME_CHARS_MAX or not name.isprintable():
        raise InvalidParam(f"a webhook needs a name of 1 to {NAME_CHARS_MAX} characters")


async def _nobody() -> None:
    """Nothing to tell."""
