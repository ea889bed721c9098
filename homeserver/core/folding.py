"""One form for all ways to write the same, and the words of it: what searching in messages, people and rooms compare.

Folded are compatibility forms (NFKC), case, width, and the decimal digits of every script.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from re import Pattern

TEXT_CHARS_MAX = 65_536

# First and last code point of what is cut into pairs.
_UNSPACED = (
    (0x0E01, 0x0E3A),  # Thai
    (0x0E40, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Myanmar
    (0x1780, 0x17FF),  # Khmer
    (0x1950, 0x19DF),  # Tai Le, New Tai Lue
    (0x1A20, 0x1AAF),  # Tai Tham
    (0x1B00, 0x1B7F),  # Balinese
    (0x3005, 0x3007),
    (0x3031, 0x3035),
    (0x3040, 0x30FF),  # Hiragana, Katakana
    (0x3100, 0x312F),  # Bopomofo
    (0x31F0, 0x31FF),
    (0x3400, 0x9FFF),  # Han
    (0xA000, 0xA48F),  # Yi
    (0xA980, 0xA9DF),  # Javanese
    (0xAC00, 0xD7A3),  # Hangul
    (0xF900, 0xFAFF),
    (0x20000, 0x3FFFF),
)
# Marks say how a word is read in these; elsewhere they are letters of it.
_MARKS_ARE_EXTRAS_BELOW = 0x0780
_SCANNED_TO = 0x20000
# Pictures, flags; what only varies them is dropped.
_EMOJI = "©®‼⁉™ℹ←-⇿⌀-⏿①-⓿■-➿⤴⤵⬀-⯿〰〽㊗㊙\U0001f000-\U0001f3fa\U0001f400-\U0001faff"
# Arabic letters that keyboards of other countries have in another form, or that are written either way.
_ARABIC = {0x06A9: 0x0643, 0x06CC: 0x064A, 0x0649: 0x064A, 0x0629: 0x0647}
# The iota below a Greek vowel, which folding case would make a letter of its own.
_IOTAS_BELOW = re.compile("[\u1f80-\u1fff\u0345]")
# Letters that Unicode doesn't take apart, as people write them without.
_PLAIN = str.maketrans({"ł": "l", "ø": "o", "đ": "d", "ð": "d", "ħ": "h", "ı": "i", "æ": "ae", "œ": "oe", "þ": "th"})


@dataclass(frozen=True, slots=True)
class _Scripts:
    """From Unicode's tables: runs of text that become words, those cut into pairs; what folding does."""

    runs: Pattern[str]
    paired: Pattern[str]
    folded: dict[int, int | None]


@lru_cache(maxsize=1)
def _scripts() -> _Scripts:
    """Worked out at the first text that isn't ASCII: some ten milliseconds."""
    every = "".join(map(chr, range(0x80, _SCANNED_TO)))
    folded: dict[int, int | None] = {ord(char): 0x30 + unicodedata.decimal(char) for char in re.findall(r"\d", every)}
    marks = list[int]()
    for char in re.findall(r"\W", every):
        category, code = unicodedata.category(char), ord(char)
        if category == "Cf" or 0xFE00 <= code <= 0xFE0F or (category == "Mn" and 0x0590 <= code < 0x0780):
            folded[code] = None  # joiners, soft hyphens, variants, vowel points
        elif category[0] == "M":
            marks.append(code)
    folded[0x0640] = None  # tatweel
    folded.update(_ARABIC)
    codes = sorted({*marks, *map(ord, re.findall(r"[^\W_]", every))} - folded.keys())
    pairs = _ranges(filter(_is_unspaced, codes)) + "\U00020000-\U0003ffff"
    words = _ranges(code for code in codes if not _is_unspaced(code))
    return _Scripts(
        runs=re.compile(f"[a-z0-9{words}]+|[{pairs}]+|[{_EMOJI}]"), paired=re.compile(f"[{pairs}]"), folded=folded
    )


def _ranges(codes: Iterable[int]) -> str:
    spans: list[list[int]] = []
    for code in codes:
        if spans and spans[-1][1] == code - 1:
            spans[-1][1] = code
        else:
            spans.append([code, code])
    return "".join(f"{chr(first)}-{chr(last)}" for first, last in spans)


def _is_unspaced(code: int) -> bool:
    return any(first <= code <= last for first, last in _UNSPACED)


_ASCII_RUNS = re.compile(r"[a-z0-9]+")


def warm_up() -> None:
    """Works out what the first text in another script than Latin needs, so that nobody waits for it."""
    _scripts()


def fold(text: str) -> str:
    """One form for all ways to write the same."""
    text = text[:TEXT_CHARS_MAX]
    return text.lower() if text.isascii() else fold_normal(unicodedata.normalize("NFKC", text)[:TEXT_CHARS_MAX])


@lru_cache(maxsize=16_384)
def without_marks(word: str) -> str:
    """A word as it is written without accents, or vowel signs where they are optional; itself where it has none."""
    if word.isascii() or any(
        ord(char) >= _MARKS_ARE_EXTRAS_BELOW and not 0x1E00 <= ord(char) < 0x2000 for char in word
    ):
        return word
    decomposed = unicodedata.normalize("NFD", word)
    plain = "".join(char for char in decomposed if unicodedata.category(char) != "Mn").translate(_PLAIN)
    return unicodedata.normalize("NFC", plain) or word


def fold_normal(normal: str) -> str:
    """Folds what is in NFKC already."""
    if _IOTAS_BELOW.search(normal) is not None:
        normal = unicodedata.normalize("NFKC", unicodedata.normalize("NFD", normal).replace("\u0345", ""))
    folded = normal.casefold().translate(_scripts().folded)
    return folded if folded.isascii() else unicodedata.normalize("NFKC", folded)


def runs_of(folded: str) -> list[str]:
    """Folded text as runs of letters, digits and their marks; of scripts without spaces by themselves; each emoji."""
    return _ASCII_RUNS.findall(folded) if folded.isascii() else _scripts().runs.findall(folded)


def is_paired(run: str) -> bool:
    """Whether a run is of a script that writes no spaces between words."""
    return _scripts().paired.match(run) is not None
