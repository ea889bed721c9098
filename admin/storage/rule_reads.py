"""What the pages of spam rules show beside the rules: hits, trials, and what people said of samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from homeserver.storage.database import Reader, Row, Tx

# Of more decisions than this only the newest are counted.
_COUNTED_MAX = 200_000
_HITS = """
    SELECT rule_id, count(*) FILTER (WHERE stage = 'enforced') AS enforced,
        count(*) FILTER (WHERE stage <> 'enforced') AS shadowed, max(decided_ts) AS newest_ts
    FROM (
        SELECT rule_id, stage, decided_ts FROM spam_decisions WHERE decided_ts > $1
        ORDER BY decided_ts DESC LIMIT $2
    ) newest GROUP BY rule_id
"""
_TRIALS = """
    SELECT job_id, state, error, progress, started_by, created_ts FROM admin_jobs
    WHERE target = $1 AND kind = 'spam_trial' ORDER BY created_ts DESC LIMIT $2
"""
_DECISION_MARK = "SELECT is_spam FROM spam_marks WHERE decision_id = $1"
_MARK_SAMPLE = """
    INSERT INTO spam_sample_marks (event_id, is_spam, marked_by, marked_ts) VALUES ($1, $2, $3, $4)
    ON CONFLICT (event_id) DO UPDATE SET is_spam = excluded.is_spam, marked_by = excluded.marked_by,
        marked_ts = excluded.marked_ts
"""
_SAMPLE_MARKS = "SELECT event_id, is_spam FROM spam_sample_marks WHERE event_id = ANY($1::text[])"


@dataclass(frozen=True, slots=True)
class Hits:
    """How often a rule held lately. Times in milliseconds."""

    enforced: int = 0
    shadowed: int = 0
    newest_ts: int = 0


async def hits(db: Reader, since_ms: int) -> dict[str, Hits]:
    """By rule, since a time."""
    rows = await db.fetch(_HITS, since_ms, _COUNTED_MAX)
    return {row["rule_id"]: Hits(row["enforced"], row["shadowed"], row["newest_ts"]) for row in rows}


async def trials(db: Reader, rule_id: str, limit: int) -> list[Row]:
    """Trials of a rule on history, the newest first."""
    return await db.fetch(_TRIALS, rule_id, limit)


async def mark_of(db: Reader, decision_id: int) -> bool | None:
    """Whether somebody said that what was decided upon is spam, or is not; None where nobody did."""
    said: bool | None = await db.fetchval(_DECISION_MARK, decision_id)
    return said


async def mark_sample(tx: Tx, event_id: str, *, is_spam: bool, by: str, now_ms: int) -> None:
    """Keeps what somebody said of an event; what is said last counts."""
    await tx.execute(_MARK_SAMPLE, event_id, is_spam, by, now_ms)


async def sample_marks(db: Reader, event_ids: Sequence[str]) -> Mapping[str, bool]:
    """What people said of these events: whether each is spam."""
    return {row["event_id"]: row["is_spam"] for row in await db.fetch(_SAMPLE_MARKS, list(event_ids))}
