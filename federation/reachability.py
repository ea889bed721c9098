"""Which servers fail, and when each may be tried again. Survives restarts; ends at once when the server is heard from.

Invariant: who asks gets an answer from memory. The table is written behind, in one statement for all that changed.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable

import structlog

from federation.storage import unreachable_servers
from federation.storage.unreachable_servers import ROWS_MAX, Outage
from homeserver.core.identifiers import ServerName
from homeserver.runtime.backoff import left_ms
from homeserver.runtime.clock import Clock
from homeserver.runtime.ids import Randomness
from homeserver.storage.database import Database

log = structlog.get_logger()

RETRY_MIN_S = 5
RETRY_MAX_S = 86_400
RETRY_FACTOR = 4
_SPREAD = 0.2
# A server gets this long to come back before others count it as away: short restarts cost a few seconds.
_WRITE_EVERY_S = 2.0


class Reachability:
    """Knows the outages. `start` loads them, `run` is the task that writes them."""

    def __init__(self, db: Database, clock: Clock, randomness: Randomness) -> None:
        self._db = db
        self._clock = clock
        self._randomness = randomness
        self._outages: dict[ServerName, Outage] = {}
        self._proven: OrderedDict[ServerName, None] = OrderedDict()
        self._unsaved: set[ServerName] = set()
        self._changed = asyncio.Event()
        self._saving = asyncio.Lock()
        self._listeners: list[Callable[[ServerName], None]] = []

    def listen(self, listener: Callable[[ServerName], None]) -> None:
        """Calls `listener` with each server whose outage has ended. It must be quick."""
        self._listeners.append(listener)

    async def start(self) -> None:
        self._outages = {outage.server_name: outage for outage in await unreachable_servers.all_outages(self._db)}

    def outage(self, server: ServerName) -> Outage | None:
        """The outage that is on, also when it is time to try again."""
        return self._outages.get(server)

    def is_proven(self, server: ServerName) -> bool:
        """Whether it was heard from since the start, and hasn't failed since."""
        return server in self._proven

    def retry_at_ms(self, server: ServerName) -> int | None:
        """When to try again; None: now."""
        outage = self._outages.get(server)
        return outage.retry_at_ms if outage is not None and self._left_ms(outage) else None

    def rest_s(self, server: ServerName) -> float:
        """How long it is left alone from now on; 0: not at all."""
        outage = self._outages.get(server)
        return self._left_ms(outage) / 1000 if outage is not None else 0.0

    def _left_ms(self, outage: Outage) -> int:
        # As long as so few failures can give, and not as the longest of all: a clock is rather an hour off than a year,
        # and two servers that had lost each other would keep each other waiting for that hour.
        longest_ms = int(_wait_ms(outage.failures) * (1 + _SPREAD))
        return left_ms(outage.retry_at_ms, self._clock.now_ms(), longest_ms)

    def failed(self, server: ServerName, reason: str) -> Outage:
        """Notes that it could not be reached. The wait grows, up to a day, with some chance in it."""
        now_ms = self._clock.now_ms()
        before = self._outages.get(server)
        if before is not None and self._left_ms(before):
            return before  # several requests were under way: one outage
        self._proven.pop(server, None)
        failures = before.failures + 1 if before is not None else 1
        wait_ms = int(_wait_ms(failures) * (1 - _SPREAD + 2 * _SPREAD * self._randomness.fraction()))
        since_ms = before.failing_since_ms if before is not None else now_ms
        outage = Outage(server, since_ms, now_ms + wait_ms, failures, reason[:200])
        if before is None and len(self._outages) >= ROWS_MAX:
            self._forget(next(iter(self._outages)))
        self._outages[server] = outage
        self._mark(server)
        return outage

    def reached(self, server: ServerName) -> None:
        """Notes that it answered, or asked something itself: whatever waits for it may go on."""
        self._proven[server] = None
        self._proven.move_to_end(server)
        if len(self._proven) > ROWS_MAX:
            self._proven.popitem(last=False)
        if server not in self._outages:
            return
        self._forget(server)
        for listener in self._listeners:
            listener(server)

    def is_failing(self, server: ServerName) -> bool:
        """Whether an outage is on."""
        return server in self._outages

    def failing(self) -> int:
        """How many servers have an outage."""
        return len(self._outages)

    def try_again(self, server: ServerName) -> None:
        """Forgets an outage because an operator says so: whatever waits for the server may go on."""
        if server not in self._outages:
            return
        self._forget(server)
        for listener in self._listeners:
            listener(server)

    def _forget(self, server: ServerName) -> None:
        del self._outages[server]
        self._mark(server)

    def _mark(self, server: ServerName) -> None:
        self._unsaved.add(server)
        self._changed.set()

    async def run(self) -> None:
        """Writes what changed, soon after it did. For `Tasks.forever`."""
        while True:
            await self._changed.wait()
            await self._clock.sleep(_WRITE_EVERY_S)
            await self.save()

    async def save(self) -> None:
        """Writes what changed now; waits for who does so now."""
        async with self._saving:
            await self._save()

    async def _save(self) -> None:
        self._changed.clear()
        unsaved, self._unsaved = self._unsaved, set()
        try:
            on = [self._outages[server] for server in unsaved if server in self._outages]
            over = [server for server in unsaved if server not in self._outages]
            if on:
                await unreachable_servers.upsert(self._db, on)
            if over:
                await unreachable_servers.delete(self._db, over)
        except BaseException:
            self._unsaved |= unsaved
            self._changed.set()
            raise


def _wait_ms(failures: int) -> int:
    """How long is waited after so many failures in a row, chance apart."""
    wait_s: int = min(RETRY_MAX_S, RETRY_MIN_S * RETRY_FACTOR ** min(failures - 1, 12))
    return wait_s * 1000
