"""Spaces as trees of rooms, and summaries of single rooms. spec: client-server-api/#spaces

A walk keeps what it has seen and is bounded, however rooms refer to each other.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from homeserver.core.errors import Forbidden, InvalidParam, MatrixError, NotFound
from homeserver.core.events import Event
from homeserver.core.identifiers import RoomId, ServerName, UserId, is_room_id, is_server_name
from homeserver.ports import RemoteRooms
from homeserver.rooms.commands.restricted_joins import allowed_rooms
from homeserver.rooms.public_rooms import directory_entry
from homeserver.rooms.residents import Room, Rooms, is_in

CHILD = "m.space.child"
SPACE = "m.space"
DEPTH_MAX = 10
PAGE_MAX = 50
# A walk visits so many rooms at most, whatever is asked for; so many of one space are its children.
VISITED_MAX = 1_000
CHILDREN_MAX = 500
# So many rooms of a page are asked of other servers.
ASKED_MAX = 20
SERVERS_MAX = 5
_ORDER = re.compile(r"[\x20-\x7e]{1,50}")
_TOKEN = re.compile(r"(\d{1,5})_([01])_(\d{1,3})", re.ASCII)
_ENCRYPTION = "m.megolm.v1.aes-sha2"


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


class SpaceTree:
    """Walks spaces for a viewer, and says what rooms are.

    Of a room that no user of this server is in any more, others are asked: what is known of it here is of long ago.
    """

    def __init__(self, rooms: Rooms, remote: RemoteRooms, server_name: ServerName) -> None:
        self._rooms = rooms
        self._remote = remote
        self._server_name = server_name

    async def page(self, viewer: UserId, room_id: RoomId, wish: TreeWish) -> tuple[list[dict[str, Any]], int | None]:
        """Rooms of a tree, depth first, and where the next page begins. Raises Forbidden for a root one may not see."""
        joined = await self._rooms.joined_rooms(viewer)
        found: list[dict[str, Any]] = []
        seen: set[RoomId] = set()
        waiting = [_Step(room_id, 0)]
        shown, asked = 0, 0
        while waiting and len(seen) < VISITED_MAX:
            step = waiting.pop()
            if step.room_id in seen:
                continue
            seen.add(step.room_id)
            room = await self._rooms.get(step.room_id)
            if room is not None and is_in(room, self._server_name):
                entry = await self.entry_for_servers(room) if is_accessible(room, viewer, joined) else None
            elif step.via and asked < ASKED_MAX:
                asked += 1
                entry = await self._from_others(step, joined)
            else:
                entry = None
            if entry is None:
                if step.depth == 0:
                    raise Forbidden("you can't see this room")
                continue
            if len(found) == wish.limit:
                return found, wish.start + len(found)
            if wish.suggested_only:
                entry = {**entry, "children_state": [one for one in entry["children_state"] if _is_suggested(one)]}
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
        answer = await self._from_others(_Step(room_id, 0, tuple(via)), frozenset())
        if answer is None:
            raise NotFound("there is no such room, or you may not see it")
        return {key: value for key, value in answer.items() if key != "children_state"} | {"membership": "leave"}

    async def _from_others(self, step: _Step, joined: Collection[RoomId]) -> dict[str, Any] | None:
        """What another server says of a room, where the viewer may know it by what it says."""
        try:
            answer = await self._remote.hierarchy(step.room_id, step.via)
        except MatrixError:
            return None
        entry = remote_entry(step.room_id, answer)
        return entry if entry is not None and _may_see_remote(entry, joined) else None

    async def _children(self, room: Room) -> list[dict[str, Any]]:
        """The m.space.child events of a space, those that count, in order. No query for what is no space."""
        if room.known_text("m.room.create", "type") != SPACE:
            return []
        named = (await self._rooms.keys_of_types(room, {CHILD}))[:CHILDREN_MAX]
        known = await self._rooms.with_known(room, named)
        events = [event for key in named if (event := known.head.known.get(key)) is not None]
        return [_stripped(event) for event in sorted(events, key=_place) if _is_child(event.state_key, event.content)]


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
    if encryption == _ENCRYPTION:
        entry["encryption"] = entry["im.nheko.summary.encryption"] = encryption
    entry["im.nheko.summary.room_version"] = room.version.id
    return entry


_TYPES: Mapping[str, type] = {
    "num_joined_members": int,
    "world_readable": bool,
    "guest_can_join": bool,
    "join_rule": str,
    "name": str,
    "topic": str,
    "canonical_alias": str,
    "avatar_url": str,
    "room_type": str,
    "room_version": str,
    "encryption": str,
}


def remote_entry(room_id: RoomId, answer: Mapping[str, Any]) -> dict[str, Any] | None:
    """A room of a tree as another server describes it; what isn't of the right form is left out."""
    said = answer.get("room")
    if not isinstance(said, dict) or said.get("room_id") != room_id:
        return None
    entry: dict[str, Any] = {
        key: said[key] for key, kind in _TYPES.items() if type(said.get(key)) is kind and said[key] is not None
    }
    entry = {"num_joined_members": 0, "world_readable": False, "guest_can_join": False, **entry, "room_id": room_id}
    if entry.get("encryption") != _ENCRYPTION:
        entry.pop("encryption", None)
    allowed = said.get("allowed_room_ids")
    if isinstance(allowed, list):
        entry["allowed_room_ids"] = [name for name in allowed[:CHILDREN_MAX] if is_room_id(name)]
    children = said.get("children_state")
    entry["children_state"] = [
        {key: child[key] for key in ("type", "state_key", "content", "sender", "origin_server_ts")}
        for child in (children[:CHILDREN_MAX] if isinstance(children, list) else ())
        if _is_remote_child(child)
    ]
    return entry


def _may_see_remote(entry: Mapping[str, Any], joined: Collection[RoomId]) -> bool:
    """The same rules as for rooms of ours, by what the other server says: it knows who may see, but not who asks."""
    if entry.get("world_readable") or entry.get("join_rule") in ("public", "knock", "knock_restricted"):
        return True
    if entry.get("join_rule") == "restricted":
        return not set(joined).isdisjoint(entry.get("allowed_room_ids", ()))
    return False


def _is_remote_child(child: object) -> bool:
    return (
        isinstance(child, dict)
        and child.get("type") == CHILD
        and isinstance(child.get("content"), dict)
        and isinstance(child.get("sender"), str)
        and type(child.get("origin_server_ts")) is int
        and _is_child(child.get("state_key"), child["content"])
    )


def _is_child(state_key: object, content: Mapping[str, Any]) -> bool:
    via = content.get("via")
    return is_room_id(state_key) and isinstance(via, list) and any(isinstance(server, str) for server in via)


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


def _is_suggested(child: Mapping[str, Any]) -> bool:
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
