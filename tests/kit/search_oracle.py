"""What a search finds, by looking at every document: what each tier is held against."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from hypothesis import strategies as st

from search.analyser import analyse
from search.tiers import (
    All,
    AnyOf,
    Between,
    Document,
    Findings,
    Fuzzy,
    Has,
    Hit,
    InRooms,
    InThread,
    LinksTo,
    Mentions,
    Not,
    Phrase,
    Prefix,
    Query,
    Question,
    Senders,
    Term,
    Types,
)

TEXTS = (
    "Hello World, hello again",
    "the world is enough",
    "今天天气很好",
    "天气 forecast for 今天",
    "서버가 복구되었습니다",
    "naïve café in Köln",
    "getUserName calls flag_check.exe",
    "see https://example.org/build/17",
    "hallo welt",
    "word worse worth world",
    "👍",
    "ok",
)
USERS = ("@alice:a", "@bob:b", "@carol:c")
ROOMS = ("!one:a", "!two:a", "!three:b")
HOSTS = ("example.org", "a.b.example.org", "b.example.org", "test", "10.0.0.1")
KINDS = ("link", "image", "code", "url")
KEYS = ("content.body", "content.name")
TYPES = ("m.room.message", "m.room.name")
_WORDS = (
    *("hello", "world", "cafe", "café", "name", "flag", "17", "the", "👍", "nothing"),
    *("今天", "天气", "气", "天", "복", "서버"),
)


def matches(query: Query, document: Document) -> bool:
    """Whether a document is what a query means."""
    match query:
        case Term(token):
            return token in document.tokens or token in document.extras
        case Phrase(tokens):
            held = list(document.tokens)
            return any(tuple(held[at : at + len(tokens)]) == tokens for at in range(len(held) - len(tokens) + 1))
        case Prefix(token):
            return any(one.startswith(token) for one in (*document.tokens, *document.extras))
        case Fuzzy(token, distance):
            return any(edits(token, one) <= distance for one in (*document.tokens, *document.extras))
        case All(parts):
            return all(matches(part, document) for part in parts)
        case AnyOf(parts):
            return any(matches(part, document) for part in parts)
        case Not(part):
            return not matches(part, document)
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
            return any(f".{one}".endswith(f".{host}") for one in document.hosts)
        case _:
            raise AssertionError(query)


def edits(one: str, other: str) -> int:
    """Letters to insert, take out, replace, or exchange with their neighbour, to come from one word to another."""
    rows = [list(range(len(other) + 1))]
    for i, left in enumerate(one, 1):
        row = [i]
        for j, right in enumerate(other, 1):
            best = min(row[j - 1] + 1, rows[-1][j] + 1, rows[-1][j - 1] + (left != right))
            if i > 1 and j > 1 and left == other[j - 2] and one[i - 2] == right:
                best = min(best, rows[-2][j - 2] + 1)
            row.append(best)
        rows.append(row)
    return rows[-1][-1]


def find(documents: Iterable[Document], question: Question) -> Findings:
    """All that the question asks for among these documents, which are the newest of their events."""
    found = [
        one
        for one in documents
        if one.event_nid <= question.upto
        and one.key in question.keys
        and _in_scope(one, question)
        and matches(question.query, one)
    ]
    hits = [
        Hit(
            one.event_nid,
            one.source_nid,
            one.room_nid,
            one.rank,
            (one.rank if question.by_rank else one.time_ms, one.event_nid),
        )
        for one in found
    ]
    hits.sort(key=lambda hit: hit.cursor, reverse=True)
    page = [hit for hit in hits if question.after is None or hit.cursor < question.after]
    return Findings(page[: question.limit], len(hits))


def _in_scope(document: Document, question: Question) -> bool:
    intervals = question.scope.get(document.room_nid, ())
    places = (document.place, document.source_place if document.source_place is not None else document.place)

    def is_seen(place: int) -> bool:
        return any(first <= place <= last for first, last in intervals)

    return all(map(is_seen, places)) and not any(map(is_seen, document.later))


def words() -> st.SearchStrategy[str]:
    return st.sampled_from(_WORDS)


def queries() -> st.SearchStrategy[Query]:
    """Trees of everything that a query can have."""
    leaves: st.SearchStrategy[Query] = st.one_of(
        words().map(Term),
        st.sampled_from(TEXTS).flatmap(_phrases),
        st.sampled_from(("he", "wor", "name", "天气", "k", "서")).map(Prefix),
        st.builds(Fuzzy, st.sampled_from(("hallo", "wrold", "welt", "cafe")), st.sampled_from((1, 2))),
        st.frozensets(st.sampled_from(USERS), max_size=2).map(Senders),
        st.frozensets(st.sampled_from(TYPES), max_size=2).map(Types),
        st.frozensets(st.sampled_from(ROOMS), max_size=2).map(InRooms),
        st.builds(Between, st.none() | st.integers(0, 60), st.none() | st.integers(0, 60)),
        st.sampled_from(KINDS).map(Has),
        st.just(InThread()),
        st.sampled_from(USERS).map(Mentions),
        st.sampled_from((*HOSTS, "example.org", "b.example.org")).map(LinksTo),
    )
    return st.recursive(
        leaves,
        lambda parts: st.one_of(
            st.lists(parts, max_size=3).map(lambda some: All(tuple(some))),
            st.lists(parts, max_size=3).map(lambda some: AnyOf(tuple(some))),
            parts.map(Not),
        ),
        max_leaves=6,
    )


def _phrases(text: str) -> st.SearchStrategy[Query]:
    tokens = analyse(text).tokens
    return st.tuples(st.integers(0, len(tokens) - 1), st.integers(1, 3)).map(
        lambda span: Phrase(tuple(tokens[span[0] : span[0] + span[1]]))
    )


@st.composite
def documents(draw: st.DrawFn, *, count: int = 12) -> Sequence[Document]:
    """Documents of `count` events at most; some were edited: what they said before are documents too."""
    made = []
    for nid in range(1, draw(st.integers(0, count)) + 1):
        room = draw(st.integers(0, len(ROOMS) - 1))
        analysed = analyse(draw(st.sampled_from(TEXTS)))
        edits = [nid + 100 * number for number in range(draw(st.sampled_from((0, 0, 1, 2, 5))), 0, -1)]
        latest = Document(
            event_nid=nid,
            room_nid=room + 1,
            place=nid,
            source_nid=edits[0] if edits else nid,
            source_place=edits[0] if edits else None,
            version=nid + 100,
            received_ms=draw(st.integers(20, 60)),
            origin_server_ts=draw(st.integers(0, 60)),
            event_id=f"$event{nid}",
            room_id=ROOMS[room],
            sender=draw(st.sampled_from(USERS)),
            type=draw(st.sampled_from(TYPES)),
            key=draw(st.sampled_from(KEYS)),
            tokens=analysed.tokens,
            extras=analysed.extras,
            has=draw(st.frozensets(st.sampled_from(KINDS))),
            mentions=draw(st.lists(st.sampled_from(USERS), max_size=2, unique=True)),
            hosts=draw(st.lists(st.sampled_from(HOSTS), max_size=2, unique=True)),
            thread_root=draw(st.none() | st.just("$root")),
            slots=len(edits),
        )
        made.append(latest)
        for slot, source in enumerate([*edits[1:], nid] if edits else (), 1):
            before = analyse(draw(st.sampled_from(TEXTS)))
            old = replace(latest, source_nid=source, source_place=source if source != nid else None)
            old = replace(old, later=edits[:slot], slot=slot, tokens=before.tokens, extras=before.extras)
            made.append(old)
    return made


@st.composite
def questions(draw: st.DrawFn) -> Question:
    """What anybody might ask of such documents: scopes of one interval, of several, of whole rooms."""
    scope: dict[int, list[tuple[int, int]]] = {}
    for room_nid in draw(st.frozensets(st.integers(1, len(ROOMS)))):
        ends = sorted(draw(st.frozensets(st.integers(0, 520), min_size=2, max_size=6)))
        intervals = list(zip(ends[::2], ends[1::2], strict=False))
        scope[room_nid] = draw(st.sampled_from((intervals, [(-(2**62), 2**62)])))
    return Question(
        query=draw(queries()),
        scope=scope,
        keys=frozenset(draw(st.lists(st.sampled_from(KEYS), min_size=1))),
        by_rank=draw(st.booleans()),
        upto=draw(st.sampled_from((5, 2**62))),
        limit=draw(st.integers(1, 5)),
    )
