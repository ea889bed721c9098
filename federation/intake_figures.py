"""How long each step of taking an event in lasts, and what became of the events, for Prometheus.

Labels are steps and fates, never servers or rooms: strangers choose how many of those there are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

from homeserver.rooms.arrivals import Fate
from homeserver.runtime.clock import Clock
from homeserver.runtime.metrics import Metrics

# In the order of docs/federation.md: made durable; fetched where something is missing; decided and written.
Step = Literal["stage", "missing_events", "state_at_gap", "auth_events", "fate"]


class IntakeFigures:
    """`hansa_federation_intake_seconds` by step, `hansa_federation_events_total` by fate."""

    def __init__(self, metrics: Metrics, clock: Clock) -> None:
        self._clock = clock
        self._seconds = metrics.histogram(
            "hansa_federation_intake_seconds", "Time of the steps that take events of other servers in.", "step"
        )
        self._events = metrics.counter(
            "hansa_federation_events_total", "Events of other servers, by what became of them.", "fate"
        )

    @contextmanager
    def timed(self, step: Step) -> Iterator[None]:
        """Times a step, also one that fails."""
        before_s = self._clock.monotonic_s()
        try:
            yield
        finally:
            self._seconds.labels(step).observe(self._clock.monotonic_s() - before_s)

    def decided(self, fates: Sequence[Fate]) -> None:
        for fate in fates:
            self._events.labels(fate.value).inc()
