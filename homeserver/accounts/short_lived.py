"""Values that are kept for a while, in memory: sign-ins under way, challenges, numbers used once."""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

from homeserver.runtime.clock import Clock

V = TypeVar("V")


class ShortLived(Generic[V]):
    """Values by key, all for the same time and `most` of them: the oldest give way."""

    def __init__(self, clock: Clock, *, lifetime_s: float, most: int) -> None:
        self._clock = clock
        self._lifetime_s = lifetime_s
        self._most = most
        self._kept: OrderedDict[str | bytes, tuple[float, V]] = OrderedDict()  # the oldest first

    def put(self, key: str | bytes, value: V) -> None:
        """Keeps it from now on, in place of what the key had."""
        now = self._clock.monotonic_s()
        self._kept.pop(key, None)
        while self._kept:
            since, _ = next(iter(self._kept.values()))
            if now - since <= self._lifetime_s and len(self._kept) < self._most:
                break
            self._kept.popitem(last=False)
        self._kept[key] = (now, value)

    def get(self, key: str | bytes) -> V | None:
        return self._fresh(self._kept.get(key))

    def take(self, key: str | bytes) -> V | None:
        """The value, which is gone with that: it counts once."""
        return self._fresh(self._kept.pop(key, None))

    def _fresh(self, kept: tuple[float, V] | None) -> V | None:
        if kept is None or self._clock.monotonic_s() - kept[0] > self._lifetime_s:
            return None
        return kept[1]
