"""The hot tier of one machine: an index of tantivy in the data folder. Implements `search.tiers.Tier`.

It holds words and numbers, never a text. Everything in it comes from the events, so a folder that is missing, of
another version or damaged is made anew, and filled again from the journal.
"""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import Callable, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import structlog
import tantivy

from homeserver.storage.relations import EDITS_MAX
from search.analyser import VERSION
from search.hot.months import month_of
from search.tiers import (
    FIRST_PLACE,
    LAST_PLACE,
    All,
    AnyOf,
    Between,
    Document,
    Findings,
    Fuzzy,
    Gone,
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
    Refused,
    Scope,
    Senders,
    Term,
    TierFault,
    TierLost,
    Types,
    hosts_of,
)
from search.upkeep.counting import Census, Held, Tally

log = structlog.get_logger()

SCHEMA_VERSION = 5
# Rooms of which parts are seen: up to so many are asked for by their intervals. Of more, what was found in them is gone
# through, unless it is more than so much.
ROOMS_BY_INTERVAL_MAX = 8
GONE_THROUGH_MAX = 20_000
# With the page comes so much more that what ties with its last event is mostly there.
TIES = 32
_RANK_SHIFT = 48  # the order by rank is one number: rank, then event
# The least that the engine takes: each write of a few hundred events is a commit, which costs by this size.
WRITER_BYTES = 15_000_000
_MARK = "filled"
# What a document of what an event said before `has`, beside what others have: no operator asks for it.
_OLD = "old"
# The places of an event's later edits: columns have one value.
_LATER = tuple(f"later{number}" for number in range(1, EDITS_MAX + 1))
_NUMBER = tantivy.FieldType.Integer
_MUST, _SHOULD, _NOT = tantivy.Occur.Must, tantivy.Occur.Should, tantivy.Occur.MustNot
T = TypeVar("T")


class IndexBroken(TierLost):
    """The index can't be read: it has to be made anew."""


def _schema() -> tantivy.Schema:
    builder = tantivy.SchemaBuilder()
    for name in (
        "nid",
        "version",
        "place",
        "source",
        "source_place",
        "said",
        "time",
        "ranked",
        "within",
        "received",
        "check",
        *_LATER,
    ):
        builder.add_integer_field(name, indexed=name in ("nid", "source"), fast=True)
    # What an event said before it was edited isn't found by its room as what it says now.
    for name in ("room", "old_room", "latest"):
        builder.add_integer_field(name, indexed=True, fast=False)
    for name in ("room_id", "sender", "type", "key", "has", "host", "mention"):
        builder.add_text_field(name, tokenizer_name="raw", index_option="basic")
    builder.add_text_field("tokens", tokenizer_name="whitespace", index_option="position")
    builder.add_text_field("extras", tokenizer_name="whitespace", index_option="basic")
    return builder.build()


async def _uninterrupted(work: Coroutine[Any, Any, T]) -> T:
    """Who is cancelled waits all the same: a thread can't be, and whoever has the lock next must find it done."""
    running = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        if not running.cancelled():
            running.exception()  # told to nobody: who asked has gone
        raise


