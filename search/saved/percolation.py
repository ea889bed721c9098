"""Which of many queries a document matches. Pure.

Most queries can't match without one certain word: only those are looked at whose word a document has.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Generic, TypeVar

from search.tiers import (
    All,
    AnyOf,
    Between,
    Document,
    Fuzzy,
    Has,
    InRooms,
    InThread,
    LinksTo,
    Mentions,
    Not,
    Phrase,
    Prefix,
    Query,
    Senders,
    Term,
    Types,
    hosts_of,
)

K = TypeVar("K")


class Percolator(Generic[K]):
    """Queries by their key, each found by a word that it can't do without."""

    def __init__(self, queries: Mapping[K, Query]) -> None:
        self._queries = dict(queries)
        self._by_word: dict[str, list[K]] = {}
        self._others: list[K] = []
        for key, query in self._queries.items():
            word = _needed(query)
            if word is None:
                self._others.append(key)
            else:
                self._by_word.setdefault(word, []).append(key)

    def matching(self, document: Document) -> list[K]:
        """The keys of the queries that find this document."""
        words = frozenset((*document.tokens, *document.extras))
        found = [key for word in words for key in self._by_word.get(word, ())]
        return [key for key in (*found, *self._others) if matches(self._queries[key], document, words)]


def matches(query: Query, document: Document, words: frozenset[str]) -> bool:
    """Whether a tier would find it. `words` are the document's tokens and extras."""
    match query:
        case Term(token):
            return token in words
        case Phrase(tokens):
            return _follow(tokens, document.tokens)
        case Prefix(token):
            return any(word.startswith(token) for word in words)
        case Fuzzy(token, distance):
            return any(_is_alike(token, word, distance) for word in words)
        case All(parts):
            return all(matches(part, document, words) for part in parts)
        case AnyOf(parts):
            return any(matches(part, document, words) for part in parts)
        case Not(part):
            return not matches(part, document, words)
        case _:
            return _has(query, document)


def _has(query: Query, document: Document) -> bool:
    match query:
        case Senders(user_ids):
            return document.sender in user_ids
        case Types(types):
            return document.type in types
        case InRooms(room_ids):
            return document.room_id in room_ids
        case Between(after, before):
            said = document.origin_server_ts
            return (after is None or after <= said) and (before is None or said < before)
        case Has(kind):
            return kind in document.has
        case InThread():
            return document.thread_root is not None
        case Mentions(user_id):
            return user_id in document.mentions
        case LinksTo(host):
            return host in hosts_of(document.hosts)
        case _:
            raise TypeError(type(query))


def _follow(wanted: tuple[str, ...], tokens: Iterable[str]) -> bool:
    held = list(tokens)
    first = wanted[0]
    return any(
        token == first and tuple(held[at : at + len(wanted)]) == wanted
        for at, token in enumerate(held[: len(held) - len(wanted) + 1])
    )


def _needed(query: Query) -> str | None:
    """A word without which nothing matches; the longest, which is the rarest."""
    match query:
        case Term(token):
            return token
        case Phrase(tokens):
            return max(tokens, key=len)
        case All(parts):
            needed = [word for part in parts if (word := _needed(part)) is not None]
            return max(needed, key=len, default=None)
        case _:
            return None


def _is_alike(wanted: str, word: str, distance: int) -> bool:
    """Whether so many letters inserted, taken out, replaced, or exchanged with their neighbour, make one the other."""
    if abs(len(wanted) - len(word)) > distance:
        return False
    before: list[int] = []
    row = list(range(len(word) + 1))
    for i, left in enumerate(wanted, 1):
        earlier, before, row = before, row, [i]
        for j, right in enumerate(word, 1):
            best = min(row[j - 1] + 1, before[j] + 1, before[j - 1] + (left != right))
            if i > 1 and j > 1 and left == word[j - 2] and wanted[i - 2] == right:
                best = min(best, earlier[j - 2] + 1)
            row.append(best)
        if min(row) > distance:
            return False
    return row[-1] <= distance
