"""Worlds of virtual time: what servers, people, networks and liars do comes from a seed; the end is always the same.

In the end all honest servers have the same state; nothing that the rules reject is in it; nothing acknowledged is lost;
each client saw each event once, in order. `python -m tests.simulation SEED VERSION ACTS --shrink` plays one again.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.conftest import REPOSITORY
from tests.kit.postgres import PostgresForTests
from tests.simulation.many_worlds import Tally, play_many, play_some
from tests.simulation.stages import PostgresStage, Stage, TwinStage
from tests.simulation.virtual_database import RealLoop
from tests.simulation.virtual_loop import Deadlock, VirtualLoop, run
from tests.simulation.worlds import Act, Outcome, Plan, plan, short, shrunk

ACTS = 40
YEAR_S = 31_536_000


@pytest.fixture(scope="module")
def stage() -> Stage:
    return TwinStage()


@pytest.fixture(scope="module")
def on_postgres(postgres: PostgresForTests) -> Iterator[Stage]:
    real = RealLoop()
    yield PostgresStage(postgres, real)
    real.stop()


def check(stage: Stage, plan: Plan) -> Outcome:
    outcome = stage.play(plan)
    if outcome.problem is not None:
        lies = " --lies" if plan.lies else ""
        again = f"python -m tests.simulation {plan.seed} {plan.version} {len(plan.acts)} --servers {plan.servers}{lies}"
        pytest.fail(f"{outcome.problem}\nagain: {again} --shrink")
    return outcome


@pytest.mark.slow
@pytest.mark.parametrize("version", ["6", "9", "10", "11", "12"])
def test_honest_servers_agree(stage: Stage, version: str) -> None:
    """T-E19: they crash at any statement, clocks jump, disks fill, answers are lost."""
    check(stage, plan(1, version, acts=ACTS))


@pytest.mark.slow
@pytest.mark.parametrize("version", ["6", "10", "11", "12"])
def test_liars_change_nothing(stage: Stage, version: str) -> None:
    """T-C6: whoever equivocates, withholds, backdates, forges, floods."""
    check(stage, plan(2, version, acts=ACTS, lies=True))


@pytest.mark.slow
def test_three_servers_agree(stage: Stage) -> None:
    check(stage, plan(1, "12", acts=ACTS, servers=3, lies=True))


@pytest.mark.slow
@pytest.mark.parametrize("first", range(1_000, 1_200, 10))
def test_short_worlds(first: int) -> None:
    """T-E19: many small ones find more than a few large ones."""
    _none_fails(play_some(range(first, first + 10)))


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "version"), [(103, "12"), (104, "2"), (115, "12")])
def test_a_flood_leaves_room_for_what_came_before(stage: Stage, seed: int, version: str) -> None:
    """T-E2: between a liar's hundreds lay an event whose past was missing, with no free place before it."""
    check(stage, plan(seed, version, acts=100, servers=2 + seed % 2, lies=True))


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1_103, 3_029, 3_917, 4_202])
def test_worlds_that_once_ended_in_two(stage: Stage, seed: int) -> None:
    """Power levels told of before what they cite; a room with more ends than an event may cite; a state told without
    what it rests on; a state told while one of its keys could not be had."""
    check(stage, short(seed))


@pytest.mark.slow
def test_clocks_that_were_ahead_keep_nobody_waiting(stage: Stage) -> None:
    """T-E14: two that lost each other while their clocks were hours ahead, which then are put right."""
    acts = (
        *(Act("clock", who, (3_600_000,)) for who in (0, 1)),
        Act("weather", rest=(0, 0, 0, 0, ((0, 1),))),
        *(Act(what, who, (number,)) for number in range(3) for what, who in (("say", 0), ("say", 1), ("wait", 0))),
    )
    check(stage, Plan(1, "11", 2, False, acts))


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "version"), [(107, "2"), (147, "2"), (127, "9")])
def test_worlds_whose_clocks_were_ahead(stage: Stage, seed: int, version: str) -> None:
    check(stage, plan(seed, version, acts=100, servers=2 + seed % 2, lies=seed % 3 > 0))


