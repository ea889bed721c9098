"""Read receipts and the read marker. spec: client-server-api/#receipts

Invariants: a receipt never moves backwards within its thread; a private one is shown to nobody but its owner.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from homeserver.core.errors import InvalidParam
from homeserver.core.identifiers import EventId, RoomId, UserId
from homeserver.ephemeral.readable import Readable
from homeserver.journal.journal import Entry, Journal
from homeserver.rooms.receipt_contents import receipt_contents
from homeserver.rooms.threads import MAIN, place_of
from homeserver.runtime.clock import Clock
from homeserver.storage import receipts
from homeserver.storage.database import Database
from homeserver.storage.events import StoredEvent
from homeserver.storage.receipts import UNKNOWN, Receipt

READ, PRIVATE, FULLY_READ = "m.read", "m.read.private", "m.fully_read"
RECEIPT_TYPES = (READ, PRIVATE, FULLY_READ)
RECENT_ROOMS_MAX = 10_000
RECENT_PER_ROOM_MAX = 1_000


@dataclass(slots=True)
class _Recent:
    """The newest receipts of a room: all that were written after `complete_after`."""

    complete_after: int
    receipts: OrderedDict[tuple[UserId, str, str], Receipt] = field(default_factory=OrderedDict)


class Receipts:
    """Sets receipts, and says which are new. Those of rooms in use are answered from memory."""

    def __init__(self, db: Database, journal: Journal, readable: Readable, clock: Clock) -> None:
        self._db = db
        self._journal = journal
        self._readable = readable
        self._clock = clock
        self._recent: OrderedDict[RoomId, _Recent] = OrderedDict()
        # Rooms that aren't in `_recent` had no receipt after this position.
        self._quiet_after: int | None = None
        journal.listen(self._hear)

    async def set(
        self,
        user_id: UserId,
        room_id: RoomId,
        wanted: Mapping[str, EventId],
        thread_id: str | None = None,
        *,
        ts: int | None = None,
    ) -> None:
        """Moves receipts of these kinds (type → event) forward; what would move back is left. One statement.

        `ts` is when the user read (milliseconds since 1970), where another server knows it: else now.

        Raises Forbidden for who isn't in the room, NotFound for an event that isn't there to be seen, InvalidParam for
        a thread that the event isn't in.
        """
        found = await self._readable.events(user_id, room_id, set(wanted.values()))
        if not wanted:
            return
        if thread_id is not None:
            for stored in found.values():
                await self._check_thread(stored, thread_id)
        places = {event_id: stored.ordering or 0 for event_id, stored in found.items()}
        await self._advance(user_id, room_id, wanted, places, thread_id or "", ts)

    async def foretell(
        self, user_id: UserId, room_id: RoomId, event_id: EventId, thread_id: str | None, *, ts: int | None
    ) -> None:
        """A public receipt of another server's user at an event that isn't here (yet): whoever knows it is shown it.

        It gives way to any receipt at an event that is here. Left out for who isn't in the room.
        """
        room = await self._readable.rooms.get(room_id)
        if room is None or room.presumed_membership(user_id) != "join":
            return
        if not await self._readable.lookup.by_ids([event_id]):
            await self._advance(user_id, room_id, {READ: event_id}, {event_id: UNKNOWN}, thread_id or "", ts)

    async def _advance(
        self,
        user_id: UserId,
        room_id: RoomId,
        wanted: Mapping[str, EventId],
        places: Mapping[EventId, int],
        thread_id: str,
        ts: int | None,
    ) -> None:
        first = await self._journal.open()
        entries: list[Entry] = []
        try:
            moved = await receipts.advance(
                self._db,
                [
                    Receipt(
                        room_id=room_id,
                        user_id=user_id,
                        receipt_type=receipt_type,
                        thread_id=thread_id,
                        event_id=event_id,
                        event_ordering=places[event_id],
                        ts=self._clock.now_ms() if ts is None else ts,
                        position=first,
                    )
                    for receipt_type, event_id in wanted.items()
                ],
            )
            entries = _entries(first, room_id, user_id, moved)
        finally:
            self._journal.close(first, entries)

    async def changes(
        self, user_id: UserId, room_ids: Collection[RoomId], since: int, upto: int
    ) -> dict[RoomId, dict[str, Any]]:
        """`m.receipt` contents of the receipts written in (since, upto], by room; others' private ones never.

        No query for rooms whose receipts after `since` are in memory, else one for all rooms.
        """
        found: list[Receipt] = []
        asked: list[RoomId] = []
        for room_id in room_ids:
            recent = self._recent.get(room_id)
            complete_after = recent.complete_after if recent else self._quiet_after
            if complete_after is None or since < complete_after:
                asked.append(room_id)
            elif recent is not None:
                found.extend(_visible(reversed(recent.receipts.values()), user_id, since, upto))
        if asked:
            found.extend(await receipts.of_rooms(self._db, asked, since, upto, user_id))
        return receipt_contents(found)

    async def marker(self, room_id: RoomId, user_id: UserId) -> dict[str, Any] | None:
        """The content of the user's `m.fully_read` in a room."""
        found = await receipts.marker(self._db, room_id, user_id)
        return {"event_id": found.event_id} if found else None

    async def markers(self, user_id: UserId, since: int, upto: int) -> list[tuple[RoomId, dict[str, Any], int]]:
        """(room, content of `m.fully_read`, position) of the read markers that moved in (since, upto]."""
        found = await receipts.markers(self._db, user_id, since, upto)
        return [(receipt.room_id, {"event_id": receipt.event_id}, receipt.position) for receipt in found]

    async def markers_in(
        self, user_id: UserId, room_ids: Collection[RoomId]
    ) -> list[tuple[RoomId, dict[str, Any], int]]:
        """The same of these rooms, as they are now."""
        found = await receipts.markers_in(self._db, user_id, room_ids) if room_ids else []
        return [(receipt.room_id, {"event_id": receipt.event_id}, receipt.position) for receipt in found]

    async def near(self, user_id: UserId, places: Mapping[RoomId, int]) -> dict[RoomId, dict[str, Any]]:
        """`m.receipt` contents for whoever sees these rooms from a place of the timeline on, with all of their own."""
        return receipt_contents(await receipts.near(self._db, places, user_id)) if places else {}

    async def rooms_read(self, user_id: UserId, since: int, upto: int) -> list[RoomId]:
        """The rooms where the user's own receipts moved in (since, upto]."""
        return await receipts.read_rooms(self._db, user_id, since, upto)

    async def _check_thread(self, stored: StoredEvent, thread_id: str) -> None:
        thread, on_the_way = await place_of(stored.event, self._readable.lookup)
        if thread_id != thread and (thread_id == MAIN or thread_id not in on_the_way):
            raise InvalidParam("the event is not related to this thread_id")

    def _hear(self, entries: Sequence[Entry]) -> None:
        """Keeps the newest receipts in memory: a journal listener."""
        for entry in entries:
            if self._quiet_after is None:
                self._quiet_after = entry.position - 1
            if entry.kind == "receipt" and isinstance(entry.payload, tuple):
                for receipt in entry.payload:
                    self._remember(receipt)

    def _remember(self, receipt: Receipt) -> None:
        assert self._quiet_after is not None
        recent = self._recent.get(receipt.room_id)
        if recent is None:
            recent = self._recent[receipt.room_id] = _Recent(self._quiet_after)
        key = (receipt.user_id, receipt.receipt_type, receipt.thread_id)
        recent.receipts.pop(key, None)
        recent.receipts[key] = receipt
        if len(recent.receipts) > RECENT_PER_ROOM_MAX:
            recent.complete_after = recent.receipts.popitem(last=False)[1].position
        self._recent.move_to_end(receipt.room_id)
        if len(self._recent) > RECENT_ROOMS_MAX:
            gone = self._recent.popitem(last=False)[1]
            self._quiet_after = max(self._quiet_after, next(reversed(gone.receipts.values())).position)


def _entries(position: int, room_id: RoomId, user_id: UserId, moved: Sequence[Receipt]) -> list[Entry]:
    """Who hears of it: the room for public receipts, the user alone for private ones and the marker."""
    entries: list[Entry] = []
    public = tuple(receipt for receipt in moved if receipt.receipt_type == READ)
    private = tuple(receipt for receipt in moved if receipt.receipt_type == PRIVATE)
    if public:
        entries.append(Entry(position, "receipt", room_id, (user_id,), public))
    if private:
        entries.append(Entry(position, "receipt", None, (user_id,), private))
    if any(receipt.receipt_type == FULLY_READ for receipt in moved):
        entries.append(Entry(position, "account_data", None, (user_id,)))
    return entries


def _visible(newest_first: Iterable[Receipt], viewer: UserId, since: int, upto: int) -> list[Receipt]:
    found = []
    for receipt in newest_first:
        if receipt.position <= since:
            break
        if receipt.position <= upto and (receipt.receipt_type == READ or receipt.user_id == viewer):
            found.append(receipt)
    found.reverse()
    return found
