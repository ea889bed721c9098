"""Whose devices an application service must know, or may forget, because of who shares encrypted rooms with its users.

spec: client-server-api/#tracking-the-device-list-for-a-user, for all users of a service at once (MSC3202)
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Iterable
from typing import Any

from homeserver.appservices.interest import Interest
from homeserver.core.identifiers import RoomId, UserId
from homeserver.journal.journal import Entry
from homeserver.rooms.residents import Room, Rooms
from homeserver.storage import appservices
from homeserver.storage.database import Database

# Comings, goings and users in doubt that are remembered until the next transaction; the oldest go.
HELD_MAX = 50_000
MOVES_AT_ONCE = 500
DOUBTED_AT_ONCE = 500


class SharedRooms:
    """Of one application service. `hear` is told what the journal says of rooms; `take` answers from the rooms."""

    def __init__(self, interest: Interest, db: Database, rooms: Rooms) -> None:
        self._interest = interest
        self._db = db
        self._rooms = rooms
        # Who came or went; None stands for a room that was encrypted meanwhile.
        self._moves: OrderedDict[tuple[RoomId, UserId | None], None] = OrderedDict()
        # Who left a room that they shared with the service's users: perhaps they share others.
        self._doubted: OrderedDict[UserId, None] = OrderedDict()

    @property
    def has_any(self) -> bool:
        return bool(self._moves or self._doubted)

    def hear(self, entry: Entry) -> None:
        event, before = entry.payload.event, entry.payload.membership_before
        if entry.room_id is None or event.state_key is None:
            return
        if event.type == "m.room.encryption" and event.state_key == "":
            self._hold(self._moves, [(entry.room_id, None)])
        elif event.type == "m.room.member" and event.membership != before and "join" in (event.membership, before):
            self._hold(self._moves, [(entry.room_id, UserId(event.state_key))])

    async def take(self) -> tuple[set[UserId], set[UserId]]:
        """(changed, left): who shares an encrypted room with the service's users since, and who shares none any more.

        A handful of queries. What there is too much of waits for the next transaction.
        """
        moved: defaultdict[RoomId, set[UserId | None]] = defaultdict(set)
        for _ in range(min(MOVES_AT_ONCE, len(self._moves))):
            (room_id, user_id), _ = self._moves.popitem(last=False)
            moved[room_id].add(user_id)
        changed: set[UserId] = set()
        for room in (await self._rooms.get_many(list(moved))).values():
            if _is_encrypted(room):
                changed |= await self._newly_shared(room, moved[room.room_id])
        doubted = {self._doubted.popitem(last=False)[0] for _ in range(min(DOUBTED_AT_ONCE, len(self._doubted)))}
        left = doubted - changed
        return changed, left - await self._sharing(left) if left else left

    async def _newly_shared(self, room: Room, moved: set[UserId | None]) -> set[UserId]:
        """Whose devices matter from now on. Puts in doubt who is gone, and who is left behind."""
        own = await self._interest.own_members(room)
        users = {user_id for user_id in moved if user_id is not None}
        joined = {user_id for user_id in users if room.membership(user_id) == "join"}
        others = [user_id for user_id in users - joined if not self._interest.has_user(user_id)]
        if own:
            self._hold(self._doubted, others)
            # The first of its users in the room, or the room's encryption, makes all others matter.
            return set(room.joined_members()) if None in moved or own <= users else joined
        if any(map(self._interest.has_user, users)):
            self._hold(self._doubted, others)
            self._hold(self._doubted, room.joined_members())
        return set()

    async def _sharing(self, user_ids: set[UserId]) -> set[UserId]:
        """Those who share an encrypted room with a user of the service now."""
        rooms_of = await appservices.joined_rooms(self._db, user_ids)
        concerned = await self._interest.rooms(set().union(*rooms_of.values()) if rooms_of else set())
        found = await self._rooms.get_many(list(concerned))
        encrypted = [room for room in found.values() if _is_encrypted(room)]
        shared = {room.room_id for room in encrypted if await self._interest.own_members(room)}
        return {user_id for user_id, room_ids in rooms_of.items() if not shared.isdisjoint(room_ids)}

    @staticmethod
    def _hold(held: OrderedDict[Any, None], new: Iterable[Any]) -> None:
        held.update((one, None) for one in new)
        while len(held) > HELD_MAX:
            held.popitem(last=False)


def _is_encrypted(room: Room) -> bool:
    return room.known_state("m.room.encryption") is not None
