"""Rooms that policy lists are applied to together: as server ACLs, and as bans of members who are named.

What a room says by itself stays; what lists put there is known, and goes when the lists no longer say it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from admin.room_hand import RoomHand
from admin.spam.book import Recorded
from admin.spam.list_acls import DENIED_MAX, ListAcls
from admin.spam.list_bans import ListBans
from admin.spam.policy_lists import Bans, PolicyLists
from admin.storage import spam_list_bans
from admin.storage import spam_policy_lists as policy_rows
from admin.storage.spam_policy_lists import GroupRow
from homeserver.core.errors import InvalidParam, NotFound
from homeserver.core.identifiers import RoomId, domain_of
from homeserver.runtime.clock import Clock
from homeserver.storage.database import Database

GROUPS_MAX = 50
ROOMS_MAX = 1_000
LISTS_MAX = 20
NAME_CHARS_MAX = 100


@dataclass(frozen=True, slots=True)
class InRooms:
    """What lists do in a room."""

    acls: ListAcls
    bans: ListBans


class RoomGroups:
    """Keeps groups, and brings their rooms in line with their lists."""

    def __init__(self, db: Database, lists: PolicyLists, hand: RoomHand, clock: Clock, in_rooms: InRooms) -> None:
        self._db = db
        self._in_rooms = in_rooms
        self._lists = lists
        self._hand = hand
        self._clock = clock
        self._turn = asyncio.Lock()
        self._changed = asyncio.Event()
        self._changed.set()
        # Servers that came to rooms whose lists name them by hash alone.
        self._met: dict[RoomId, set[str]] = {}
        lists.on_change = self._changed.set
        lists.on_met = self._meet

    @property
    def groups(self) -> Sequence[GroupRow]:
        """All of them, by name."""
        return self._lists.groups

    async def put(self, group: GroupRow, *, recorded: Recorded) -> None:
        """Makes or changes a group; its rooms follow in a moment. Raises InvalidParam, NotFound."""
        if not 0 < len(group.name) <= NAME_CHARS_MAX or not group.name.isprintable():
            raise InvalidParam(f"a group's name has 1 to {NAME_CHARS_MAX} characters")
        if len(group.rooms) > ROOMS_MAX or len(group.lists) > LISTS_MAX:
            raise InvalidParam(f"a group may have {ROOMS_MAX} rooms and {LISTS_MAX} lists")
        followed = {row.room_id for row in self._lists.followed}
        if unknown := [room_id for room_id in group.lists if room_id not in followed]:
            raise NotFound(f"the list {unknown[0]} isn't followed")
        known = await self._hand.rooms.get_many(group.rooms)
        if missing := [room_id for room_id in group.rooms if room_id not in known]:
            raise NotFound(f"this server doesn't know the room {missing[0]}")
        async with self._db.transaction() as tx:
            groups = {row.name: row for row in await policy_rows.groups(tx)}
            taken = {room_id for row in groups.values() if row.name != group.name for room_id in row.rooms}
            if twice := [room_id for room_id in group.rooms if room_id in taken]:
                raise InvalidParam(f"the room {twice[0]} is in another group")
            if group.name not in groups and len(groups) >= GROUPS_MAX:
                raise InvalidParam(f"there may be {GROUPS_MAX} groups")
            await policy_rows.put_group(tx, group, now_ms=self._clock.now_ms())
            before = groups.get(group.name)
            await recorded(tx, shown(before) if before else None, shown(group))
        await self._lists.load()

    async def delete(self, name: str, *, recorded: Recorded) -> None:
        """What lists put on its rooms' ACLs goes, and so do the bans that they made. Raises NotFound."""
        async with self._db.transaction() as tx:
            before = next((row for row in await policy_rows.groups(tx) if row.name == name), None)
            if before is None or not await policy_rows.delete_group(tx, name):
                raise NotFound("there is no such group")
            await recorded(tx, shown(before), None)
        await self._lists.load()

    async def run(self) -> None:
        """One round of a background task: whenever lists or groups have changed."""
        await self._changed.wait()
        self._changed.clear()
        await self.apply()

    async def apply(self) -> None:
        """Brings every room in line. What a room refuses is told to the log, and tried again at the next change."""
        async with self._turn:
            await self._apply()

    async def _apply(self) -> None:
        denied = await policy_rows.applied_acls(self._db)
        banned = await spam_list_bans.all_of_them(self._db)
        groups, in_force = list(self._lists.groups), self._lists.applied.of_groups
        grouped = {room_id: group for group in groups for room_id in group.rooms}
        there_is_more = False
        for room_id in dict.fromkeys((*(denied.keys() | banned.keys()) - grouped.keys(), *grouped)):
            group = grouped.get(room_id)
            bans = in_force.get(group.name, Bans()) if group is not None else Bans()
            before = denied.get(room_id, [])
            # Those that were told stay told, though nobody of them should be left.
            there = await self._servers_in(room_id) if bans.has_hashed_servers else ()
            present = [*before, *there, *self._met.get(room_id, ())]
            await self._in_rooms.acls.apply(room_id, before, bans.servers(present))
            of_members = bans if group is not None and group.bans_members else Bans()
            if of_members.size or room_id in banned:
                there_is_more |= await self._in_rooms.bans.apply(room_id, of_members, banned.get(room_id, []))
        if there_is_more:
            self._changed.set()  # in the next round, so that no room waits for one

    def _meet(self, room_id: RoomId, host: str) -> None:
        known = self._met.setdefault(room_id, set())
        if host not in known and len(known) < DENIED_MAX:
            known.add(host)
            self._changed.set()

    async def _servers_in(self, room_id: RoomId) -> set[str]:
        room = await self._hand.rooms.get(room_id)
        return {domain_of(user_id) for user_id in room.members} if room is not None else set()


def shown(group: GroupRow) -> dict[str, Any]:
    """As JSON."""
    return {
        "name": group.name,
        "rooms": list(group.rooms),
        "lists": list(group.lists),
        "bans_members": group.bans_members,
    }
