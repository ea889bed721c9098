"""The tables of cases: what is said against one user or room, with notes and evidence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from homeserver.core.identifiers import EventId
from homeserver.storage.database import Reader, Row, Tx

# Which rooms somebody is bound to; None: to none.
Rooms = frozenset[str] | None
NOTES_MAX = 500
EVIDENCE_MAX = 50
# So many acts of rules against one user within a sweep's span open a case.
HITS_MANY = 20

_REFUSED = """
    INSERT INTO policy_server_refusals (event_nid, event_id, room_id, sender, why, refused_ts)
    SELECT e.event_nid, e.event_id, r.room_id, e.sender, f.reason, coalesce(e.received_ms, e.origin_server_ts)
    FROM event_refusals f JOIN events e USING (event_nid) JOIN rooms r USING (room_nid)
    WHERE f.event_nid > $1 AND f.reason LIKE 'the policy server %' ON CONFLICT DO NOTHING
"""
_REFUSED_UPTO = "SELECT coalesce(max(event_nid), 0) FROM policy_server_refusals"
# What was said since $1, by whom it is about. Reports of events are about their senders.
_TOLD = f"""
    SELECT CASE WHEN kind = 'user' OR sender IS NOT NULL THEN 'user' ELSE 'room' END AS kind,
        coalesce(sender, CASE WHEN kind = 'event' THEN room_id ELSE target END) AS entity,
        'report' AS because, received_ts AS ts
    FROM reports WHERE received_ts > $1
    UNION ALL
    SELECT 'user', sender, 'appeal', appealed_ts FROM spam_decisions WHERE appeal IS NOT NULL AND appealed_ts > $1
    UNION ALL
    SELECT 'user', d.sender, 'held', d.decided_ts FROM spam_held h JOIN spam_decisions d USING (decision_id)
    WHERE d.decided_ts > $1
    UNION ALL
    SELECT 'user', sender, 'refusal', refused_ts FROM policy_server_refusals WHERE refused_ts > $1
    UNION ALL
    SELECT 'user', sender, 'refusal', decided_ts FROM spam_decisions
    WHERE rule_id = 'policy-server' AND decided_ts > $1
    UNION ALL
    SELECT 'user', sender, 'hits', max(decided_ts) FROM spam_decisions
    WHERE decided_ts > $2 AND stage = 'enforced' AND undone_ts IS NULL GROUP BY sender HAVING count(*) >= {HITS_MANY}
"""
_OPEN = f"""
    INSERT INTO cases (kind, entity, because, opened_ts, changed_ts)
    SELECT DISTINCT ON (kind, entity) kind, entity, because, $3, ts FROM ({_TOLD}) AS told
    WHERE entity <> '' AND NOT EXISTS (
        SELECT FROM cases c
        WHERE c.entity = told.entity AND c.kind = told.kind AND (c.is_open OR c.closed_ts >= told.ts)
    )
    ORDER BY kind, entity, ts DESC ON CONFLICT DO NOTHING
"""
_RENEW = f"""
    UPDATE cases SET changed_ts = newest.ts
    FROM (SELECT kind, entity, max(ts) AS ts FROM ({_TOLD}) AS told GROUP BY kind, entity) AS newest
    WHERE cases.is_open AND cases.kind = newest.kind AND cases.entity = newest.entity AND cases.changed_ts < newest.ts
"""
_KEEP = """
    INSERT INTO case_evidence (case_id, event_id, room_id, json, kept_ts)
    SELECT c.case_id, e.event_id, r.room_id, e.json, $2
    FROM reports p JOIN events e ON e.event_id = p.target JOIN rooms r USING (room_nid)
        JOIN cases c ON c.is_open AND c.kind = 'user' AND c.entity = p.sender
    WHERE p.kind = 'event' AND p.received_ts > $1 AND e.json <> '' ON CONFLICT DO NOTHING