class EmbeddedIndex:
    """One index, written by one process. All calls run in threads, writes one after the other.

    Without `writes` it is read beside the process that writes it, as it was at `open`.
    """

    def __init__(self, folder: Path, *, writes: bool = True) -> None:
        self._folder = folder
        self._writes = writes
        self._schema = _schema()
        self._index: tantivy.Index | None = None
        self._writer: tantivy.IndexWriter | None = None
        self._writing = asyncio.Lock()

    async def open(self) -> bool:
        """Whether it holds what was written before; else it is empty now, and `adopt` says that this is known."""
        async with self._writing:
            return await _uninterrupted(asyncio.to_thread(self._open))

    async def adopt(self) -> None:
        """From now on the index is what was written into it: whoever fills it begins at the beginning.

        Raises IndexBroken.
        """
        await self._in_thread(lambda: (self._folder / _MARK).write_text(f"{VERSION}.{SCHEMA_VERSION}"))

    async def clear(self) -> None:
        """Makes it anew, empty. Until `adopt` it is so at the next start as well. Raises IndexBroken."""
        async with self._writing:
            await _uninterrupted(self._in_thread(self._make))

    async def tidy(self) -> int:
        """It merges by itself."""
        return 0

    async def promote(self) -> None:
        """Which folder answers is written down elsewhere."""

    async def destroy(self) -> None:
        """Nothing of it is left."""
        await self.close()
        await asyncio.to_thread(lambda: shutil.rmtree(self._folder, ignore_errors=True))

    async def close(self) -> None:
        async with self._writing:
            await asyncio.to_thread(self._close)

    async def write(self, documents: Sequence[Document], gone: Sequence[Gone]) -> Sequence[Refused]:
        """Durable when it returns; nothing is refused. Raises TierFault: a full disk is no reason to begin anew."""
        if documents or gone:
            async with self._writing:
                await self._to_the_end(lambda: self._write(documents, gone))
        return ()

    async def find(self, question: Question) -> Findings:
        """Exact counts. Raises IndexBroken."""
        if not question.scope:
            return Findings([], 0)
        return await self._in_thread(lambda: self._find(question))

    async def forget_rooms(self, room_nids: Sequence[int]) -> None:
        async with self._writing:
            await self._to_the_end(lambda: self._remove(("room", "old_room"), room_nids))

    async def let_go(self, documents: Sequence[Gone]) -> None:
        """Removes what these say now without a trace. Raises IndexBroken."""
        if documents:
            async with self._writing:
                await self._to_the_end(lambda: self._remove(("latest",), [one.event_nid for one in documents]))

    async def drop_if_empty(self, month: str) -> None:
        """All months are in one."""

    async def count(self) -> int:
        """How many events it finds."""
        return await self._in_thread(lambda: _count(self._searcher(), self._latest()))

    async def size(self) -> int:
        """Bytes on the disk."""
        return await self._in_thread(lambda: sum(one.stat().st_size for one in self._folder.iterdir() if one.is_file()))

    async def health(self) -> str:
        """Nothing of its own: it is a folder."""
        return ""

    async def census(self) -> Census:
        """Raises IndexBroken."""
        return await self._in_thread(self._census)

    async def held(self, month: str, room_nid: int) -> Sequence[Held]:
        """Raises IndexBroken."""
        return await self._in_thread(lambda: self._held(month, room_nid))

    async def _to_the_end(self, work: Callable[[], None]) -> None:
        try:
            await _uninterrupted(self._in_thread(work))
        except IndexBroken as error:
            # The engine seldom says that a full disk is what kept it from writing.
            free = shutil.disk_usage(self._folder.parent if not self._folder.exists() else self._folder).free
            raise TierFault(f"the index can't be written ({free} bytes are free on its disk): {error}") from error

    async def _in_thread(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.to_thread(work)
        except (ValueError, OSError, RuntimeError) as error:
            raise IndexBroken(str(error)) from error
        except BaseException as error:
            # What the engine calls a panic is no Exception.
            if type(error).__name__ == "PanicException":
                raise IndexBroken(str(error)) from error
            raise

    def _open(self) -> bool:
        mark = self._folder / _MARK
        try:
            if mark.read_text() == f"{VERSION}.{SCHEMA_VERSION}":
                self._index = tantivy.Index(self._schema, path=str(self._folder), reuse=True)
                self._writer = self._index.writer(WRITER_BYTES, 1) if self._writes else None
                _search(self._searcher(), tantivy.Query.all_query(), 1, "nid")
                return True
        except FileNotFoundError:
            log.info("search_index_missing")
        except (ValueError, OSError, RuntimeError) as error:
            log.warning("search_index_damaged", error=str(error))
        if self._writes:
            self._make()
        return False

    def _make(self) -> None:
        self._close()
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True, exist_ok=True)
        self._index = tantivy.Index(self._schema, path=str(self._folder), reuse=False)
        self._writer = self._index.writer(WRITER_BYTES, 1)

    def _close(self) -> None:
        writer, self._index, self._writer = self._writer, None, None
        if writer is not None:
            writer.wait_merging_threads()  # which gives back the folder's lock

    def _opened(self) -> tuple[tantivy.Index, tantivy.IndexWriter]:
        if self._index is None or self._writer is None:
            raise RuntimeError("the index isn't open")
        return self._index, self._writer

    def _searcher(self) -> tantivy.Searcher:
        if self._index is None:
            raise RuntimeError("the index isn't open")
        return self._index.searcher()

    def _exists(self) -> tantivy.Query:
        return _must_not(tantivy.Query.term_query(self._schema, "room", 0))

    def _latest(self) -> tantivy.Query:
        has_old = tantivy.Query.term_query(self._schema, "has", _OLD)
        return _all([self._exists(), _must_not(has_old)])

    def _write(self, documents: Sequence[Document], gone: Sequence[Gone]) -> None:
        index, writer = self._opened()
        nids = [document.event_nid for document in documents] + [one.event_nid for one in gone]
        versions = self._versions(nids)
        try:
            taken = [one for one in documents if one.version >= versions.get(one.event_nid, 0)]
            for nid in {one.event_nid for one in taken} & versions.keys():
                writer.delete_documents_by_term("nid", nid)
            for document in taken:
                writer.add_document(_stored(document))
                versions[document.event_nid] = document.version
            for one in gone:
                if one.version >= versions.get(one.event_nid, 0):
                    writer.delete_documents_by_term("nid", one.event_nid)
                    # What is left says that it is gone, so that nothing older comes back. No room has the number 0.
                    left = tantivy.Document()
                    for name, value in (("nid", one.event_nid), ("version", one.version), ("room", 0)):
                        left.add_integer(name, value)
                    writer.add_document(left)
            writer.commit()
        except BaseException:
            writer.rollback()
            raise
        index.reload()

    def _versions(self, nids: Sequence[int]) -> dict[int, int]:
        searcher = self._searcher()
        query = tantivy.Query.term_set_query(self._schema, "nid", list(nids))
        places = [place for _, place in searcher.search(query, limit=len(nids) + 1, count=False).hits]
        if not places:
            return {}
        found = zip(
            searcher.fast_field_values("nid", places), searcher.fast_field_values("version", places), strict=True
        )
        return {int(nid or 0): int(version or 0) for nid, version in found}

    def _remove(self, fields: Sequence[str], numbers: Sequence[int]) -> None:
        index, writer = self._opened()
        for number in numbers:
            for field in fields:
                writer.delete_documents_by_term(field, number)
        writer.commit()
        index.reload()

    def _census(self) -> Census:
        tallies: dict[tuple[str, int], Tally] = {}
        for received, room, _, check in self._columns(self._exists()):
            group = month_of(received), room
            tallies[group] = tallies.get(group, Tally(0, 0)).plus(check)
        return tallies

    def _held(self, month: str, room_nid: int) -> Sequence[Held]:
        found = self._columns(_any([_term(self._schema, name, room_nid) for name in ("room", "old_room")]))
        return [Held(nid, "", check) for received, _, nid, check in found if month_of(received) == month]

    def _columns(self, query: tantivy.Query) -> Iterator[tuple[int, int, int, int]]:
        """received, room, number and checksum of all that a query finds."""
        searcher = self._searcher()
        if count := _count(searcher, query):
            places = [place for _, place in searcher.search(query, limit=count, count=False).hits]
            columns = [_column(searcher, name, places) for name in ("received", "within", "nid", "check")]
            yield from zip(*columns, strict=True)

    def _find(self, question: Question) -> Findings:
        schema, searcher = self._schema, self._searcher()
        order = "ranked" if question.by_rank else "time"
        try:
            asked, before = _asked(schema, question), _before(schema, question)
        except (ValueError, OverflowError) as error:
            # What this engine can't be asked says nothing of the index.
            raise TierFault(f"no question for this index: {error}") from error
        base = _all([_scope(schema, searcher, question.scope, asked), asked])
        wanted = base if before is None else _all([base, before])
        places, count = _search(searcher, wanted, question.limit + TIES, order)
        hits = _hits(searcher, places, by_rank=question.by_rank)
        if not question.by_rank and len(hits) == question.limit + TIES:
            last_ms = int(hits[-1].cursor[0])
            if hits[question.limit - 1].cursor[0] == last_ms:
                # Of those that tie with the last, others may come first.
                tied = _all([wanted, _range(schema, order, last_ms, last_ms)])
                more, _ = _search(searcher, tied, question.limit, "nid")
                hits = [*(hit for hit in hits if hit.cursor[0] > last_ms), *_hits(searcher, more, by_rank=False)]
        return Findings(hits[: question.limit], count if before is None else _count(searcher, base))


