"""Rate limits by user or address and action: a token bucket each, kept as one number. Memory is bounded."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from homeserver.core.errors import LimitExceeded
from homeserver.runtime.clock import Clock

BUCKETS_MAX = 100_000
# What an override of a user's limits is about.
OVERRIDDEN = "message"


@dataclass(frozen=True, slots=True)
class RateLimit:
    """`burst` at once, then `per_second`."""

    per_second: float
    burst: int


class RateLimiter:
    """Counts per (action, key). An action without a limit passes."""

    def __init__(self, limits: Mapping[str, RateLimit], clock: Clock) -> None:
        self._limits = dict(limits)
        self._clock = clock
        # By user: the limit of what they send; None: no limit of any kind.
        self.overrides: dict[str, RateLimit | None] = {}
        # Whom no limit holds for: bridges.
        self.is_exempt: Callable[[str], bool] = lambda key: False
        # The time at which each bucket is full again (the "theoretical arrival time" of GCRA).
        self._full_at: OrderedDict[tuple[str, str], float] = OrderedDict()

    def check(self, action: str, key: str, *, cost: float = 1.0) -> None:
        """Takes `cost` from the bucket. Raises LimitExceeded, with the wait, if it doesn't hold that much.

        A `cost` of 0 asks whether something is in it, after `spend`.
        """
        limit = self._limit(action, key)
        if limit is None:
            return
        now = self._clock.monotonic_s()
        after = self._after(limit, (action, key), now, cost)
        wait_s = after - now - limit.burst / limit.per_second
        if wait_s > 1e-9:
            raise LimitExceeded(f"too many requests of the kind {action!r}", retry_after_ms=int(wait_s * 1000) + 1)
        self._keep((action, key), after)

    def spend(self, action: str, key: str, cost: float) -> None:
        """Takes `cost` although the bucket may not hold that much: then `check` refuses until time has paid for it."""
        limit = self._limit(action, key)
        if limit is not None:
            self._keep((action, key), self._after(limit, (action, key), self._clock.monotonic_s(), cost))

    def forget(self, action: str, key: str) -> None:
        """Fills the bucket, as after a log-in that succeeded."""
        self._full_at.pop((action, key), None)

    def _limit(self, action: str, key: str) -> RateLimit | None:
        """The one that holds for this key, or None."""
        limit = self._limits.get(action)
        if limit is None or self.is_exempt(key):
            return None
        if key in self.overrides:
            own = self.overrides[key]
            return own if own is None or action == OVERRIDDEN else limit
        return limit

    def _after(self, limit: RateLimit, bucket: tuple[str, str], now_s: float, cost: float) -> float:
        """When the bucket is full again once `cost` was taken."""
        return max(self._full_at.get(bucket, now_s), now_s) + cost / limit.per_second

    def _keep(self, bucket: tuple[str, str], full_at_s: float) -> None:
        self._full_at[bucket] = full_at_s
        self._full_at.move_to_end(bucket)
        if len(self._full_at) > BUCKETS_MAX:
            self._full_at.popitem(last=False)
