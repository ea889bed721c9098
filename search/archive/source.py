"""Reads what is archived from the database: messages as they are now, by room and place."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import orjson

from homeserver.core.folding import TEXT_CHARS_MAX
from homeserver.core.relations import REPLACE, THREAD, relation_in
from homeserver.storage import events, relations
from homeserver.storage.bodies import Line, whole
from homeserver.storage.database import Database, Reader
from search.archive.rows import Row
from search.archive.terms import Damaged
from search.documents import BODY, KEYS, is_edit, is_reply, kinds_in, mentions_in, text_in
from search.hot.months import BOUNDS_S
from search.reading import latest_edit

# Messages read at once: some megabytes.
PAGE = 2_000
_FARTHEST_MS = 2**61

_COUNTS = """
    SELECT to_char(
        to_timestamp(least(greatest(coalesce(received_ms, origin_server_ts) / 1000, $1), $2)) AT TIME ZONE 'UTC',
        'YYYY-MM'
    ) AS month, count(*) AS events
    FROM events
    WHERE coalesce(received_ms, origin_server_ts) >= $3 AND coalesce(received_ms, origin_server_ts) < $4
      AND ordering IS NOT NULL AND flags = 0
    GROUP BY 1 ORDER BY 1
"""
_NIDS = """
    SELECT room_nid, array_agg(event_nid ORDER BY ordering) AS nids FROM events
    WHERE coalesce(received_ms, origin_server_ts) >= $1 AND coalesce(received_ms, origin_server_ts) < $2
      AND room_nid % $3 = $4 AND room_nid <> ALL($5::bigint[]) AND ($6::bigint[] IS NULL OR room_nid = ANY($6))
      AND ordering IS NOT NULL AND flags = 0 AND redacted_by IS NULL
    GROUP BY room_nid ORDER BY room_nid
"""
_PAGE = """
    SELECT e.event_nid, e.room_nid, e.ordering, e.event_id, e.origin_server_ts,
        coalesce(e.received_ms, e.origin_server_ts) AS received_ms, e.json, r.room_id,
        EXISTS (
            SELECT FROM event_relations l WHERE l.relates_to = e.event_id AND l.rel_type = 'm.replace'
        ) AS is_edited
    FROM events e JOIN rooms r USING (room_nid)
    WHERE e.event_nid = ANY($1::bigint[]) AND e.ordering IS NOT NULL AND e.flags = 0 AND e.redacted_by IS NULL
    ORDER BY e.room_nid, e.ordering
"""
_JSON = "SELECT event_nid, json FROM events WHERE event_nid = ANY($1::bigint[])"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which rooms of a month and bucket: all but some, or (where `only` is given) those alone."""

    month_span: tuple[int, int]
    buckets: int
    bucket: int
    without: frozenset[int] = frozenset()
    only: frozenset[int] | None = None


# A message as the database has it: number, room, place, id, both times, bytes, the room's id; and number, place, id and
# bytes of its latest edit. A tuple, since many go to another process.
Said = tuple[int, int, int, str, int, int, bytes, str, tuple[int, int, str, bytes] | None]


async def counts(db: Database, span: tuple[int, int]) -> dict[str, int]:
    """How many events of timelines each month of a span of milliseconds has. Goes through all events of it."""
    async with db.unhurried() as tx:
        rows = await tx.fetch(_COUNTS, *BOUNDS_S, *span)
        return {row["month"]: row["events"] for row in rows}


async def chosen(db: Database, choice: Choice) -> list[int]:
    """The numbers of events that may be messages, by room and place."""
    only = None if choice.only is None else list(choice.only)
    async with db.unhurried() as tx:
        rows = await tx.fetch(_NIDS, *choice.month_span, choice.buckets, choice.bucket, list(choice.without), only)
    return [nid for row in rows for nid in row["nids"]]


async def pages(db: Reader, nids: Sequence[int]) -> AsyncIterator[list[Said]]:
    """What these events say now, in their order; the next page is read while one is worked on. One query a page,
    and four where some were edited. Raises Damaged where a body can't be had.
    """
    ahead: asyncio.Future[list[Said]] | None = None
    try:
        for at in range(0, len(nids), PAGE):
            page = await (ahead or _page(db, nids[at : at + PAGE]))
            ahead = None
            if at + PAGE < len(nids):
                ahead = asyncio.ensure_future(_page(db, nids[at + PAGE : at + 2 * PAGE]))
            yield page
    finally:
        if ahead is not None:
            ahead.cancel()


async def _page(db: Reader, nids: Sequence[int]) -> list[Said]:
    read = await db.fetch(_PAGE, nids)
    rows = await whole(db, read)
    if len(rows) < len(read):
        raise Damaged("bodies of events can't be read")
    edits = await _edits(db, [row["event_nid"] for row in rows if row["is_edited"]])
    return [_said(row, edits.get(row["event_nid"])) for row in rows]


