"""A spam rule tried on what was said before: begun, followed, and its samples marked."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson

from admin.audit import AuditLog, entry_of
from admin.console.acting import whole_number
from admin.console.desk import Desk, Visit, rule_path
from admin.console.page import page
from admin.jobs import Jobs
from admin.spam.api import TrialBody, TrialEndpoints
from admin.storage import console_reads, rule_reads
from homeserver.core.errors import InvalidParam, NotFound
from homeserver.core.operators import Permission
from homeserver.runtime.clock import Clock
from homeserver.storage.database import Database
from homeserver.web.endpoint import Answer, Reach

_PATH = "/admin/spam/rules/{rule_id}/trials"
_DAYS_DEFAULT = 30
_DAYS_MAX = 3_650
_DAYS_SHOWN = 60
_DAY_S = 86_400
_GROUPS_SHOWN = 20


class SpamTrialPages:
    """/admin/spam/rules/{rule_id}/trials."""

    def __init__(self, desk: Desk, jobs: Jobs, trials: TrialEndpoints, marks: SampleMarks) -> None:
        self.desk = desk
        self._jobs = jobs
        self._trials = trials
        self._marks = marks

    @page("POST", _PATH, needs=Permission.CHANGE_RULES, reach=Reach.SERVER)
    async def begin(self, visit: Visit, rule_id: str) -> Answer:
        days = whole_number(visit, "days") or _DAYS_DEFAULT
        if not 0 < days <= _DAYS_MAX:
            raise InvalidParam(f"days must be 1 to {_DAYS_MAX}")
        begun = await self._trials.begin(visit.operator, rule_id, TrialBody(days=days))
        return self.desk.go(f"{rule_path(rule_id)}/trials/{begun['job_id']}")

    @page("GET", _PATH + "/{job_id}", needs=Permission.READ_RULES, reach=Reach.SERVER)
    async def trial(self, visit: Visit, rule_id: str, job_id: str) -> Answer:
        """What was found so far. Samples are what people wrote: only for those who may read it."""
        row = await self._jobs.one(job_id)
        if row.kind != "spam_trial" or row.target != rule_id:
            raise NotFound("there is no such trial")
        found: dict[str, Any] = orjson.loads(row.progress)
        samples = found.get("samples", []) if visit.may(Permission.READ_CONTENT) else []
        shown = [sample["event_id"] for sample in samples]
        marks, bodies = await self._marks.of(shown), await self._marks.bodies(shown)
        days = [(_day(int(day)), hits) for day, hits in found.get("by_day", {}).items()][-_DAYS_SHOWN:]
        rooms = list(found.get("by_room", {}).items())[:_GROUPS_SHOWN]
        values: dict[str, Any] = {
            "rule_id": rule_id,
            "job": row,
            "found": found,
            "arguments": orjson.loads(row.arguments),
            "days": days,
            "day_max": max((hits for _, hits in days), default=1),
            "rooms": rooms,
            "names": await self._marks.room_names([room_id for room_id, _ in rooms]),
            "senders": list(found.get("by_sender", {}).items())[:_GROUPS_SHOWN],
            "overlap": list(found.get("overlap", {}).items())[:_GROUPS_SHOWN],
            "samples": [
                {**sample, "is_spam": marks.get(sample["event_id"]), "body": bodies.get(sample["event_id"], "")}
                for sample in samples
            ],
            "marked": len(marks),
            "right": sum(marks.values()),
        }
        tables = {
            name: ((key, "hits"), [{key: one, "hits": hits} for one, hits in values[name]])
            for name, key in (("days", "day"), ("rooms", "room_id"), ("senders", "sender"), ("overlap", "rule_id"))
        }
        return self.desk.tables(visit, "spam_trial", values, tables)

    @page("POST", _PATH + "/{job_id}/mark", needs=Permission.CHANGE_RULES, reach=Reach.SERVER)
    async def mark(self, visit: Visit, rule_id: str, job_id: str) -> Answer:
        """Says of one sample whether it is spam: from these the trial's precision comes."""
        found: dict[str, Any] = orjson.loads((await self._jobs.one(job_id)).progress)
        event_id, said = visit.fields.get("event_id", ""), visit.fields.get("is_spam")
        if said not in ("yes", "no") or event_id not in {one["event_id"] for one in found.get("samples", [])}:
            raise InvalidParam("this is no sample of the trial")
        await self._marks.say(event_id, said == "yes", visit)
        return self.desk.go(f"{rule_path(rule_id)}/trials/{job_id}?done=marked#samples")


class SampleMarks:
    """What people said of samples."""

    def __init__(self, db: Database, clock: Clock, audit: AuditLog) -> None:
        self._db = db
        self._clock = clock
        self._audit = audit

    async def of(self, event_ids: list[str]) -> dict[str, bool]:
        """Which of these are spam, and which aren't; others were not looked at."""
        return dict(await rule_reads.sample_marks(self._db, event_ids))

    async def bodies(self, event_ids: list[str]) -> dict[str, str]:
        """What these say, for people who may read it."""
        return await console_reads.bodies(self._db, event_ids)

    async def room_names(self, room_ids: list[str]) -> dict[str, str]:
        return await console_reads.room_names(self._db, room_ids)

    async def say(self, event_id: str, is_spam: bool, visit: Visit) -> None:
        """Keeps it, with an audit entry."""
        by = visit.operator
        async with self._db.transaction() as tx:
            await rule_reads.mark_sample(tx, event_id, is_spam=is_spam, by=by.user_id, now_ms=self._clock.now_ms())
            await self._audit.record(tx, entry_of(by, "sample.mark", event_id, after={"is_spam": is_spam}))


def _day(days: int) -> str:
    return datetime.fromtimestamp(min(max(days, 0), 2_900_000) * _DAY_S, UTC).strftime("%Y-%m-%d")
