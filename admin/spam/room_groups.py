"""Rooms that policy lists are applied to together: as server ACLs, and as bans of members who are named.

What a room's ACL says by itself stays; what lists put there is known, and goes when the lists no longer say it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Any

import structlog

from admin.room_hand import RoomHand
from admin.spam.book import Recorded
from admin.spam.policy_lists import Bans, PolicyLists
from admin.storage import spam_policy_lists as policy_rows
from admin.storage.spam_policy_lists import GroupRow
from homeserver.core.errors import InvalidParam, MatrixError, NotFound
from homeserver.core.identifiers import RoomId, UserId
from homeserver.rooms.residents import Room
from homeserver.runtime.clock import Clock
from homeserver.storage.database import Database

log = structlog.get_logger()

GROUPS_MAX = 50
ROOMS_MAX = 1_000
LISTS_MAX = 20
NAME_CHARS_MAX = 100
# Of one ACL: an event may have 64 KiB, and other servers read 10,000 patterns at most.
DENIED_MAX = 5_000
DENIED_BYTES_MAX = 50_000
BANS_A_ROUND = 50
ACL = "m.room.server_acl"


class RoomGroups:
    """Keeps groups, and brings their rooms in line with their lists."""

    def __init__(self, db: Database, lists: PolicyLists, hand: RoomHand, clock: Clock) -> None:
        self._db = db
        self._lists = lists
        self._hand = hand
        self._clock = clock
        self._changed = asyncio.Event()
        self._changed.set()
        lists.on_change = self._changed.set

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
        """What lists put on its rooms' ACLs goes; who was banned stays so. Raises NotFound."""
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
        applied = await policy_rows.applied_acls(self._db)
        groups, in_force = list(self._lists.groups), self._lists.applied.of_groups
        grouped = {room_id for group in groups for room_id in group.rooms}
        for room_id in applied.keys() - grouped:
            await self._keep(self._set_acl(room_id, applied[room_id], []), room_id)
        for group in groups:
            bans = in_force.get(group.name, Bans())
            denied = _fitting(bans.servers(), group.name)
            for room_id in group.rooms:
                await self._keep(self._set_acl(room_id, applied.get(room_id, []), denied), room_id)
                if group.bans_members and bans.size:
                    await self._keep(self._ban_members(room_id, bans), room_id)

    async def _keep(self, step: Awaitable[object], room_id: RoomId) -> bool:
        """Whether the room took it."""
        try:
            await step
        except MatrixError as error:
            log.warning("spam_list_not_applied", room_id=room_id, why=str(error)[:200])
            return False
        return True

    async def _set_acl(self, room_id: RoomId, before: Sequence[str], denied: Sequence[str]) -> None:
        room = await self._hand.rooms.get(room_id)
        if room is None:
            async with self._db.transaction() as tx:
                await policy_rows.forget_applied_acls(tx, [room_id])
            return
        room = await self._hand.rooms.with_known(room, [(ACL, "")])
        content = acl_of(room, before, denied)
        if content is not None:
            # First, so that what lists said is never taken for the room's own.
            async with self._db.transaction() as tx:
                await policy_rows.put_applied_acl(tx, room_id, list(dict.fromkeys([*before, *denied])))
            await self._hand.set_state(room_id, ACL, content)
        if content is not None or list(before) != list(denied):
            async with self._db.transaction() as tx:
                if denied:
                    await policy_rows.put_applied_acl(tx, room_id, denied)
                else:
                    await policy_rows.forget_applied_acls(tx, [room_id])

    async def _ban_members(self, room_id: RoomId, bans: Bans) -> None:
        room = await self._hand.rooms.get(room_id)
        if room is None:
            return
        named = await asyncio.to_thread(_named, list(room.members.items()), bans)
        done = 0
        for user_id, why in named[:BANS_A_ROUND]:
            done += await self._keep(self._hand.set_member(room_id, user_id, "ban", why), room_id)
        if done and len(named) > BANS_A_ROUND:
            self._changed.set()  # the rest in the next round, so that no room waits for one


def acl_of(room: Room, before: Sequence[str], denied: Sequence[str]) -> dict[str, Any] | None:
    """The room's ACL with what lists deny in place of what they denied before; None where it says so already."""
    event = room.known_state(ACL)
    if event is None and not denied:
        return None
    content = dict(event.content) if event is not None else {"allow": ["*"], "allow_ip_literals": False}
    present, lists_own = content.get("deny"), frozenset(before)
    # Others may have written anything there: what is no text stays, and means nothing.
    entries = present if isinstance(present, list) else []
    kept = [entry for entry in entries if not (isinstance(entry, str) and entry in lists_own)]
    rooms_own = frozenset(entry for entry in kept if isinstance(entry, str))
    wanted = [*kept, *(entry for entry in denied if entry not in rooms_own)]
    return None if event is not None and present == wanted else {**content, "deny": wanted}


def shown(group: GroupRow) -> dict[str, Any]:
    """As JSON."""
    return {
        "name": group.name,
        "rooms": list(group.rooms),
        "lists": list(group.lists),
        "bans_members": group.bans_members,
    }


def _named(members: Sequence[tuple[UserId, str]], bans: Bans) -> list[tuple[UserId, str]]:
    return [
        (user_id, why)
        for user_id, membership in members
        if membership in ("join", "invite", "knock") and (why := bans.match("user", user_id)) is not None
    ]


def _fitting(servers: Sequence[str], group: str) -> list[str]:
    taken: list[str] = []
    size = 0
    for server in servers[:DENIED_MAX]:
        size += len(server) + 3
        if size > DENIED_BYTES_MAX:
            break
        taken.append(server)
    if len(taken) < len(servers):
        log.warning("spam_acl_too_large", group=group, denied=len(taken), of=len(servers))
    return taken
