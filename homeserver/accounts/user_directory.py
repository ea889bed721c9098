"""The user directory: who can be found by name or id. spec: client-server-api/#user-directory

A consumer of the journal: `hear` notes whom and which rooms a change concerns, a background task (or the next search)
writes it down with the cursor. Visible is who shares a room with the searcher or is in a room that anybody may join or
read. A name is the profile's; of users of other servers it is the one they carry in such a room, never one that
they use in a private room.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import orjson

from homeserver.core.events import Event
from homeserver.core.identifiers import RoomId, ServerName, UserId, domain_of
from homeserver.core.name_words import terms_of, words_of
from homeserver.journal.journal import Entry, Journal
from homeserver.rooms.building import Written
from homeserver.rooms.completing import WHOLE
from homeserver.rooms.residents import Room
from homeserver.runtime.clock import Clock
from homeserver.storage import events, journal_cursors, memberships, profiles, user_directory, users
from homeserver.storage.database import Database
from homeserver.storage.user_directory import Found

FLUSH_S = 2.0
RESULTS_MAX = 100
BATCH = 500
NAME_CHARS_MAX = 256
AVATAR_CHARS_MAX = 1_000
_MEMBER = "m.room.member"
_OPENING = frozenset({"m.room.create", "m.room.join_rules", "m.room.history_visibility"})


class Rooms(Protocol):
    """Rooms by id. Implemented by rooms.residents."""

    async def get_many(self, room_ids: Sequence[RoomId]) -> dict[RoomId, Room]: ...


@dataclass(frozen=True, slots=True)
class _Sighting:
    """A user who joined a room, or changed there: what they say of themselves counts if the room is open."""

    room_nid: int
    display_name: str | None
    avatar_url: str | None


class UserDirectory:
    """Keeps and searches the directory."""

    def __init__(self, db: Database, journal: Journal, rooms: Rooms, clock: Clock, server_name: ServerName) -> None:
        self._db = db
        self._journal = journal
        self._rooms = rooms
        self._clock = clock
        self._server_name = server_name
        self._sightings: dict[UserId, _Sighting | None] = {}
        self._changed_rooms: set[RoomId] = set()
        self._whole: set[int] = set()  # rooms whose members have all become known
        self._heard = 0
        self._caught_up = 0  # all up to here was taken in from the tables
        self._catch_up_to = 0
        self._writing = asyncio.Lock()

    # --- what is asked

    async def search(self, viewer: UserId, term: str, limit: int) -> tuple[list[Found], bool]:
        """Users whom the viewer may see and the term names, best first; and whether there are more."""
        terms = terms_of(term)
        if not terms or limit < 1:
            return [], False
        # Who holds the lock may have taken some that aren't written yet.
        if self._sightings or self._changed_rooms or self._writing.locked():
            await self.flush()
        wanted = min(limit, RESULTS_MAX)
        found = await user_directory.search(self._db, viewer, terms, wanted + 1)
        return found[:wanted], len(found) > wanted

    # --- life

    async def start(self) -> None:
        """Learns how far an earlier run came; `run` takes in what came since, beside the requests."""
        self._caught_up = await journal_cursors.position(self._db, user_directory.CONSUMER) or 0
        self._catch_up_to = self._heard = self._journal.visible
        self._journal.follow(user_directory.CONSUMER, self._seen)

    async def run(self) -> None:
        """One round of a background task."""
        while self._caught_up < self._catch_up_to:
            await self._catch_up()
        await self._clock.sleep(FLUSH_S)
        if self._sightings or self._changed_rooms:
            await self.flush()

    def hear(self, entries: Sequence[Entry]) -> None:
        """A journal listener."""
        for entry in entries:
            if isinstance(entry.payload, Written):
                if entry.payload.is_entry:
                    self._changed_rooms.add(entry.payload.event.room_id)
                self._note(entry.payload.event, entry.payload.stored.room_nid)
            elif entry.kind == WHOLE and entry.room_id is not None:
                self._changed_rooms.add(entry.room_id)
                self._whole.add(entry.payload.room.nid)
            elif entry.kind == "profile" and isinstance(entry.payload, str):
                self._sightings.setdefault(UserId(entry.payload), None)
            self._heard = entry.position

    async def flush(self) -> None:
        """Writes what was heard, with the cursor, in one transaction for each batch."""
        async with self._writing:
            while self._sightings or self._changed_rooms:
                heard = self._heard
                sightings, rest = _split(self._sightings)
                room_ids = list(self._changed_rooms)[:BATCH]
                is_last = not rest and len(room_ids) == len(self._changed_rooms)
                self._sightings, changed = rest, self._changed_rooms
                self._changed_rooms = changed - set(room_ids)
                try:
                    await self._write(sightings, room_ids, heard if is_last else None)
                except BaseException:
                    self._sightings = {**sightings, **self._sightings}
                    self._changed_rooms |= set(room_ids)
                    raise

    # --- taking in

    def _seen(self) -> int:
        return self._caught_up if self._caught_up < self._catch_up_to else self._heard

    def _note(self, event: Event, room_nid: int) -> None:
        if event.type in _OPENING and event.state_key == "":
            self._changed_rooms.add(event.room_id)
        elif event.type == _MEMBER and event.membership == "join" and event.state_key is not None:
            self._sightings[UserId(event.state_key)] = _sighting(event.content, room_nid)

    async def _catch_up(self) -> None:
        nids = await user_directory.concerning(
            self._db, self._caught_up, self._catch_up_to, [_MEMBER, *_OPENING], BATCH
        )
        upto = nids[-1] if len(nids) == BATCH else self._catch_up_to
        for stored in sorted(await events.by_nids(self._db, nids), key=lambda one: one.nid):
            self._note(stored.event, stored.room_nid)
        for user_id in await profiles.changed(self._db, self._caught_up, upto):
            self._sightings.setdefault(user_id, None)
        self._caught_up = upto
        await self.flush()

    async def _write(
        self, sightings: Mapping[UserId, _Sighting | None], room_ids: Sequence[RoomId], heard: int | None
    ) -> None:
        rooms = await self._rooms.get_many(room_ids) if room_ids else {}
        own = [user_id for user_id in sightings if domain_of(user_id) == self._server_name]
        shown, gone = await self._profiles(own)
        async with self._db.transaction() as tx:
            opened = await user_directory.set_open(
                tx,
                [room.nid for room in rooms.values() if _is_open(room)],
                [room.nid for room in rooms.values() if not _is_open(room)],
            )
            local = frozenset(own)
            remote = {user_id: seen for user_id, seen in sightings.items() if user_id not in local and seen}
            nids = {seen.room_nid for seen in remote.values()}
            shown += _remote(remote, await user_directory.open_rooms(tx, nids) if nids else set())
            known = await user_directory.by_ids(tx, [found.user_id for found in shown])
            changed = [found for found in shown if _is_news(found, known.get(found.user_id))]
            if changed:
                words = {found.user_id: words_of(found.display_name, found.user_id) for found in changed}
                await user_directory.replace(tx, changed, words)
            if gone:
                await user_directory.delete(tx, gone)
            behind = self._caught_up < self._catch_up_to
            position = self._caught_up if behind else heard
            if position is not None:
                await journal_cursors.advance(tx, user_directory.CONSUMER, position)
        whole, self._whole = self._whole, set()
        await self._take_in_members(opened | whole)

    async def _profiles(self, own: Sequence[UserId]) -> tuple[list[Found], list[UserId]]:
        """What users of this server say of themselves, and those whose account has ended."""
        if not own:
            return [], []
        existing = await users.existing(self._db, own)
        fields = await profiles.fields_of(self._db, existing, ("displayname", "avatar_url"))
        shown = []
        for user_id in existing:
            said = {field: orjson.loads(value) for field, value in fields.get(user_id, {}).items()}
            name, avatar = (_shown_text(said.get(field)) for field in ("displayname", "avatar_url"))
            shown.append(Found(user_id, name, avatar))
        return shown, [user_id for user_id in own if user_id not in existing]

    async def _take_in_members(self, opened: set[int]) -> None:
        """Notes what members of other servers say of themselves in rooms that were opened."""
        for room_nid in opened:
            rows = [
                row
                for row in await memberships.of_rooms(self._db, [room_nid])
                if row.membership == "join" and domain_of(row.user_id) != self._server_name
            ]
            for start in range(0, len(rows), BATCH):
                for stored in await events.by_nids(self._db, [row.event_nid for row in rows[start : start + BATCH]]):
                    if stored.event.state_key is not None:
                        seen = _sighting(stored.event.content, room_nid)
                        self._sightings.setdefault(UserId(stored.event.state_key), seen)


def _split(
    sightings: dict[UserId, _Sighting | None],
) -> tuple[dict[UserId, _Sighting | None], dict[UserId, _Sighting | None]]:
    items = list(sightings.items())
    return dict(items[:BATCH]), dict(items[BATCH:])


def _sighting(content: Mapping[str, Any], room_nid: int) -> _Sighting:
    """What a member event says, as far as it is text of a sane length: a peer wrote it."""

    def text(key: str, chars_max: int) -> str | None:
        value = content.get(key)
        if not isinstance(value, str) or not value or len(value) > chars_max or "\x00" in value:
            return None
        return None if any("\ud800" <= char <= "\udfff" for char in value) else value

    return _Sighting(room_nid, text("displayname", NAME_CHARS_MAX), text("avatar_url", AVATAR_CHARS_MAX))


def _shown_text(value: object) -> str | None:
    """What a profile says, without what no table takes: names that are kept from earlier may hold it."""
    return (value.replace("\x00", "") or None) if isinstance(value, str) else None


def _remote(sightings: Mapping[UserId, _Sighting | None], opened: set[int]) -> list[Found]:
    """Users of other servers: with what they say in an open room, by their id alone otherwise."""
    return [
        Found(user_id, seen.display_name, seen.avatar_url) if seen.room_nid in opened else Found(user_id)
        for user_id, seen in sightings.items()
        if seen is not None
    ]


def _is_news(found: Found, known: Found | None) -> bool:
    if known is None:
        return True
    is_only_id = found.display_name is None and found.avatar_url is None
    # Joining a private room takes nothing away from what is known from an open one.
    return found != known and not is_only_id


def _is_open(room: Room) -> bool:
    if room.known_text("m.room.join_rules", "join_rule") == "public":
        return True
    return room.known_text("m.room.history_visibility", "history_visibility") == "world_readable"
