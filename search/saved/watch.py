"""Finds what saved searches wait for in what was just indexed, for those who may see it.

Part of each write of the index, before its cursor moves: so nothing is missed, whatever ends the process. One look at
all searches for a batch; questions to the database are as many as there are owners with matches, never as searches.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

import structlog

from homeserver.core.errors import MatrixError
from homeserver.core.events import Event
from homeserver.core.identifiers import RoomId, UserId
from homeserver.journal.journal import Entry
from homeserver.rooms.aggregations import IgnoreList, RelationReads
from homeserver.rooms.building import Written
from homeserver.rooms.neighbours import RoomKey
from homeserver.runtime.clock import Clock
from homeserver.storage.events import StoredEvent
from search.query import Parsed, parse, rooms_in
from search.saved import storage
from search.saved.percolation import Percolator
from search.saved.readable import readable
from search.saved.storage import SavedSearch
from search.tiers import Document

log = structlog.get_logger()

# What came longer ago is history that is indexed anew, and no news.
NEWS_MS = 7 * 86_400_000
KEPT_MS = 30 * 86_400_000
# Events after which `in:` may mean other rooms: it is looked up again before the next look.
_SHAPING = frozenset(
    {
        "m.room.canonical_alias",
        "m.room.create",
        "m.room.history_visibility",
        "m.room.join_rules",
        "m.room.member",
        "m.room.tombstone",
        "m.space.child",
        "m.space.parent",
    }
)
# For what the journal doesn't tell: aliases that were set or taken away without an event.
FALL_BACK_S = 21_600.0

# Of those that name rooms, which are looked up.
PARSED_AT_ONCE = 8

Parse = Callable[[str, UserId], Awaitable[Parsed | None]]


class SavedSearchWatch:
    """Holds all saved searches in memory, parsed."""

    def __init__(self, reads: RelationReads, ignore_list: IgnoreList, parse: Parse, clock: Clock) -> None:
        self._reads = reads
        self._ignore_list = ignore_list
        self._parse = parse
        self._clock = clock
        self._searches: dict[str, SavedSearch] = {}
        self._parsed: dict[str, Parsed] = {}
        self._is_parsed = False
        self._percolator: Percolator[str] | None = None
        self._refreshed_s = 0.0
        # Whether rooms have changed since those searches were parsed that name some.
        self._is_stale = False
        # Whose messages tell nobody: the server's own notices name what they tell of.
        self.silent: frozenset[UserId] = frozenset()
        # For each of those who tell of what was found: by notices, by webhooks.
        self.to_notice, self.to_call = asyncio.Event(), asyncio.Event()

    async def start(self) -> None:
        """Reads all of them. They are parsed at the first look, beside the requests."""
        searches = await storage.active(self._reads.db)
        self._searches = {one.search_id: one for one in searches}
        self._parsed = {}
        self._is_parsed = False
        self._percolator = None
        self._is_stale = False
        self._refreshed_s = self._clock.monotonic_s()

    def heed(self, entries: Sequence[Entry]) -> None:
        """A journal listener: notes that rooms have changed. Costs nothing where no search names a room."""
        if self._is_stale or not self._placed:
            return
        owners = {one.user_id for one in self._placed}
        for entry in entries:
            event = entry.payload.event if isinstance(entry.payload, Written) else None
            if event is None or event.type not in _SHAPING:
                continue
            if event.type != "m.room.member" or event.state_key in owners:
                self._is_stale = True
                return

    @property
    def _placed(self) -> list[SavedSearch]:
        """Those that name rooms."""
        return [one for one in self._searches.values() if "in:" in one.term and rooms_in(one.term)]

    async def put(self, saved: SavedSearch) -> None:
        """One is new, or changed."""
        self.drop(saved.search_id)
        if not saved.is_paused:
            self._searches[saved.search_id] = saved
            await self._take_in(saved)

    def drop(self, search_id: str) -> None:
        self._searches.pop(search_id, None)
        self._parsed.pop(search_id, None)
        self._percolator = None

    def wake(self) -> None:
        """Something may be there to tell."""
        self.to_notice.set()
        self.to_call.set()

    async def is_meant(self, term: str, user_id: UserId) -> bool:
        """Whether there is anything to look for. Raises InvalidParam for what can't be meant so."""
        return await self._parse(term, user_id) is not None

    async def hear(self, documents: Sequence[Document]) -> None:
        """What was just written. Its own faults hold up nobody."""
        if not self._searches:
            return
        try:
            await self._look_at(documents)
        except Exception:
            log.exception("saved_searches_failed")

    async def _look_at(self, documents: Sequence[Document]) -> None:
        now_ms = self._clock.now_ms()
        oldest = min(one.since for one in self._searches.values())
        news = [one for one in documents if one.event_nid > oldest and one.received_ms > now_ms - NEWS_MS]
        if not news:
            return
        if self._clock.monotonic_s() - self._refreshed_s > FALL_BACK_S:
            await self.start()
        if self._is_stale:
            self._is_stale, self._is_parsed = False, False
            for one in self._placed:
                self._parsed.pop(one.search_id, None)
        if not self._is_parsed:
            await self._take_in_all()
        if self._percolator is None:
            self._percolator = Percolator({key: parsed.query for key, parsed in self._parsed.items()})
        percolator, searches = self._percolator, dict(self._searches)
        found = await asyncio.to_thread(
            lambda: [
                (searches[key], document)
                for document in news
                for key in percolator.matching(document)
                if document.event_nid > searches[key].since and document.sender != searches[key].user_id
            ]
        )
        shown = await self._visible([pair for pair in found if pair[1].sender not in self.silent])
        if shown:
            async with self._reads.db.transaction() as tx:
                await storage.take(tx, [(saved.search_id, document.event_nid) for saved, document in shown], now_ms)
            self.wake()

    async def readable(self, owner: UserId, nids: Collection[int]) -> dict[int, StoredEvent]:
        """What of these events that were found their owner would still find, by number."""
        return await readable(self._reads, self._ignore_list, owner, nids)

    async def tellable(self, owner: UserId, nids: Collection[int]) -> list[Event]:
        """The same to be told of at this moment: what was redacted or closed since is left out."""
        shown = await self.readable(owner, nids)
        return [shown[nid].event for nid in sorted(shown)]

    async def _visible(self, found: Sequence[tuple[SavedSearch, Document]]) -> list[tuple[SavedSearch, Document]]:
        """Those that the owner of the search would find by searching now."""
        if not found:
            return []
        owners: dict[UserId, list[tuple[SavedSearch, Document]]] = {}
        for saved, document in found:
            owners.setdefault(saved.user_id, []).append((saved, document))
        searched = await storage.rooms_of(self._reads.db, owners, {document.room_nid for _, document in found})
        nids = {nid for _, document in found for nid in (document.event_nid, document.source_nid)}
        stored = await self._reads.store.by_nids(nids)
        shown: list[tuple[SavedSearch, Document]] = []
        for owner, pairs in owners.items():
            ignored = await self._ignore_list.ignored_by(owner)
            asked = [
                (saved, document)
                for saved, document in pairs
                if (owner, document.room_nid) in searched and document.sender not in ignored
            ]
            seen = await self._seen(owner, [document for _, document in asked], stored)
            shown += [pair for pair in asked if pair[1].event_nid in seen and pair[1].source_nid in seen]
        return shown

    async def _seen(
        self, owner: UserId, documents: Sequence[Document], stored: Mapping[int, StoredEvent]
    ) -> frozenset[int]:
        """The numbers of those events that the owner sees whole."""
        rooms = {one.room_nid: RoomKey(one.room_nid, RoomId(one.room_id)) for one in documents}
        await self._reads.gate.timelines(owner, list(rooms.values()))
        seen: set[int] = set()
        for nid, room in rooms.items():
            asked = {n for one in documents if one.room_nid == nid for n in (one.event_nid, one.source_nid)}
            events = [stored[n] for n in asked if n in stored and stored[n].redacted_by is None]
            shown = await self._reads.gate.filter(owner, room, events)
            seen.update(one.nid for one in shown if one.event.content == stored[one.nid].event.content)
        return frozenset(seen)

    async def _take_in_all(self) -> None:
        """Most name no room: they are parsed in a thread, at once. The others ask the database, some at a time."""
        self._is_parsed = True
        searches = [one for one in self._searches.values() if one.search_id not in self._parsed]
        parsed = await asyncio.to_thread(_parsed_alone, searches)
        for one in searches:
            # Not where it was changed or dropped meanwhile.
            if one.search_id in parsed and self._searches.get(one.search_id) is one:
                self._parsed[one.search_id] = parsed[one.search_id]
        placed = [one for one in self._placed if one.search_id not in self._parsed]
        for at in range(0, len(placed), PARSED_AT_ONCE):
            await asyncio.gather(*map(self._take_in, placed[at : at + PARSED_AT_ONCE]))
        self._percolator = None

    async def _take_in(self, saved: SavedSearch) -> None:
        try:
            parsed = await self._parse(saved.term, saved.user_id)
        except MatrixError:
            parsed = None  # an alias that is gone: it finds nothing until there is one again
        # Not where it was changed or dropped meanwhile.
        if parsed is not None and self._searches.get(saved.search_id) is saved:
            self._parsed[saved.search_id] = parsed
        self._percolator = None


def _parsed_alone(searches: Sequence[SavedSearch]) -> dict[str, Parsed]:
    """By their ids, those that name no room and that mean something."""
    found: dict[str, Parsed] = {}
    for one in searches:
        if "in:" in one.term and rooms_in(one.term):
            continue
        try:
            parsed = parse(one.term, me=one.user_id, rooms={})
        except MatrixError:
            continue
        if parsed is not None:
            found[one.search_id] = parsed
    return found
