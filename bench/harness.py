"""How the inner loops are measured: the same work again and again, and one line for it.

A module of this package is a benchmark if it has `run()`, which calls `measure` for each line.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

SECONDS = 0.5
ROUNDS_MIN = 5


def measure(name: str, size: int, work: Callable[[], object], *, units: int = 1, seconds: float = SECONDS) -> float:
    """Prints a line: name, size, units of work per second, and µs a unit (median, and slowest of 100). Returns µs.

    `work` does `units` units a call; it is called once to warm up.
    """
    work()
    taken: list[float] = []
    end = time.perf_counter() + seconds
    while len(taken) < ROUNDS_MIN or time.perf_counter() < end:
        start = time.perf_counter()
        work()
        taken.append((time.perf_counter() - start) / units * 1e6)
    median = statistics.median(taken)
    slowest = sorted(taken)[min(len(taken) - 1, int(len(taken) * 0.99))]
    print(
        f"{name:<44} size {size:>7}  {1e6 / median:>12,.0f}/s  {median:>10,.2f} µs  p99 {slowest:>10,.2f} µs",
        flush=True,
    )
    return median


def report(name: str, size: int, value: float, unit: str) -> None:
    """Prints a line for what is counted, not timed."""
    places = 2 if unit == "s" else 1
    print(f"{name:<44} size {size:>7}  {value:>12,.{places}f} {unit}", flush=True)
