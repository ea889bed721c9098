"""The table `event_relations`: which event refers to which by `m.relates_to`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from homeserver.core.events import Event
from homeserver.core.identifiers import EventId
from homeserver.core.relations import is_relation_text, relation_of
from homeserver.storage.database import Reader, Tx

# So many of an event's children of a kind are looked at, the newest: counts go no further.
THREAD_MAX = 10_000
REFERENCES_MAX = 100
EDITS_MAX = 5
DEPTH_MAX = 3
TREE_MAX = 20_000

INSERT = """
    INSERT INTO event_relations (event_nid, room_nid, relates_to, rel_type, type, sender, aggregation_key)
    SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[])
    ON CONFLICT (event_nid) DO NOTHING
"""

_IS_ANNOTATED = """
    SELECT EXISTS (
        SELECT FROM event_relations r JOIN events e USING (event_nid)
        WHERE r.relates_to = $2 AND r.rel_type = 'm.annotation' AND r.room_nid = $1 AND r.type = $3
            AND r.sender = $4 AND r.aggregation_key = $5 AND e.redacted_by IS NULL AND e.flags = 0
    )
"""

# What clients may be shown: in the parent's room, in the timeline, neither refused nor redacted.
_SHOWN = "e.redacted_by IS NULL AND e.flags = 0 AND e.ordering IS NOT NULL"

# That the viewer sees `e`: the three arguments of `Seen` from $5 on, or from $8.
_SEEN_5 = """($5::bigint[] IS NULL OR EXISTS (
        SELECT FROM unnest($5::bigint[], $6::bigint[]) AS v(low, high)
        WHERE e.ordering >= v.low AND e.ordering <= v.high
    )) AND e.sender <> ALL($7::text[])"""
# The same of `l`.
_SHOWN_L, _SEEN_5_L = _SHOWN.replace("e.", "l."), _SEEN_5.replace("e.", "l.")
_SEEN_8 = _SEEN_5.replace("$7", "$10").replace("$6", "$9").replace("$5", "$8")

_CHILDREN = f"""
    WITH wanted AS (
        SELECT * FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[]) AS w(event_id, room_nid, sender, type)
    )
    SELECT w.event_id, 'm.thread' AS rel_type, c.sender, NULL::text[] AS event_ids,
        array_agg(c.event_nid ORDER BY c.ordering) AS nids, array_agg(c.ordering ORDER BY c.ordering) AS orderings
    FROM wanted w CROSS JOIN LATERAL (
        SELECT r.event_nid, r.sender, e.ordering FROM event_relations r JOIN events e USING (event_nid)
        WHERE r.relates_to = w.event_id AND r.rel_type = 'm.thread' AND r.room_nid = w.room_nid AND {_SHOWN}
        ORDER BY r.event_nid DESC LIMIT {THREAD_MAX}
    ) c
    GROUP BY w.event_id, c.sender
    UNION ALL
    SELECT w.event_id, 'm.reference', c.sender, array_agg(c.event_id ORDER BY c.ordering),
        array_agg(c.event_nid ORDER BY c.ordering), array_agg(c.ordering ORDER BY c.ordering)
    FROM wanted w CROSS JOIN LATERAL (
        SELECT r.event_nid, r.sender, e.ordering, e.event_id FROM event_relations r JOIN events e USING (event_nid)
        WHERE r.relates_to = w.event_id AND r.rel_type = 'm.reference' AND r.room_nid = w.room_nid AND {_SHOWN}
        ORDER BY r.event_nid DESC LIMIT {REFERENCES_MAX}
    ) c
    GROUP BY w.event_id, c.sender
    UNION ALL
    SELECT w.event_id, 'm.replace', w.sender, NULL,
        array_agg(c.event_nid ORDER BY c.origin_server_ts DESC, c.event_id COLLATE "C" DESC),
        array_agg(c.ordering ORDER BY c.origin_server_ts DESC, c.event_id COLLATE "C" DESC)
    FROM wanted w CROSS JOIN LATERAL (
        SELECT r.event_nid, e.ordering, e.origin_server_ts, e.event_id FROM event_relations r
        JOIN events e USING (event_nid)
        WHERE r.relates_to = w.event_id AND r.rel_type = 'm.replace' AND r.room_nid = w.room_nid
            AND r.sender = w.sender AND r.type = w.type AND {_SHOWN}
        ORDER BY e.origin_server_ts DESC, e.event_id COLLATE "C" DESC LIMIT {EDITS_MAX}
    ) c
    GROUP BY w.event_id, w.sender
"""

_PAGE = f"""
    SELECT e.event_nid FROM event_relations r JOIN events e USING (event_nid)
    WHERE r.relates_to = $1 AND r.room_nid = $2 AND ($3::text IS NULL OR r.rel_type = $3)
        AND ($4::text IS NULL OR r.type = $4) AND {_SHOWN} AND e.ordering >= $5 AND e.ordering < $6
        AND {_SEEN_8}
