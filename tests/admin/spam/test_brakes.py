"""A rule that goes wrong stops itself: by its time, by its share of all that happens, by how much it does."""

from __future__ import annotations

import pytest

from admin.spam.brakes import SHARE_LOOKS_MIN, STRIKES_MAX, Brakes
from admin.spam.rules import Action, Limits, Rule
from homeserver.runtime.clock import SystemClock
from tests.admin.people import crew_of
from tests.admin.spam.test_rules_over_http import RULE, latest, put, rule, say
from tests.kit.server import running_server


class SlowClock(SystemClock):
    """Each look at it finds that six milliseconds have passed: whatever is measured takes longer than its budget."""

    def __init__(self) -> None:
        super().__init__()
        self._looks = 0

    def monotonic_s(self) -> float:
        self._looks += 1
        return super().monotonic_s() + self._looks * 0.006


async def test_a_rule_over_its_budget_goes_to_shadow(database_dsn: str) -> None:
    """T-H16: time and again; once is no reason, and until then it does what it says."""
    async with running_server(database_dsn, clock=SlowClock()) as server:
        crew = await crew_of(server)
        room_id = await crew.user.create_room()
        await put(crew, "slow", rule('event.text.contains("zebra")'))
        for number in range(STRIKES_MAX - 1):
            (await say(crew.user, room_id, f"zebra {number}")).refused(403, "M_FORBIDDEN")
        assert (await crew.auditor.get(RULE, "slow")).ok()["rule"]["stage"] == "enforced"
        await say(crew.user, room_id, "the last straw of a zebra")
        (await say(crew.user, room_id, "zebra free")).ok()
        await latest(crew)
        stopped = (await crew.auditor.get(RULE, "slow")).ok()["versions"][-1]
        assert (stopped["made_by"], stopped["rule"]["stage"]) == ("hansa", "shadow")
        assert stopped["why"] == "it stopped itself: it took more than 5 ms, time and again"


class JerkyClock(SystemClock):
    """At every second look six milliseconds more have passed: as when the process has to wait now and then."""

    def __init__(self, looks: int) -> None:
        super().__init__()
        self._looks = looks

    def monotonic_s(self) -> float:
        self._looks += 1
        return super().monotonic_s() + self._looks // 2 * 0.006


@pytest.mark.slow
@pytest.mark.parametrize("looks", [0, 1])
async def test_a_pause_of_the_process_is_no_fault_of_a_rule(database_dsn: str, looks: int) -> None:
    """T-H16: a busy machine doesn't take the rules away: one that is slow is so when it is asked again."""
    async with running_server(database_dsn, clock=JerkyClock(looks)) as server:
        crew = await crew_of(server)
        room_id = await crew.user.create_room()
        await put(crew, "quick", rule('event.text.contains("zebra")'))
        for number in range(3 * STRIKES_MAX):
            (await say(crew.user, room_id, f"zebra {number}")).refused(403, "M_FORBIDDEN")
        await latest(crew)
        assert (await crew.auditor.get(RULE, "quick")).ok()["rule"]["stage"] == "enforced"


def a_rule(**limits: float) -> Rule:
    return Rule(
        id="a",
        title="A",
        when=("event",),
        condition="true",
        actions=(Action(kind="deny"),),
        limits=Limits(**limits),  # type: ignore[arg-type]
    )


def test_a_rule_that_matches_too_much_of_all_stops() -> None:
    """Not before there is enough to say what is much; not for what it matched long ago."""
    brakes, half = Brakes(), a_rule(share_max=0.3)
    stopped = None
    for number in range(SHARE_LOOKS_MIN * 2):
        brakes.looked("event")
        if number % 2 == 0 and stopped is None:
            why = brakes.acted(half, "event", number / 10)
            stopped = number if why else None
    assert stopped is not None
    assert stopped >= SHARE_LOOKS_MIN - 1
    brakes, tenth = Brakes(), a_rule(share_max=0.3)
    for number in range(5_000):
        brakes.looked("event")
        if number % 10 == 0:
            assert brakes.acted(tenth, "event", number / 10) is None


def test_a_rule_that_does_too_much_stops() -> None:
    brakes, few = Brakes(), a_rule(per_minute=3, share_max=1.0)
    assert [brakes.acted(few, "event", 1.0) for _ in range(4)] == [None] * 3 + ["more than 3 actions in a minute"]
    brakes, daily = Brakes(), a_rule(per_minute=100, per_day=5, share_max=1.0)
    whys = [brakes.acted(daily, "event", hour * 3_600.0) for hour in range(6)]
    assert whys == [None] * 5 + ["more than 5 actions in a day"]
