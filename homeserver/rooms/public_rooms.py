"""The published rooms as the directory lists them. spec: client-server-api/#published-room-directory"""

from __future__ import annotations

import asyncio
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from homeserver.core.errors import InvalidParam
from homeserver.core.folding import fold, without_marks
from homeserver.core.identifiers import RoomId, is_mxc
from homeserver.journal.journal import Entry, Journal
from homeserver.rooms.building import Written
from homeserver.rooms.commands.directory import Published
from homeserver.rooms.residents import USUAL_KEYS, Room, Rooms
from homeserver.storage import appservices, room_directory
from homeserver.storage.database import Database

PAGE_MAX = 500
TERM_CHARS_MAX = 255
LOADED_AT_ONCE = 500
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
    text: str  # what a search term is looked for in: folded, then the same without marks

    @property
    def place(self) -> tuple[int, str]:
        """The biggest first."""
        return (-self.entry["num_joined_members"], self.entry["room_id"])


class PublicRooms:
    """Keeps the published rooms in memory, sorted. A room is looked at again after it changed.

    A page costs as much as it is long; with a search term, as there are rooms in the directory.
    """

    def __init__(self, db: Database, rooms: Rooms, journal: Journal) -> None:
        self._db = db
        self._rooms = rooms
        self._listed: dict[RoomId, _Listed] = {}
        self._sorted: list[_Listed] = []
        self._stale: set[RoomId] = set()
        self._looked_at: set[RoomId] = set()
        self._is_read = False
        self._reading = asyncio.Lock()
        journal.listen(self._hear)

    async def page(self, wanted: Wanted) -> dict[str, Any]:
        """A page of the directory. Raises InvalidParam."""
        await self._catch_up()
        matching: Sequence[_Listed] = self._sorted
        if wanted.instance_id is not None or wanted.all_networks:
            matching = await self._of_networks(wanted)
        if wanted.term is not None or wanted.room_types is not None:
            matching = [one for one in matching if _matches(one, wanted)]
        limit = max(1, min(wanted.limit, PAGE_MAX))
        first, last = _span(matching, wanted.since, limit)
        chunk = matching[first:last]
        answer: dict[str, Any] = {"chunk": [one.entry for one in chunk], "total_room_count_estimate": len(matching)}
        if last < len(matching) and chunk:
            answer["next_batch"] = _token("n", chunk[-1])
        if first > 0 and chunk:
            answer["prev_batch"] = _token("p", chunk[0])
        return answer

    async def _of_networks(self, wanted: Wanted) -> list[_Listed]:
        """What bridges list; with `all_networks` beside the published rooms."""
        if wanted.instance_id is not None:
            appservice_id, _, network_id = wanted.instance_id.rpartition("|")
            room_ids = await appservices.listed(self._db, network_id, appservice_id)
            found: dict[RoomId, _Listed] = {}
        else:
            room_ids = await appservices.listed(self._db, None, None)
            found = dict(self._listed)
        missing = [room_id for room_id in room_ids if room_id not in found]
        for start in range(0, len(missing), LOADED_AT_ONCE):
            loaded = await self._rooms.get_many(missing[start : start + LOADED_AT_ONCE])
            found.update((room_id, _listed(room)) for room_id, room in loaded.items())
        return sorted(found.values(), key=_place)

    async def _catch_up(self) -> None:
        """Reads the directory the first time, and then what changed."""
        if self._is_read and not self._stale and not self._reading.locked():
            return
        async with self._reading:
            if not self._is_read:
                self._is_read = True  # what happens from here on is heard
                try:
                    self._stale.update(await room_directory.published(self._db))
                except BaseException:
                    self._is_read = False
                    raise
            while self._stale:
                self._looked_at = set(list(self._stale)[:LOADED_AT_ONCE])
                self._stale -= self._looked_at
                try:
                    await self._read(self._looked_at)
                except BaseException:
                    self._stale |= self._looked_at
                    raise

    async def _read(self, room_ids: Collection[RoomId]) -> None:
        published = await room_directory.published_among(self._db, room_ids)
        found = await self._rooms.get_many(list(published))
        for room_id in room_ids:
            room = found.get(room_id)
            self._put(room_id, _listed(room) if room is not None else None)

    def _put(self, room_id: RoomId, listed: _Listed | None) -> None:
        before = self._listed.pop(room_id, None)
        if before is not None:
            del self._sorted[bisect_left(self._sorted, before.place, key=_place)]
        if listed is not None:
            self._listed[room_id] = listed
            insort(self._sorted, listed, key=_place)

    def _hear(self, entries: Sequence[Entry]) -> None:
        if not self._is_read:
            return
        for entry in entries:
            written = entry.payload
            if isinstance(written, Published):
                self._stale.update(written.room_ids)
            elif entry.kind == "state_jump" and entry.room_id in self._listed:
                self._stale.add(entry.room_id)
            elif isinstance(written, Written):
                room_id, kind = written.event.room_id, written.event.type
                is_shown = kind in _SHOWN or written.redacts is not None
                is_known = room_id in self._listed or room_id in self._looked_at
                if kind == "m.room.create" or (is_shown and is_known):
                    self._stale.add(room_id)


def _place(one: _Listed) -> tuple[int, str]:
    return one.place


def _listed(room: Room) -> _Listed:
    entry = directory_entry(room)
    shown = (entry.get("name"), entry.get("topic"), entry.get("canonical_alias"))
    folded = fold("\n".join(text for text in shown if text))
    return _Listed(entry, f"{folded}\n{' '.join(map(without_marks, folded.split()))}")


def directory_entry(room: Room) -> dict[str, Any]:
    """A PublishedRoomsChunk. What a peer put into a state event in another type is left out."""

    def text(kind: str, key: str) -> str | None:
        return room.known_text("m.room." + kind, key) or None

    picture = text("avatar", "url")
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
        "avatar_url": lambda: picture if picture is not None and is_mxc(picture) else None,
        "room_type": lambda: text("create", "type"),
    }
    entry.update({name: value for name, read in optional.items() if (value := read()) is not None})
    return entry


def parse_term(term: str | None) -> str | None:
    """A search term as it is compared. Raises InvalidParam."""
    if term is not None and len(term) > TERM_CHARS_MAX:
        raise InvalidParam(f"generic_search_term may have {TERM_CHARS_MAX} characters")
    return fold(term.strip()) if term and term.strip() else None


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
        first = bisect_right(matching, place, key=_place)
        return first, first + limit
    last = bisect_left(matching, place, key=_place)
    return max(0, last - limit), last


def _token(direction: str, one: _Listed) -> str:
    return f"{direction}{one.entry['num_joined_members']}_{one.entry['room_id']}"


def _parse_token(token: str) -> tuple[str, tuple[int, str]]:
    members, separator, room_id = token[1:].partition("_")
    if token[0] not in "np" or not separator or not members.isdecimal() or len(members) > 10:
        raise InvalidParam("since is no token of this server")
    return token[0], (-int(members), room_id)
