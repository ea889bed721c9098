"""EDUs of other servers: what isn't an event. spec: server-server-api/#edus

A server speaks for its own users only. One EDU that makes no sense costs the others nothing, nor does one that fails.

What a server may make us do in a while is bounded for each kind. Beyond it what passes anyway is dropped (typing,
receipts, presence); with messages to devices the server waits, since they mustn't be lost; changes of device lists are
counted once a transaction for each user, and only for users whom somebody here may want to write to.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import structlog

from federation.inbound.early_receipts import EarlyReceipts, ToldReceipt
from federation.room_access import RoomAccess
from federation.storage import remote_devices
from homeserver.core.errors import Forbidden, MatrixError, NotFound
from homeserver.core.identifiers import (
    EventId,
    RoomId,
    ServerName,
    UserId,
    domain_of,
    is_room_id,
    is_user_id,
)
from homeserver.encryption.device_lists import DeviceLists
from homeserver.encryption.to_device import ToDevice
from homeserver.ephemeral.presence import STATES, Presence, Told, is_status
from homeserver.ephemeral.receipts import READ
from homeserver.ephemeral.typing import Typing
from homeserver.journal.journal import Journal
from homeserver.runtime.clock import Clock
from homeserver.storage.database import Tx
from homeserver.web.rate_limits import RateLimit, RateLimiter

log = structlog.get_logger()

RECEIPTS_PER_EDU_MAX = 500
ROOMS_PER_EDU_MAX = 500
PRESENCE_PER_EDU_MAX = 100
ID_BYTES_MAX = 255
LATEST_MS = 2**53 - 1
MESSAGES_REMEMBERED_MS = 30 * 86_400_000
TYPING, RECEIPT, PRESENCE, TO_DEVICE = "m.typing", "m.receipt", "m.presence", "m.direct_to_device"
DEVICE_LISTS = ("m.device_list_update", "m.signing_key_update", "org.matrix.signing_key_update")
# By server: notices, rooms with receipts and receipts, users' states, messages.
BUDGETS = {
    TYPING: RateLimit(per_second=100, burst=2_000),
    RECEIPT: RateLimit(per_second=200, burst=10_000),
    PRESENCE: RateLimit(per_second=200, burst=10_000),
    TO_DEVICE: RateLimit(per_second=200, burst=10_000),
}

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ephemeral:
    """What users see of each other beside events."""

    typing: Typing
    receipts: EarlyReceipts
    presence: Presence


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceSide:
    """What users' devices tell each other."""

    to_device: ToDevice
    device_lists: DeviceLists


