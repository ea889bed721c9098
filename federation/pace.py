"""How a room's intake goes on while its events are much work: forks that somebody makes on purpose, say."""

from __future__ import annotations

AT_ONCE, AT_ONCE_MAX = 50, 100
BUSY_S = 0.5
# Others have the processor for twice as long as this room had it.
REST_FACTOR, REST_MAX_S = 2.0, 5.0


class Pace:
    """One room's. After a turn that took long it rests, and takes more events at once: what branches cost where they
    meet is paid once for all of a batch."""

    def __init__(self) -> None:
        self.at_once = AT_ONCE
        self._worked_s = 0.0

    def worked(self, seconds: float) -> None:
        """Told how long events of this room were decided on."""
        self._worked_s += seconds

    def rest_s(self) -> float:
        """How long to rest now, in seconds; a new turn begins."""
        worked_s, self._worked_s = self._worked_s, 0.0
        if worked_s <= BUSY_S:
            self.at_once = max(self.at_once // 2, AT_ONCE)
            return 0.0
        self.at_once = min(self.at_once * 2, AT_ONCE_MAX)
        return min(worked_s * REST_FACTOR, REST_MAX_S)
