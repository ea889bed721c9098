"""The tables of spam rules: rules with their versions, lists, decisions, what is held, policy lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from admin.spam.rules import Rule, Wordlist
from homeserver.core.identifiers import RoomId
from homeserver.storage.bodies import Line, whole
from homeserver.storage.database import Reader, Row, Tx


@dataclass(frozen=True, slots=True, kw_only=True)
class NewDecision:
    """`seen` is JSON, `outcome` the actions parted by commas, times in milliseconds."""

    code: str
    decided_ts: int
    hook: str
    rule_id: str
    rule_version: int
    stage: str
    outcome: str
    sender: str
    room_id: str
    event_id: str
    seen: str


_RULES = """
    SELECT versions.body FROM spam_rules AS rules
    JOIN spam_rule_versions AS versions USING (rule_id, version) ORDER BY rules.rule_id
"""
_PUT_VERSION = """
    INSERT INTO spam_rule_versions (rule_id, version, body, made_by, made_ts, why) VALUES ($1, $2, $3, $4, $5, $6)
"""
_PUT_RULE = """
    INSERT INTO spam_rules (rule_id, version, changed_ts) VALUES ($1, $2, $3)
    ON CONFLICT (rule_id) DO UPDATE SET version = excluded.version, changed_ts = excluded.changed_ts
"""
_NEWEST = "SELECT coalesce(max(version), 0) FROM spam_rule_versions WHERE rule_id = $1"
_VERSIONS = """
    SELECT version, body, made_by, made_ts, why FROM spam_rule_versions WHERE rule_id = $1 ORDER BY version
"""
_DELETE_RULE = "DELETE FROM spam_rules WHERE rule_id = $1"
_LOCK_RULES = "SELECT pg_advisory_xact_lock(7104)"
_LISTS = "SELECT name, kind, entries FROM spam_lists ORDER BY name"
_PUT_LIST = """
    INSERT INTO spam_lists (name, kind, entries, changed_ts) VALUES ($1, $2, $3, $4)
    ON CONFLICT (name) DO UPDATE SET kind = excluded.kind, entries = excluded.entries, changed_ts = excluded.changed_ts
"""
_DELETE_LIST = "DELETE FROM spam_lists WHERE name = $1"
_PUT_DECISIONS = """
    INSERT INTO spam_decisions
        (code, decided_ts, hook, rule_id, rule_version, stage, outcome, sender, room_id, event_id, seen)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
"""
_PUT_DECISION = f"{_PUT_DECISIONS} RETURNING decision_id"
_SHOWN = """
    SELECT decision_id, code, decided_ts, hook, rule_id, rule_version, stage, outcome, sender, room_id, event_id,
        appeal, appealed_ts, undone_ts, undone_by, undone_why
"""
_DECISIONS = f"""
    {_SHOWN} FROM spam_decisions
    WHERE ($1::bigint IS NULL OR decision_id < $1) AND ($2::text IS NULL OR rule_id = $2)
        AND ($3::text IS NULL OR sender = $3) AND (NOT $4::boolean OR appeal IS NOT NULL)
        AND ($6::text[] IS NULL OR room_id = ANY($6))
    ORDER BY decision_id DESC LIMIT $5
"""
_DECISION = f"{_SHOWN}, seen FROM spam_decisions WHERE decision_id = $1"
_APPEAL = """
    UPDATE spam_decisions SET appeal = $3, appealed_ts = $4
    WHERE code = $1 AND sender = $2 AND appeal IS NULL
"""
_UNDO = """
    UPDATE spam_decisions SET undone_ts = $2, undone_by = $3, undone_why = $4
    WHERE decision_id = $1 AND undone_ts IS NULL
"""
_MARK = """
    INSERT INTO spam_marks (decision_id, is_spam, marked_by, marked_ts) VALUES ($1, $2, $3, $4)
    ON CONFLICT (decision_id) DO UPDATE
    SET is_spam = excluded.is_spam, marked_by = excluded.marked_by, marked_ts = excluded.marked_ts
"""
_PLACE = """
    UPDATE spam_decisions d SET event_id = placed.event_id
    FROM unnest($1::text[], $2::text[]) AS placed(code, event_id) WHERE d.code = placed.code AND d.event_id = ''
"""
_FORGET = "DELETE FROM spam_decisions WHERE decided_ts < $1"
_HOLD = "INSERT INTO spam_held (decision_id, room_id, draft) VALUES ($1, $2, $3)"
_HELD = "SELECT decision_id, room_id, draft FROM spam_held WHERE decision_id = $1"
_RELEASE = "DELETE FROM spam_held WHERE decision_id = $1"
# What the policy server of a room says of somebody is no act of this server's rules: anybody may run one.
POLICY_SERVER = "policy-server"
_PAST_ACTIONS = f"""
    SELECT count(*) FROM spam_decisions WHERE sender = $1 AND stage = 'enforced' AND undone_ts IS NULL
        AND outcome <> 'captcha' AND rule_id <> '{POLICY_SERVER}'
