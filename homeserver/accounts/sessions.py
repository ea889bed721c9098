"""Sessions: access and refresh tokens, the devices they belong to, and who a token stands for.

spec: client-server-api/#client-authentication
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import structlog

from homeserver.core.errors import Forbidden, InvalidParam, LimitExceeded, UnknownToken
from homeserver.core.identifiers import DeviceId, UserId
from homeserver.journal.journal import Journal, JournalWrite
from homeserver.runtime.clock import Clock
from homeserver.runtime.ids import Randomness
from homeserver.storage import (
    dehydrated_devices,
    devices,
    oauth,
    operator_roles,
    operator_tokens,
    sessions_to_end,
    tokens,
)
from homeserver.storage.database import Also, Database, Tx
from homeserver.storage.devices import Sighting
from homeserver.storage.tokens import Holder, RefreshRow
from homeserver.web.endpoint import Caller
from homeserver.web.server import HttpRequest

log = structlog.get_logger()

HOLDERS_MAX = 50_000
DEVICE_ID_CHARS_MAX = 255
DISPLAY_NAME_CHARS_MAX = 256
TOKEN_CHARS_MAX = 512
# Of the tokens of operators' programs: they stand in a table of their own.
OPERATOR_PREFIX = "hso_"
SIGHTINGS_EVERY_S = 10.0
WISHES_EVERY_S = 2.0
_DEVICE_LETTERS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionTimes:
    """How long tokens are good, in seconds; None means until they are ended."""

    access_s: int | None
    refreshable_s: int
    refresh_s: int | None
    devices_max: int


class DeviceObserver(Protocol):
    """Told in the same transaction when devices are deleted."""

    async def devices_deleted(self, tx: Tx, user_id: UserId, device_ids: Sequence[DeviceId]) -> None: ...


class Sessions:
    """Opens, names, refreshes and ends sessions."""

    def __init__(
        self,
        db: Database,
        journal: Journal,
        clock: Clock,
        randomness: Randomness,
        times: SessionTimes,
    ) -> None:
        self._db = db
        self._journal = journal
        self._clock = clock
        self._randomness = randomness
        self._times = times
        self.observers: list[DeviceObserver] = []
        # Called when the devices of a user are others, in the transaction that changes them.
        self.followers: list[Callable[[JournalWrite, UserId], Awaitable[None]]] = []
        # Called for devices that are deleted, in that transaction.
        self.endings: list[Callable[[JournalWrite, UserId, Sequence[DeviceId]], Awaitable[None]]] = []
        # Told whose sessions are others now, of which devices (None: all of them).
        self.forgetting: list[Callable[[UserId, Collection[DeviceId] | None], None]] = []
        self._holders: OrderedDict[bytes, tuple[Holder, Caller]] = OrderedDict()
        self._ended = 0
        self._sightings: dict[tuple[UserId, DeviceId], Sighting] = {}
        self._writing_sightings = asyncio.Lock()

    # --- opening

    async def open(
        self,
        tx: Tx,
        user_id: UserId,
        *,
        device_id: str | None = None,
        display_name: str | None = None,
        refreshable: bool = False,
        upstream: int | None = None,
    ) -> dict[str, Any]:
        """A new session: access_token, device_id and, where it can be refreshed, refresh_token and expires_in_ms.

        An existing device is taken over, whichever API it was opened by: its earlier tokens end. `upstream` is the
        sign-in elsewhere with which the device ends. Raises InvalidParam, LimitExceeded; Forbidden where that has
        ended already.
        """
        chosen = self._device_id(device_id)
        if device_id is not None:
            await tokens.delete_of_devices(tx, user_id, [chosen])
            await oauth.delete_sessions(tx, user_id, [chosen])
            self._forget(user_id, [chosen])
        elif await devices.count(tx, user_id) >= self._times.devices_max:
            raise LimitExceeded("too many devices: log out of some", retry_after_ms=60_000)
        name = display_name[:DISPLAY_NAME_CHARS_MAX].replace("\x00", "") if display_name else None
        if not await devices.open_device(tx, user_id, chosen, name, upstream):
            raise Forbidden("the sign-in that this came of has ended")
        issued = await self._issue(tx, user_id, chosen, refreshable=refreshable)
        return {**issued, "device_id": chosen}

    async def open_without_device(self, tx: Tx, user_id: UserId, expires_ts: int | None) -> str:
        """An access token without a device: its user sees no new log-in, and it gets no messages of devices."""
        access_token = f"hsa_{self._randomness.token(32)}"
        await tokens.insert_access(tx, _digest(access_token), user_id, None, expires_ts=expires_ts, refresh_nid=None)
        return access_token

    async def refresh(self, refresh_token: str, *, client_id: str | None = None) -> dict[str, Any]:
        """New tokens for a refresh token, which stays good until one of the new ones is used.

        `client_id` is the OAuth client that asks; None is the older API. Neither refreshes what the other opened.
        Raises UnknownToken for one that isn't, or is no longer, good. One that was replaced by others in use is in two
        hands: the session's tokens all end, and its owner logs in again; the device stays, with its keys.
        """
        now, digest = self._clock.now_ms(), _digest(refresh_token)
        async with self._db.transaction() as tx:
            row = await tokens.refresh(tx, digest)
            stolen = await tokens.spent(tx, digest) if row is None else None
            issued, has_ended = None, False
            if row is not None and await self._may_refresh(tx, row, client_id, now):
                # It has arrived: what it replaces ends. spec: client-server-api/#refreshing-access-tokens
                has_ended = await tokens.delete_older(tx, row.user_id, row.device_id, row.token_nid)
                await tokens.mark_used(tx, row.token_nid, now)
                issued = await self._issue(tx, row.user_id, row.device_id, refreshable=True)
            if stolen is not None:
                await tokens.delete_of_devices(tx, stolen[0], [stolen[1]])
        if stolen is not None:
            self._forget(stolen[0], [stolen[1]])
        if row is None or issued is None:
            raise UnknownToken("this refresh token is not, or no longer, good", extra={"soft_logout": True})
        if has_ended:
            self._forget(row.user_id, [row.device_id])
        return issued

    async def _may_refresh(self, tx: Tx, row: RefreshRow, client_id: str | None, now_ms: int) -> bool:
        if row.expires_ts is not None and row.expires_ts <= now_ms:
            return False
        return await oauth.session(tx, row.user_id, row.device_id) == client_id

    async def _issue(self, tx: Tx, user_id: UserId, device_id: DeviceId, *, refreshable: bool) -> dict[str, Any]:
        now, times = self._clock.now_ms(), self._times
        access_token = f"hsa_{self._randomness.token(32)}"
        issued: dict[str, Any] = {"access_token": access_token}
        lifetime_s, refresh_nid = times.access_s, None
        if refreshable:
            issued["refresh_token"] = f"hsr_{self._randomness.token(32)}"
            expires = now + times.refresh_s * 1000 if times.refresh_s else None
            refresh_nid = await tokens.insert_refresh(tx, _digest(issued["refresh_token"]), user_id, device_id, expires)
            lifetime_s = times.refreshable_s
        if lifetime_s is not None:
            issued["expires_in_ms"] = lifetime_s * 1000
        await tokens.insert_access(
            tx,
            _digest(access_token),
            user_id,
            device_id,
            expires_ts=now + lifetime_s * 1000 if lifetime_s is not None else None,
            refresh_nid=refresh_nid,
        )
        return issued

    def _device_id(self, wanted: str | None) -> DeviceId:
        if wanted is None:
            return DeviceId(self._randomness.letters(_DEVICE_LETTERS).upper())
        if not 0 < len(wanted) <= DEVICE_ID_CHARS_MAX or "\x00" in wanted:
            raise InvalidParam(f"device_id must have 1 to {DEVICE_ID_CHARS_MAX} characters")
        return DeviceId(wanted)

    # --- naming

    async def authenticate(self, token: str, request: HttpRequest) -> Caller:
        """Who holds this token. From memory for one that was used lately. Raises UnknownToken, Forbidden."""
        if len(token) > TOKEN_CHARS_MAX:
            raise UnknownToken("unknown access token")
        digest = _digest(token)
        known = self._holders.get(digest)
        if known is None:
            known = await self._look_up(digest, is_operators=token.startswith(OPERATOR_PREFIX))
        holder, caller = known
        if holder.expires_ts is not None and holder.expires_ts <= self._clock.now_ms():
            raise UnknownToken("this access token has expired", extra={"soft_logout": True})
        if holder.device_id is not None:
            self.see(holder.user_id, holder.device_id, request)
        return caller

    async def guest(self, token: str) -> UserId:
        """The guest who holds this token. Raises Forbidden for anybody else's."""
        holder = await tokens.holder(self._db, _digest(token)) if len(token) <= TOKEN_CHARS_MAX else None
        if holder is None or not holder.is_guest or holder.is_deactivated or holder.is_locked:
            raise Forbidden("guest_access_token is no guest's")
        return holder.user_id

    async def _look_up(self, digest: bytes, *, is_operators: bool = False) -> tuple[Holder, Caller]:
        before = self._ended
        found = operator_tokens.holder if is_operators else tokens.holder
        holder = await found(self._db, digest)
        if holder is None or holder.is_deactivated:
            raise UnknownToken("unknown access token")
        if holder.refresh_nid is not None and holder.device_id is not None:
            # The new token has arrived: what it replaces ends. spec: client-server-api/#refreshing-access-tokens
            async with self._db.transaction() as tx:
                await tokens.delete_older(tx, holder.user_id, holder.device_id, holder.refresh_nid)
            self._forget(holder.user_id, [holder.device_id])
            before = self._ended
        caller = Caller(
            user_id=holder.user_id,
            device_id=holder.device_id,
            is_guest=holder.is_guest,
            is_admin=holder.is_admin,
            token_id=holder.token_nid,
            is_suspended=holder.is_suspended,
            is_locked=holder.is_locked,
            operator_role=holder.operator_role,
            scopes=holder.scopes,
            bounds=holder.bounds,
        )
        if before == self._ended:
            self._holders[digest] = (holder, caller)
            if len(self._holders) > HOLDERS_MAX:
                self._holders.popitem(last=False)
        return holder, caller

    # --- ending

    async def end(self, caller: Caller) -> None:
        """Ends the caller's session and deletes its device."""
        if caller.device_id is not None:
            await self.end_devices(caller.user_id, [caller.device_id])
            return
        async with self._db.transaction() as tx:
            await tokens.delete_access(tx, caller.token_id)
        self._forget(caller.user_id, None)

    async def end_devices(self, user_id: UserId, device_ids: Sequence[DeviceId], also: Also | None = None) -> None:
        """Deletes devices with their sessions and all that hangs on them."""
        async with self._journal.write() as write:
            await self.end_devices_in(write, user_id, device_ids)
            if also is not None:
                await also(write.tx)
        self._forget(user_id, device_ids)

    async def end_all(self, user_id: UserId, *, but: DeviceId | None = None) -> None:
        """Deletes all devices of a user, or all but one."""
        async with self._journal.write() as write:
            ids = [row.device_id for row in await devices.of_user(write.tx, user_id) if row.device_id != but]
            if but is None:
                await tokens.delete_all(write.tx, user_id)
            await self.end_devices_in(write, user_id, ids)
        self._forget(user_id, None if but is None else ids)

    async def end_account_in(self, write: JournalWrite, user_id: UserId) -> None:
        """Deletes all devices, the dehydrated one included, in a transaction; `account_changed` must follow it."""
        asleep = await dehydrated_devices.get(write.tx, user_id)
        ids = [row.device_id for row in await devices.of_user(write.tx, user_id)]
        await tokens.delete_all(write.tx, user_id)
        await self.end_devices_in(write, user_id, [*ids, *([asleep[0]] if asleep else [])])

    async def end_devices_in(self, write: JournalWrite, user_id: UserId, device_ids: Sequence[DeviceId]) -> None:
        """Deletes devices in a transaction, and tells of it; `account_changed` must follow it."""
        if not device_ids:
            return
        await tokens.delete_of_devices(write.tx, user_id, device_ids)
        await devices.delete(write.tx, user_id, device_ids)
        for observer in self.observers:
            await observer.devices_deleted(write.tx, user_id, device_ids)
        for ending in self.endings:
            await ending(write, user_id, device_ids)
        await self.devices_changed(write, user_id)

    async def devices_changed(self, write: JournalWrite, user_id: UserId) -> None:
        """Tells, in the transaction that changed them, that a user's devices or their names are others."""
        for follower in self.followers:
            await follower(write, user_id)

    def account_changed(self, user_id: UserId) -> None:
        """Forgets what is remembered of a user's sessions."""
        self._forget(user_id, None)

    def _forget(self, user_id: UserId, device_ids: Collection[DeviceId] | None) -> None:
        self._ended += 1
        for digest in [
            digest
            for digest, (holder, _) in self._holders.items()
            if holder.user_id == user_id and (device_ids is None or holder.device_id in device_ids)
        ]:
            del self._holders[digest]
        for forget in self.forgetting:
            forget(user_id, device_ids)

    async def end_as_wished(self) -> None:
        """Runs as a task: ends the sessions that the operator wants ended (`hansa user reset-password`).

        And forgets those whose role was changed beside this server (`hansa operator`).
        """
        if await sessions_to_end.is_anything_wished(self._db):
            await self._do_as_wished()
        await self._clock.sleep(WISHES_EVERY_S)

    async def _do_as_wished(self) -> None:
        for user_id in await operator_roles.changed_beside(self._db):
            # What changes between the two is noted again, and so heard of again.
            async with self._db.transaction() as tx:
                await operator_roles.forget_beside(tx, user_id)
            self.account_changed(user_id)
        for user_id in await sessions_to_end.some(self._db):
            await self.end_all(user_id)
            await sessions_to_end.delete(self._db, user_id)
            log.info("sessions_ended_by_operator", user_id=user_id)

    # --- when devices were last used

    def see(self, user_id: UserId, device_id: DeviceId, request: HttpRequest) -> None:
        """Notes that a device was used."""
        key = (user_id, device_id)
        now = self._clock.now_ms()
        last = self._sightings.get(key)
        if last is not None and last.ts > now - 5_000:
            return
        agent = request.headers.get("User-Agent", "")[:256].replace("\x00", "")
        self._sightings[key] = Sighting(user_id, device_id, now, request.address[:64], agent)

    async def write_sightings(self) -> None:
        """Runs as a task: writes when devices were last used, all at once, every ten seconds."""
        await self._clock.sleep(SIGHTINGS_EVERY_S)
        await self.flush_sightings()

    async def flush_sightings(self) -> None:
        """Writes what was seen since the last time; waits for who does so now."""
        async with self._writing_sightings:
            sightings, self._sightings = self._sightings, {}
            if not sightings:
                return
            try:
                async with self._db.transaction() as tx:
                    await devices.seen(tx, list(sightings.values()))
            except BaseException:
                self._sightings = {**sightings, **self._sightings}
                raise


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
