"""The words of many texts, quickly: what stands between blanks is analysed once, and remembered.

No word reaches over a blank, so a text's words are those of its pieces. Pieces of one plain word, and of signs of
Chinese, Japanese and Korean alone, need no analyser: their words are told at sight, which a test holds against it.
"""

from __future__ import annotations

import re
import unicodedata
from array import array
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from homeserver.core.folding import fold, is_paired
from search.analyser import WORD_CHARS_MAX, analyse

Numbers = npt.NDArray[np.int64]

# A longer text is cut off somewhere by the analyser, whatever its pieces are.
WHOLE_CHARS_MAX = 3_000
# Pieces remembered: some hundred bytes each.
PIECES_MAX = 400_000
# What may stand around a word of ASCII and says nothing; `+` and `#` may be part of a name.
_ENDS = ".,;:!?()[]{}<>\"'`*_-/|=&%$@~^\\"
# Where the plain signs are that are cut into pairs, and what may stand between them.
_SIGNS = ((0x3041, 0x3096), (0x30A1, 0x30FA), (0x30FC, 0x30FE), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xAC00, 0xD7A3))
_BETWEEN = "。、！？，：；（）「」『』.,:;!?()"
_LINE = ord("\n")


class Spread(NamedTuple):
    """The words of some texts: `numbers` of words, each of the text at its place of `texts` (more than once where it
    has a word so often); `tokens` is how many tokens each text has."""

    numbers: Numbers
    texts: Numbers
    tokens: Numbers


class Words:
    """`number` gives a word's number."""

    def __init__(self, number: Callable[[str], int]) -> None:
        self._number = number
        self._of_signs: dict[int, int] = {}
        self._forget()

    def of(self, texts: Sequence[str]) -> Spread:
        """The words (tokens and extras) of each text."""
        if len(self._ids) > PIECES_MAX:
            self._forget()
        ids, counts, id_of = array("q"), list[int](), self._ids.__getitem__
        long = [at for at, text in enumerate(texts) if len(text) > WHOLE_CHARS_MAX]
        left_out = set(long)
        for at, text in enumerate(texts):
            pieces = text.split() if at not in left_out else []
            counts.append(len(pieces))
            ids.extend(map(id_of, pieces))
        self._learn()
        spread = self._spread(np.array(ids, np.int64), np.array(counts, np.int64))
        return self._with_long(spread, texts, long) if long else spread

    def _spread(self, ids: Numbers, counts: Numbers) -> Spread:
        begins, sizes, tokens = (np.frombuffer(one, np.int64)[ids] for one in (self._begins, self._sizes, self._tokens))
        texts = np.repeat(np.arange(len(counts)), counts)
        places = np.arange(int(sizes.sum())) + np.repeat(begins - (np.cumsum(sizes) - sizes), sizes)
        of_texts = np.bincount(texts, tokens, len(counts)).astype(np.int64)
        return Spread(np.frombuffer(self._numbers, np.int64)[places], np.repeat(texts, sizes), of_texts)

    def _with_long(self, spread: Spread, texts: Sequence[str], long: Sequence[int]) -> Spread:
        """With texts that are analysed whole, and not remembered."""
        numbers, owners, tokens = [spread.numbers], [spread.texts], spread.tokens
        for at in long:
            found, tokens[at] = self._analysed(texts[at])
            numbers.append(np.array(found, np.int64))
            owners.append(np.full(len(found), at, np.int64))
        return Spread(np.concatenate(numbers), np.concatenate(owners), tokens)

    def _forget(self) -> None:
        self._ids = _Ids()
        # Of each piece by its id: where its words begin, how many there are, how many are tokens. Nothing has the id 0.
        self._begins, self._sizes, self._tokens = array("q", [0]), array("q", [0]), array("q", [0])
        self._numbers = array("q", [0])

    def _learn(self) -> None:
        """The words of pieces that weren't seen before."""
        number, is_plain = self._number, _plain().fullmatch
        signs, ids = list[str](), list[int]()
        for piece in self._ids.new:
            found: Sequence[int]
            if piece.isascii() and (word := _only_word(piece)):
                found, tokens = (number(word),), 1
            elif is_plain(piece):
                ids.append(len(self._begins))
                signs.append(piece)
                found, tokens = (), 0
            else:
                found, tokens = self._analysed(piece)
            self._begins.append(len(self._numbers))
            self._sizes.append(len(found))
            self._tokens.append(tokens)
            self._numbers.extend(found)
        self._ids.new.clear()
        if signs:
            self._learn_signs(signs, ids)

    def _learn_signs(self, pieces: Sequence[str], ids: Sequence[int]) -> None:
        """The words of pieces of plain signs alone: each sign, and each pair of neighbours, all pieces at once."""
        codes = np.frombuffer("\n".join(["", *pieces, ""]).encode("utf-16-le"), np.uint16).astype(np.int64)
        owners = np.cumsum(codes == _LINE) - 1
        is_sign = _signs()[codes]
        is_pair = is_sign[:-1] & is_sign[1:]
        singles, pairs = np.flatnonzero(is_sign), np.flatnonzero(is_pair)
        is_alone = is_sign[1:-1] & ~is_pair[:-1] & ~is_pair[1:]
        tokens = np.bincount(owners[pairs], minlength=len(pieces)) + np.bincount(
            owners[np.flatnonzero(is_alone) + 1], minlength=len(pieces)
        )
        keys = np.concatenate((codes[singles], codes[pairs] << 16 | codes[pairs + 1]))
        of = np.concatenate((owners[singles], owners[pairs]))
        words, places = np.unique(keys, return_inverse=True)
        numbers = np.array([self._number_of(key) for key in words.tolist()], np.int64)[places]
        sizes = np.bincount(of, minlength=len(pieces))
        begins = len(self._numbers) + np.cumsum(sizes) - sizes
        self._numbers.frombytes(numbers[np.argsort(of, kind="stable")].tobytes())
        for at, begin, size, count in zip(ids, begins.tolist(), sizes.tolist(), tokens.tolist(), strict=True):
            self._begins[at], self._sizes[at], self._tokens[at] = begin, size, count

    def _number_of(self, key: int) -> int:
        """Of a sign, or of a pair: the first above the other's sixteen bits."""
        found = self._of_signs.get(key)
        if found is None:
            word = chr(key >> 16) + chr(key & 0xFFFF) if key >> 16 else chr(key)
            found = self._of_signs[key] = self._number(word)
        return found

    def _analysed(self, text: str) -> tuple[list[int], int]:
        analysed = analyse(text)
        return [self._number(word) for word in (*analysed.tokens, *analysed.extras)], len(analysed.tokens)


