"""From text to the words it is found by, in any language.

Words are runs of letters, digits and their marks, after compatibility normalisation and case folding. Scripts that
write no spaces between words (Chinese, Japanese, Thai…) give each character and each pair of neighbours: what is
searched for is then looked for by its pairs, so that it is found wherever it stands.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator

TEXT_CHARS_MAX = 20_000
WORD_CHARS_MAX = 64
TOKENS_MAX = 4_000
TERMS_MAX = 32

# First and last code point of scripts without spaces between words.
_UNSPACED = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Myanmar
    (0x1780, 0x17FF),  # Khmer
    (0x3040, 0x30FF),  # Hiragana, Katakana
    (0x3400, 0x9FFF),  # Han
    (0xF900, 0xFAFF),
    (0x20000, 0x3FFFF),
)
# Up to here a letter is found without its marks as well.
_MARKS_ARE_EXTRAS_BELOW = 0x0590


def tokens_of(text: str) -> list[str]:
    """What a text is found by, each once, in order of appearance. Never more than TOKENS_MAX."""
    found: dict[str, None] = {}
    for run, is_unspaced in _runs(text):
        if is_unspaced:
            found.update(dict.fromkeys(run))
            found.update(dict.fromkeys(_pairs(run)))
        else:
            found[run] = None
            found[_without_marks(run)] = None
        if len(found) >= TOKENS_MAX:
            break
    return list(found)[:TOKENS_MAX]


def terms_of(text: str) -> list[str]:
    """The tokens that a text must all have to be found by this search. Never more than TERMS_MAX."""
    found: dict[str, None] = {}
    for run, is_unspaced in _runs(text):
        if is_unspaced and len(run) > 1:
            found.update(dict.fromkeys(_pairs(run)))
        else:
            found[run] = None
        if len(found) >= TERMS_MAX:
            break
    return list(found)[:TERMS_MAX]


def words_of(text: str) -> list[str]:
    """The words of a search as people read them, to be highlighted."""
    return list(dict.fromkeys(run for run, _ in _runs(text)))[:TERMS_MAX]


def _runs(text: str) -> Iterator[tuple[str, bool]]:
    """Runs of word characters, each of one kind, and whether its script has no spaces."""
    run, is_unspaced = "", False
    for char in _fold(text):
        if unicodedata.category(char)[0] not in "LMN":
            if run:
                yield run[:WORD_CHARS_MAX] if not is_unspaced else run, is_unspaced
            run = ""
            continue
        kind = _is_unspaced(char) if not unicodedata.category(char).startswith("M") or not run else is_unspaced
        if run and kind is not is_unspaced:
            yield run[:WORD_CHARS_MAX] if not is_unspaced else run, is_unspaced
            run = ""
        run, is_unspaced = run + char, kind
    if run:
        yield run[:WORD_CHARS_MAX] if not is_unspaced else run, is_unspaced


def _fold(text: str) -> str:
    folded = unicodedata.normalize("NFKC", text[:TEXT_CHARS_MAX]).casefold()
    return unicodedata.normalize("NFKC", "".join(char for char in folded if not "\ud800" <= char <= "\udfff"))


def _pairs(run: str) -> Iterator[str]:
    return (run[at : at + 2] for at in range(len(run) - 1))


def _is_unspaced(char: str) -> bool:
    code = ord(char)
    return code >= 0x0E00 and any(first <= code <= last for first, last in _UNSPACED)


def _without_marks(word: str) -> str:
    if word.isascii() or any(ord(char) >= _MARKS_ARE_EXTRAS_BELOW for char in word):
        return word
    return "".join(char for char in unicodedata.normalize("NFD", word) if unicodedata.category(char) != "Mn") or word
