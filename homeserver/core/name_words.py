"""The words by which somebody is found: of a display name in any script, and of a user id.

Scripts that write no spaces (Chinese, Japanese, Thai…) give a word for each place at which one could begin, so that
what a word begins with finds it in the middle of a name as well.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator

WORDS_MAX = 64
WORD_CHARS_MAX = 64
TERMS_MAX = 8
TEXT_CHARS_MAX = 300

# First and last code point of scripts without spaces between words.
_UNSPACED = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Myanmar
    (0x1780, 0x17FF),  # Khmer
    (0x3040, 0x30FF),  # Hiragana, Katakana
    (0x3400, 0x9FFF),  # Han
    (0xAC00, 0xD7AF),  # Hangul
    (0xF900, 0xFAFF),
    (0x20000, 0x3FFFF),
)
# Up to here a letter without its marks is still the letter that people type.
_MARKS_ARE_EXTRAS_BELOW = 0x0590


def words_of(display_name: str | None, user_id: str) -> frozenset[str]:
    """All words that find this user; at most WORDS_MAX of the name beside those of the id."""
    localpart = user_id[1:].partition(":")[0]
    found = {_cut(_fold(user_id)), _cut(_fold(localpart))}
    found.update(_runs(localpart))
    named: list[str] = []
    for run in _runs(display_name or ""):
        named.append(run)
        named.extend(_cut(run[at:]) for at in range(1, len(run)) if _is_unspaced(run[at]))
        bare = _without_marks(run)
        if bare != run:
            named.append(bare)
    return frozenset(found | set(named[:WORDS_MAX]))


def terms_of(search_term: str) -> tuple[str, ...]:
    """The words that somebody searches for, each of which must begin a word of the name. A user id stays whole."""
    text = search_term.strip()
    if text.startswith("@") and len(text) > 1:
        return (_cut(_fold(text)),)
    return tuple(dict.fromkeys(_runs(text)))[:TERMS_MAX]


def _fold(text: str) -> str:
    folded = unicodedata.normalize("NFKC", text[:TEXT_CHARS_MAX]).casefold()
    return "".join(char for char in folded if char != "\x00" and not "\ud800" <= char <= "\udfff")


def _cut(word: str) -> str:
    return word[:WORD_CHARS_MAX]


def _runs(text: str) -> Iterator[str]:
    """Runs of letters, digits and their marks; a symbol (an emoji) is a word of its own."""
    run = ""
    for char in _fold(text):
        category = unicodedata.category(char)
        if category[0] in "LMN":
            run += char
            continue
        if run:
            yield _cut(run)
            run = ""
        if category == "So":
            yield char
    if run:
        yield _cut(run)


def _is_unspaced(char: str) -> bool:
    code = ord(char)
    return any(first <= code <= last for first, last in _UNSPACED)


def _without_marks(word: str) -> str:
    if any(ord(char) >= _MARKS_ARE_EXTRAS_BELOW for char in word):
        return word
    parts = unicodedata.normalize("NFD", word)
    return "".join(char for char in parts if unicodedata.category(char) != "Mn")