def _none_fails(tally: Tally) -> None:
    """Of the first problem, if there is one, the acts without which it isn't there."""
    if tally.problems:
        seed, problem = tally.problems[0]

        def fails(plan: Plan) -> bool:
            return bool(play_some([plan]).problems)

        small = shrunk(short(seed), fails)
        told = [f"{len(tally.problems)} of {tally.worlds} worlds fail: {dict(tally.by_class)}"]
        told += [f"seed {seed}: {problem}", f"again: python -m tests.simulation {seed}", "its acts:"]
        pytest.fail("\n".join([*told, *(f"  {act}" for act in small.acts)]))
    assert tally.events > 10 * tally.worlds


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1_000, 1_002, 1_004, 1_023])
def test_the_twin_is_as_postgresql(stage: Stage, on_postgres: Stage, seed: int) -> None:
    """The same requests with the same answers at the same times, crashes within transactions included."""
    here, there = stage.play(short(seed)), on_postgres.play(short(seed))
    assert here.trace == there.trace
    assert (here.events, here.steps, here.crashes) == (there.events, there.steps, there.crashes)


@pytest.mark.deep
@pytest.mark.parametrize("first", range(2_000, 2_200, 20))
def test_the_twin_is_as_postgresql_in_many_worlds(stage: Stage, on_postgres: Stage, first: int) -> None:
    for seed in range(first, first + 20):
        assert stage.play(short(seed)).trace == on_postgres.play(short(seed)).trace, seed


@pytest.mark.deep
@pytest.mark.parametrize("first", range(10_000, 30_000, 2_000))
def test_very_many_short_worlds(first: int) -> None:
    began = time.monotonic()
    tally = play_many(range(first, first + 2_000))
    took_s = time.monotonic() - began
    sys.stdout.write(
        f"\n{tally.worlds} worlds, {tally.events} events, {tally.crashes} crashes in {took_s:.0f} s: "
        f"{tally.events / took_s:.0f} events a second; problems {dict(tally.by_class)}\n"
    )
    _none_fails(tally)


@pytest.mark.deep
@pytest.mark.parametrize("version", ["2", "6", "9", "10", "11", "12"])
def test_many_worlds(stage: Stage, version: str) -> None:
    events, began = 0, time.monotonic()
    for seed in range(100, 160):
        made = plan(seed, version, acts=100, servers=2 + seed % 2, lies=seed % 3 > 0)
        events += check(stage, made).events
    sys.stdout.write(f"\nversion {version}: {events / (time.monotonic() - began):.0f} events a second\n")


@pytest.mark.slow
def test_a_seed_is_a_world() -> None:
    """Twice the same, to the byte of each request, also where strings hash otherwise."""
    told = []
    for hash_seed in ("1", "2"):
        asked = [sys.executable, "-m", "tests.simulation", "1", "12", "40", "--servers", "3", "--lies"]
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        ended = subprocess.run(asked, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=120)
        told.append(ended.stdout.splitlines()[:2])
        assert told[-1][0].startswith("fingerprint "), ended.stderr
    assert told[0] == told[1]


def test_waiting_for_nothing_is_an_error() -> None:
    async def main(loop: VirtualLoop) -> None:
        await asyncio.sleep(YEAR_S)
        await loop.create_future()

    with pytest.raises(Deadlock):
        run(1, main)


def test_time_is_a_number_and_order_is_chance() -> None:
    """A year takes no time; what is ready at once runs in an order that the seed gives, the same each time."""

    async def main(loop: VirtualLoop) -> list[int]:
        order: list[int] = []

        async def one(number: int) -> None:
            await asyncio.sleep(YEAR_S)
            order.append(number)

        await asyncio.gather(*(one(number) for number in range(10)))
        return order

    orders = [run(seed, main) for seed in (1, 1, 2)]
    assert orders[0] == orders[1] != orders[2]


def test_a_small_case_is_found() -> None:
    """Of a hundred acts, the two without which it doesn't fail."""
    acts = tuple(Act("say", 0, (number,)) for number in range(100))
    whole = Plan(1, "11", 2, False, acts)

    def fails(plan: Plan) -> bool:
        return {acts[17], acts[71]} <= set(plan.acts)

    small = shrunk(whole, fails, tries=200)
    assert small == replace(whole, acts=(acts[17], acts[71]))
