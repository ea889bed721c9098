"""Many short worlds, in processes side by side."""

from __future__ import annotations

import logging
import multiprocessing
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field

import structlog

from tests.simulation.stages import TwinStage
from tests.simulation.worlds import Plan, short

AT_ONCE = 25


@dataclass(slots=True)
class Tally:
    """What worlds came to. `problems` are of seeds."""

    worlds: int = 0
    events: int = 0
    crashes: int = 0
    problems: list[tuple[int, str]] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        self.worlds += other.worlds
        self.events += other.events
        self.crashes += other.crashes
        self.problems += other.problems

    @property
    def by_class(self) -> Counter[str]:
        """How many of each kind of problem: its text without names and numbers."""
        return Counter(" ".join(word for word in text.split()[:6] if word.isalpha()) for _, text in self.problems)


def play_some(worlds: Sequence[int | Plan]) -> Tally:
    """In this process; a number stands for the short world of this seed. A world that raises has a problem too."""
    tally, stage = Tally(), TwinStage()
    for world in worlds:
        plan = short(world) if isinstance(world, int) else world
        seed = plan.seed
        tally.worlds += 1
        try:
            outcome = stage.play(plan)
        except Exception as error:
            tally.problems.append((seed, f"{type(error).__name__}: {error}"))
            continue
        tally.events += outcome.events
        tally.crashes += outcome.crashes
        if outcome.problem is not None:
            tally.problems.append((seed, outcome.problem))
    return tally


def _be_quiet() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


def play_many(seeds: range, processes: int | None = None) -> Tally:
    """In as many processes as there are processors."""
    tally = Tally()
    parts: Iterable[range] = [seeds[at : at + AT_ONCE] for at in range(0, len(seeds), AT_ONCE)]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes or os.cpu_count(), mp_context=context, initializer=_be_quiet) as pool:
        for part in pool.map(play_some, parts):
            tally.add(part)
    return tally
