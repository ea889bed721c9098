"""How much of what other servers sent waits for its room: counted for each room and each server, and bounded.

What was acknowledged is never given up for room: beyond a bound no more is taken, until there is less.

Invariant: the counts are never less than what is stored, but for what came while they were made anew.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field

import structlog

from homeserver.core.errors import LimitExceeded
from homeserver.core.identifiers import RoomId, ServerName
from homeserver.runtime.clock import Clock
from homeserver.storage import staged_pdus
from homeserver.storage.database import Database
from homeserver.storage.staged_pdus import StagedPdu

log = structlog.get_logger()

BUSY_MS = 5_000
# Before somebody is refused, and now and then: what was sent twice was counted twice, and a room may be purged.
COUNTED_ANEW_EVERY_S = 10.0
COUNTED_SURELY_EVERY_S = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """Events and bytes that may wait: for their turn, and for a past that can't be had (that lasts days)."""

    soon: int
    soon_bytes: int
    later: int
    later_bytes: int


MIB = 1 << 20
OF_ROOM = Bound(soon=10_000, soon_bytes=128 * MIB, later=4_000, later_bytes=64 * MIB)
# One server leaves the others of a room more than half of what there is.
OF_SERVER_IN_ROOM = Bound(soon=4_000, soon_bytes=48 * MIB, later=1_000, later_bytes=16 * MIB)
OF_SERVER = Bound(soon=20_000, soon_bytes=96 * MIB, later=4_000, later_bytes=48 * MIB)


@dataclass(slots=True)
class _Load:
    soon: int = 0
    soon_bytes: int = 0
    later: int = 0
    later_bytes: int = 0

    def add(self, events: int, size: int, *, is_later: bool) -> None:
        """Takes away where the numbers are negative. Never falls below nothing."""
        if is_later:
            self.later, self.later_bytes = max(self.later + events, 0), max(self.later_bytes + size, 0)
        else:
            self.soon, self.soon_bytes = max(self.soon + events, 0), max(self.soon_bytes + size, 0)

    def is_full(self, bound: Bound) -> bool:
        return self.soon >= bound.soon or self.soon_bytes >= bound.soon_bytes

    def is_full_later(self, bound: Bound) -> bool:
        return self.later >= bound.later or self.later_bytes >= bound.later_bytes


@dataclass(slots=True)
class _Loads:
    """By room, by server, and by both."""

    of: defaultdict[Hashable, _Load] = field(default_factory=lambda: defaultdict(_Load))

    def get(self, key: Hashable) -> _Load:
        return self.of.get(key) or _Load()

    def add(self, room_id: RoomId, server: ServerName, events: int, size: int, *, is_later: bool) -> None:
        # A room's id begins with "!", so it is no server's name.
        for key in (room_id, server, (room_id, server)):
            load = self.of[key]
            load.add(events, size, is_later=is_later)
            if load == _Load():
                del self.of[key]


class Backlog:
    """Told of what comes and goes; says whether there is room. Survives restarts: what is stored is counted."""

    def __init__(self, db: Database, clock: Clock) -> None:
        self._db = db
        self._clock = clock
        self._loads = _Loads()
        self._counting: list[StagedPdu] | None = None  # what came while the counts are made anew
        self._counted_at_s = 0.0

    async def count(self) -> list[RoomId]:
        """Counts what is stored. The rooms for which something waits."""
        came = self._counting = []
        self._counted_at_s = self._clock.monotonic_s()
        try:
            fresh = _Loads()
            for one in await staged_pdus.loads(self._db):
                fresh.add(one.room_id, one.origin, one.events, one.size, is_later=one.is_later)
            self._loads = fresh
            self.came(came)
        finally:
            self._counting = None
        return [RoomId(key) for key in fresh.of if isinstance(key, str) and key.startswith("!")]

    def came(self, pdus: Iterable[StagedPdu]) -> None:
        """These are about to be stored."""
        for pdu in list(pdus):
            self._loads.add(pdu.room_id, pdu.origin, 1, len(pdu.json), is_later=False)
            if self._counting is not None:
                self._counting.append(pdu)

    def went(self, pdus: Iterable[StagedPdu]) -> None:
        """These have had their turn, or were not stored after all."""
        for pdu in pdus:
            self._loads.add(pdu.room_id, pdu.origin, -1, -len(pdu.json), is_later=pdu.is_later)

    def put_off(self, pdus: Iterable[StagedPdu]) -> None:
        """These are to wait for longer."""
        for pdu in pdus:
            self._loads.add(pdu.room_id, pdu.origin, 1, len(pdu.json), is_later=True)

    async def check_server(self, server: ServerName) -> None:
        """Raises LimitExceeded where so much of a server waits that it should wait itself, with all that it has."""
        if not self._loads.get(server).is_full(OF_SERVER):
            return
        await self._count_anew()
        if self._loads.get(server).is_full(OF_SERVER):
            log.info("server_told_to_wait", server=server)
            raise LimitExceeded("more of your server's events wait than can be taken soon", retry_after_ms=BUSY_MS)

    async def check_room(self, room_id: RoomId, server: ServerName) -> None:
        """Raises LimitExceeded where more waits for a room, or of a server in it, than it can take soon."""
        if not self._is_room_full(room_id, server):
            return
        await self._count_anew()
        if self._is_room_full(room_id, server):
            raise LimitExceeded("this room gets more events than it can take", retry_after_ms=BUSY_MS)

    async def takes_unconnected(self, room_id: RoomId, server: ServerName) -> bool:
        """Whether events may wait for a past that isn't here yet: else only those are taken that it is here for."""
        if not self._is_later_full(room_id, server):
            return True
        await self._count_anew()
        return not self._is_later_full(room_id, server)

    def _is_room_full(self, room_id: RoomId, server: ServerName) -> bool:
        of = self._loads.get
        return of(room_id).is_full(OF_ROOM) or of((room_id, server)).is_full(OF_SERVER_IN_ROOM)

    def _is_later_full(self, room_id: RoomId, server: ServerName) -> bool:
        of, pairs = self._loads.get, ((room_id, OF_ROOM), (server, OF_SERVER), ((room_id, server), OF_SERVER_IN_ROOM))
        return any(of(key).is_full_later(bound) for key, bound in pairs)

    async def count_now_and_then(self) -> None:
        """Called often; counts anew where that was long ago."""
        await self._count_after(COUNTED_SURELY_EVERY_S)

    async def _count_anew(self) -> None:
        await self._count_after(COUNTED_ANEW_EVERY_S)

    async def _count_after(self, after_s: float) -> None:
        if self._counting is None and self._clock.monotonic_s() - self._counted_at_s >= after_s:
            await self.count()