class Edus:
    """Takes EDUs in, each by its type. Implements `federation.inbound.transactions.EduIntake`."""

    def __init__(
        self, access: RoomAccess, ephemeral: Ephemeral, devices: DeviceSide, journal: Journal, clock: Clock
    ) -> None:
        self._access = access
        self._ephemeral = ephemeral
        self._devices = devices
        self._journal = journal
        self._clock = clock
        self._budgets = RateLimiter(BUDGETS, clock)
        self._takers: dict[str, Callable[[ServerName, Json], Awaitable[None]]] = {
            TYPING: self._typing,
            RECEIPT: self._receipts,
            PRESENCE: self._presence,
            TO_DEVICE: self._to_device,
        }

    async def take(self, origin: ServerName, edus: Sequence[Any]) -> None:
        """All that can be taken. Messages to devices are durable when it returns.

        Raises Unavailable; LimitExceeded where the server sends more such messages than it may.
        """
        messages = sum(1 for edu in edus if isinstance(edu, dict) and edu.get("edu_type") == TO_DEVICE)
        if messages:
            # All at once: a server that tries again and again would spend it on those that have come.
            self._budgets.check(TO_DEVICE, origin, cost=messages)
        lists: dict[UserId, bool] = {}
        for edu in edus:
            kind, content = (edu.get("edu_type"), edu.get("content")) if isinstance(edu, dict) else (None, None)
            if not isinstance(kind, str) or not isinstance(content, dict):
                continue
            taker = self._takers.get(kind)
            if taker is not None:
                await self._guarded(kind, origin, taker(origin, content))
            elif kind in DEVICE_LISTS and _is_of(user_id := content.get("user_id"), origin):
                is_end = content.get("deleted") is True and content.get("device_id") == ""
                lists[UserId(str(user_id))] = is_end and lists.get(UserId(str(user_id)), True)
        if lists:
            await self._device_lists(origin, lists)

    async def _guarded(self, kind: str, origin: ServerName, taking: Awaitable[None]) -> None:
        """Raises what the whole transaction has to be sent again for."""
        try:
            await taking
        except MatrixError as error:
            if error.http_status >= 500:
                raise
            log.info("edu_refused", server=origin, kind=kind, reason=error.message)
        except Exception:
            # It would fail each time that it is sent, and hold up all that its server has for us.
            log.exception("edu_failed", server=origin, kind=kind)

    async def forget(self) -> None:
        """One round of a background task: forgets ids of messages that nobody will send again."""
        await self._clock.sleep(3_600)
        async with self._journal.write() as write:
            await remote_devices.forget(write.tx, self._clock.now_ms() - MESSAGES_REMEMBERED_MS)

    async def _typing(self, origin: ServerName, content: Json) -> None:
        room_id, user_id = content.get("room_id"), content.get("user_id")
        if is_room_id(room_id) and _is_of(user_id, origin):
            self._budgets.check(TYPING, origin)
            await self._access.open_room(RoomId(str(room_id)), origin)
            await self._ephemeral.typing.set(UserId(str(user_id)), RoomId(str(room_id)), content.get("typing") is True)

    async def _receipts(self, origin: ServerName, content: Json) -> None:
        left = RECEIPTS_PER_EDU_MAX
        for room_id, by_type in list(content.items())[:ROOMS_PER_EDU_MAX]:
            read = by_type.get(READ) if isinstance(by_type, dict) else None
            if not is_room_id(room_id) or not isinstance(read, dict):
                continue
            self._budgets.check(RECEIPT, origin)
            try:
                await self._access.open_room(RoomId(room_id), origin)
            except (Forbidden, NotFound) as error:
                # One EDU names many rooms: one that is closed to the server doesn't close the others.
                log.info("edu_refused", server=origin, kind="m.receipt", reason=error.message)
                continue
            for user_id, receipt in list(read.items())[:left]:
                left -= 1
                told = _told(RoomId(room_id), UserId(user_id), receipt) if _is_of(user_id, origin) else None
                if told is not None:
                    self._budgets.check(RECEIPT, origin)
                    await self._ephemeral.receipts.take(told)

    async def _presence(self, origin: ServerName, content: Json) -> None:
        push = content.get("push")
        said = [
            _presence_told(entry)
            for entry in (push[:PRESENCE_PER_EDU_MAX] if isinstance(push, list) else [])
            if isinstance(entry, dict) and _is_of(entry.get("user_id"), origin) and entry.get("presence") in STATES
        ]
        if said:
            self._budgets.check(PRESENCE, origin, cost=len(said))
        await self._ephemeral.presence.told(said, self._access.server_name)

    async def _to_device(self, origin: ServerName, content: Json) -> None:
        sender, kind, message_id = content.get("sender"), content.get("type"), content.get("message_id")
        told = content.get("messages")
        if not _is_of(sender, origin) or not isinstance(kind, str) or not _is_short(message_id):
            return
        messages = {
            UserId(user_id): {device: one for device, one in by_device.items() if isinstance(one, dict)}
            for user_id, by_device in (told.items() if isinstance(told, dict) else ())
            if is_user_id(user_id) and domain_of(user_id) == self._access.server_name and isinstance(by_device, dict)
        }
        begin = partial(self._is_new, origin, str(message_id))
        await self._devices.to_device.receive(UserId(str(sender)), kind, messages, begin=begin)

    async def _is_new(self, origin: ServerName, message_id: str, tx: Tx) -> bool:
        return bool(await remote_devices.begin(tx, origin, [message_id], self._clock.now_ms()))

    async def _device_lists(self, origin: ServerName, lists: Mapping[UserId, bool]) -> None:
        """Users whose devices changed, whatever is said of each device: the whole list is asked for when somebody wants
        it next. True: only that the user has none any more.

        Of whom nobody here can know, nothing is kept: there is no end to the names that a server can make up.
        """
        async with self._journal.write() as write:
            known = await remote_devices.lists(write.tx, lists)
            new = lists.keys() - known.keys()
            if new and not await remote_devices.is_in_partial_room(write.tx, origin):
                new = await remote_devices.sharing(write.tx, new, self._access.server_name)
            users = sorted(known.keys() | new)
            if not users:
                return
            await remote_devices.mark_changed(write.tx, users)
            for user in users:
                # A user without devices who has just come in: clients have heard of the user by the join.
                if not (user in new and lists[user]):
                    await self._devices.device_lists.record(write, user)


def _told(room_id: RoomId, user_id: UserId, receipt: object) -> ToldReceipt | None:
    event_ids, data = (receipt.get("event_ids"), receipt.get("data")) if isinstance(receipt, dict) else (None, None)
    event_id = event_ids[-1] if isinstance(event_ids, list) and event_ids else None
    thread_id, ts = (data.get("thread_id"), data.get("ts")) if isinstance(data, dict) else (None, None)
    # Users of others choose these: what can't be kept is no reason to refuse all that their server sends.
    if not _is_short(event_id) or (isinstance(thread_id, str) and not _is_short(thread_id)):
        return None
    return ToldReceipt(
        room_id=room_id,
        user_id=user_id,
        event_id=EventId(str(event_id)),
        thread_id=thread_id if isinstance(thread_id, str) else None,
        ts=ts if type(ts) is int and 0 <= ts <= LATEST_MS else None,
    )


def _presence_told(entry: Json) -> Told:
    status, ago = entry.get("status_msg"), entry.get("last_active_ago")
    return Told(
        user_id=UserId(str(entry["user_id"])),
        state=str(entry["presence"]),
        status_msg=status if is_status(status) else None,
        active_ago_ms=ago if type(ago) is int and 0 <= ago <= LATEST_MS else None,
        is_active=entry.get("currently_active") is True,
    )


def _is_of(user_id: object, origin: ServerName) -> bool:
    return is_user_id(user_id) and domain_of(str(user_id)) == origin


def _is_short(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value.encode()) <= ID_BYTES_MAX and "\0" not in value
