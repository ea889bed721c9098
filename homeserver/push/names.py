"""Whose name stands in the text of a message that doesn't say whom it mentions.

A user's localpart is looked up among the members, whatever the size of the room. Display names are kept by room, from
the first such message on; in rooms that are too large for that they are not looked for.
spec: client-server-api/#user-and-room-mentions
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from itertools import islice
from types import MappingProxyType
from typing import Protocol

import structlog

from homeserver.core.events import Event, StateKey
from homeserver.core.globs import Words, rarest_part
from homeserver.core.identifiers import RoomId, ServerName, UserId, domain_of
from homeserver.rooms.residents import Room

log = structlog.get_logger()

MEMBER = "m.room.member"
ROOMS_MAX = 1_000
MEMBERS_MAX = 1_000
"""Of larger rooms, who left included, no display names are kept."""
NAMED_MAX = 100
"""A text that names more people than that mentions no more of them."""
_TEXT_CHARS_MAX = 8_192
_SPAN_PARTS_MAX = 7
# What localparts are made of; in a run of it, each part that begins and ends with a word may be one.
_RUN = re.compile(r"[a-z0-9._=/+-]+")
_PART = re.compile(r"[a-z0-9_]+|[.=/+-]")
_NO_NAMES: Mapping[UserId, str] = MappingProxyType({})


class RoomStates(Protocol):
    """Implemented by rooms.residents."""

    async def with_known(self, room: Room, keys: Collection[StateKey]) -> Room: ...


@dataclass(slots=True)
class _Names:
    of: dict[UserId, str] = field(default_factory=dict)
    by_part: dict[str, set[UserId]] = field(default_factory=dict)

    def put(self, user_id: UserId, name: object) -> None:
        old = self.of.pop(user_id, None)
        if old is not None:
            self.by_part[rarest_part(old)].discard(user_id)
        if isinstance(name, str) and (part := rarest_part(name)):
            self.of[user_id] = name
            self.by_part.setdefault(part, set()).add(user_id)


class NamesInRooms:
    """Finds local members by name."""

    def __init__(self, states: RoomStates, server_name: ServerName) -> None:
        self._states = states
        self._server_name = server_name
        self._rooms: OrderedDict[RoomId, _Names] = OrderedDict()
        # Of rooms whose names are being read: what was heard meanwhile is newer.
        self._heard: dict[RoomId, dict[UserId, object]] = {}

    def knows(self, room: Room) -> bool:
        """Whether the display names are at hand, or never will be."""
        return room.room_id in self._rooms or len(room.members) > MEMBERS_MAX

    def of(self, room_id: RoomId) -> Mapping[UserId, str]:
        """The display names that are at hand."""
        names = self._rooms.get(room_id)
        return names.of if names is not None else _NO_NAMES

    def by_localpart(self, room: Room, text: Words) -> set[UserId]:
        """Members whose localpart may be a word of this text."""
        names: set[str] = set()
        for run in set(_RUN.findall(text.text[:_TEXT_CHARS_MAX])):
            if run.isalnum():
                names.add(run)
                continue
            parts = _PART.findall(run)
            for start in range(len(parts)):
                for end in range(start + 1, min(len(parts), start + _SPAN_PARTS_MAX) + 1):
                    names.add("".join(parts[start:end]))
        user_ids = (UserId(f"@{name}:{self._server_name}") for name in names)
        return set(islice((user_id for user_id in user_ids if room.membership(user_id) == "join"), NAMED_MAX))

    def by_display_name(self, room_id: RoomId, text: Words) -> set[UserId]:
        """Members whose display name may be in this text; the rule itself says whether it is."""
        names = self._rooms.get(room_id)
        if names is None:
            return set()
        self._rooms.move_to_end(room_id)
        found: set[UserId] = set()
        for part in text.parts & names.by_part.keys():
            for user_id in names.by_part[part]:
                if len(found) < NAMED_MAX and text.has_whole(names.of[user_id]):
                    found.add(user_id)
        return found

    def hear(self, room_id: RoomId, event: Event) -> None:
        """Takes in a member event of a local user."""
        user_id = UserId(event.state_key or "")
        name = event.content.get("displayname") if event.membership == "join" else None
        if room_id in self._heard:
            self._heard[room_id][user_id] = name
        if room_id in self._rooms:
            self._rooms[room_id].put(user_id, name)

    async def load(self, room: Room) -> None:
        """Reads a room's display names, unless they are there; none where its state is damaged. Two queries at most."""
        if self.knows(room) or room.room_id in self._heard:
            return
        heard = self._heard[room.room_id] = {}
        names = _Names()
        try:
            members = [
                user_id
                for user_id, membership in room.members.items()
                if membership == "join" and domain_of(user_id) == self._server_name
            ]
            known = (await self._states.with_known(room, [(MEMBER, user_id) for user_id in members])).head.known
            for user_id in members:
                event = known.get((MEMBER, user_id))
                if event is not None:
                    names.put(user_id, event.content.get("displayname"))
        except (LookupError, ValueError):
            log.exception("names_unreadable", room_id=room.room_id)
        finally:
            del self._heard[room.room_id]
        for user_id, name in heard.items():
            names.put(user_id, name)
        self._rooms[room.room_id] = names
        if len(self._rooms) > ROOMS_MAX:
            self._rooms.popitem(last=False)
