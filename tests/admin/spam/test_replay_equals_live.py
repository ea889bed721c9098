"""A property: whatever is said in whichever order, a trial finds what the rules in force found while it happened."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from admin.spam.facts import Happening, Place, Rates, Reading, Sender
from admin.spam.rules import Action, Lists, Rule, RuleSet, Wordlist
from admin.spam.trial import Trial

CONDITIONS = (
    'event.text.contains("pills") && sender.age_s < 3600',
    "rates.text_10m > 2 || rates.link_rooms_10m > 1",
    "rates.sender_10s > 3 && room.members > 2",
    "event.similar > 1",
    '"words" in event.lists || event.mentions > 1',
    'event.links[0] == "http://a.example/x"',
    "room.joins_1m > 2",
)
RULES = [
    Rule(id=f"r{number}", title="", when=("event", "join"), condition=condition, actions=(Action(kind="tag"),))
    for number, condition in enumerate(CONDITIONS)
]
WORDS = [Wordlist(name="words", kind="words", entries=("zebra",))]
TEXTS = (
    "buy pills now or never, my friends, while they last",
    "buy pills now or never, my friends, while they are here",
    "a zebra",
    "see http://a.example/x and http://b.example/y",
    "@a:x.org @b:x.org look",
    "",
)
SAID = st.tuples(
    st.integers(0, 2), st.integers(0, 2), st.sampled_from([*TEXTS, None]), st.floats(0, 30), st.integers(0, 7_200)
)


def happenings(said: list[tuple[int, int, str | None, float, int]]) -> list[tuple[Happening, Sender, Place]]:
    found, now = [], 1_000.0
    for user, room, text, later, age in said:
        now += later
        content = {"body": text} if text is not None else {"membership": "join"}
        what = Happening(
            hook="event" if text is not None else "join",
            sender=f"@u{user}:x.org",
            at_s=now,
            type="m.room.message" if text is not None else "m.room.member",
            content=content,
            room_id=f"!r{room}:x.org",
        )
        found.append((what, Sender(local=True, age_s=age), Place(members=room * 2)))
    return found


@pytest.mark.parametrize("rule", RULES, ids=CONDITIONS)
@given(said=st.lists(SAID, max_size=25))
@settings(max_examples=25, deadline=None)
def test_replayed_and_live_are_equal(rule: Rule, said: list[tuple[int, int, str | None, float, int]]) -> None:
    force, rates = RuleSet(RULES, WORDS), Rates()
    trial = Trial(rule, Lists(WORDS), RULES)
    overlap: Counter[str] = Counter()
    for what, sender, place in happenings(said):
        live = force.judge(what.hook, Reading(what, sender, place, force.lists, rates))
        hits = {hit.rule.id for hit in live.hits}
        assert trial.take(what, sender, place) is (rule.id in hits)
        if rule.id in hits:
            overlap.update(hits - {rule.id})
    assert trial.tally.overlap == overlap
