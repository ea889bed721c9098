"""The words of many texts, quickly: what stands between blanks is analysed once, and remembered.

No word reaches over a blank, so a text's words are those of its pieces.
"""

from __future__ import annotations

from collections.abc import Callable

from search.analyser import analyse

# A longer text is cut off somewhere by the analyser, whatever its pieces are.
WHOLE_CHARS_MAX = 3_000
# Pieces remembered: some hundred bytes each.
PIECES_MAX = 400_000


class Words:
    """`number` gives a word's number."""

    def __init__(self, number: Callable[[str], int]) -> None:
        self._pieces = _Pieces(number)

    def of(self, text: str) -> tuple[set[int], int]:
        """The numbers of a text's words (tokens and extras), and how many tokens it has."""
        if len(text) > WHOLE_CHARS_MAX:
            return self._pieces.numbered(text)
        if len(self._pieces) > PIECES_MAX:
            self._pieces.clear()
        known = self._pieces
        found = [known[piece] for piece in text.split()]
        return set[int]().union(*[one[0] for one in found]), sum([one[1] for one in found])


class _Pieces(dict[str, tuple[tuple[int, ...], int]]):
    def __init__(self, number: Callable[[str], int]) -> None:
        super().__init__()
        self._number = number

    def __missing__(self, piece: str) -> tuple[tuple[int, ...], int]:
        numbers, count = self.numbered(piece)
        found = self[piece] = tuple(numbers), count
        return found

    def numbered(self, text: str) -> tuple[set[int], int]:
        analysed = analyse(text)
        return {self._number(word) for word in (*analysed.tokens, *analysed.extras)}, len(analysed.tokens)
