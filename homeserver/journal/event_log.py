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
    """Timeline events by position. One for the process; `hear` is a journal listener.

    `fetch` gives events by number as they are now: redacted ones without their content.
    """

    def __init__(self, db: Database, journal: Journal, fetch: Fetch) -> None:
        self._db = db
        self._journal = journal
        self._fetch = fetch
        self._kept: deque[int] = deque()
        self._complete_after: int | None = None
        self._heard = 0
        self._more = asyncio.Event()

    @property
    def upto(self) -> int:
        """All events up to this position can be had."""
        return max(self._heard, self._journal.visible if self._complete_after is None else 0)

    async def after(self, position: int, limit: int) -> tuple[list[StoredEvent], int]:
        """The next events, oldest first, and the position up to which there are no others: ask on from there."""
        upto = self.upto
        if self._complete_after is not None and position >= self._complete_after:
            nids = list(takewhile(position.__lt__, reversed(self._kept)))[::-1][:limit]
        else:
            nids = await events.after_position(self._db, position, upto, limit)
        found = await self._fetch(nids) if nids else {}
        return [found[nid] for nid in nids if nid in found], nids[-1] if len(nids) == limit else upto

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
        if self._complete_after is None:
            self._complete_after = entries[0].position - 1
        for entry in entries:
            stored = getattr(entry.payload, "stored", None)
            if entry.kind == "event" and isinstance(stored, StoredEvent) and stored.is_shown:
                self._kept.append(stored.nid)
        while len(self._kept) > KEPT_EVENTS:
            self._complete_after = self._kept.popleft()
        self._heard = entries[-1].position
        self.wake()
