"""Waits grow, and have an end."""

from __future__ import annotations

from homeserver.runtime.backoff import Backoff, left_ms


def test_waits_double_up_to_the_longest() -> None:
    waits = Backoff(1_000, 60_000)
    assert [waits.wait_ms(failures) for failures in (1, 2, 3, 6, 7, 8)] == [1_000, 2_000, 4_000, 32_000, 60_000, 60_000]


def test_any_number_of_failures_has_a_wait() -> None:
    """Somebody who fails for ever costs neither a large number nor a wait of nothing."""
    waits = Backoff(1_000, 60_000)
    assert waits.wait_ms(10**9) == 60_000
    assert waits.wait_ms(0) == 1_000


def test_no_wait_outlasts_the_longest() -> None:
    """T-O13: a time that was noted while the clock was years ahead keeps nobody waiting once it is right."""
    assert left_ms(1_000_500, 1_000_000, 1_000) == 500
    assert left_ms(1_000_000, 1_000_000, 1_000) == left_ms(999_000, 1_000_000, 1_000) == 0
    assert left_ms(1_000_000 + 365 * 86_400_000, 1_000_000, 86_400_000) == 0
