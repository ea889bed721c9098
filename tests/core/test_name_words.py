"""Words that find people, in every script."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeserver.core.name_words import WORD_CHARS_MAX, WORDS_MAX, terms_of, words_of


@pytest.mark.parametrize(
    ("name", "term"),
    [
        ("Alice Cooper", "alice"),
        ("Alice Cooper", "COOP al"),
        ("Müller", "muller"),
        ("Müller", "mü"),
        ("Straße", "STRASSE"),
        ("Андрей Иванов", "иван"),
        ("王小明", "小明"),
        ("山田太郎", "太郎"),
        ("สมชาย ใจดี", "ชาย"),
        ("محمد علي", "علي"),
        ("Ｆｕｌｌ", "full"),
        ("🔥 Bob", "🔥"),
        (None, "@nora:hansa"),
        (None, "nora"),
    ],
)
def test_a_term_begins_a_word(name: str | None, term: str) -> None:
    words = words_of(name, "@nora:hansa.test")
    terms = terms_of(term)
    assert terms
    assert all(any(word.startswith(wanted) for word in words) for wanted in terms)


def test_the_middle_of_a_word_does_not_match() -> None:
    assert not any(word.startswith("ooper") for word in words_of("Alice Cooper", "@nora:hansa.test"))
    assert terms_of("  ") == terms_of("!!") == ()


@given(st.text(), st.text(max_size=50))
def test_words_are_bounded(name: str, localpart: str) -> None:
    """Whatever a peer calls itself, the words are few, short and can be stored."""
    words = words_of(name, f"@{localpart}:hansa.test")
    assert len([word for word in words if not word.startswith("@")]) <= WORDS_MAX + len(localpart) + 1
    for word in (*words, *terms_of(name)):
        assert len(word) <= WORD_CHARS_MAX
        word.encode()
        assert "\x00" not in word
