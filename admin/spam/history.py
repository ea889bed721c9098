"""A rule tried on what was said before: as a job, without effects, by the same functions that judge what happens now.

What is known of rooms (members, power) is what is so now; ages and rates are those of the time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import msgspec
import orjson

from admin.jobs import Job, Jobs
from admin.spam import storage
from admin.spam.book import RuleBook
from admin.spam.facts import SHARED, Place, invited_by
from admin.spam.replay import InProcess, InThread, Line, Replaying
from admin.spam.rules import Rule, check_rule
from admin.spam.surroundings import Surroundings, place_of, power_of
from homeserver.core.errors import InvalidParam
from homeserver.core.identifiers import RoomId
from homeserver.runtime.clock import Clock
from homeserver.storage import bodies
from homeserver.storage.database import Database
from homeserver.web.endpoint import Operator

KIND = "spam_trial"
CHUNK = 2_000
# From so many events on, a process of its own is worth its beginning.
LONG = 20_000
KNOWN_MAX = 200_000
NOTED_EVERY_MS = 1_000
DAY_MS = 86_400_000


class HistoryTrials:
    """Runs trials. One holds some hundred thousand users' ages and the windows of rates, whatever the history."""

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
        """Goes through the events of some days: while one chunk is judged, the next one is read."""
        rule = msgspec.convert(job.arguments["rule"], Rule)
        others = [one for one in self._book.force.rules.values() if one.id != rule.id]
        upto = await storage.history_end(self._db)
        fields = await asyncio.to_thread(lambda: check_rule(rule).fields)
        asks_shared = SHARED in fields or any(SHARED in self._book.force.fields_of(one) for one in others)
        is_long = await storage.is_history_long(self._db, LONG)
        replaying: Replaying = (InProcess if is_long else InThread)(rule, await self._book.lists(), others)
        try:
            await self._go_through(job, replaying, upto, asks_shared=asks_shared)
        finally:
            await replaying.close()

    async def _go_through(self, job: Job, replaying: Replaying, upto: int, *, asks_shared: bool) -> None:
        since_ms = self._clock.now_ms() - int(job.arguments["days"]) * DAY_MS
        known = _Known(self._db, self._around, asks_shared=asks_shared)
        found, noted_ms, after = await replaying.take([], {}), self._clock.now_ms(), 0
        rows = await storage.history(self._db, after, upto, since_ms, CHUNK)
        while rows:
            lines, places = await known.lines(rows)
            judged = asyncio.ensure_future(replaying.take(lines, places))
            try:
                after = rows[-1]["event_nid"]
                rows = await storage.history(self._db, after, upto, since_ms, CHUNK)
                found = await judged
            finally:
                judged.cancel()
            if self._clock.now_ms() - noted_ms >= NOTED_EVERY_MS:
                noted_ms = self._clock.now_ms()
                job.progress.update(found, at=after, of=upto)
                await job.note()
        job.progress.update(found, at=upto, of=upto)


class _Known:
    """What is known of the senders and rooms of a history, as far as memory goes."""

    def __init__(self, db: Database, around: Surroundings, *, asks_shared: bool) -> None:
        self._db = db
        self._around = around
        self._asks_shared = asks_shared
        self._since: dict[str, int | None] = {}
        self._powers: dict[tuple[str, str], int] = {}
        self._places: dict[str, Place] = {}

    async def lines(self, rows: Sequence[bodies.Line]) -> tuple[list[Line], Mapping[str, Place]]:
        """These events with what is known of who and where."""
        await self._find_senders(list({row["sender"] for row in rows}))
        await self._find_rooms(rows)
        shared = await self._shared(rows) if self._asks_shared else {}
        return await asyncio.to_thread(self._made, rows, shared)

    async def _shared(self, rows: Sequence[bodies.Line]) -> dict[str, int]:
        """By event, for memberships that are about somebody else than their sender."""
        found = await asyncio.to_thread(lambda: [(row["event_id"], _pair(row)) for row in rows])
        asked = {pair for _, pair in found if pair is not None}
        counts = await storage.rooms_shared(self._db, sorted(asked)) if asked else {}
        return {event_id: counts[pair] for event_id, pair in found if pair is not None}

    def _made(self, rows: Sequence[bodies.Line], shared: Mapping[str, int]) -> tuple[list[Line], Mapping[str, Place]]:
        since, powers, is_local = self._since, self._powers, self._around.is_local
        lines = []
        for row in rows:
            room_id, sender = row["room_id"], row["sender"]
            lines.append(
                Line(
                    room_id,
                    row["event_id"],
                    sender,
                    row["origin_server_ts"],
                    row["json"],
                    is_local(sender),
                    since[sender],
                    powers[room_id, sender],
                    shared.get(row["event_id"], 0),
                )
            )
        places = self._places
        return lines, {room_id: places[room_id] for room_id in {line.room_id for line in lines}}

    async def _find_senders(self, user_ids: Sequence[str]) -> None:
        if len(self._since) > KNOWN_MAX:
            self._since.clear()
        new = [user_id for user_id in user_ids if user_id not in self._since]
        if new:
            found = await storage.known_since(self._db, new)
            self._since.update((user_id, found.get(user_id)) for user_id in new)

    async def _find_rooms(self, rows: Sequence[bodies.Line]) -> None:
        if len(self._powers) > KNOWN_MAX:
            self._powers.clear()
            self._places.clear()
        pairs = {(row["room_id"], row["sender"]) for row in rows}
        new = pairs - self._powers.keys()
        rooms = await self._around.rooms({RoomId(room_id) for room_id, _ in new}) if new else {}
        for room_id, sender in new:
            room = rooms.get(RoomId(room_id))
            self._powers[room_id, sender] = power_of(room, sender)
            if room_id not in self._places:
                self._places[room_id] = place_of(room)


def _pair(row: bodies.Line) -> tuple[str, str, str] | None:
    """Room, sender and whom it is about; None for what is no such membership."""
    if b'"m.room.member"' not in row["json"]:
        return None
    event = orjson.loads(row["json"])
    invited = invited_by(event["type"], row["sender"], event.get("state_key"))
    return (row["room_id"], row["sender"], invited) if invited is not None else None
