"""What somebody types into a search, as a query tree. Pure."""

from __future__ import annotations

from search.analyser import phrases_of
from search.tiers import All, Phrase, Query, Term

TERMS_MAX = 64


def parse(text: str) -> Query | None:
    """All words of it; None where there is nothing to look for."""
    parts: list[Query] = []
    for word in text.split():
        parts.extend(Term(run[0]) if len(run) == 1 else Phrase(run) for run in phrases_of(word))
    return All(tuple(parts[:TERMS_MAX])) if parts else None
