"""Globs: equal to their definition, and linear whatever pattern and text are."""

from __future__ import annotations

from time import thread_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeserver.core.globs import WholeGlob, WordGlob, Words, fold


def _fits(pattern: str, text: str) -> bool:
    """The definition, by table: fits[i][j] says whether pattern[:i] matches text[:j]."""
    row = [True] + [False] * len(text)
    for char in pattern:
        following = [char == "*" and row[0]]
        for index, other in enumerate(text):
            if char == "*":
                following.append(row[index + 1] or following[index])
            else:
                following.append(row[index] and char in ("?", other))
        row = following
    return row[-1]


def _is_boundary(text: str, place: int) -> bool:
    def outside(char: str) -> bool:
        return not (char.isascii() and char.isalnum()) and char != "_"

    return place in (0, len(text)) or outside(text[place - 1]) or outside(text[place])


def _fits_words(pattern: str, text: str) -> bool:
    places = [place for place in range(len(text) + 1) if _is_boundary(text, place)]
    return any(_fits(pattern, text[start:end]) for start in places for end in places if start <= end)


_PATTERNS = st.text("ab_-é*?", max_size=7)
_TEXTS = st.text("aabb_- é", max_size=12)


@given(_PATTERNS, _TEXTS)
def test_whole_globs_are_their_definition(pattern: str, text: str) -> None:
    assert WholeGlob(pattern).matches(fold(text)) is _fits(pattern, text)


@given(_PATTERNS, _TEXTS)
def test_word_globs_are_their_definition(pattern: str, text: str) -> None:
    assert WordGlob(pattern).matches(Words(text)) is _fits_words(pattern, text)


@given(st.text("ab_- ", min_size=1, max_size=4), _TEXTS)
def test_literals_are_patterns_without_wildcards(literal: str, text: str) -> None:
    assert Words(text).has_whole(literal) is _fits_words(literal, text)


# spec: client-server-api/#conditions-1
@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("lunc?*", "Lunch plans", True),
        ("lunc?*", "LUNCH", True),
        ("lunc?*", " lunch", False),
        ("lunc?*", "lunc", False),
        ("m.notice", "m.notice", True),
        ("m.notice", "mxnotice", False),
        ("", "", True),
        ("", "a", False),
        ("*", "", True),
    ],
)
def test_whole_values(pattern: str, text: str, expected: bool) -> None:
    assert WholeGlob(pattern).matches(fold(text)) is expected


@pytest.mark.parametrize(
    ("pattern", "body", "expected"),
    [
        ("ex*ple", "An example event.", True),
        ("ex*ple", "exple", True),
        ("ex*ple", "An exciting triple-whammy", True),
        ("ex*ple", "no exam pleasure", False),
        ("cake", "I like CAKE!", True),
        ("cake", "pancakes", False),
        ("cake", "pan_cake", False),
        ("cake", "pan-cake", True),
        ("cak?", "cakes cake", True),
        ("@room", "hello @room", True),
        ("@room", "x@room", True),  # the sign itself is a boundary
        ("c++", "I write c++ daily", True),
        ("über", "so Über hier", True),
    ],
)
def test_words_in_a_body(pattern: str, body: str, expected: bool) -> None:
    assert WordGlob(pattern).matches(Words(body)) is expected


@pytest.mark.parametrize("pattern", ["*a" * 120 + "b", "a?" * 120 + "b", "?*" * 120 + "b", "*" * 250 + "b", "a" * 250])
@pytest.mark.parametrize("unit", ["a", "a ", "aab ", "-"])
def test_no_pattern_and_text_take_long(pattern: str, unit: str) -> None:
    """T-H1: backtracking would not end here; these take milliseconds."""
    text = (unit * 65_536)[:65_536]
    start = thread_time()
    WordGlob(pattern).matches(Words(text))
    WholeGlob(pattern).matches(fold(text))
    assert thread_time() - start < 1


@pytest.mark.parametrize("wild", ["*?{}*", "?{}", "{}?"])
def test_a_long_pattern_costs_no_square(wild: str) -> None:
    """T-H1: a room's list of servers may be one pattern of 16,000 different characters, put to a short name."""
    many = "".join(map(chr, range(0x4E00, 0x4E00 + 16_000)))
    start = thread_time()
    assert not WholeGlob(wild.format(many)).matches("hansa.example")
    assert not WordGlob(wild.format(many)).matches(Words("hansa.example"))
    # Nor where it is as long as what is searched, and could be there.
    assert WholeGlob(wild.format(many[:4_000])).matches("x" + many[:4_000] if wild[-1] != "?" else many[:4_000] + "x")
    assert thread_time() - start < 0.25


def test_a_search_stops_where_it_has_found() -> None:
    """T-H1: each part goes on from there, so that all of them together read a text once."""
    text = "ab" * 2_000
    start = thread_time()
    for _ in range(20):
        assert WordGlob("?*" * 127).matches(Words(text))
        assert WholeGlob("*?" * 127).matches(text)
    assert thread_time() - start < 0.25
