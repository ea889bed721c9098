"""How long lists are in all. To count a million rows takes longer than to show a page of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable

from homeserver.runtime.clock import Clock

KEPT_S = 60.0
# Shorter lists are counted each time.
KEPT_FROM = 50_000
_LISTS_MAX = 200


class Totals:
    """Counts by list, those of long ones for a minute."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._kept: dict[Hashable, tuple[float, int]] = {}

    async def of(self, key: Hashable, count: Callable[[], Awaitable[int]]) -> int:
        """What `count` says of the list `key`, now or within the last minute."""
        now = self._clock.monotonic_s()
        kept = self._kept.get(key)
        if kept is not None and now < kept[0] + KEPT_S:
            return kept[1]
        self._kept.pop(key, None)
        total = await count()
        if total >= KEPT_FROM:
            while len(self._kept) >= _LISTS_MAX:
                del self._kept[next(iter(self._kept))]
            self._kept[key] = (now, total)
        return total
