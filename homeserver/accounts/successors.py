"""What users set for a room, taken over for the room that replaces it: push rules, tags, whether it is for talking to
one person, and which of its image packs they use everywhere.

Whoever of this server joins a room that replaces another gets copies, once; what they set for the new room already
stays. A room replaces another where both say so: its create event names a predecessor, whose tombstone names it. Who
joined before the tombstone came gets them then. spec: client-server-api/#room-upgrades

Cost: one look at a room's create event for each join; two transactions where it names a predecessor.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import islice
from typing import Any, Protocol

import structlog

from homeserver.accounts.account_data import TAGS, AccountData
from homeserver.core.errors import MatrixError, NotFound
from homeserver.core.identifiers import RoomId, ServerName, UserId, domain_of, is_room_id
from homeserver.journal.journal import Entry
from homeserver.rooms.building import Written
from homeserver.rooms.families import predecessor_of
from homeserver.rooms.residents import Room, Rooms

log = structlog.get_logger()

TOMBSTONE = ("m.room.tombstone", "")
DIRECT = "m.direct"
# Account data that names rooms' packs, and the type of these packs: as in v1.19, and as it was called before.
PACKS = (("m.image_pack.rooms", "m.room.image_pack"), ("im.ponies.emote_rooms", "im.ponies.room_emotes"))

# Joins that wait to be looked after; the oldest give way, as their users can set everything themselves.
WAITING_MAX = 10_000
# So many who were there before the tombstone are looked after.
EARLY_MAX = 1_000


class RoomRules(Protocol):
    """Push rules of users. Implemented by push.rulesets."""

    async def copy_room_rules(self, user_id: UserId, old: RoomId, new: RoomId) -> None: ...


class RoomSuccessors:
    """Takes settings over. Give it the journal's entries by `hear`."""

    def __init__(self, rooms: Rooms, rules: RoomRules, account_data: AccountData, server_name: ServerName) -> None:
        self._rooms = rooms
        self._rules = rules
        self._account_data = account_data
        self._server_name = server_name
        # Who joined (None: whoever is there), the old room, the new one.
        self._waiting: asyncio.Queue[tuple[UserId | None, RoomId, RoomId]] = asyncio.Queue(WAITING_MAX)

    def hear(self, entries: Sequence[Entry]) -> None:
        """A journal listener: notes who joined a room that names a predecessor, and tombstones."""
        for entry in entries:
            if isinstance(entry.payload, Written):
                self._hear_event(entry.payload)

    def _hear_event(self, written: Written) -> None:
        event = written.event
        if (event.type, event.state_key) == TOMBSTONE:
            new = event.content.get("replacement_room")
            if is_room_id(new) and new != event.room_id:
                self._wait(None, event.room_id, RoomId(str(new)))
            return
        if event.type != "m.room.member" or event.membership != "join" or written.membership_before == "join":
            return
        user_id = UserId(event.state_key or "")
        old = predecessor_of(written.room)
        if old is None or old == event.room_id or domain_of(user_id) != self._server_name:
            return
        self._wait(user_id, old, event.room_id)

    def _wait(self, user_id: UserId | None, old: RoomId, new: RoomId) -> None:
        if self._waiting.full():
            self._waiting.get_nowait()
        self._waiting.put_nowait((user_id, old, new))

    async def run(self) -> None:
        """One round of a background task: waits for a join or a tombstone, and copies what users had set."""
        user_id, old, new = await self._waiting.get()
        rooms = await self._rooms.get_many([old, new])
        if len(rooms) < 2 or rooms[old].known_text(TOMBSTONE[0], "replacement_room") != new:
            return
        if predecessor_of(rooms[new]) != old:
            return
        for one in self._joined(rooms[new]) if user_id is None else [user_id]:
            try:
                await self._rules.copy_room_rules(one, old, new)
                await self._copy_tags(one, old, new)
                await self._keep_direct(one, old, new)
                await self._keep_packs(one, old, rooms[new])
            except MatrixError as refusal:
                log.info("room_settings_not_copied", error=refusal.code)

    def _joined(self, room: Room) -> list[UserId]:
        members = room.members.items()
        ours = (one for one, how in members if how == "join" and domain_of(one) == self._server_name)
        return list(islice(ours, EARLY_MAX))

    async def _copy_tags(self, user_id: UserId, old: RoomId, new: RoomId) -> None:
        try:
            tags = await self._account_data.get(user_id, old, TAGS)
        except NotFound:
            return

        def unless_set(before: dict[str, Any]) -> dict[str, Any]:
            return before or tags

        await self._account_data.change(user_id, new, TAGS, unless_set)

    async def _keep_direct(self, user_id: UserId, old: RoomId, new: RoomId) -> None:
        def with_new(before: dict[str, Any]) -> dict[str, Any]:
            return {
                other: [*rooms, new] if isinstance(rooms, list) and old in rooms and new not in rooms else rooms
                for other, rooms in before.items()
            }

        before = await self._account_data.content(user_id, DIRECT)
        if with_new(before) != before:
            await self._account_data.change(user_id, None, DIRECT, with_new)

    async def _keep_packs(self, user_id: UserId, old: RoomId, room: Room) -> None:
        """Those that the new room has too are used from there: else clients would offer each twice."""
        for kind, pack in PACKS:
            if not _used(await self._account_data.content(user_id, kind), old):
                continue
            there = {key for _, key in await self._rooms.keys_of_types(room, {pack})}

            def moved(before: dict[str, Any], there: set[str] = there) -> dict[str, Any]:
                used = _used(before, old)
                over = {key: value for key, value in used.items() if key in there}
                if not over or room.room_id in before["rooms"]:
                    return before
                rooms = {**before["rooms"], old: {key: used[key] for key in used if key not in there}}
                return {**before, "rooms": {name: keys for name, keys in rooms.items() if keys} | {room.room_id: over}}

            await self._account_data.change(user_id, None, kind, moved)


def _used(packs: dict[str, Any], room_id: RoomId) -> dict[str, Any]:
    """The packs of a room that somebody uses everywhere, by state_key."""
    rooms = packs.get("rooms")
    used = rooms.get(room_id) if isinstance(rooms, dict) else None
    return used if isinstance(used, dict) else {}
