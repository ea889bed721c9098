"""How long whoever was called and didn't take it is left alone. Pure."""

from __future__ import annotations

from dataclasses import dataclass

_DOUBLINGS_MAX = 30


@dataclass(frozen=True, slots=True)
class Backoff:
    """The first wait, doubled with each further failure up to the longest; in milliseconds."""

    first_ms: int
    most_ms: int

    def wait_ms(self, failures: int) -> int:
        """After so many failures in a row, from 1 on."""
        doublings = min(max(failures - 1, 0), _DOUBLINGS_MAX)
        return int(min(self.first_ms * 2**doublings, self.most_ms))