"""


def _count(status: str) -> int:
    return int(status.rsplit(" ", 1)[-1])


async def rules(db: Reader) -> list[Rule]:
    """The versions in force. Raises msgspec.ValidationError for what no rule ever was."""
    return [msgspec.json.decode(row["body"], type=Rule) for row in await db.fetch(_RULES)]


async def lock_rules(tx: Tx) -> None:
    """Waits until nobody else changes rules; until the transaction ends."""
    await tx.execute(_LOCK_RULES)


async def put_rule(tx: Tx, rule: Rule, *, by: str, now_ms: int, why: str = "") -> None:
    """Writes a version, and puts it in force."""
    await tx.execute(_PUT_VERSION, rule.id, rule.version, msgspec.json.encode(rule).decode(), by, now_ms, why)
    await tx.execute(_PUT_RULE, rule.id, rule.version, now_ms)


async def newest_version(db: Reader, rule_id: str) -> int:
    """0 for a rule that never was."""
    return int(await db.fetchval(_NEWEST, rule_id))


async def versions(db: Reader, rule_id: str) -> list[tuple[Rule, Mapping[str, Any]]]:
    """Every version, oldest first, each with who made it, when and why."""
    return [
        (
            msgspec.json.decode(row["body"], type=Rule),
            {"made_by": row["made_by"], "made_ts": row["made_ts"], "why": row["why"]},
        )
        for row in await db.fetch(_VERSIONS, rule_id)
    ]


async def delete_rule(tx: Tx, rule_id: str) -> bool:
    """Takes a rule out of force; its versions stay. Whether it was there."""
    return _count(await tx.execute(_DELETE_RULE, rule_id)) > 0


async def lists(db: Reader) -> list[Wordlist]:
    return [
        Wordlist(name=row["name"], kind=row["kind"], entries=tuple(row["entries"])) for row in await db.fetch(_LISTS)
    ]


async def put_list(tx: Tx, wordlist: Wordlist, *, now_ms: int) -> None:
    await tx.execute(_PUT_LIST, wordlist.name, wordlist.kind, list(wordlist.entries), now_ms)


async def delete_list(tx: Tx, name: str) -> bool:
    return _count(await tx.execute(_DELETE_LIST, name)) > 0


def _row_of(decision: NewDecision) -> Sequence[Any]:
    return (
        decision.code, decision.decided_ts, decision.hook, decision.rule_id, decision.rule_version, decision.stage,
        decision.outcome, decision.sender, decision.room_id, decision.event_id, decision.seen,
    )  # fmt: skip


async def put_decision(tx: Tx, decision: NewDecision) -> int:
    """Its number."""
    return int(await tx.fetchval(_PUT_DECISION, *_row_of(decision)))


async def put_decisions(tx: Tx, decisions: Sequence[NewDecision]) -> None:
    await tx.executemany(_PUT_DECISIONS, [_row_of(decision) for decision in decisions])


async def place(tx: Tx, placed: Sequence[tuple[str, str]]) -> None:
    """Notes the ids of events, by the codes of the decisions about them."""
    if placed:
        await tx.execute(_PLACE, [code for code, _ in placed], [event_id for _, event_id in placed])


async def decisions(
    db: Reader,
    *,
    before: int | None,
    rule_id: str | None,
    sender: str | None,
    appealed: bool,
    limit: int,
    rooms: frozenset[str] | None = None,
) -> list[Row]:
    """The latest first, without the values that they saw; with `rooms` those in these alone."""
    within = list(rooms) if rooms is not None else None
    return await db.fetch(_DECISIONS, before, rule_id, sender, appealed, limit, within)


async def decision(db: Reader, decision_id: int) -> Row | None:
    return await db.fetchrow(_DECISION, decision_id)


async def appeal(tx: Tx, code: str, sender: str, text: str, now_ms: int) -> bool:
    """Whether there is a decision of this code against this user that nobody appealed yet."""
    return _count(await tx.execute(_APPEAL, code, sender, text, now_ms)) > 0


async def undo(tx: Tx, decision_id: int, *, by: str, why: str, now_ms: int) -> bool:
    """Whether it stood until now."""
    return _count(await tx.execute(_UNDO, decision_id, now_ms, by, why)) > 0


async def mark(tx: Tx, decision_id: int, *, is_spam: bool, by: str, now_ms: int) -> None:
    await tx.execute(_MARK, decision_id, is_spam, by, now_ms)


async def forget(tx: Tx, before_ms: int) -> None:
    """Deletes decisions that are older."""
    await tx.execute(_FORGET, before_ms)


async def hold(tx: Tx, decision_id: int, room_id: str, draft: str) -> None:
    await tx.execute(_HOLD, decision_id, room_id, draft)


async def held(db: Reader, decision_id: int) -> Row | None:
    return await db.fetchrow(_HELD, decision_id)


async def release(tx: Tx, decision_id: int) -> bool:
    """Whether it was still held."""
    return _count(await tx.execute(_RELEASE, decision_id)) > 0


async def past_actions(db: Reader, sender: str) -> int:
    """How often rules acted on this sender, without what was undone."""
    return int(await db.fetchval(_PAST_ACTIONS, sender))


_SEE = "INSERT INTO spam_first_seen (user_id, seen_ts) VALUES ($1, $2) ON CONFLICT DO NOTHING"
_FIRST_SEEN = "SELECT seen_ts FROM spam_first_seen WHERE user_id = $1"
_EVENTS_OF = """
    SELECT event_id FROM events
    WHERE room_nid = $1 AND sender = $2 AND origin_server_ts >= $3 AND ordering > $4 AND redacted_by IS NULL
        AND key_nid IS NULL
    ORDER BY ordering DESC LIMIT $5
