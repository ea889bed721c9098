"""One world from its seed: `python -m tests.simulation SEED [VERSION] [ACTS] [--lies] [--shrink] [--trace]`."""

from __future__ import annotations

import argparse
import logging
import sys
import time
from contextlib import AsyncExitStack

import structlog

from tests.kit.postgres import PostgresForTests, running_postgres
from tests.simulation.virtual_database import RealLoop
from tests.simulation.worlds import Outcome, Plan, plan, played, shrunk


class Stage:
    """Plays worlds, each on databases of its own."""

    def __init__(self, postgres: PostgresForTests, real: RealLoop) -> None:
        self._postgres = postgres
        self._real = real

    def play(self, plan: Plan) -> Outcome:
        stack = AsyncExitStack()

        async def a_database() -> str:
            return await stack.enter_async_context(self._postgres.fresh())

        dsns = [self._real.run(a_database()) for _ in range(plan.servers)]
        try:
            return played(plan, self._real, dsns)
        finally:
            self._real.run(stack.aclose())

    def fails(self, plan: Plan) -> bool:
        return self.play(plan).problem is not None


def say(line: str) -> None:
    sys.stdout.write(line + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seed", type=int)
    parser.add_argument("version", nargs="?", default="11")
    parser.add_argument("acts", nargs="?", type=int, default=40)
    parser.add_argument("--servers", type=int, default=2)
    for name in ("lies", "shrink", "trace", "log"):
        parser.add_argument(f"--{name}", action="store_true")
    given = parser.parse_args()
    level = logging.INFO if given.log else logging.CRITICAL
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(level))
    world = plan(given.seed, given.version, acts=given.acts, servers=given.servers, lies=given.lies)
    with running_postgres() as postgres:
        stage = Stage(postgres, RealLoop())
        began = time.monotonic()
        outcome = stage.play(world)
        took_s = time.monotonic() - began
        say(f"fingerprint {outcome.fingerprint}")
        say(f"problem {outcome.problem}")
        say(
            f"{outcome.events} events, {outcome.steps} steps, {outcome.crashes} crashes, "
            f"{outcome.virtual_s:.0f} s of its time in {took_s:.1f} s"
        )
        if given.trace:
            say("\n".join(outcome.trace))
        if given.shrink and outcome.problem is not None:
            small = shrunk(world, stage.fails)
            say(f"the same with {len(small.acts)} acts:")
            say("\n".join(f"  {act}" for act in small.acts))


if __name__ == "__main__":
    main()