"""
_ELSEWHERE = """
    SELECT DISTINCT e.event_id FROM reports p JOIN events e ON e.event_id = p.target
    WHERE p.kind = 'event' AND p.received_ts > $1 AND e.json = ''
"""
_FORGET = "DELETE FROM case_evidence USING cases WHERE cases.case_id = case_evidence.case_id AND closed_ts < $1"
# `rooms` is a parameter: what was said in these alone; NULL: in all, and where there is no room.
_COUNTS = """
    (SELECT count(*) FROM reports p WHERE (p.target = c.entity OR p.sender = c.entity
        OR (c.kind = 'room' AND p.kind = 'event' AND p.sender IS NULL AND p.room_id = c.entity))
        AND ({rooms}::text[] IS NULL OR p.room_id = ANY({rooms}))) AS reports,
    (SELECT count(*) FROM (
        SELECT FROM spam_decisions d WHERE d.sender = c.entity AND d.stage = 'enforced'
            AND ({rooms}::text[] IS NULL OR d.room_id = ANY({rooms})) LIMIT 1000
    ) few) AS hits,
    (SELECT count(*) FROM (
        SELECT FROM spam_decisions d
        WHERE d.sender = c.entity AND d.appeal IS NOT NULL AND d.undone_ts IS NULL
            AND NOT EXISTS (SELECT FROM appeal_answers a WHERE a.decision_id = d.decision_id)
            AND ({rooms}::text[] IS NULL OR d.room_id = ANY({rooms})) LIMIT 100
    ) few) AS appeals,
    (SELECT count(*) FROM (
        SELECT FROM policy_server_refusals f WHERE f.sender = c.entity
            AND ({rooms}::text[] IS NULL OR f.room_id = ANY({rooms}))
        UNION ALL
        SELECT FROM spam_decisions d WHERE d.sender = c.entity AND d.rule_id = 'policy-server'
            AND ({rooms}::text[] IS NULL OR d.room_id = ANY({rooms})) LIMIT 1000
    ) few) AS refusals
"""
# Whether anything of a case was said in these rooms, and whether all of it was.
_TOUCHES = """
    (c.kind = 'room' AND c.entity = ANY({rooms}) OR c.kind = 'user' AND (
        EXISTS (SELECT FROM reports p WHERE (p.sender = c.entity OR p.target = c.entity) AND p.room_id = ANY({rooms}))
        OR EXISTS (SELECT FROM spam_decisions d WHERE d.sender = c.entity AND d.room_id = ANY({rooms}))
        OR EXISTS (SELECT FROM policy_server_refusals f WHERE f.sender = c.entity AND f.room_id = ANY({rooms}))
    ))
"""
_TOUCHES_2, _TOUCHES_9 = _TOUCHES.format(rooms="$2::text[]"), _TOUCHES.format(rooms="$9::text[]")
_COUNTS_2, _COUNTS_9 = _COUNTS.format(rooms="$2"), _COUNTS.format(rooms="$9")
_TOUCHING = f"SELECT {_TOUCHES_2} FROM cases c WHERE case_id = $1"
_ALL_IN = """
    SELECT c.kind = 'room' AND c.entity = ANY($2::text[]) OR c.kind = 'user' AND NOT (
        EXISTS (SELECT FROM reports p WHERE (p.sender = c.entity OR p.target = c.entity)
            AND NOT coalesce(p.room_id = ANY($2), false))
        OR EXISTS (SELECT FROM spam_decisions d WHERE d.sender = c.entity
            AND NOT coalesce(d.room_id = ANY($2), false))
        OR EXISTS (SELECT FROM policy_server_refusals f WHERE f.sender = c.entity AND NOT f.room_id = ANY($2))
    )
    FROM cases c WHERE case_id = $1
"""
_COLUMNS = """
    c.case_id, c.kind, c.entity, c.is_open, c.because, c.assignee, c.opened_ts, c.changed_ts, c.closed_ts, c.closed_by,
    c.outcome, c.reply
