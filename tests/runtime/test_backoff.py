"""Waits grow, and have an end."""

from __future__ import annotations

from homeserver.runtime.backoff import Backoff


def test_waits_double_up_to_the_longest() -> None:
    waits = Backoff(1_000, 60_000)
    assert [waits.wait_ms(failures) for failures in (1, 2, 3, 6, 7, 8)] == [1_000, 2_000, 4_000, 32_000, 60_000, 60_000]


def test_any_number_of_failures_has_a_wait() -> None:
    """Somebody who fails for ever costs neither a large number nor a wait of nothing."""
    waits = Backoff(1_000, 60_000)
    assert waits.wait_ms(10**9) == 60_000
    assert waits.wait_ms(0) == 1_000
