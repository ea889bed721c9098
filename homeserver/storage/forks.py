"""The tables of forks and gaps: `state_jumps`, `backward_extremities`, `event_refusals`, `stripped_states`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from homeserver.core.identifiers import EventId
from homeserver.storage.database import Reader, Tx


@dataclass(frozen=True, slots=True)
class Jump:
    """A change of a room's current state beside the plain effect of its events. `event_nid` 0: no longer set."""

    room_nid: int
    position: int
    key_nid: int
    event_nid: int


@dataclass(frozen=True, slots=True)
class Gap:
    """An event that is cited and isn't here."""

    room_nid: int
    missing_id: EventId
    event_nid: int


_INSERT_JUMPS = """
    INSERT INTO state_jumps (room_nid, position, key_nid, event_nid)
    SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::integer[], $4::bigint[]) ON CONFLICT DO NOTHING
"""
_JUMPS = """
    SELECT DISTINCT ON (j.room_nid, j.key_nid) j.room_nid, j.key_nid, j.event_nid
    FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS wanted(nid, after, upto)
    JOIN state_jumps j ON j.room_nid = wanted.nid AND j.position > wanted.after AND j.position <= wanted.upto
    ORDER BY j.room_nid, j.key_nid, j.position DESC
"""
_INSERT_GAPS = """
    INSERT INTO backward_extremities (room_nid, missing_id, event_nid)
    SELECT * FROM unnest($1::bigint[], $2::text[], $3::bigint[]) ON CONFLICT DO NOTHING
"""
_FILL_GAPS = "DELETE FROM backward_extremities WHERE room_nid = $1 AND missing_id = ANY($2::text[])"
_GAPS_AMONG = """
    SELECT DISTINCT missing_id FROM backward_extremities WHERE room_nid = $1 AND missing_id = ANY($2::text[])
"""
_GAPS_EARLIER = """
    SELECT DISTINCT ON (g.missing_id) g.room_nid, g.missing_id, g.event_nid
    FROM backward_extremities g JOIN events e USING (event_nid)
    WHERE g.room_nid = $1 AND g.missing_id = ANY($2::text[]) AND e.ordering < $3
    ORDER BY g.missing_id, e.ordering
"""
_MISSING_BEFORE = """
    SELECT missing_id FROM backward_extremities WHERE event_nid = ANY($1::bigint[])
    ORDER BY event_nid DESC, missing_id LIMIT $2
"""
_GAPS_BETWEEN = """
    SELECT g.room_nid, g.missing_id, g.event_nid FROM backward_extremities g JOIN events e USING (event_nid)
    WHERE g.room_nid = $1 AND e.ordering >= $2 AND e.ordering <= $3
    ORDER BY e.ordering DESC, g.missing_id LIMIT $4
"""
_FIRST_GAP = """
    SELECT g.room_nid, g.missing_id, g.event_nid FROM backward_extremities g JOIN events e USING (event_nid)
    WHERE g.room_nid = $1 AND e.ordering >= $2 AND e.ordering <= $3
    ORDER BY e.ordering, g.missing_id LIMIT 1
"""
_NEWEST_GAPS = """
    SELECT g.room_nid, max(e.ordering) AS edge
    FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS wanted(nid, after, upto)
    JOIN backward_extremities g ON g.room_nid = wanted.nid JOIN events e ON e.event_nid = g.event_nid
    WHERE e.ordering > wanted.after AND e.ordering <= wanted.upto GROUP BY g.room_nid
"""
_INSERT_REFUSALS = """
    INSERT INTO event_refusals (event_nid, reason)
    SELECT * FROM unnest($1::bigint[], $2::text[]) ON CONFLICT (event_nid) DO UPDATE SET reason = excluded.reason
"""
_REFUSAL = "SELECT reason FROM event_refusals WHERE event_nid = $1"
_PUT_STRIPPED = """
    INSERT INTO stripped_states (event_nid, events) VALUES ($1, $2)
    ON CONFLICT (event_nid) DO UPDATE SET events = excluded.events
"""
_STRIPPED = "SELECT event_nid, events FROM stripped_states WHERE event_nid = ANY($1::bigint[])"


