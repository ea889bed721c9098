"""From text to the words it is found by, in any language. One implementation for every tier.

Text is folded first: compatibility forms (NFKC), case, width, decimal digits of every script. Words are runs of
letters, digits and their marks. Scripts that write no spaces between words (Chinese, Japanese, Thai…), and Korean,
whose words carry endings, give each pair of neighbours, in order; each single character is an extra. So are forms
without marks (`café` is found by `cafe`) and the parts of identifiers (`getUserName` by `name`). `snake_case`, paths,
addresses and `ABC-123` are words one after the other, which a phrase finds. Every emoji is a word.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

# In every index: another number means that the index is built anew.
VERSION = 2

TEXT_CHARS_MAX = 65_536
WORD_CHARS_MAX = 64
TERMS_MAX = 32

# First and last code point of what is cut into pairs.
_UNSPACED = (
    (0x0E01, 0x0E3A),  # Thai
    (0x0E40, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Myanmar
    (0x1780, 0x17FF),  # Khmer
    (0x3005, 0x3007),
    (0x3031, 0x3035),
    (0x3040, 0x30FF),  # Hiragana, Katakana
    (0x3100, 0x312F),  # Bopomofo
    (0x31F0, 0x31FF),
    (0x3400, 0x9FFF),  # Han
    (0xAC00, 0xD7A3),  # Hangul
    (0xF900, 0xFAFF),
    (0x20000, 0x3FFFF),
)
# Marks say how a word is read in these; elsewhere they are letters of it.
_MARKS_ARE_EXTRAS_BELOW = 0x0780
_SCANNED_TO = 0x20000
# Pictures, flags; what only varies them is dropped.
_EMOJI = "©®‼⁉™ℹ←-⇿⌀-⏿①-⓿■-➿⤴⤵⬀-⯿〰〽㊗㊙\U0001f000-\U0001f3fa\U0001f400-\U0001faff"
# Letters that Unicode doesn't take apart, as people write them without.
_PLAIN = str.maketrans({"ł": "l", "ø": "o", "đ": "d", "ð": "d", "ħ": "h", "ı": "i", "æ": "ae", "œ": "oe", "þ": "th"})


def _classes() -> tuple[str, str, dict[int, int | None]]:
    """As of a regular expression: word characters, those cut into pairs; and what folding replaces."""
    word, pairs, folded = list[int](), list[int](), dict[int, int | None]()
    for code in range(0x80, _SCANNED_TO):
        char = chr(code)
        category = unicodedata.category(char)
        if category == "Nd" and (digit := unicodedata.decimal(char, None)) is not None:
            folded[code] = 0x30 + digit
        elif (
            category == "Cf"
            or char == "ـ"
            or 0xFE00 <= code <= 0xFE0F
            or (category == "Mn" and 0x0590 <= code < 0x0780)
        ):  # joiners, soft hyphens, tatweel, variants
            folded[code] = None
        elif category[0] in "LMN":
            (pairs if _is_unspaced(code) else word).append(code)
    return _ranges(word), _ranges(pairs) + "\U00020000-\U0003ffff", folded


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


_WORD_CLASS, _PAIR_CLASS, _FOLDED = _classes()
_ASCII_RUNS = re.compile(r"[a-z0-9]+")
_RUNS = re.compile(f"[a-z0-9{_WORD_CLASS}]+|[{_PAIR_CLASS}]+|[{_EMOJI}]")
_IS_PAIRED = re.compile(f"[{_PAIR_CLASS}]").match
# Where an identifier has parts; each run of ASCII letters and digits; the parts of one.
_HAS_PARTS = re.compile(r"[a-z][A-Z]|[A-Z]{2}[a-z]|[A-Za-z][0-9]|[0-9][A-Za-z]").search
_IDENTIFIERS = re.compile(r"[A-Za-z0-9]+")
_PARTS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
# Languages that are told apart by their signs.
_SIGNED = re.compile(r"(?<![a-z0-9])(?:[a-z]\+\+|[a-z]#)")


@dataclass(frozen=True, slots=True)
class Analysed:
    """`tokens` one after the other, each at its position; `extras` without positions, each once and no token."""

    tokens: list[str]
    extras: list[str]


def analyse(text: str) -> Analysed:
    """What a text is found by. At most TEXT_CHARS_MAX characters of it are looked at."""
    text = text[:TEXT_CHARS_MAX]
    extras: dict[str, None] = {}
    if text.isascii():
        folded = text.lower()
        tokens = _ASCII_RUNS.findall(folded)
        if len(folded) > WORD_CHARS_MAX:
            tokens = [token[:WORD_CHARS_MAX] for token in tokens]
    else:
        normal = unicodedata.normalize("NFKC", text)
        folded = _fold_normal(normal)
        tokens = _cut(folded, extras)
        text = normal
    if _HAS_PARTS(text):
        _add_parts(text, extras)
    if "+" in folded or "#" in folded:
        extras.update(dict.fromkeys(_SIGNED.findall(folded)))
    if extras:
        for token in tokens:
            extras.pop(token, None)
    return Analysed(tokens, list(extras))


def phrases_of(text: str) -> list[tuple[str, ...]]:
    """What a search for this text looks for: runs of tokens that must follow each other, all of them.

    A single character of a script that is cut into pairs is a run of its own: in a text it may be inside of a pair.
    """
    folded = fold(text)
    if _SIGNED.fullmatch(folded):
        return [(folded,)]
    phrases: list[tuple[str, ...]] = []
    run: list[str] = []
    for word in _RUNS.findall(folded):
        if not _IS_PAIRED(word):
            run.append(word[:WORD_CHARS_MAX])
        elif len(word) > 1:
            run.extend(_pairs(word))
        else:
            phrases.extend([tuple(run)] if run else [])
            phrases.append((word,))
            run = []
    return [*phrases, tuple(run)] if run else phrases


def words_of(text: str) -> list[str]:
    """The words of a search as people read them, folded, to be highlighted. Never more than TERMS_MAX."""
    return list(dict.fromkeys(_RUNS.findall(fold(text))))[:TERMS_MAX]


def fold(text: str) -> str:
    """One form for all ways to write the same."""
    text = text[:TEXT_CHARS_MAX]
    return text.lower() if text.isascii() else _fold_normal(unicodedata.normalize("NFKC", text))


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


def _fold_normal(normal: str) -> str:
    folded = normal.casefold().translate(_FOLDED)
    return folded if folded.isascii() else unicodedata.normalize("NFKC", folded)


def _cut(folded: str, extras: dict[str, None]) -> list[str]:
    tokens: list[str] = []
    for run in _RUNS.findall(folded):
        if run < "\x80":
            tokens.append(run[:WORD_CHARS_MAX])
            if not run.isascii():
                _add_plain(run, extras)
        elif not _IS_PAIRED(run):
            tokens.append(run[:WORD_CHARS_MAX])
            _add_plain(run, extras)
        elif len(run) == 1:
            tokens.append(run)
        else:
            tokens.extend(_pairs(run))
            extras.update(dict.fromkeys(run))
    return tokens


def _add_plain(run: str, extras: dict[str, None]) -> None:
    word = run[:WORD_CHARS_MAX]
    plain = without_marks(word)
    if plain != word:
        extras[plain] = None


def _add_parts(text: str, extras: dict[str, None]) -> None:
    for word in _IDENTIFIERS.findall(text):
        if len(word) <= WORD_CHARS_MAX and _HAS_PARTS(word):
            extras.update(dict.fromkeys(part.lower() for part in _PARTS.findall(word)))


def _pairs(run: str) -> list[str]:
    return [run[at : at + 2] for at in range(len(run) - 1)]