"""
_BACKWARDS = " ORDER BY e.ordering DESC LIMIT $7"
_FORWARDS = " ORDER BY e.ordering LIMIT $7"

# UNION leaves out what was there at the same depth, and the depth is bounded: relations can't go in circles for long.
_TREE_PAGE = f"""
    WITH RECURSIVE tree(event_nid, event_id, rel_type, type, depth) AS (
        SELECT r.event_nid, e.event_id, r.rel_type, r.type, 1
        FROM event_relations r JOIN events e USING (event_nid) WHERE r.relates_to = $1 AND r.room_nid = $2
        UNION
        SELECT r.event_nid, e.event_id, r.rel_type, r.type, tree.depth + 1
        FROM tree JOIN event_relations r ON r.relates_to = tree.event_id AND r.room_nid = $2
        JOIN events e ON e.event_nid = r.event_nid WHERE tree.depth < {DEPTH_MAX}
    )
    SELECT DISTINCT e.event_nid, e.ordering FROM (SELECT * FROM tree LIMIT {TREE_MAX}) AS r
    JOIN events e USING (event_nid)
    WHERE ($3::text IS NULL OR r.rel_type = $3) AND ($4::text IS NULL OR r.type = $4)
        AND {_SHOWN} AND e.ordering >= $5 AND e.ordering < $6 AND e.event_id <> $1 AND {_SEEN_8}
"""

# What no later reply follows stands for the thread: so the newest of the index are the answer.
# Of replies that the viewer doesn't see nothing may depend, neither which threads there are nor their order.
_PARTICIPATED = f"""($3::text IS NULL OR EXISTS (
        SELECT FROM event_relations own JOIN events e ON e.event_nid = own.event_nid
        WHERE own.relates_to = r.relates_to AND own.rel_type = 'm.thread' AND own.sender = $3
            AND own.room_nid = $1 AND {_SHOWN} AND {_SEEN_5}
    ) OR EXISTS (SELECT FROM events root WHERE root.event_id = r.relates_to AND root.sender = $3))"""
_THREADS = f"""
    SELECT r.relates_to, r.event_nid AS place FROM event_relations r JOIN events e USING (event_nid)
    WHERE r.room_nid = $1 AND r.rel_type = 'm.thread' AND r.event_nid < $2 AND e.ordering > 0 AND {_SHOWN} AND {_SEEN_5}
        AND NOT EXISTS (
            SELECT FROM event_relations later JOIN events e ON e.event_nid = later.event_nid
            WHERE later.relates_to = r.relates_to AND later.rel_type = 'm.thread' AND later.room_nid = $1
                AND later.event_nid > r.event_nid AND e.ordering > 0 AND {_SHOWN} AND {_SEEN_5}
        )
        AND {_PARTICIPATED}
    ORDER BY r.event_nid DESC LIMIT $4
"""
# Those whose replies all came in later than what they lie before: from their places below 0, whatever their numbers.
_PAST_THREADS = f"""
    SELECT r.relates_to, e.ordering AS place FROM events e JOIN event_relations r USING (event_nid)
    WHERE e.room_nid = $1 AND r.room_nid = $1 AND r.rel_type = 'm.thread' AND e.ordering < $2 AND {_SHOWN} AND {_SEEN_5}
        AND NOT EXISTS (
            SELECT FROM event_relations later JOIN events l ON l.event_nid = later.event_nid
            WHERE later.relates_to = r.relates_to AND later.rel_type = 'm.thread' AND later.room_nid = $1
                AND l.ordering > e.ordering AND {_SHOWN_L} AND {_SEEN_5_L}
        )
        AND {_PARTICIPATED}
    ORDER BY e.ordering DESC LIMIT $4
"""

# That the viewer sees `e` and it is in the parent's room: the spans are of $2 to $4.
_ARE_RELATED = f"""
    SELECT DISTINCT p.event_nid FROM events p JOIN event_relations r ON r.relates_to = p.event_id
    JOIN events e ON e.event_nid = r.event_nid
    WHERE p.event_nid = ANY($1::bigint[]) AND r.room_nid = p.room_nid AND {_SHOWN}
        AND EXISTS (
            SELECT FROM unnest($2::bigint[], $3::bigint[], $4::bigint[]) AS v(room_nid, low, high)
            WHERE v.room_nid = r.room_nid AND e.ordering >= v.low AND e.ordering <= v.high
        )
        AND ($5::text[] IS NULL OR r.rel_type = ANY($5)) AND ($6::text[] IS NULL OR r.sender = ANY($6))
"""


@dataclass(frozen=True, slots=True)
class RelationRow:
    event_nid: int
    room_nid: int
    relates_to: EventId
    rel_type: str
    type: str
    sender: str
    aggregation_key: str | None


@dataclass(frozen=True, slots=True)
class Children:
    """One sender's events that relate to an event in one way: by place, edits from the newest on."""

    rel_type: str
    sender: str
    event_ids: Sequence[EventId]  # of references alone
    nids: Sequence[int]
    orderings: Sequence[int]