async def insert_jumps(tx: Tx, jumps: Sequence[Jump]) -> None:
    await tx.execute(
        _INSERT_JUMPS,
        [jump.room_nid for jump in jumps],
        [jump.position for jump in jumps],
        [jump.key_nid for jump in jumps],
        [jump.event_nid for jump in jumps],
    )


async def jumps_within(db: Reader, spans: Mapping[int, tuple[int, int]]) -> dict[int, dict[int, int]]:
    """For each room (room nid → (after, upto]): key nid → the event that it jumped to last, 0 for none."""
    found: dict[int, dict[int, int]] = {}
    afters, uptos = [after for after, _ in spans.values()], [upto for _, upto in spans.values()]
    for row in await db.fetch(_JUMPS, list(spans), afters, uptos):
        found.setdefault(row["room_nid"], {})[row["key_nid"]] = row["event_nid"]
    return found


async def insert_gaps(tx: Tx, gaps: Sequence[Gap]) -> None:
    await tx.execute(
        _INSERT_GAPS,
        [gap.room_nid for gap in gaps],
        [gap.missing_id for gap in gaps],
        [gap.event_nid for gap in gaps],
    )


async def fill_gaps(tx: Tx, room_nid: int, event_ids: Collection[EventId]) -> None:
    """Told of events that are here now."""
    await tx.execute(_FILL_GAPS, room_nid, list(event_ids))


async def gaps_among(db: Reader, room_nid: int, event_ids: Collection[EventId]) -> set[EventId]:
    """Those of these events that others cite and that were missing."""
    return {EventId(row["missing_id"]) for row in await db.fetch(_GAPS_AMONG, room_nid, list(event_ids))}


async def gaps_earlier(db: Reader, room_nid: int, event_ids: Collection[EventId], place: int) -> list[Gap]:
    """For each of these events that is missing before one that lies before the place: the first such gap."""
    rows = await db.fetch(_GAPS_EARLIER, room_nid, list(event_ids), place)
    return [Gap(row["room_nid"], EventId(row["missing_id"]), row["event_nid"]) for row in rows]


async def missing_before(db: Reader, event_nids: Collection[int], limit: int) -> list[EventId]:
    """Of what these events cite, that which isn't here; what the latest of them cites first."""
    return [EventId(row["missing_id"]) for row in await db.fetch(_MISSING_BEFORE, list(event_nids), limit)]


async def gaps_between(db: Reader, room_nid: int, floor: int, place: int, limit: int) -> list[Gap]:
    """The gaps before events within these places, from the last on; of more than `limit` the first as well."""
    rows = await db.fetch(_GAPS_BETWEEN, room_nid, floor, place, limit)
    if len(rows) == limit:
        rows += await db.fetch(_FIRST_GAP, room_nid, floor, place)
    return [Gap(row["room_nid"], EventId(row["missing_id"]), row["event_nid"]) for row in rows]


async def newest_gaps(db: Reader, spans: Mapping[int, tuple[int, int]]) -> dict[int, int]:
    """For each room with a gap within its span (room nid → (after, upto]) the place of the event after the last one."""
    afters, uptos = [after for after, _ in spans.values()], [upto for _, upto in spans.values()]
    return {row["room_nid"]: row["edge"] for row in await db.fetch(_NEWEST_GAPS, list(spans), afters, uptos)}


async def insert_refusals(tx: Tx, refusals: Mapping[int, str]) -> None:
    """Why each of these events (by nid) isn't shown."""
    await tx.execute(_INSERT_REFUSALS, list(refusals), list(refusals.values()))


async def refusal(db: Reader, event_nid: int) -> str | None:
    reason: str | None = await db.fetchval(_REFUSAL, event_nid)
    return reason


async def put_stripped(tx: Tx, event_nid: int, stripped: Sequence[Mapping[str, Any]]) -> None:
    await tx.execute(_PUT_STRIPPED, event_nid, orjson.dumps(list(stripped)))


async def stripped(db: Reader, event_nids: Collection[int]) -> dict[int, list[dict[str, Any]]]:
    """What was told with these invites and knocks; others are left out."""
    rows = await db.fetch(_STRIPPED, list(event_nids))
    return {row["event_nid"]: orjson.loads(row["events"]) for row in rows}