"""


async def see(tx: Tx, seen: Mapping[str, int]) -> None:
    """Notes when users were first seen, in milliseconds."""
    await tx.executemany(_SEE, list(seen.items()))


async def first_seen(db: Reader, user_id: str) -> int | None:
    seen = await db.fetchval(_FIRST_SEEN, user_id)
    return int(seen) if seen is not None else None


async def messages_since(db: Reader, room_nid: int, sender: str, since_ms: int, *, after: int, limit: int) -> list[str]:
    """Ids of what somebody said in a room since a time, the latest first; `after` bounds how far back is looked."""
    return [row["event_id"] for row in await db.fetch(_EVENTS_OF, room_nid, sender, since_ms, after, limit)]


_HISTORY = """
    SELECT events.event_nid, rooms.room_id, events.event_id, events.sender, events.origin_server_ts, events.json
    FROM events JOIN rooms USING (room_nid)
    WHERE events.event_nid > $1 AND events.event_nid <= $2 AND events.ordering IS NOT NULL
        AND events.origin_server_ts >= $3
    ORDER BY events.event_nid LIMIT $4
"""
_HISTORY_END = "SELECT coalesce(max(event_nid), 0) FROM events"
_IS_LONG = "SELECT count(*) > $1::bigint FROM (SELECT FROM events LIMIT $1::bigint + 1) AS first_ones"
_SINCE = """
    SELECT user_id, created_ts AS since_ts FROM users WHERE user_id = ANY($1::text[])
    UNION ALL SELECT user_id, seen_ts FROM spam_first_seen WHERE user_id = ANY($1::text[])
"""


async def history(db: Reader, after: int, upto: int, since_ms: int, limit: int) -> Sequence[Line]:
    """What was said since a time, in the order in which it came: the next `limit` after a number."""
    return await whole(db, await db.fetch(_HISTORY, after, upto, since_ms, limit))


async def history_end(db: Reader) -> int:
    """The number of the newest event."""
    return int(await db.fetchval(_HISTORY_END))


async def is_history_long(db: Reader, than: int) -> bool:
    """Whether there are more events than that; no more are counted."""
    return bool(await db.fetchval(_IS_LONG, than))


# Counted up to the limit: what matters is whether there are any.
_ROOMS_SHARED = """
    SELECT asked.n, few.shared FROM unnest($1::text[], $2::text[], $3::text[])
        WITH ORDINALITY AS asked(room_id, sender, target, n)
    CROSS JOIN LATERAL (SELECT count(*) AS shared FROM (
        SELECT FROM memberships mine
        JOIN memberships theirs ON theirs.room_nid = mine.room_nid AND theirs.user_id = asked.target
            AND theirs.membership = 'join'
        JOIN rooms ON rooms.room_nid = mine.room_nid AND rooms.room_id <> asked.room_id
        WHERE mine.user_id = asked.sender AND mine.membership = 'join' LIMIT 100
    ) AS found) AS few
"""


async def rooms_shared(db: Reader, asked: Sequence[tuple[str, str, str]]) -> dict[tuple[str, str, str], int]:
    """For each (room, user, other user): in how many other rooms both are, at most 100. One query."""
    columns = [list(column) for column in zip(*asked, strict=True)] or [[], [], []]
    return {asked[row["n"] - 1]: row["shared"] for row in await db.fetch(_ROOMS_SHARED, *columns)}


async def known_since(db: Reader, user_ids: Sequence[str]) -> dict[str, int]:
    """Since when users are known here, in milliseconds."""
    return {row["user_id"]: row["since_ts"] for row in await db.fetch(_SINCE, list(user_ids))}


_POLICY_RULES = """
    SELECT DISTINCT ON (events.room_nid, events.key_nid) rooms.room_id, events.json, events.event_id,
        events.redacted_by IS NOT NULL AS is_redacted
    FROM events JOIN rooms USING (room_nid) JOIN state_keys USING (key_nid)
    WHERE rooms.room_id = ANY($1::text[]) AND events.ordering IS NOT NULL
        AND (state_keys.type LIKE 'm.policy.rule.%' OR state_keys.type LIKE 'org.matrix.mjolnir.rule.%'
            OR state_keys.type LIKE 'm.room.rule.%')
    ORDER BY events.room_nid, events.key_nid, events.ordering DESC
"""


async def policy_rules(db: Reader, room_ids: Sequence[RoomId]) -> list[Row]:
    """The newest event of each policy rule of these rooms: `room_id`, `event_id`, `json`, `is_redacted`."""
    return await db.fetch(_POLICY_RULES, list(room_ids))