"""
_PAGE = f"""
    SELECT {_COLUMNS}, {_COUNTS_9} FROM (
        SELECT * FROM cases c WHERE is_open = $1 AND (changed_ts, case_id) < ($2, $3)
            AND ($4 = '' OR entity = $4 OR assignee = $4) AND (NOT $5 OR assignee IS NULL)
            AND ($6 = '' OR kind = $6) AND ($7 = '' OR because = $7)
            AND ($9::text[] IS NULL OR {_TOUCHES_9})
        ORDER BY changed_ts DESC, case_id DESC LIMIT $8
    ) AS c ORDER BY c.changed_ts DESC, c.case_id DESC
"""
_ONE = f"SELECT {_COLUMNS}, {_COUNTS_2} FROM cases c WHERE case_id = $1"
_LOCKED = f"SELECT {_COLUMNS} FROM cases c WHERE case_id = $1 FOR UPDATE"
_EARLIER = f"""
    SELECT {_COLUMNS} FROM cases c WHERE entity = $1 AND kind = $2 AND case_id <> $3 ORDER BY case_id DESC LIMIT 20
"""
_OPEN_COUNT = "SELECT count(*) FROM (SELECT FROM cases WHERE is_open LIMIT 1000) few"
_OPEN_ABOUT = f"""
    SELECT case_id FROM cases c WHERE entity = $1 AND is_open
        AND ($2::text[] IS NULL OR {_TOUCHES_2}) LIMIT 1
"""
_ASSIGN = "UPDATE cases SET assignee = $2 WHERE case_id = $1"
_CLOSE = """
    UPDATE cases SET is_open = false, closed_ts = $2, closed_by = $3, outcome = $4, reply = $5 WHERE case_id = $1
"""
_REOPEN = """
    UPDATE cases SET is_open = true, closed_ts = NULL, closed_by = NULL, outcome = NULL, reply = NULL WHERE case_id = $1
"""
_IS_OPEN_ELSEWHERE = "SELECT EXISTS (SELECT FROM cases WHERE kind = $1 AND entity = $2 AND is_open)"
_NOTE = "INSERT INTO case_notes (case_id, author, text, written_ts) VALUES ($1, $2, $3, $4)"
_NOTES = "SELECT author, text, written_ts FROM case_notes WHERE case_id = $1 ORDER BY note_id LIMIT $2"
_EVIDENCE = """
    SELECT v.event_id, v.room_id, v.json, v.kept_ts, e.redacted_by IS NOT NULL AS is_redacted,
        e.event_id IS NOT NULL AS is_here
    FROM case_evidence v LEFT JOIN events e USING (event_id)
    WHERE v.case_id = $1 AND ($3::text[] IS NULL OR v.room_id = ANY($3)) ORDER BY v.kept_ts DESC, v.event_id LIMIT $2
"""
_REPORTS = """
    SELECT report_id, kind, target, room_id, sender, reporter, reason, received_ts FROM reports
    WHERE (target = $1 OR sender = $1 OR ($2 = 'room' AND kind = 'event' AND sender IS NULL AND room_id = $1))
        AND ($4::text[] IS NULL OR room_id = ANY($4))
    ORDER BY report_id DESC LIMIT $3
"""
_HITS = """
    SELECT d.decision_id, decided_ts, rule_id, stage, outcome, hook, room_id, event_id, appeal, appealed_ts, undone_ts,
        is_accepted, a.reply, answered_by, answered_ts
    FROM spam_decisions d LEFT JOIN appeal_answers a USING (decision_id)
    WHERE sender = $1 AND ($3::text[] IS NULL OR room_id = ANY($3)) ORDER BY d.decision_id DESC LIMIT $2
"""
_APPEAL = "SELECT sender, room_id, appeal, undone_ts FROM spam_decisions WHERE decision_id = $1 AND appeal IS NOT NULL"
_ANSWER = """
    INSERT INTO appeal_answers (decision_id, is_accepted, reply, answered_by, answered_ts) VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT DO NOTHING RETURNING decision_id
