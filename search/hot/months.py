"""Months of receipt, by which the index is parted. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache

_DAY_MS = 86_400_000
# What lies outside of these comes from clocks of others, before receipt was noted: it shares the first or last month.
_FIRST_MS = int(datetime(2014, 1, 1, tzinfo=UTC).timestamp()) * 1000
_LAST_MS = int(datetime(2099, 12, 1, tzinfo=UTC).timestamp()) * 1000

BOUNDS_S = (_FIRST_MS // 1000, _LAST_MS // 1000)


def month_of(received_ms: int) -> str:
    """Of a time in milliseconds, in UTC: 2025-03."""
    return _month_of_day(min(max(received_ms, _FIRST_MS), _LAST_MS) // _DAY_MS)


@lru_cache(maxsize=1_000)
def _month_of_day(day: int) -> str:
    return datetime.fromtimestamp(day * _DAY_MS // 1000, UTC).strftime("%Y-%m")
