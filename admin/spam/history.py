"""A rule tried on what was said before: as a job, without effects, by the same functions that judge what happens now.

What is known of rooms (members, power) is what is so now; ages and rates are those of the time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec
import orjson

from admin.jobs import Job, Jobs
from admin.spam import storage
from admin.spam.book import RuleBook
from admin.spam.facts import Happening, Place, Sender
from admin.spam.gate import REMOTE_HOOKS, hook_of
from admin.spam.rules import Rule, check_rule
from admin.spam.surroundings import Surroundings, place_of, power_of
from admin.spam.trial import Trial
from homeserver.core.errors import InvalidParam
from homeserver.rooms.residents import Room
from homeserver.runtime.clock import Clock
from homeserver.storage.database import Database, Row
from homeserver.web.endpoint import Operator

KIND = "spam_trial"
CHUNK = 500
ROOMS_MAX = 2_000
DAY_MS = 86_400_000

Asked = tuple[Happening, Sender, Place]


class HistoryTrials:
    """Runs trials. One holds some thousand rooms' facts and the windows of rates, whatever the length of history."""

    def __init__(self, db: Database, book: RuleBook, around: Surroundings, jobs: Jobs, clock: Clock) -> None:
        self._db = db
        self._book = book
        self._around = around
        self._jobs = jobs
        self._clock = clock
        jobs.provide(KIND, self.run)

    async def begin(self, rule: Rule, days: int, *, by: Operator) -> str:
        """The job's id; its progress is what was found. Raises InvalidParam."""
        try:
            await asyncio.to_thread(check_rule, rule)
        except ValueError as error:
            raise InvalidParam(str(error)) from None
        arguments = {"rule": msgspec.to_builtins(rule), "days": days}
        return await self._jobs.begin(KIND, rule.id, arguments, by=by, action="rule.trial")

    async def run(self, job: Job) -> None:
        """Goes through the events of some days, a chunk at a time, the counting beside the event loop."""
        rule = msgspec.convert(job.arguments["rule"], Rule)
        others = [one for one in self._book.force.rules.values() if one.id != rule.id]
        trial = await asyncio.to_thread(Trial, rule, self._book.force.lists, others)
        since_ms = self._clock.now_ms() - int(job.arguments["days"]) * DAY_MS
        after, upto = 0, await storage.history_end(self._db)
        rooms: dict[str, Room | None] = {}
        while rows := await storage.history(self._db, after, upto, since_ms, CHUNK):
            asked = await self._asked(rows, rooms)
            await asyncio.to_thread(_take_all, trial, asked)
            after = rows[-1]["event_nid"]
            job.progress.update(trial.tally.shown(), at=after, of=upto)
            await job.note()
        job.progress.update(trial.tally.shown(), at=upto, of=upto)

    async def _asked(self, rows: Sequence[Row], rooms: dict[str, Room | None]) -> list[Asked]:
        since = await storage.known_since(self._db, list({row["sender"] for row in rows}))
        for room_id in {row["room_id"] for row in rows} - rooms.keys():
            rooms[room_id] = await self._around.room(room_id)
        asked = [self._one(row, rooms[row["room_id"]], since) for row in rows]
        if len(rooms) > ROOMS_MAX:
            rooms.clear()
        return [one for one in asked if one is not None]

    def _one(self, row: Row, room: Room | None, since: Mapping[str, int]) -> Asked | None:
        event: dict[str, Any] = orjson.loads(row["json"])
        is_local = self._around.is_local(row["sender"])
        hook = hook_of(event["type"], row["sender"], event.get("state_key"), event["content"])
        if hook is None:
            return None
        sent_ms = row["origin_server_ts"]
        what = Happening(
            hook=hook if is_local else REMOTE_HOOKS.get(hook, hook),
            sender=row["sender"],
            at_s=sent_ms / 1_000,
            type=event["type"],
            state_key=event.get("state_key"),
            content=event["content"],
            room_id=row["room_id"],
            event_id=row["event_id"],
        )
        known_ms = since.get(row["sender"])
        sender = Sender(local=is_local, power=power_of(room, row["sender"]))
        if known_ms is not None:
            sender = replace(sender, age_s=max(0, sent_ms - known_ms) // 1_000)
        return what, sender, place_of(room)


def _take_all(trial: Trial, asked: Sequence[Asked]) -> None:
    for what, sender, place in asked:
        trial.take(what, sender, place)
