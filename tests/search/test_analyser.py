"""Which words find which texts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.analyser import analyse, phrases_of, words_of


def finds(term: str, text: str) -> bool:
    """Each word of a search as its parts, one after the other or, alone, among the extras."""
    found = analyse(text)
    return all(
        any(tuple(found.tokens[at : at + len(phrase)]) == phrase for at in range(len(found.tokens)))
        or (len(phrase) == 1 and phrase[0] in found.extras)
        for word in term.split()
        for phrase in phrases_of(word)
    )


@pytest.mark.parametrize(
    ("text", "term", "is_found"),
    [
        ("Hello, World!", "world hello", True),
        ("Hello, World!", "worlds", False),
        ("Hello, World!", "hell", False),
        ("Grüße aus KÖLN", "köln", True),
        ("Grüße aus KÖLN", "koln grüsse", True),
        ("Grüße aus Koln", "köln", False),
        ("ﬁne ＷＩＤＥ", "fine wide", True),
        ("Привет, мир", "МИР", True),
        ("ёлка", "елка", True),
        ("今天天气很好", "天气", True),
        ("今天天气很好", "好", True),
        ("今天天气很好", "天好", False),
        ("今天天气很好", "天气mixed", False),
        ("今天天气mixed", "气mixed", True),
        ("ハンザ同盟の歴史", "同盟", True),
        ("ｶﾀｶﾅ", "カタカナ", True),
        ("안녕하세요 세계", "세계", True),
        ("서버가 복구되었습니다", "서버 복구되", True),
        ("สวัสดีชาวโลก", "ชาวโลก", True),
        ("हिन्दी भाषा", "हिन्दी", True),
        ("שָׁלוֹם עולם", "שלום", True),
        ("العربية", "العَرَبِيَّة", True),
        ("أهلا", "اهلا", True),
        ("Tiếng Việt, Đà Nẵng", "tieng nang da", True),
        ("Ελληνικά ΟΔΟΣ", "οδος ελληνικα", True),
        ("im Jahr ٢٠٢٥", "2025", True),
        ("version 1.2.3 of foo_bar", "foo bar 1 2", True),
        ("run flag_check.exe", "flag_check check.exe", True),
        ("run check_flag", "flag_check", False),
        ("call getUserName of HTTPServer2", "name getusername server http", True),
        ("see https://ci.example.org/build/17", "ci.example.org build/17", True),
        ("write to alice@example.org", "alice@example.org example", True),
        ("fixed in ABC-123", "abc-123 123", True),
        ("C++ and C#", "c++ c#", True),
        ("vitamin C", "c++", False),
        ("中文mixed字", "mixed 中文", True),
        ("nice 👍🏽 🇩🇪", "👍 🇩🇪", True),
        ("soft\u00adhyphen zero\u200bwidth", "softhyphen zerowidth", True),
    ],
)
def test_what_finds_what(text: str, term: str, is_found: bool) -> None:
    assert finds(term, text) is is_found


@given(st.text(max_size=300))
def test_a_text_finds_itself(text: str) -> None:
    """T-G10: and nothing is ever a token that isn't a word, so that no token can be anything else to an engine."""
    found = analyse(text)
    assert all(finds(word, text) for word in text.split() if len(word) < 60)
    assert not any(set(" \t\n!\x00()\"'*~:") & set(token) or not token for token in [*found.tokens, *found.extras])
    assert not set(found.tokens) & set(found.extras)


@pytest.mark.parametrize(
    "text", ["a" * 70_000, "aB" * 40_000, "1a" * 40_000, "<" * 70_000, "好" * 70_000, "e\u0301" * 9_000]
)
def test_a_long_text_has_bounded_tokens(text: str) -> None:
    """T-G13"""
    found = analyse(text)
    assert len(found.tokens) < 65_537 and max(map(len, found.tokens or [""])) <= 64 and len(found.extras) < 10
    assert len(words_of(text)) <= 32