def _asked(schema: tantivy.Schema, question: Question) -> tantivy.Query:
    return _all(
        [
            _query(schema, question.query),
            tantivy.Query.term_set_query(schema, "key", sorted(question.keys)),
            _range(schema, "nid", None, question.upto),
        ]
    )


def _before(schema: tantivy.Schema, question: Question) -> tantivy.Query | None:
    """What comes behind the cursor, where there is one."""
    if question.after is None:
        return None
    value, nid = int(question.after[0]), question.after[1]
    if question.by_rank:
        return _range(schema, "ranked", None, (value << _RANK_SHIFT | nid) - 1)
    tied = _all([_range(schema, "time", value, value), _range(schema, "nid", None, nid - 1)])
    return _any([_range(schema, "time", None, value - 1), tied])


def _search(
    searcher: tantivy.Searcher, query: tantivy.Query, limit: int, order: str
) -> tuple[list[tantivy.DocAddress], int]:
    """The first ones, the highest in `order` first, and how many there are."""
    found: Any = searcher.search(query, limit=limit, count=True, order_by_field=order)  # whose type lacks the count
    return [place for _, place in found.hits], int(found.count or 0)


def _hits(searcher: tantivy.Searcher, places: list[tantivy.DocAddress], *, by_rank: bool) -> list[Hit]:
    names = ("nid", "source", "within", "time", "ranked")
    columns = [_column(searcher, name, places) for name in names]
    hits = [
        Hit(nid, source, room, float(ranked >> _RANK_SHIFT), (ranked >> _RANK_SHIFT if by_rank else time, nid))
        for nid, source, room, time, ranked in zip(*columns, strict=True)
    ]
    return sorted(hits, key=lambda hit: hit.cursor, reverse=True)


