"""What a world is played on: the twin in memory, or real PostgreSQL."""

from __future__ import annotations

from contextlib import AsyncExitStack
from functools import partial
from typing import Protocol

from tests.kit.postgres import PostgresForTests
from tests.simulation.twin.changes import fresh_store
from tests.simulation.twin_database import TwinDatabase
from tests.simulation.virtual_database import PostgresInVirtualTime, RealLoop
from tests.simulation.worlds import Outcome, Plan, played


class Stage(Protocol):
    """Plays worlds, each on databases of its own."""

    def play(self, plan: Plan) -> Outcome: ...


class TwinStage:
    """In memory."""

    def play(self, plan: Plan) -> Outcome:
        stores = [fresh_store() for _ in range(plan.servers)]
        outcome = played(plan, [partial(TwinDatabase, store) for store in stores])
        failures = [failure for store in stores for failure in store.failures]
        if failures and outcome.problem is None:
            # Housekeeping goes on after any error, so nothing else would say it.
            outcome.problem = f"the twin failed: {failures[0]}"
        return outcome


class PostgresStage:
    """On PostgreSQL."""

    def __init__(self, postgres: PostgresForTests, real: RealLoop) -> None:
        self._postgres = postgres
        self._real = real

    def play(self, plan: Plan) -> Outcome:
        stack = AsyncExitStack()

        async def a_database() -> str:
            return await stack.enter_async_context(self._postgres.fresh())

        dsns = [self._real.run(a_database()) for _ in range(plan.servers)]
        try:
            return played(plan, [partial(PostgresInVirtualTime, self._real, dsn) for dsn in dsns])
        finally:
            self._real.run(stack.aclose())
