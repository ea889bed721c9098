"""The words by which somebody is found: of a display name in any script, and of a user id.

Folded and cut as messages are for the search. Scripts that write no spaces (Chinese, Japanese, Thai…) give a word for
each place at which one could begin, so that what a word begins with finds it in the middle of a name as well.
"""

from __future__ import annotations

from homeserver.core.folding import fold, is_paired, runs_of, without_marks

WORDS_MAX = 64
WORD_CHARS_MAX = 64
TERMS_MAX = 8
TEXT_CHARS_MAX = 300


def words_of(display_name: str | None, user_id: str) -> frozenset[str]:
    """All words that find this user; at most WORDS_MAX of the name beside those of the id."""
    localpart = user_id[1:].partition(":")[0]
    found = {_cut(_fold(user_id)), _cut(_fold(localpart))}
    found.update(_runs(localpart))
    named: list[str] = []
    for run in _runs(display_name or ""):
        named.append(run)
        if is_paired(run):
            named.extend(run[at:] for at in range(1, len(run)))
        plain = without_marks(run)
        if plain != run:
            named.append(plain)
    return frozenset(found | set(named[:WORDS_MAX]))


def terms_of(search_term: str) -> tuple[str, ...]:
    """The words that somebody searches for, each of which must begin a word of the name. A user id stays whole."""
    text = search_term.strip()
    if text.startswith("@") and len(text) > 1:
        return (_cut(_fold(text)),)
    return tuple(dict.fromkeys(_runs(text)))[:TERMS_MAX]


def _fold(text: str) -> str:
    folded = fold(text[:TEXT_CHARS_MAX])
    return "".join(char for char in folded if char != "\x00" and not "\ud800" <= char <= "\udfff")


def _cut(word: str) -> str:
    return word[:WORD_CHARS_MAX]


def _runs(text: str) -> list[str]:
    return [_cut(run) for run in runs_of(_fold(text))]
