"""Spaces as trees of rooms, and summaries of single rooms. spec: client-server-api/#spaces

A walk keeps what it has seen and is bounded, however rooms refer to each other.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from homeserver.core.errors import Forbidden, InvalidParam, NotFound
from homeserver.core.events import Event
from homeserver.core.identifiers import RoomId, ServerName, UserId, is_room_id, is_server_name
from homeserver.rooms.commands.restricted_joins import allowed_rooms
from homeserver.rooms.public_rooms import directory_entry
from homeserver.rooms.remote_trees import CHILD, CHILDREN_MAX, ENCRYPTION, SPACE, RemoteTrees, Told, is_child, may_see
from homeserver.rooms.residents import Room, Rooms, is_in

DEPTH_MAX = 10
PAGE_MAX = 50
# A walk visits so many rooms at most, whatever is asked for.
VISITED_MAX = 1_000
# Of so many rooms other servers are asked for one page, which ends there: the next one goes on with what was told.
ASKED_MAX = 20
SERVERS_MAX = 5
_ORDER = re.compile(r"[\x20-\x7e]{1,50}")
_TOKEN = re.compile(r"(\d{1,5})_([01])_(\d{1,3})", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeWish:
    """Which part of a tree is asked for."""

    suggested_only: bool = False
    limit: int = PAGE_MAX
    max_depth: int = DEPTH_MAX
    start: int = 0

    def token(self, start: int) -> str:
        return f"{start}_{int(self.suggested_only)}_{self.max_depth}"


def start_of(token: str, suggested_only: bool, max_depth: int) -> int:
    """Where a token goes on. Raises InvalidParam, also where it belongs to another question."""
    match = _TOKEN.fullmatch(token)
    if match is None:
        raise InvalidParam("from is no token of this server")
    if (match[2] == "1", int(match[3])) != (suggested_only, max_depth):
        raise InvalidParam("suggested_only and max_depth cannot change on paginated requests")
    return int(match[1])


@dataclass(frozen=True, slots=True)
class _Step:
    room_id: RoomId
    depth: int
    via: tuple[ServerName, ...] = ()


@dataclass(slots=True)
class _Walk:
    """What a walk through a tree has learnt from other servers, and for whom it is."""

    viewer: UserId
    joined: Collection[RoomId]
    # Not one that goes on where a page before ended.
    is_new: bool
    asked: int = 0
    told: dict[RoomId, Mapping[str, Any]] = field(default_factory=dict)
    shut: set[str] = field(default_factory=set)

    def note(self, told: Told) -> None:
        """What a space's server says of the rooms in it: of these nobody is asked again."""
        self.told.update(told.children or {})
        self.shut.update(told.shut)


