"""Whether two words are spelt alike: pure."""

from __future__ import annotations


class Spelling:
    """A word, and how many letters others may be off: inserted, left out, replaced, or exchanged with a neighbour."""

    def __init__(self, token: str, distance: int) -> None:
        self._token = token
        self._distance = distance
        # So many letters off, one of these parts at least stands in the other word as it is: an exchange may hit two.
        count = 2 * distance + 1
        size = len(token) // count
        self._parts = [token[at * size : (at + 1) * size if at + 1 < count else None] for at in range(count)]

    def is_alike(self, other: str) -> bool:
        if abs(len(other) - len(self._token)) > self._distance:
            return False
        if not any(part in other for part in self._parts):
            return False
        return self._is_near(other)

    def _is_near(self, other: str) -> bool:
        token, most = self._token, self._distance
        above: list[int] = []
        row = list(range(len(other) + 1))
        for i, left in enumerate(token, 1):
            before, above, row = above, row, [i]
            for j, right in enumerate(other, 1):
                best = min(row[j - 1] + 1, above[j] + 1, above[j - 1] + (left != right))
                if i > 1 and j > 1 and left == other[j - 2] and token[i - 2] == right:
                    best = min(best, before[j - 2] + 1)
                row.append(best)
            if min(row) > most and min(above) > most:
                return False
        return row[-1] <= most
