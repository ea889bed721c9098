"""The journal's events after any position: how a durable consumer starts, catches up and goes on live.

A consumer keeps a cursor next to its effect and asks for what comes after it. What happened lately is handed over in
memory, shared by all consumers; what is older comes from the database. So a consumer that was away, or is slow, costs
the writers nothing, and sees each event at least once, in order.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from itertools import takewhile

from homeserver.journal.journal import Entry, Journal
from homeserver.storage import events
from homeserver.storage.database import Database
from homeserver.storage.events import StoredEvent

KEPT_EVENTS = 5_000

Fetch = Callable[[Collection[int]], Awaitable[Mapping[int, StoredEvent]]]


class EventLog:
    """Timeline events by position. One for the process; `hear` is a journal listener from the moment it is made.

    `fetch` gives events by number as they are now: redacted ones without their content.
    """

    def __init__(self, db: Database, journal: Journal, fetch: Fetch) -> None:
        self._db = db
        self._fetch = fetch
        self._kept: deque[tuple[int, int]] = deque()  # (position, event nid)
        self._complete_after = self._heard = journal.visible
        self._more = asyncio.Event()

    @property
    def upto(self) -> int:
        """All events up to this position can be had."""
        return self._heard

    async def after(self, position: int, limit: int) -> tuple[list[StoredEvent], int]:
        """The next events, oldest first, and the position up to which there are no others: ask on from there."""
        upto = self.upto
        if position >= self._complete_after:
            newer = takewhile(lambda kept: kept[0] > position, reversed(self._kept))
            placed = {nid: at for at, nid in list(newer)[::-1][:limit]}
        else:
            placed = await events.after_position(self._db, position, upto, limit)
        found = await self._fetch(placed) if placed else {}
        next_position = max(placed.values()) if len(placed) == limit else upto
        return [found[nid] for nid in placed if nid in found and found[nid].is_for_people], next_position

    async def events(self, nids: Collection[int]) -> Mapping[int, StoredEvent]:
        """Events by number, as they are now."""
        return await self._fetch(nids) if nids else {}

    async def wait_beyond(self, position: int) -> None:
        """Returns once something has happened after this position."""
        while self.upto <= position:
            more = self._more
            await more.wait()

    def wake(self) -> None:
        """Lets everybody who waits look again."""
        more, self._more = self._more, asyncio.Event()
        more.set()

    def hear(self, entries: Sequence[Entry]) -> None:
        """Takes up what was just committed."""
        for entry in entries:
            stored = getattr(entry.payload, "stored", None)
            # What comes before all that was here is no news.
            if entry.position > 0 and entry.kind == "event" and isinstance(stored, StoredEvent) and stored.is_shown:
                self._kept.append((entry.position, stored.nid))
        while len(self._kept) > KEPT_EVENTS:
            self._complete_after = self._kept.popleft()[0]
        self._heard = max(self._heard, entries[-1].position)
        self.wake()