def _column(searcher: tantivy.Searcher, name: str, places: list[tantivy.DocAddress]) -> list[int]:
    return [int(value or 0) for value in searcher.fast_field_values(name, places)]


def _count(searcher: tantivy.Searcher, query: tantivy.Query) -> int:
    return _search(searcher, query, 1, "nid")[1]


def _stored(document: Document) -> tantivy.Document:
    made = tantivy.Document()
    number, text, rank = made.add_integer, made.add_text, document.rank
    number("nid", document.event_nid)
    number("version", document.version)
    number("place", document.place)
    number("source", document.source_nid)
    number("source_place", document.place if document.source_place is None else document.source_place)
    number("said", document.origin_server_ts)
    number("time", document.time_ms)
    number("ranked", rank << _RANK_SHIFT | document.event_nid)
    number("within", document.room_nid)
    number("room" if not document.later else "old_room", document.room_nid)
    if not document.later:
        number("latest", document.event_nid)
    for name, place in zip(_LATER, document.later, strict=False):
        number(name, place)
    number("received", document.received_ms)
    number("check", document.checksum)
    text("room_id", document.room_id)
    text("sender", document.sender)
    text("type", document.type)
    text("key", document.key)
    marks = (*(("thread",) if document.thread_root is not None else ()), *((_OLD,) if document.later else ()))
    for kind in (*document.has, *marks):
        made.add_text("has", kind)
    for host in hosts_of(document.hosts):
        made.add_text("host", host)
    for user_id in document.mentions:
        made.add_text("mention", user_id)
    made.add_text("tokens", " ".join(document.tokens))
    if document.extras:
        made.add_text("extras", " ".join(document.extras))
    return made


def _scope(schema: tantivy.Schema, searcher: tantivy.Searcher, scope: Scope, asked: tantivy.Query) -> tantivy.Query:
    """Rooms that are seen whole as one set; of others, their intervals.

    Intervals of many rooms cost an engine more than what is found in them: then this is gone through by itself, and the
    events that may be seen are the scope. So is what was said before it was edited.
    """
    whole = [nid for nid, spans in scope.items() if any(a <= FIRST_PLACE and b >= LAST_PLACE for a, b in spans)]
    taken = set(whole)
    parted = {nid: spans for nid, spans in scope.items() if nid not in taken and spans}
    parts = [tantivy.Query.term_set_query(schema, "room", whole)] if whole else []
    if not parted:
        return _any(parts)
    in_old = _gone_through(schema, searcher, parted, asked, "old_room")
    if in_old is None:
        parts += [_intervals(schema, "old_room", room_nid, spans) for room_nid, spans in parted.items()]
    in_latest = None
    if len(parted) > ROOMS_BY_INTERVAL_MAX:
        in_latest = _gone_through(schema, searcher, parted, asked, "room")
    if in_latest is None:
        parts += [_intervals(schema, "room", room_nid, spans) for room_nid, spans in parted.items()]
    seen = [*(in_old or ()), *(in_latest or ())]
    return _any([*parts, *([tantivy.Query.term_set_query(schema, "source", seen)] if seen else [])])


