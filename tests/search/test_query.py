"""The query language: what a search term means, and where it is wrong."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.query import QueryError, parse, rooms_in
from search.tiers import (
    All,
    AnyOf,
    Between,
    Fuzzy,
    Has,
    InRooms,
    InThread,
    LinksTo,
    Mentions,
    Not,
    Phrase,
    Prefix,
    Query,
    Senders,
    Term,
)

A, B, C = Term("a"), Term("b"), Term("c")
DAY_MS = 86_400_000


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("a", A),
        ("a b", All((A, B))),
        ("a OR b", AnyOf((A, B))),
        ("a b OR c", AnyOf((All((A, B)), C))),
        ("a (b OR c)", All((A, AnyOf((B, C))))),
        ("((a))", A),
        ("a -b", All((A, Not(B)))),
        ("-(a b)", Not(All((A, B)))),
        ('-"a b"', Not(Phrase(("a", "b")))),
        ('"a b" c', All((Phrase(("a", "b")), C))),
        ("a-b", Phrase(("a", "b"))),
        ("foo(bar)", Phrase(("foo", "bar"))),
        ("(foo(bar))", Phrase(("foo", "bar"))),
        ("OR", Term("or")),
        ("a OR", All((A, Term("or")))),
        ("OR a", All((Term("or"), A))),
        ("a or b", All((A, Term("or"), B))),
        ("a :) b", All((A, B))),
        ("- a --", A),
        ("10:30 http://a", All((Phrase(("10", "30")), Phrase(("http", "a"))))),
        ("from :a", All((Term("from"), A))),
        ("from: a", All((Term("from"), A))),
        ('"from:me"', Phrase(("from", "me"))),
        ("Wor*", Prefix("wor")),
        ("foo_ba*", All((Term("foo"), Prefix("ba")))),
        ("天气*", Term("天气")),
        ("今天天气~", Phrase(("今天", "天天", "天气"))),
        ("Word~", Fuzzy("word", 1)),
        ("wonderful~", Fuzzy("wonderful", 2)),
        ("a * ~ b", All((A, B))),
        ("a:*", A),
        ("from:@x:y", Senders(frozenset({"@x:y"}))),
        ("FROM:me", Senders(frozenset({"@me:here"}))),
        ("-from:me", Not(Senders(frozenset({"@me:here"})))),
        ("(from:me)", Senders(frozenset({"@me:here"}))),
        ("mentions:me", Mentions("@me:here")),
        ("host:Example.ORG.", LinksTo("example.org")),
        ("host:bücher.example", LinksTo("bücher.example")),
        ("in:!r:y", InRooms(frozenset({"!r:y"}))),
        ("in:#pier:y", InRooms(frozenset({"!pier:y"}))),
        ("has:link", Has("link")),
        ("has:link|Image", AnyOf((Has("link"), Has("image")))),
        ("is:thread", InThread()),
        ("before:1970-01-02", Between(None, DAY_MS)),
        ("after:1970-01-02", Between(2 * DAY_MS, None)),
        ("during:1970", Between(0, 365 * DAY_MS)),
        ("during:1970-02", Between(31 * DAY_MS, 59 * DAY_MS)),
        ("during:1970-q1", Between(0, 90 * DAY_MS)),
        ("during:1970-Q4", Between(273 * DAY_MS, 365 * DAY_MS)),
        ("during:1970-12-31", Between(364 * DAY_MS, 365 * DAY_MS)),
    ],
)
def test_what_a_term_means(text: str, query: Query) -> None:
    parsed = parse(text, me="@me:here", rooms={"#pier:y": frozenset({"!pier:y"})})
    assert parsed is not None and parsed.query == query


@pytest.mark.parametrize("text", ["", " ", "!", "()", "-()", '""', "* ~", ") (", "\x00", "-"])
def test_nothing_to_look_for(text: str) -> None:
    if text == ") (":
        with pytest.raises(QueryError):
            parse(text)
    else:
        assert parse(text) is None


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("a from:bob", 8),
        ("from:me", 6),
        ("mentions:@", 10),
        ("host:https://example.org/x", 6),
        ("in:room", 4),
        ("in:#unknown:y", 4),
        ("has:wings", 5),
        ("has:link|", 5),
        ("is:it", 4),
        ("before:yesterday", 8),
        ("during:2025-13", 8),
        ("during:2025-02-30", 8),
        ("during:0000", 8),
        ("during:9999", 8),
        ("during:2025-Q5", 8),
        ("a (b", 3),
        ('a "b', 3),
        ("b a*", 3),
        ("ab~", 1),
        ("\u200d\u200da~", 1),  # letters count as they are looked for
        ("\u1112\u1161\u11ab\u1100\u1173\u11af~", 1),  # two, written as six
        ("(" * 9 + "a" + ")" * 9, 9),
        ("a " * 65, 129),
        ("a OR " * 70 + "b", 321),
        ("word* " * 9, 49),
        ("a" * 1_001, 1_001),
        ("- " * 100 + "(" * 800, 209),
    ],
)
def test_where_a_term_is_wrong(text: str, position: int) -> None:
    """T-G10, T-G13: bounded in length, parts and depth, each refusal with its place."""
    with pytest.raises(QueryError) as caught:
        parse(text)
    assert caught.value.position == position
    assert f"character {position}:" in str(caught.value)


def test_what_is_highlighted() -> None:
    parsed = parse('Harbour -storm "open Sea" wav* 天气预报 OR (from:@x:y naïve)')
    assert parsed is not None
    assert parsed.words == ["harbour", "open", "sea", "wav", "天气预报", "naïve"]


def test_the_aliases_of_a_term() -> None:
    assert rooms_in("in:#a:b (in:#c:d) -IN:#a:b xin:#e:f in:!g:h") == ["#a:b", "#c:d", "!g:h"]


@given(st.text(alphabet='ab天é "()-*~:|#@!OR0123from: hasin', max_size=200))
def test_no_term_breaks_it(text: str) -> None:
    """T-G10"""
    try:
        parsed = parse(text, me="@me:here")
    except QueryError as error:
        assert 1 <= error.position <= len(text) + 1
    else:
        assert parsed is None or len(parsed.words) <= len(text)
