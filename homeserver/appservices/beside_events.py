"""What application services are told beside events: typing, receipts, presence, messages to devices, changes of keys.

What is gone when it isn't told now (typing, receipts, presence) is kept in memory until the next transaction; messages
to devices stay in the database until they are part of one.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import orjson

from homeserver.appservices.interest import Interest
from homeserver.appservices.registration import Registration
from homeserver.appservices.shared_rooms import SharedRooms
from homeserver.core.identifiers import DeviceId, RoomId, UserId
from homeserver.journal.journal import Entry
from homeserver.rooms.receipt_contents import receipt_contents
from homeserver.storage import appservices
from homeserver.storage.appservices import Waiting
from homeserver.storage.database import Database
from homeserver.storage.receipts import Receipt

# Of each kind, until the next transaction; the oldest go.
HELD_MAX = 5_000
PRESENCE_AT_ONCE = 100
TO_DEVICE_AT_ONCE = 100
_PRIVATE = "m.read.private"
_LISTS = "org.matrix.msc3202.device_lists"


class Typing(Protocol):
    """Implemented by ephemeral.typing."""

    async def users(self, room_id: RoomId) -> list[UserId]: ...


class Presence(Protocol):
    """Implemented by ephemeral.presence."""

    def events_of(self, user_ids: Collection[UserId]) -> list[dict[str, Any]]: ...


class KeyCounts(Protocol):
    """Implemented by encryption.keys."""

    async def counts(self, user_id: UserId, device_id: DeviceId) -> tuple[dict[str, int], list[str]]: ...


class DevicesOf(Protocol):
    """The devices of users, by storage.to_device."""

    async def __call__(self, db: Database, user_ids: Collection[UserId]) -> Mapping[UserId, Collection[DeviceId]]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class BesideSources:
    """Where the contents come from."""

    db: Database
    typing: Typing
    presence: Presence
    key_counts: KeyCounts
    devices_of: DevicesOf


@dataclass(slots=True)
class Told:
    """The parts of one transaction beside its events, and the messages that it takes along."""

    parts: dict[str, Any] = field(default_factory=dict)
    taken: list[Waiting] = field(default_factory=list)


class BesideEvents:
    """Gathers for one application service. `hear` is a journal listener."""

    def __init__(self, service: Registration, interest: Interest, shared: SharedRooms, sources: BesideSources) -> None:
        self._service = service
        self._interest = interest
        self._shared = shared
        self._sources = sources
        self._typing: OrderedDict[RoomId, None] = OrderedDict()
        self._receipts: OrderedDict[tuple[RoomId, UserId, str, str], Receipt] = OrderedDict()
        self._presence: OrderedDict[UserId, None] = OrderedDict()
        self._addressed: set[UserId] = set()
        self._changed_lists: OrderedDict[UserId, None] = OrderedDict()
        self._left_lists: OrderedDict[UserId, None] = OrderedDict()
        self._changed_counts: OrderedDict[UserId, None] = OrderedDict()

    @property
    def has_any(self) -> bool:
        return bool(
            self._typing
            or self._receipts
            or self._presence
            or self._addressed
            or self._shared.has_any
            or self._changed_lists
            or self._left_lists
            or self._changed_counts
        )

    async def start(self) -> None:
        """Finds the messages to devices that an earlier run left. One query."""
        if self._service.receives_encryption:
            waiting = await appservices.waiting_users(self._sources.db)
            self._addressed.update(UserId(user_id) for user_id in waiting if self._interest.has_user(user_id))

    def hear(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            if entry.kind == "event":
                if self._service.receives_encryption:
                    self._shared.hear(entry)
                continue
            if self._service.receives_ephemeral:
                self._hear_ephemeral(entry)
            if self._service.receives_encryption:
                self._hear_encryption(entry)

    def _hear_ephemeral(self, entry: Entry) -> None:
        if entry.kind == "typing" and entry.room_id is not None:
            _hold(self._typing, [entry.room_id])
        elif entry.kind == "receipt" and isinstance(entry.payload, tuple):
            for receipt in entry.payload:
                key = (receipt.room_id, receipt.user_id, receipt.receipt_type, receipt.thread_id)
                self._receipts.pop(key, None)
                self._receipts[key] = receipt
            while len(self._receipts) > HELD_MAX:
                self._receipts.popitem(last=False)
        elif entry.kind == "presence" and isinstance(entry.payload, tuple):
            _hold(self._presence, entry.payload)

    def _hear_encryption(self, entry: Entry) -> None:
        if entry.kind == "to_device":
            self._addressed.update(user_id for user_id in entry.user_ids if self._interest.has_user(user_id))
        elif entry.kind == "device_list" and any(map(self._interest.has_user, entry.user_ids)):
            _hold(self._changed_lists, entry.user_ids[:1])
        elif entry.kind == "one_time_keys":
            _hold(self._changed_counts, [user_id for user_id in entry.user_ids if self._interest.has_user(user_id)])

    async def take(self, upto: int) -> Told:
        """What is to be told now. A handful of queries, and none where there is nothing."""
        told = Told()
        ephemeral = [*await self._take_typing(), *await self._take_receipts(), *await self._take_presence()]
        if ephemeral:
            told.parts["ephemeral"] = ephemeral
        counted = _take(self._changed_counts)
        if self._addressed:
            addressed, self._addressed = self._addressed, set()
            told.taken = await appservices.to_device(self._sources.db, addressed, upto, TO_DEVICE_AT_ONCE)
            if len(told.taken) == TO_DEVICE_AT_ONCE:
                self._addressed |= addressed
            if told.taken:
                told.parts["to_device"] = [_message(waiting) for waiting in told.taken]
                told.parts["de.sorunome.msc2409.to_device"] = told.parts["to_device"]
            counted = list(dict.fromkeys([*counted, *(waiting.user_id for waiting in told.taken)]))
        await self._take_lists(told)
        if counted:
            await self._count_keys(told, counted)
        return told

    def give_back(self, told: Told) -> None:
        """Told when a transaction couldn't be written down: what must not be missed is taken again."""
        self._addressed.update(waiting.user_id for waiting in told.taken)
        lists = told.parts.get(_LISTS, {"changed": [], "left": []})
        # Not cut short: they were few enough for one transaction.
        self._changed_lists.update((user_id, None) for user_id in lists["changed"])
        self._left_lists.update((user_id, None) for user_id in lists["left"])
        _hold(self._changed_counts, map(UserId, told.parts.get("org.matrix.msc3202.device_one_time_keys_count", ())))

    async def _take_lists(self, told: Told) -> None:
        came, left = await self._shared.take() if self._shared.has_any else (set(), set())
        changed = list(dict.fromkeys([*_take(self._changed_lists), *sorted(came)]))
        gone = sorted(left.union(_take(self._left_lists)).difference(changed))
        if changed or gone:
            told.parts[_LISTS] = {"changed": changed, "left": gone}

    async def _take_typing(self) -> list[dict[str, Any]]:
        if not self._typing:
            return []
        return [
            {"type": "m.typing", "room_id": room_id, "content": {"user_ids": await self._sources.typing.users(room_id)}}
            for room_id in await self._interest.rooms(_take(self._typing))
        ]

    async def _take_receipts(self) -> list[dict[str, Any]]:
        if not self._receipts:
            return []
        receipts, self._receipts = self._receipts, OrderedDict()
        rooms = await self._interest.rooms({receipt.room_id for receipt in receipts.values()})
        shown = [
            receipt
            for receipt in receipts.values()
            if receipt.room_id in rooms
            and (receipt.receipt_type != _PRIVATE or self._interest.has_user(receipt.user_id))
        ]
        return [
            {"type": "m.receipt", "room_id": room_id, "content": content}
            for room_id, content in receipt_contents(shown).items()
        ]

    async def _take_presence(self) -> list[dict[str, Any]]:
        if not self._presence:
            return []
        changed = [self._presence.popitem(last=False)[0] for _ in range(min(PRESENCE_AT_ONCE, len(self._presence)))]
        rooms = await appservices.joined_rooms(self._sources.db, changed)
        concerned = await self._interest.rooms(set().union(*rooms.values()) if rooms else set())
        return self._sources.presence.events_of(
            [
                user_id
                for user_id in changed
                if self._interest.has_user(user_id) or not concerned.isdisjoint(rooms.get(user_id, ()))
            ]
        )

    async def _count_keys(self, told: Told, user_ids: Sequence[UserId]) -> None:
        counts: dict[str, dict[str, dict[str, int]]] = {}
        unused: dict[str, dict[str, list[str]]] = {}
        for user_id, device_ids in (await self._sources.devices_of(self._sources.db, user_ids)).items():
            for device_id in device_ids:
                left, fallback = await self._sources.key_counts.counts(user_id, device_id)
                counts.setdefault(user_id, {})[device_id] = left
                unused.setdefault(user_id, {})[device_id] = fallback
        told.parts["org.matrix.msc3202.device_one_time_keys_count"] = counts
        told.parts["org.matrix.msc3202.device_unused_fallback_key_types"] = unused


def _hold(held: OrderedDict[Any, None], new: Iterable[Any]) -> None:
    for one in new:
        held[one] = None
        held.move_to_end(one)
    while len(held) > HELD_MAX:
        held.popitem(last=False)


def _take(held: OrderedDict[Any, None]) -> list[Any]:
    taken = list(held)
    held.clear()
    return taken


def _message(waiting: Waiting) -> dict[str, Any]:
    return {
        **orjson.loads(waiting.message),
        "to_user_id": waiting.user_id,
        "to_device_id": waiting.device_id,
    }