def _gone_through(
    schema: tantivy.Schema, searcher: tantivy.Searcher, parted: Scope, asked: tantivy.Query, field: str
) -> list[int] | None:
    """What says that which may be seen in these rooms; None where that is too much to go through."""
    within = _all([tantivy.Query.term_set_query(schema, field, list(parted)), asked])
    places, count = _search(searcher, within, GONE_THROUGH_MAX, "nid")
    if count > GONE_THROUGH_MAX:
        return None
    if not places:
        return []
    later = _LATER if field == "old_room" else ()
    names = ("source", "within", "place", "source_place")
    sources, rooms, own, said = (_column(searcher, name, places) for name in names)
    edits = [searcher.fast_field_values(name, places) for name in later]
    return [
        source
        for source, room, place, edit, *after in zip(sources, rooms, own, said, *edits, strict=True)
        if _is_within(parted[room], place)
        and (edit == place or _is_within(parted[room], edit))
        and not any(_is_within(parted[room], int(one)) for one in after if one is not None)
    ]


def _is_within(spans: Sequence[tuple[int, int]], place: int) -> bool:
    return any(first <= place <= last for first, last in spans)


def _intervals(schema: tantivy.Schema, field: str, room_nid: int, spans: Sequence[tuple[int, int]]) -> tantivy.Query:
    later = _LATER if field == "old_room" else ()
    return _all(
        [
            _term(schema, field, room_nid),
            *(_any([_range(schema, name, *span) for span in spans]) for name in ("place", "source_place")),
            *(_must_not(_any([_range(schema, name, *span) for span in spans])) for name in later),
        ]
    )


def _query(schema: tantivy.Schema, query: Query) -> tantivy.Query:
    match query:
        case Term(token):
            return _either(lambda field: tantivy.Query.term_query(schema, field, token))
        case Phrase(tokens):
            if len(tokens) == 1:
                return tantivy.Query.term_query(schema, "tokens", tokens[0])
            return tantivy.Query.phrase_query(schema, "tokens", list(tokens))
        case Prefix(token):
            pattern = re.escape(token) + ".*"
            return _either(lambda field: tantivy.Query.regex_query(schema, field, pattern))
        case Fuzzy(token, distance):
            return _either(lambda field: tantivy.Query.fuzzy_term_query(schema, field, token, distance))
        case All(parts):
            return _all([_query(schema, part) for part in parts])
        case AnyOf(parts):
            return _any([_query(schema, part) for part in parts])
        case Not(part):
            return _must_not(_query(schema, part))
        case _:
            return _has(schema, query)


def _has(schema: tantivy.Schema, query: Query) -> tantivy.Query:
    match query:
        case Senders(user_ids):
            return tantivy.Query.term_set_query(schema, "sender", sorted(user_ids))
        case Types(types):
            return tantivy.Query.term_set_query(schema, "type", sorted(types))
        case InRooms(room_ids):
            return tantivy.Query.term_set_query(schema, "room_id", sorted(room_ids))
        case Between(after, before):
            return _range(schema, "said", after, None if before is None else before - 1)
        case Has(kind):
            return tantivy.Query.term_query(schema, "has", kind)
        case InThread():
            return tantivy.Query.term_query(schema, "has", "thread")
        case Mentions(user_id):
            return tantivy.Query.term_query(schema, "mention", user_id)
        case LinksTo(host):
            return tantivy.Query.term_query(schema, "host", host)
        case _:
            raise TypeError(type(query))


def _term(schema: tantivy.Schema, field: str, value: int) -> tantivy.Query:
    return tantivy.Query.term_query(schema, field, value)


def _range(schema: tantivy.Schema, field: str, first: int | None, last: int | None) -> tantivy.Query:
    if first is None and last is None:
        return tantivy.Query.all_query()
    return tantivy.Query.range_query(schema, field, _NUMBER, first, last)


def _either(leaf: Callable[[str], tantivy.Query]) -> tantivy.Query:
    return _any([leaf("tokens"), leaf("extras")])


def _all(parts: Sequence[tantivy.Query]) -> tantivy.Query:
    if not parts:
        return tantivy.Query.all_query()
    return parts[0] if len(parts) == 1 else tantivy.Query.boolean_query([(_MUST, part) for part in parts])


def _any(parts: Sequence[tantivy.Query]) -> tantivy.Query:
    if not parts:
        return tantivy.Query.empty_query()
    return parts[0] if len(parts) == 1 else tantivy.Query.boolean_query([(_SHOULD, part) for part in parts])


def _must_not(part: tantivy.Query) -> tantivy.Query:
    return tantivy.Query.boolean_query([(_MUST, tantivy.Query.all_query()), (_NOT, part)])
