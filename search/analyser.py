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
from dataclasses import dataclass

from homeserver.core.folding import TEXT_CHARS_MAX, fold, fold_normal, is_paired, runs_of, without_marks

# In every index: another number means that the index is built anew.
VERSION = 3

WORD_CHARS_MAX = 64
TERMS_MAX = 32

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
        tokens = runs_of(folded)
        if len(folded) > WORD_CHARS_MAX:
            tokens = [token[:WORD_CHARS_MAX] for token in tokens]
    else:
        normal = unicodedata.normalize("NFKC", text)[:TEXT_CHARS_MAX]
        folded = fold_normal(normal)
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
    for word in runs_of(folded):
        if word.isascii() or not is_paired(word):
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
    return list(dict.fromkeys(runs_of(fold(text))))[:TERMS_MAX]


def _cut(folded: str, extras: dict[str, None]) -> list[str]:
    tokens: list[str] = []
    for run in runs_of(folded):
        if run < "\x80":
            tokens.append(run[:WORD_CHARS_MAX])
            if not run.isascii():
                _add_plain(run, extras)
        elif not is_paired(run):
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
