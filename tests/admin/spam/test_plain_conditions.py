"""Conditions that need no context of the language hold for the same values as the language says."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from admin.spam.conditions import SCHEMA, Condition, context_of

PARTS = (
    'event.text.contains("Pills")',
    'event.text.contains("a \\"b\\" \\\\ c")',
    'event.text.re2("p[i1]lls")',
    '"a.example" in event.domains',
    'sender.server == "a.example"',
    "sender.age_s < 60",
    "sender.age_s >= 30",
    "rates.sender_10s > 2",
    "room.members <= 2",
    "event.length > -1",
    "sender.local",
    "!room.encrypted",
)
# What nothing but the language can say.
OTHERS = (
    "event.size / 2 > 3",
    "sender.local == true",
    'event.links.exists(one, one == "x")',
    "event.size > sender.age_s",
)
conditions = st.recursive(
    st.sampled_from(PARTS),
    lambda inner: st.tuples(inner, st.sampled_from(("&&", "||")), inner).map(
        lambda two: f"({two[0]} {two[1]} {two[2]})"
    ),
    max_leaves=5,
)
few = st.integers(0, 4) | st.sampled_from((29, 30, 59, 60, 2**53 - 1))


@st.composite
def values(draw: st.DrawFn) -> dict[str, dict[str, Any]]:
    made = {group: dict(fields) for group, fields in SCHEMA.items()}
    texts = st.sampled_from(("", "pills", "p1lls", 'a "b" \\ c', "PILLS"))
    made["event"].update(text=draw(texts), length=draw(few), domains=draw(st.sampled_from(([], ["a.example", "b"]))))
    made["sender"].update(server=draw(st.sampled_from(("a.example", "b"))), age_s=draw(few), local=draw(st.booleans()))
    made["room"].update(members=draw(few), encrypted=draw(st.booleans()))
    made["rates"].update(sender_10s=draw(few))
    return made


@settings(max_examples=150, deadline=None)
@given(condition=conditions, seen=values())
def test_a_plain_condition_holds_where_the_language_says_so(condition: str, seen: dict[str, dict[str, Any]]) -> None:
    plain, language = Condition(condition), Condition(f"({condition}) ? true : false")
    assert (plain.is_plain, language.is_plain) == (True, False)
    assert plain.holds(seen, None) is language.holds(seen, context_of(seen))


def test_what_only_the_language_can_say_is_left_to_it() -> None:
    for condition in OTHERS:
        assert not Condition(condition).is_plain, condition
        assert not Condition(f"{PARTS[0]} && {condition}").is_plain, condition