"""
_APPEALS = """
    SELECT d.decision_id, decided_ts, rule_id, rule_version, outcome, sender, room_id, event_id, appeal, appealed_ts,
        undone_ts, is_accepted, a.reply, answered_by, answered_ts
    FROM spam_decisions d LEFT JOIN appeal_answers a USING (decision_id)
    WHERE appeal IS NOT NULL AND (appealed_ts, d.decision_id) < ($1, $2) AND ($3 = '' OR sender = $3)
        AND (NOT $4 OR (undone_ts IS NULL AND answered_ts IS NULL)) AND ($6::text[] IS NULL OR room_id = ANY($6))
    ORDER BY appealed_ts DESC, d.decision_id DESC LIMIT $5
"""
_REFUSALS = """
    SELECT event_id, room_id, why, refused_ts FROM policy_server_refusals
    WHERE sender = $1 AND ($3::text[] IS NULL OR room_id = ANY($3))
    UNION ALL
    SELECT event_id, room_id, seen::json ->> 'reason' AS why, decided_ts FROM spam_decisions
    WHERE sender = $1 AND rule_id = 'policy-server' AND ($3::text[] IS NULL OR room_id = ANY($3))
    ORDER BY refused_ts DESC LIMIT $2
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """`kind` is user or room. Times in milliseconds."""

    case_id: int
    kind: str
    entity: str
    is_open: bool
    because: str
    assignee: str | None
    opened_ts: int
    changed_ts: int
    closed_ts: int | None
    closed_by: str | None
    outcome: str | None
    reply: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseFilter:
    """`about` is a user, a room or an assignee; empty texts are no filter. `rooms`: only what was said in these."""

    is_open: bool = True
    only_unassigned: bool = False
    about: str = ""
    kind: str = ""
    because: str = ""
    rooms: frozenset[str] | None = None


async def sweep(tx: Tx, since_ms: int, lately_ms: int, now_ms: int) -> None:
    """Opens cases for what was said since a time, and keeps the events that were reported as they are now.

    What a closed case knew of opens none. `lately_ms` is since when acts of rules against one user are counted.
    """
    upto = int(await tx.fetchval(_REFUSED_UPTO))
    await tx.execute(_REFUSED, upto)
    await tx.execute(_OPEN, since_ms, lately_ms, now_ms)
    await tx.execute(_RENEW, since_ms, lately_ms)
    await tx.execute(_KEEP, since_ms, now_ms)


async def elsewhere(db: Reader, since_ms: int) -> list[EventId]:
    """Events reported since a time whose bodies left the database: to be put back before `sweep` keeps them."""
    return [EventId(row["event_id"]) for row in await db.fetch(_ELSEWHERE, since_ms)]


async def forget_evidence(tx: Tx, closed_before_ms: int) -> None:
    """Deletes the evidence of cases that were closed before a time."""
    await tx.execute(_FORGET, closed_before_ms)


async def page(db: Reader, wanted: CaseFilter, below: tuple[int, int], limit: int) -> list[Row]:
    """Those of which something was said last first, with how much was said: reports, hits, appeals, refusals."""
    asked = (wanted.about, wanted.only_unassigned, wanted.kind, wanted.because)
    return await db.fetch(_PAGE, wanted.is_open, *below, *asked, limit, _given(wanted.rooms))


async def one(db: Reader, case_id: int, rooms: Rooms) -> Row | None:
    """With how much was said in these rooms."""
    return await db.fetchrow(_ONE, case_id, _given(rooms))


async def touches(db: Reader, case_id: int, rooms: frozenset[str]) -> bool:
    """Whether anything of it was said in these rooms."""
    return bool(await db.fetchval(_TOUCHING, case_id, list(rooms)))


