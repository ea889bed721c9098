"""One world from its seed: `python -m tests.simulation SEED [VERSION] [ACTS] [--lies] [--moves] [--shrink] [--trace]`.

Without a version it is the short world of this seed; with `--postgres` it is played on PostgreSQL and not on the twin.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from tests.kit.postgres import running_postgres
from tests.simulation.stages import PostgresStage, Stage, TwinStage
from tests.simulation.virtual_database import RealLoop
from tests.simulation.worlds import Plan, plan, short, shrunk


@contextmanager
def stage_of(*, is_postgres: bool) -> Iterator[Stage]:
    if not is_postgres:
        yield TwinStage()
        return
    with running_postgres() as postgres:
        yield PostgresStage(postgres, RealLoop())


def say(line: str) -> None:
    sys.stdout.write(line + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seed", type=int)
    parser.add_argument("version", nargs="?")
    parser.add_argument("acts", nargs="?", type=int, default=40)
    parser.add_argument("--servers", type=int, default=2)
    for name in ("lies", "moves", "shrink", "trace", "log", "postgres"):
        parser.add_argument(f"--{name}", action="store_true")
    given = parser.parse_args()
    level = logging.INFO if given.log else logging.CRITICAL
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(level))
    if given.version is None:
        world = short(given.seed)
    else:
        kinds = {"lies": given.lies, "moves": given.moves}
        world = plan(given.seed, given.version, acts=given.acts, servers=given.servers, **kinds)
    with stage_of(is_postgres=given.postgres) as stage:

        def fails(smaller: Plan) -> bool:
            return stage.play(smaller).problem is not None

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
            small = shrunk(world, fails)
            say(f"the same with {len(small.acts)} acts:")
            say("\n".join(f"  {act}" for act in small.acts))


if __name__ == "__main__":
    main()
