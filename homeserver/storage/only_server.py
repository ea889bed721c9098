"""One server process a database: two would both extend rooms, each from its own memory of them.

Invariant: whoever writes events holds an advisory lock of PostgreSQL, which goes with its connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import asyncpg
import structlog
from asyncpg.connect_utils import SessionAttribute

from homeserver.core.errors import Unavailable
from homeserver.runtime.clock import Clock
from homeserver.storage.database import LOST, unavailable
from homeserver.storage.migrate import WrongDatabase

log = structlog.get_logger()

_KEY = 0x48414E534153
# How long a server that has just ended may still be seen.
PATIENCE_S = 10.0
_LOOK_EVERY_S = 0.1
_RIVAL = "another Hansa runs on this database: stop it first"
_TAKE = "SELECT pg_try_advisory_lock($1)"


class OnlyServer:
    """Holds a database for this process: `take` at the start, `keep` as a task, `give_back` at the end."""

    def __init__(self, dsn: str, clock: Clock, *, on_rival: Callable[[], None]) -> None:
        self._dsn = dsn
        self._clock = clock
        self._on_rival = on_rival
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None
        self._lost = asyncio.Event()
        self._has_rival = False

    async def take(self) -> None:
        """Raises WrongDatabase if another server has it, Unavailable if there is no answer."""
        deadline = self._clock.monotonic_s() + PATIENCE_S
        while not await self._is_taken():
            if self._clock.monotonic_s() > deadline:
                raise WrongDatabase(_RIVAL)
            await self._clock.sleep(_LOOK_EVERY_S)

    async def keep(self) -> None:
        """Runs as a task: takes it anew when the connection was lost; calls `on_rival` if another has it by then."""
        await self._lost.wait()
        try:
            await self.take()
        except Unavailable:
            await self._clock.sleep(_LOOK_EVERY_S)
        except WrongDatabase:
            log.error("another_server_on_this_database")
            self._has_rival = True
            self._on_rival()
            await asyncio.Event().wait()

    def check(self) -> None:
        """Raises WrongDatabase if it was lost to another server."""
        if self._has_rival:
            raise WrongDatabase(_RIVAL)

    async def give_back(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()

    async def _is_taken(self) -> bool:
        try:
            connection = await asyncpg.connect(
                self._dsn,
                target_session_attrs=SessionAttribute.primary,
                server_settings={
                    "application_name": "hansa, the only server",
                    # A machine that is gone without a word doesn't keep the lock for hours.
                    "tcp_keepalives_idle": "5",
                    "tcp_keepalives_interval": "2",
                    "tcp_keepalives_count": "3",
                },
            )
            if await connection.fetchval(_TAKE, _KEY):
                self._lost.clear()
                self._connection = connection
                connection.add_termination_listener(lambda _: self._lost.set())
                return True
            await connection.close()
        except LOST as error:
            raise unavailable(error) from error
        return False