def row_of(event: Event, event_nid: int, room_nid: int) -> RelationRow | None:
    """The row of the relation that an event's content declares, if it does."""
    relation = relation_of(event)
    if relation is None or "\x00" in event.type:
        return None
    return RelationRow(
        event_nid, room_nid, relation.event_id, relation.rel_type, event.type, event.sender, relation.key
    )


async def insert(tx: Tx, relations: Sequence[RelationRow]) -> None:
    await tx.execute(INSERT, *insert_arguments(relations))


def insert_arguments(relations: Sequence[RelationRow]) -> list[list[object]]:
    """The arguments of INSERT: a list for each column."""
    return [
        [r.event_nid for r in relations],
        [r.room_nid for r in relations],
        [r.relates_to for r in relations],
        [r.rel_type for r in relations],
        [r.type for r in relations],
        [r.sender for r in relations],
        [r.aggregation_key for r in relations],
    ]


async def is_annotated(db: Reader, room_nid: int, target: EventId, type: str, sender: str, key: str) -> bool:
    """Whether this sender's annotation of this type and key is there, and not redacted."""
    if not all(is_relation_text(value) for value in (target, key)) or "\x00" in type:
        return False
    return bool(await db.fetchval(_IS_ANNOTATED, room_nid, target, type, sender, key))


async def children(db: Reader, parents: Sequence[tuple[int, Event]]) -> dict[EventId, list[Children]]:
    """What relates to each of these events (with their rooms' numbers), as far as it is bundled. One query."""
    found: dict[EventId, list[Children]] = {event.event_id: [] for _, event in parents}
    rows = await db.fetch(
        _CHILDREN,
        [event.event_id for _, event in parents],
        [room_nid for room_nid, _ in parents],
        [event.sender for _, event in parents],
        [event.type.replace("\x00", "") for _, event in parents],
    )
    for row in rows:
        ids = [EventId(event_id) for event_id in row["event_ids"] or ()]
        one = Children(row["rel_type"], row["sender"], ids, row["nids"], row["orderings"])
        found[EventId(row["event_id"])].append(one)
    return found


@dataclass(frozen=True, slots=True)
class Seen:
    """Which events a viewer sees: those in ascending ranges of places (None is open), but of ignored users none."""

    ranges: Sequence[tuple[int | None, int | None]]
    ignored: Collection[str]

    def arguments(self) -> tuple[list[int] | None, list[int] | None, list[str]]:
        if list(self.ranges) == [(None, None)]:
            return None, None, list(self.ignored)
        lows = [low if low is not None else -(2**63) for low, _ in self.ranges]
        highs = [high if high is not None else 2**63 - 1 for _, high in self.ranges]
        return lows, highs, list(self.ignored)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Which relations of an event are asked for, and for whom: with first <= place < last."""

    target: EventId
    room_nid: int
    rel_type: str | None
    type: str | None
    first: int
    last: int
    backwards: bool
    recurse: bool
    seen: Seen


async def page(db: Reader, asked: Asked, limit: int) -> list[int]:
    """The numbers of the events that relate to another, by place in the direction asked for."""
    if any(value is not None and "\x00" in value for value in (asked.target, asked.rel_type, asked.type)):
        return []
    sql = (_TREE_PAGE if asked.recurse else _PAGE) + (_BACKWARDS if asked.backwards else _FORWARDS)
    arguments = (asked.target, asked.room_nid, asked.rel_type, asked.type, asked.first, asked.last, limit)
    return [row["event_nid"] for row in await db.fetch(sql, *arguments, *asked.seen.arguments())]


async def threads(
    db: Reader, room_nid: int, before: int, participant: str | None, limit: int, seen: Seen
) -> list[tuple[EventId, int]]:
    """(root, place of its newest reply that is seen) of a room's threads, the one with the newest reply first.

    `before` is such a place: of the last thread that is known already. Two queries at most.
    """
    rows = await db.fetch(_THREADS, room_nid, before, participant, limit, *seen.arguments()) if before > 0 else []
    if len(rows) < limit:
        left = limit - len(rows)
        rows += await db.fetch(_PAST_THREADS, room_nid, min(before, 0), participant, left, *seen.arguments())
    return [(EventId(row["relates_to"]), row["place"]) for row in rows]


async def are_related(
    db: Reader,
    nids: Sequence[int],
    spans: Collection[tuple[int, int | None, int | None]],
    rel_types: Collection[str] | None,
    senders: Collection[str] | None,
) -> set[int]:
    """Those of these events that others relate to: in one of these ways, by one of these senders. One query.

    What relates counts where it lies in a span of its room (room nid, first and last place; None is open).
    """
    if not nids or not spans or any("\x00" in one for one in (*(rel_types or ()), *(senders or ()))):
        return set()
    lows = [low if low is not None else -(2**63) for _, low, _ in spans]
    highs = [high if high is not None else 2**63 - 1 for _, _, high in spans]
    asked = (None if names is None else list(names) for names in (rel_types, senders))
    rows = await db.fetch(_ARE_RELATED, list(nids), [nid for nid, _, _ in spans], lows, highs, *asked)
    return {row["event_nid"] for row in rows}