def _said(row: Line, edit: tuple[int, int, str, bytes] | None) -> Said:
    nid, room_nid, place, event_id, said_ms, received_ms, json, room_id, _ = row.values()
    return nid, room_nid, place, event_id, said_ms, received_ms, json, room_id, edit


async def _edits(db: Reader, nids: Sequence[int]) -> dict[int, tuple[int, int, str, bytes]]:
    """Of events that were edited, what says them now."""
    if not nids:
        return {}
    shown = [one for one in await events.by_nids(db, nids) if one.redacted_by is None and not is_edit(one.event)]
    children = await relations.children(db, [(one.room_nid, one.event) for one in shown]) if shown else {}
    wanted = {nid for ones in children.values() for child in ones if child.rel_type == REPLACE for nid in child.nids}
    # The bytes first: what is redacted in between is left out by what is read next.
    raw = {row["event_nid"]: row["json"] for row in await db.fetch(_JSON, list(wanted))} if wanted else {}
    edits = {one.nid: one for one in await events.by_nids(db, wanted)} if wanted else {}
    found: dict[int, tuple[int, int, str, bytes]] = {}
    for one in shown:
        edit = latest_edit(one, children[one.event.event_id], edits)
        if edit is not None and edit.ordering is not None and edit.nid in raw:
            found[one.nid] = (edit.nid, edit.ordering, edit.event.event_id, raw[edit.nid])
    return found


class _Event(msgspec.Struct, gc=False):
    """What a row needs of an event: the rest of its bytes is passed over."""

    type: str
    sender: str
    content: dict[str, Any]
    state_key: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_one_event = msgspec.json.Decoder(_Event).decode
_many_events = msgspec.json.Decoder(list[_Event]).decode
# Of a message that has nothing else: its text is what it is found by.
_SIMPLE = frozenset(("body", "msgtype", "m.mentions"))
_NO_KINDS: tuple[frozenset[str], list[str]] = frozenset(), []
_NOTHING: tuple[str, ...] = ()


def rows_of(said: Sequence[Said], version: int) -> list[Row]:
    """Those that can't be read, or say nothing that is found, are left out."""
    rows = []
    for one, event in zip(said, _events(said), strict=True):
        if event is not None:
            with contextlib.suppress(ValueError, TypeError, LookupError, AttributeError, RecursionError):
                if (row := _row(one, event, version)) is not None:
                    rows.append(row)
    return rows


def _events(said: Sequence[Said]) -> Sequence[_Event | None]:
    """All at once; where one of them can't be read, one by one."""
    try:
        events = _many_events(b"[" + b",".join([one[6] for one in said]) + b"]")
        if len(events) == len(said):
            return events
    except (ValueError, RecursionError):
        pass
    return [_event(one[6]) for one in said]


def _event(json: bytes) -> _Event | None:
    try:
        return _one_event(json)
    except (ValueError, RecursionError):
        return None


def _row(said: Said, event: _Event, version: int) -> Row | None:
    nid, room_nid, place, event_id, said_ms, received_ms, json, room_id, edit = said
    kind, original = event.type, event.content
    key = KEYS.get(kind)
    if key is None or (event.state_key is not msgspec.UNSET) == (key == BODY):
        return None
    thread, body = None, original.get("body")
    mentions: Sequence[str] = _NOTHING
    if edit is None and kind == "m.room.message" and original.keys() <= _SIMPLE and isinstance(body, str):
        content, text = original, body[:TEXT_CHARS_MAX]
        if "m.mentions" in original:
            mentions = mentions_in(original)
    else:
        relation = relation_in(original) if key == BODY else None
        if relation is not None and relation.rel_type == REPLACE:
            return None
        if relation is not None and relation.rel_type == THREAD:
            thread = relation.event_id
        content = original if edit is None else orjson.loads(edit[3])["content"]["m.new_content"]
        text = text_in(content, key, is_quoting=is_reply(original))[:TEXT_CHARS_MAX]
        mentions = mentions_in(content)
    kinds, hosts = _NO_KINDS
    if key == BODY and not (content.keys() <= _SIMPLE and content.get("msgtype") == "m.text" and _is_plain(text)):
        kinds, hosts = kinds_in(kind, content, text)
    if not kinds and (not text or text.isspace()):
        return None
    said_ms, has = max(-_FARTHEST_MS, min(said_ms, _FARTHEST_MS)), sorted(kinds) if kinds else _NOTHING
    source_nid, source_place, edit_id, edit_json = edit or (nid, place, None, None)
    # Positional, since names take as long as all the rest: the order is that of Row.
    return Row(
        nid, source_nid, room_nid, place, source_place, version, said_ms, received_ms - said_ms, kind, key, room_id,
        event.sender, has, mentions, thread, text, event_id, json, edit_id, edit_json, hosts,
    )  # fmt: skip


def _is_plain(text: str) -> bool:
    """Whether it has neither a link nor code."""
    return "://" not in text and "```" not in text