async def lies_in(db: Reader, case_id: int, rooms: Rooms) -> bool:
    """Whether all of it was said in these rooms."""
    return rooms is None or bool(await db.fetchval(_ALL_IN, case_id, list(rooms)))


async def locked(tx: Tx, case_id: int) -> Case | None:
    row = await tx.fetchrow(_LOCKED, case_id)
    return Case(**row) if row is not None else None


async def earlier(db: Reader, case: Case) -> list[Row]:
    """Other cases of the same user or room, the newest first."""
    return await db.fetch(_EARLIER, case.entity, case.kind, case.case_id)


async def open_count(db: Reader) -> int:
    """How many are open; 1,000 where there are more."""
    return int(await db.fetchval(_OPEN_COUNT))


def _given(rooms: Rooms) -> list[str] | None:
    return list(rooms) if rooms is not None else None


async def open_about(db: Reader, entity: str, rooms: Rooms = None) -> int | None:
    """The open case about this user or room, where something of it was said in these rooms."""
    found: int | None = await db.fetchval(_OPEN_ABOUT, entity, _given(rooms))
    return found


async def assign(tx: Tx, case_id: int, assignee: str | None) -> None:
    await tx.execute(_ASSIGN, case_id, assignee)


async def close(tx: Tx, case_id: int, *, by: str, outcome: str, reply: str | None, now_ms: int) -> None:
    await tx.execute(_CLOSE, case_id, now_ms, by, outcome, reply)


async def reopen(tx: Tx, case: Case) -> bool:
    """Whether it could be: there is one open case of a user or room at a time."""
    if await tx.fetchval(_IS_OPEN_ELSEWHERE, case.kind, case.entity):
        return False
    await tx.execute(_REOPEN, case.case_id)
    return True


async def note(tx: Tx, case_id: int, *, by: str, text: str, now_ms: int) -> None:
    await tx.execute(_NOTE, case_id, by, text, now_ms)


async def notes(db: Reader, case_id: int) -> list[Row]:
    """The oldest first."""
    return await db.fetch(_NOTES, case_id, NOTES_MAX)


async def evidence(db: Reader, case_id: int, rooms: Rooms = None) -> list[Mapping[str, Any]]:
    """Reported events as they were: the newest first, `source` the whole event."""
    rows = await db.fetch(_EVIDENCE, case_id, EVIDENCE_MAX, _given(rooms))
    return [{**row, "source": orjson.loads(row["json"])} for row in rows]


async def reports(db: Reader, case: Case, limit: int, rooms: Rooms = None) -> list[Row]:
    """What users reported of it, the newest first."""
    return await db.fetch(_REPORTS, case.entity, case.kind, limit, _given(rooms))


async def hits(db: Reader, sender: str, limit: int, rooms: Rooms = None) -> list[Row]:
    """What rules decided against this user, the newest first."""
    return await db.fetch(_HITS, sender, limit, _given(rooms))


async def refusals(db: Reader, sender: str, limit: int, rooms: Rooms = None) -> list[Row]:
    """What policy servers refused of this user, the newest first."""
    return await db.fetch(_REFUSALS, sender, limit, _given(rooms))


async def appeals(
    db: Reader, sender: str, below: tuple[int, int], limit: int, *, only_open: bool, rooms: Rooms = None
) -> list[Row]:
    """What users said against decisions about them, the latest first; those that wait for an answer, or all."""
    return await db.fetch(_APPEALS, *below, sender, only_open, limit, _given(rooms))


async def appeal(db: Reader, decision_id: int) -> Row | None:
    """Whose it is, where, what they said, and when the decision was undone."""
    return await db.fetchrow(_APPEAL, decision_id)


async def answer(tx: Tx, decision_id: int, *, is_accepted: bool, reply: str, by: str, now_ms: int) -> bool:
    """Whether it wasn't answered before."""
    return await tx.fetchval(_ANSWER, decision_id, is_accepted, reply, by, now_ms) is not None
