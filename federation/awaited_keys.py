"""Members, and other state, that could not be checked when we came into a room: their servers' keys weren't to be had.

They are left out of the room's state, which is whole but for them, until their keys come: from the server, once it is
up again, or from a notary. Then the state before our join is asked for once more, and what happened since is decided
again on it (`Completing`). spec: server-server-api/#retrieving-server-keys, rooms/v5/#signing-key-validity-period
"""

from __future__ import annotations

import structlog

from federation.pdu_checks import PduChecks, Uncheckable
from federation.resync import Resync
from homeserver.core import canonical_json
from homeserver.core.events import Event
from homeserver.core.identifiers import RoomId, ServerName
from homeserver.rooms.completing import Completing
from homeserver.rooms.residents import Rooms
from homeserver.runtime.clock import Clock
from homeserver.runtime.tasks import Tasks
from homeserver.storage import awaited_keys
from homeserver.storage.awaited_keys import Awaited
from homeserver.storage.database import Database

log = structlog.get_logger()

EVERY_S = 10.0
EACH_ROUND = 200
HEARD_MAX = 10_000
# The first wait after a try, the longest, and how many tries there are: some weeks.
RETRY_FIRST_MS, RETRY_LONGEST_MS, TRIES_MAX = 60_000, 12 * 3_600_000, 60


class AwaitedKeys:
    """Tries from time to time whether they have come."""

    def __init__(self, db: Database, rooms: Rooms, resync: Resync, checks: PduChecks, completing: Completing) -> None:
        self._db = db
        self._rooms = rooms
        self._resync = resync
        self._checks = checks
        self._completing = completing
        self._heard: set[ServerName] = set()

    def start(self, tasks: Tasks, clock: Clock) -> None:
        """Begins to try, in the background."""
        self._clock = clock
        tasks.forever(self._turn, name="awaited_keys")

    def heard_from(self, server: ServerName) -> None:
        """Told of a server that is up again. Quick."""
        if len(self._heard) < HEARD_MAX:
            self._heard.add(server)

    async def _turn(self) -> None:
        await self._clock.sleep(EVERY_S)
        await self.try_again()

    async def try_again(self) -> None:
        """Tries those that have waited long enough."""
        heard, self._heard = self._heard, set()
        if heard:
            async with self._db.transaction() as tx:
                await awaited_keys.heard(tx, heard)
        by_room: dict[RoomId, list[Awaited]] = {}
        now_ms = self._clock.now_ms()
        for row in await awaited_keys.due(self._db, now_ms, EACH_ROUND, wait_ms_max=RETRY_LONGEST_MS):
            by_room.setdefault(row.room_id, []).append(row)
        for room_id, rows in by_room.items():
            try:
                await self._try_room(room_id, rows)
            except Exception:
                log.exception("awaited_keys_failed", room_id=room_id)
                await self._put_off(rows)

    async def _try_room(self, room_id: RoomId, rows: list[Awaited]) -> None:
        room = await self._rooms.get(room_id)
        if room is None or room.awaiting is None:
            for row in rows:
                await self._completing.give_up(row)
            return
        checked = await self._checks.check(room.version, [canonical_json.decode(row.pdu) for row in rows])
        have_come = [row.server_name for row, one in zip(rows, checked, strict=True) if isinstance(one, Event)]
        if have_come and await self._resync.again(room):
            log.info("awaited_keys_came", room_id=room_id, servers=have_come)
            return
        later = []
        for row, one in zip(rows, checked, strict=True):
            if row.tries >= TRIES_MAX or not isinstance(one, Event | Uncheckable):
                log.info("awaited_key_given_up", room_id=room_id, server=row.server_name)
                await self._completing.give_up(row)
            else:
                later.append(row)
        await self._put_off(later)

    async def _put_off(self, rows: list[Awaited]) -> None:
        now_ms = self._clock.now_ms()
        due_ms = [now_ms + min(RETRY_FIRST_MS * 2 ** min(row.tries, 20), RETRY_LONGEST_MS) for row in rows]
        async with self._db.transaction() as tx:
            await awaited_keys.put_off(tx, rows, due_ms)
