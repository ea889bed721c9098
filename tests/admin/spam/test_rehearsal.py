"""The shipped packs against known waves, and beside normal talk."""

from __future__ import annotations

import pytest

from bench.rehearsal import BLOCKED_MIN, HIT_MAX, WAVES, Wave, normal, share_hit


@pytest.mark.slow
@pytest.mark.parametrize("wave", WAVES, ids=[wave.name for wave in WAVES])
def test_waves_are_blocked(wave: Wave) -> None:
    share, _ = share_hit(wave)
    assert share >= BLOCKED_MIN


@pytest.mark.slow
def test_normal_talk_is_left_alone() -> None:
    share, by_rule = share_hit(Wave("normal", normal))
    assert share <= HIT_MAX, by_rule
