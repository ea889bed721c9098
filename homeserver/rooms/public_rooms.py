"""The published rooms as the directory lists them. spec: client-server-api/#published-room-directory"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from homeserver.core.errors import InvalidParam
from homeserver.core.identifiers import RoomId
from homeserver.journal.journal import Entry, Journal
from homeserver.rooms.building import Written
from homeserver.rooms.residents import USUAL_KEYS, Room, Rooms
from homeserver.storage import appservices, room_directory
from homeserver.storage.database import Database

PAGE_MAX = 500
TERM_CHARS_MAX = 255
LOADED_AT_ONCE = 500
KEPT_MAX = 50_000
_SHOWN = frozenset(key[0] for key in USUAL_KEYS) | {"m.room.member"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which part of the directory is asked for. `room_types` may hold None: rooms without a type."""

    limit: int = 100
    since: str | None = None
    term: str | None = None
    room_types: frozenset[str | None] | None = None
    # The lists of bridges: of one network (`service|network`), or all of them beside the server's own.
    instance_id: str | None = None
    all_networks: bool = False


@dataclass(frozen=True, slots=True)
class _Listed:
    entry: Mapping[str, Any]
    text: str  # what a search term is looked for in, in lower case

    @property
    def place(self) -> tuple[int, str]:
        """The biggest first."""
        return (-self.entry["num_joined_members"], self.entry["room_id"])


class PublicRooms:
    """Lists published rooms from memory. A room is read again after it changed; one query per page besides."""

    def __init__(self, db: Database, rooms: Rooms, journal: Journal) -> None:
        self._db = db
        self._rooms = rooms
        self._listed: dict[RoomId, _Listed] = {}
        self._changes = 0
        journal.listen(self._hear)

    async def page(self, wanted: Wanted) -> dict[str, Any]:
        """A page of the directory. Raises InvalidParam."""
        listed = await self._all(await self._room_ids(wanted))
        matching = sorted((one for one in listed if _matches(one, wanted)), key=lambda one: one.place)
        limit = max(1, min(wanted.limit, PAGE_MAX))
        first, last = _span(matching, wanted.since, limit)
        chunk = matching[first:last]
        answer: dict[str, Any] = {"chunk": [one.entry for one in chunk], "total_room_count_estimate": len(matching)}
        if last < len(matching) and chunk:
            answer["next_batch"] = _token("n", chunk[-1])
        if first > 0 and chunk:
            answer["prev_batch"] = _token("p", chunk[0])
        return answer

    async def _room_ids(self, wanted: Wanted) -> list[RoomId]:
        if wanted.instance_id is not None:
            appservice_id, _, network_id = wanted.instance_id.rpartition("|")
            return await appservices.listed(self._db, network_id, appservice_id)
        published = await room_directory.published(self._db)
        if not wanted.all_networks:
            return published
        return list(dict.fromkeys([*published, *await appservices.listed(self._db, None, None)]))

    async def _all(self, room_ids: Sequence[RoomId]) -> list[_Listed]:
        missing = [room_id for room_id in room_ids if room_id not in self._listed]
        found: dict[RoomId, _Listed] = {}
        for start in range(0, len(missing), LOADED_AT_ONCE):
            before = self._changes
            loaded = await self._rooms.get_many(missing[start : start + LOADED_AT_ONCE])
            read = {room_id: _listed(room) for room_id, room in loaded.items()}
            found.update(read)
            if before == self._changes:
                self._listed.update(read)
        while len(self._listed) > KEPT_MAX:
            del self._listed[next(iter(self._listed))]
        return [one for room_id in room_ids if (one := found.get(room_id) or self._listed.get(room_id)) is not None]

    def _hear(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            written = entry.payload
            if isinstance(written, Written) and (written.event.type in _SHOWN or written.redacts is not None):
                self._changes += 1
                self._listed.pop(written.event.room_id, None)


def _listed(room: Room) -> _Listed:
    entry = directory_entry(room)
    shown = (entry.get("name"), entry.get("topic"), entry.get("canonical_alias"))
    return _Listed(entry, "\n".join(text.lower() for text in shown if text))


def directory_entry(room: Room) -> dict[str, Any]:
    """A PublishedRoomsChunk. What a peer put into a state event in another type is left out."""

    def text(kind: str, key: str) -> str | None:
        return room.known_text("m.room." + kind, key) or None

    entry: dict[str, Any] = {
        "room_id": room.room_id,
        "num_joined_members": room.joined,
        "world_readable": text("history_visibility", "history_visibility") == "world_readable",
        "guest_can_join": text("guest_access", "guest_access") == "can_join",
        "join_rule": text("join_rules", "join_rule") or "invite",
    }
    optional: Mapping[str, Callable[[], str | None]] = {
        "name": lambda: text("name", "name"),
        "topic": lambda: text("topic", "topic"),
        "canonical_alias": lambda: text("canonical_alias", "alias"),
        "avatar_url": lambda: text("avatar", "url"),
        "room_type": lambda: text("create", "type"),
    }
    entry.update({name: value for name, read in optional.items() if (value := read()) is not None})
    return entry


def parse_term(term: str | None) -> str | None:
    """A search term as it is compared. Raises InvalidParam."""
    if term is not None and len(term) > TERM_CHARS_MAX:
        raise InvalidParam(f"generic_search_term may have {TERM_CHARS_MAX} characters")
    return term.strip().lower() if term and term.strip() else None


def parse_room_types(room_types: Collection[str | None] | None) -> frozenset[str | None] | None:
    return frozenset(room_types) if room_types is not None else None


def _matches(one: _Listed, wanted: Wanted) -> bool:
    if wanted.room_types is not None and one.entry.get("room_type") not in wanted.room_types:
        return False
    return wanted.term is None or wanted.term in one.text


def _span(matching: Sequence[_Listed], since: str | None, limit: int) -> tuple[int, int]:
    """Where the page begins and ends. A token names the room at the edge of the page before."""
    if since is None or since == "":
        return 0, limit
    direction, place = _parse_token(since)
    if direction == "n":
        first = sum(1 for one in matching if one.place <= place)
        return first, first + limit
    last = sum(1 for one in matching if one.place < place)
    return max(0, last - limit), last


def _token(direction: str, one: _Listed) -> str:
    return f"{direction}{one.entry['num_joined_members']}_{one.entry['room_id']}"


def _parse_token(token: str) -> tuple[str, tuple[int, str]]:
    members, separator, room_id = token[1:].partition("_")
    if token[0] not in "np" or not separator or not members.isdecimal() or len(members) > 10:
        raise InvalidParam("since is no token of this server")
    return token[0], (-int(members), room_id)