class SpaceTree:
    """Walks spaces for a viewer, and says what rooms are.

    Of a room that no user of this server is in any more, others are asked: what is known of it here is of long ago.
    """

    def __init__(self, rooms: Rooms, others: RemoteTrees, server_name: ServerName) -> None:
        self._rooms = rooms
        self._others = others
        self._server_name = server_name

    async def page(self, viewer: UserId, room_id: RoomId, wish: TreeWish) -> tuple[list[dict[str, Any]], int | None]:
        """Rooms of a tree, depth first, and where the next page begins. Raises Forbidden for a root one may not see."""
        joined = await self._rooms.joined_rooms(viewer)
        found: list[dict[str, Any]] = []
        seen: set[RoomId] = set()
        waiting, walk = [_Step(room_id, 0)], _Walk(viewer, joined, wish.start == 0)
        shown = 0
        while waiting and len(seen) < VISITED_MAX:
            step = waiting.pop()
            if step.room_id in seen:
                continue
            seen.add(step.room_id)
            room = await self._rooms.get(step.room_id)
            if room is not None and is_in(room, self._server_name):
                entry = await self.entry_for_servers(room) if is_accessible(room, viewer, joined) else None
            elif walk.asked == ASKED_MAX and self._is_unheard(step, walk):
                return found, wish.start + len(found) if shown >= wish.start else None
            else:
                entry = await self._from_others(step, walk)
            if entry is None:
                if step.depth == 0:
                    raise Forbidden("you can't see this room")
                continue
            if len(found) == wish.limit:
                return found, wish.start + len(found)
            if wish.suggested_only:
                entry = {**entry, "children_state": [one for one in entry["children_state"] if is_suggested(one)]}
            if shown >= wish.start:
                found.append(entry)
            shown += 1
            if step.depth < wish.max_depth:
                waiting.extend(reversed(_steps(entry["children_state"], step.depth + 1)))
        return found, None

    async def entry_for_servers(self, room: Room) -> dict[str, Any]:
        """The room's part of a tree, without a check of who asks."""
        return {**summary(room), "children_state": await self._children(room)}

    async def room_ids(self, viewer: UserId, root: Room) -> set[RoomId]:
        """The rooms of a tree, its root among them, without asking other servers; the root alone if it is no space.

        Only spaces that the viewer may know of are looked into. A few queries for each level, some for each space.
        """
        found = {root.room_id}
        if root.known_text("m.room.create", "type") != SPACE:
            return found
        joined = await self._rooms.joined_rooms(viewer)
        level: Collection[Room] = [root]
        for _ in range(DEPTH_MAX):
            below: dict[RoomId, None] = {}
            for room in level:
                if is_accessible(room, viewer, joined):
                    below.update((RoomId(child["state_key"]), None) for child in await self._children(room))
            fresh = [room_id for room_id in below if room_id not in found][: VISITED_MAX - len(found)]
            if not fresh:
                break
            found.update(fresh)
            level = (await self._rooms.get_many(fresh)).values()
        return found

    async def summarise(self, viewer: UserId | None, room_id: RoomId, via: Sequence[ServerName]) -> dict[str, Any]:
        """What somebody, or anybody, may know of a room. Raises NotFound."""
        room = await self._rooms.get(room_id)
        is_here = room is not None and is_in(room, self._server_name)
        # Where we aren't in the room, what is known here is the last word only if nobody else is named.
        if room is not None and (is_here or (not via and room.membership(viewer or UserId("")) is not None)):
            joined = await self._rooms.joined_rooms(viewer) if viewer is not None else frozenset()
            if not is_accessible(room, viewer, joined):
                raise NotFound("there is no such room, or you may not see it")
            known = summary(room)
            if viewer is not None:
                known["membership"] = room.membership(viewer) or "leave"
            return known
        if viewer is None or not via:
            raise NotFound("there is no such room, or you may not see it")
        told = await self._others.ask(room_id, via)
        joined = await self._rooms.joined_rooms(viewer)
        membership = await self._membership(viewer, room_id)
        if told.room is None or not (membership == "invite" or may_see(told.room, joined)):
            raise NotFound("there is no such room, or you may not see it")
        entry = {key: value for key, value in told.room.items() if key != "children_state"}
        return entry | {"membership": membership}

    async def _membership(self, viewer: UserId, room_id: RoomId) -> str:
        """A user's, of whose room this server may only have heard. One query."""
        member = await self._rooms.outside_member(room_id, viewer)
        return (member.event.membership if member is not None else None) or "leave"

    def _is_unheard(self, step: _Step, walk: _Walk) -> bool:
        """Whether nothing is known of a room without a question to another server."""
        if not step.via or step.room_id in walk.shut or step.room_id in walk.told:
            return False
        return self._kept(step, walk) is None

    def _kept(self, step: _Step, walk: _Walk) -> Told | None:
        """What was told lately. Who begins anew asks again for what was refused: somebody may be let in by now."""
        told = self._others.kept(step.room_id, step.via)
        return None if told is not None and told.room is None and walk.is_new else told

    async def _from_others(self, step: _Step, walk: _Walk) -> dict[str, Any] | None:
        """What another server says of a room, where the viewer may know it by what it says."""
        if step.room_id in walk.shut or not (step.via or step.room_id in walk.told):
            return None
        entry = walk.told.get(step.room_id)
        if entry is None:
            told = self._kept(step, walk)
            if told is None:
                walk.asked += 1
                told = await self._others.ask(step.room_id, step.via)
            walk.note(told)
            entry = told.room
        if entry is None:
            return None
        is_seen = may_see(entry, walk.joined) or await self._membership(walk.viewer, step.room_id) == "invite"
        return dict(entry) if is_seen else None

    async def _children(self, room: Room) -> list[dict[str, Any]]:
        """The m.space.child events of a space, those that count, in order. No query for what is no space."""
        if room.known_text("m.room.create", "type") != SPACE:
            return []
        named = (await self._rooms.keys_of_types(room, {CHILD}))[:CHILDREN_MAX]
        known = await self._rooms.with_known(room, named)
        events = [event for key in named if (event := known.head.known.get(key)) is not None]
        return [_stripped(event) for event in sorted(events, key=_place) if is_child(event.state_key, event.content)]


