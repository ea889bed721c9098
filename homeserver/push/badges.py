"""How much a user has unread in all rooms together: the number on an app's icon."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Sequence
from typing import Protocol

from homeserver.core.identifiers import RoomId, UserId
from homeserver.journal.journal import Entry
from homeserver.push.unread import Unread
from homeserver.rooms.building import Written

USERS_MAX = 10_000


class JoinedRooms(Protocol):
    """Implemented by rooms.residents."""

    async def joined_rooms(self, user_id: UserId) -> frozenset[RoomId]: ...


class Badges:
    """Totals, kept by room: a notification recounts the one room that it is of."""

    def __init__(self, unread: Unread, rooms: JoinedRooms) -> None:
        self._unread = unread
        self._rooms = rooms
        self._known: OrderedDict[UserId, dict[RoomId, int]] = OrderedDict()
        self._stale: dict[UserId, set[RoomId]] = {}

    async def total(self, user_id: UserId, room_ids: Collection[RoomId] = ()) -> int:
        """Unread notifications in all rooms. `room_ids` are those in which something has just notified the user.

        The first time all rooms of the user are counted; then only those that are named or were read since.
        """
        known = self._known.get(user_id)
        if known is None:
            self._stale.pop(user_id, None)
            recount: Collection[RoomId] = await self._rooms.joined_rooms(user_id)
            known = self._known[user_id] = {}
        else:
            self._known.move_to_end(user_id)
            recount = self._stale.pop(user_id, set()) | set(room_ids)
        for room_id, counts in (await self._unread.counts(user_id, recount)).items() if recount else ():
            if counts.notifications:
                known[room_id] = counts.notifications
            else:
                known.pop(room_id, None)
        while len(self._known) > USERS_MAX:
            self._stale.pop(self._known.popitem(last=False)[0], None)
        return sum(known.values())

    def hear(self, entries: Sequence[Entry]) -> None:
        """A journal listener: notes in which rooms a known user's count may be another."""
        for entry in entries:
            if entry.kind == "receipt" and isinstance(entry.payload, tuple):
                for receipt in entry.payload:
                    self._mark(receipt.user_id, receipt.room_id)
            elif isinstance(entry.payload, Written):
                self._written(entry.payload)
            elif entry.kind == "redacted" and entry.room_id is not None:
                for user_id in [user_id for user_id, counts in self._known.items() if entry.room_id in counts]:
                    self._mark(user_id, entry.room_id)

    def _written(self, written: Written) -> None:
        event = written.event
        self._mark(event.sender, event.room_id)
        if event.type == "m.room.member" and event.state_key is not None:
            # Came or went: all is counted anew.
            if event.membership != written.membership_before:
                self._known.pop(UserId(event.state_key), None)
        elif written.redacts is not None:
            for user_id in self._known:
                if written.room.members.get(user_id) == "join":
                    self._mark(user_id, event.room_id)

    def _mark(self, user_id: UserId, room_id: RoomId) -> None:
        if user_id in self._known:
            self._stale.setdefault(user_id, set()).add(room_id)
