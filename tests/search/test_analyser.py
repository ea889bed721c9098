"""Which words find which texts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.analyser import TERMS_MAX, TOKENS_MAX, terms_of, tokens_of


@pytest.mark.parametrize(
    ("text", "term", "is_found"),
    [
        ("Hello, World!", "world hello", True),
        ("Hello, World!", "worlds", False),
        ("Hello, World!", "hell", False),
        ("Grüße aus KÖLN", "köln", True),
        ("Grüße aus KÖLN", "koln grüsse", True),
        ("ﬁne ＷＩＤＥ", "fine wide", True),
        ("Привет, мир", "МИР", True),
        ("今天天气很好", "天气", True),
        ("今天天气很好", "好", True),
        ("今天天气很好", "天好", False),
        ("ハンザ同盟の歴史", "同盟", True),
        ("안녕하세요 세계", "세계", True),
        ("สวัสดีชาวโลก", "ชาวโลก", True),
        ("हिन्दी भाषा", "हिन्दी", True),
        ("version 1.2.3 of foo_bar", "foo bar 1 2", True),
        ("中文mixed字", "mixed 中文", True),
    ],
)
def test_what_finds_what(text: str, term: str, is_found: bool) -> None:
    assert (set(terms_of(term)) <= set(tokens_of(text))) is is_found


@given(st.text(max_size=300))
def test_a_text_finds_itself(text: str) -> None:
    """And nothing is ever a token that isn't a word: what stands for rooms in the index can't be forged."""
    tokens, terms = tokens_of(text), terms_of(text)
    assert set(terms) <= set(tokens) | {term for term in terms if len(terms) == TERMS_MAX}
    assert len(tokens) <= TOKENS_MAX and len(terms) <= TERMS_MAX
    assert not any("!" in token or "\x00" in token or not token for token in tokens)
