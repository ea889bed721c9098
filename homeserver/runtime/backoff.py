"""How long whoever was called and didn't take it is left alone. Pure."""

from __future__ import annotations

from dataclasses import dataclass

_DOUBLINGS_MAX = 30


def left_ms(until_ms: int, now_ms: int, most_ms: int) -> int:
    """What is left of a wait until a time of the wall's clock, which outlives a restart; 0: nothing.

    More than the longest wait is none at all: that clock was set back since, and would keep us waiting for years.
    """
    left = until_ms - now_ms
    return left if 0 < left <= most_ms else 0


@dataclass(frozen=True, slots=True)
class Backoff:
    """The first wait, doubled with each further failure up to the longest; in milliseconds."""

    first_ms: int
    most_ms: int

    def wait_ms(self, failures: int) -> int:
        """After so many failures in a row, from 1 on."""
        doublings = min(max(failures - 1, 0), _DOUBLINGS_MAX)
        return int(min(self.first_ms * 2**doublings, self.most_ms))
