"""Where the words of a search stand in a text, as people read it. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from homeserver.core.folding import fold, is_paired, without_marks

Parts = list[tuple[str, bool]]

# Before the first place that is shown of a long text.
LEAD_CHARS = 60


def marked(text: str, words: Sequence[str], chars_max: int) -> Parts:
    """The text in pieces, and whether each is one of the words, which are folded. A long text is cut around the first.

    Words are found as they begin a word of the text, or anywhere in scripts without spaces; with or without accents.
    """
    spans = _spans(text, words)
    begin = 0
    if len(text) > chars_max:
        first = spans[0][0] if spans else 0
        begin = max(0, min(first - LEAD_CHARS, len(text) - chars_max))
    end = min(len(text), begin + chars_max)
    parts: Parts = [("…", False)] if begin else []
    at = begin
    for start, stop in spans:
        if start < at or stop > end:
            continue
        if start > at:
            parts.append((text[at:start], False))
        parts.append((text[start:stop], True))
        at = stop
    if at < end:
        parts.append((text[at:end], False))
    return [*parts, ("…", False)] if end < len(text) else parts


def _spans(text: str, words: Sequence[str]) -> list[tuple[int, int]]:
    """First and last place, exclusive, of what is one of the words; in order, not overlapping."""
    wanted = [word for word in words if word]
    if not wanted:
        return []
    pattern = re.compile(
        "|".join(
            re.escape(word) if is_paired(word) or not word[0].isalnum() else rf"(?<![^\W_]){re.escape(word)}"
            for word in sorted(wanted, key=len, reverse=True)
        )
    )
    found: set[tuple[int, int]] = set()
    for plain in (False, True):
        folded, places = _folded(text, plain=plain)
        for match in pattern.finditer(folded):
            if match.end() > match.start():
                found.add((places[match.start()][0], places[match.end() - 1][1]))
    spans: list[tuple[int, int]] = []
    for start, stop in sorted(found):
        if spans and start < spans[-1][1]:
            spans[-1] = (spans[-1][0], max(stop, spans[-1][1]))
        else:
            spans.append((start, stop))
    return spans


def _folded(text: str, *, plain: bool) -> tuple[str, list[tuple[int, int]]]:
    """The text folded sign by sign (a letter with its marks is one), and where each of the result's came from."""
    pieces: list[str] = []
    places: list[tuple[int, int]] = []
    for match in re.finditer(r"\w[\u0300-\u036f]*|.", text, re.DOTALL):
        piece = fold(match[0])
        piece = without_marks(piece) if plain else piece
        pieces.append(piece)
        places.extend([match.span()] * len(piece))
    return "".join(pieces), places