def is_accessible(room: Room, viewer: UserId | None, joined: Collection[RoomId]) -> bool:
    """Whether somebody (None: anybody) may know that this room is there and what it is.

    spec: client-server-api/#get_matrixclientv1roomsroomidhierarchy
    """
    membership = room.membership(viewer) if viewer is not None else None
    if membership in ("join", "invite"):
        return True
    if room.known_text("m.room.history_visibility", "history_visibility") == "world_readable":
        return True
    if membership == "ban":
        return False
    return is_open(room) or not rooms_let_in(room).isdisjoint(joined)


def is_open(room: Room) -> bool:
    """Whether anybody may come in, or knock. A rule that the room's version doesn't have lets nobody in."""
    rule = room.known_text("m.room.join_rules", "join_rule")
    return (
        rule == "public"
        or (rule == "knock" and room.version.knocking)
        or (rule == "knock_restricted" and room.version.knock_restricted)
    )


def rooms_let_in(room: Room) -> set[str]:
    """The rooms whose members may come in."""
    is_restricted = room.known_text("m.room.join_rules", "join_rule") == "restricted" and room.version.restricted_joins
    return allowed_rooms(room) if is_restricted else set()


def summary(room: Room) -> dict[str, Any]:
    """A RoomSummary."""
    entry = {**directory_entry(room), "room_version": room.version.id}
    allowed = allowed_rooms(room)
    if allowed and entry["join_rule"] in ("restricted", "knock_restricted"):
        entry["allowed_room_ids"] = sorted(room_id for room_id in allowed if is_room_id(room_id))
    encryption = room.known_text("m.room.encryption", "algorithm")
    if encryption == ENCRYPTION:
        entry["encryption"] = entry["im.nheko.summary.encryption"] = encryption
    entry["im.nheko.summary.room_version"] = room.version.id
    return entry


def _stripped(event: Event) -> dict[str, Any]:
    return {
        "type": event.type,
        "state_key": event.state_key,
        "content": event.content,
        "sender": event.sender,
        "origin_server_ts": event.origin_server_ts,
    }


def _place(event: Event) -> tuple[bool, str, int, str]:
    """By `order` where it is valid, then by age, then by room id.

    spec: client-server-api/#ordering-of-children-within-a-space
    """
    order = event.content.get("order")
    valid = isinstance(order, str) and _ORDER.fullmatch(order) is not None
    return (not valid, str(order) if valid else "", event.origin_server_ts, event.state_key or "")


def is_suggested(child: Mapping[str, Any]) -> bool:
    """Whether a space suggests this room of its."""
    return child["content"].get("suggested") is True


def _steps(children: Sequence[Mapping[str, Any]], depth: int) -> list[_Step]:
    return [
        _Step(
            RoomId(child["state_key"]),
            depth,
            tuple(
                ServerName(server)
                for server in child["content"]["via"][:SERVERS_MAX]
                if isinstance(server, str) and is_server_name(server)
            ),
        )
        for child in children
    ]