class _Ids(dict[str, int]):
    """Piece → its id; `new` are those that got one since it was emptied."""

    def __init__(self) -> None:
        super().__init__()
        self.new: list[str] = []

    def __missing__(self, piece: str) -> int:
        self.new.append(piece)
        found = self[piece] = len(self) + 1
        return found


def _only_word(piece: str) -> str:
    """The word of a piece of ASCII that is one word and nothing else; empty where that isn't sure."""
    word = piece.strip(_ENDS)
    if len(word) > WORD_CHARS_MAX:
        return ""
    if word.isdigit() or (word.isalpha() and (word.islower() or word[1:].islower() or len(word) == 1)):
        return word.lower()
    return ""


@lru_cache(maxsize=1)
def _signs() -> npt.NDArray[np.bool_]:
    """By code point below 65,536 whether it is cut into pairs and stays as it is, whatever stands beside it."""
    found = np.zeros(1 << 16, np.bool_)
    for first, last in _SIGNS:
        for code in range(first, last + 1):
            char = chr(code)
            found[code] = unicodedata.normalize("NFKC", char) == char == fold(char) and is_paired(char)
    return found


@lru_cache(maxsize=1)
def _plain() -> re.Pattern[str]:
    spans, codes = list[str](), np.flatnonzero(_signs())
    for run in np.split(codes, np.flatnonzero(np.diff(codes) > 1) + 1):
        spans.append(f"{chr(run[0])}-{chr(run[-1])}")
    return re.compile(f"[{''.join(spans)}{_BETWEEN}]+")
