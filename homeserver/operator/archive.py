"""The archive from the command line: what the catalog says, and jobs that the running server does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from homeserver.assembly.archive import archive_reader
from homeserver.config import Config
from homeserver.core.errors import InvalidParam
from homeserver.core.identifiers import RoomId
from homeserver.operator.database import connected
from homeserver.runtime.clock import Clock
from homeserver.runtime.progress import Progress
from homeserver.storage import rooms
from homeserver.storage.database import Database
from homeserver.storage.migrate import migrate
from search.archive import catalog, jobs
from search.archive.jobs import Job
from search.documents import KEYS
from search.query import parse, rooms_in
from search.tiers import FIRST_PLACE, LAST_PLACE, Question

# So long a job may wait to be begun before we say that no server runs.
PATIENCE_S = 10.0
_LOOK_S = 0.3


class NobodyWorks(Exception):
    """The job is noted, but no server began it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MonthState:
    """A month of the archive. `hidden` messages go at the next compaction; `damage` is by file."""

    month: str
    files: int
    messages: int
    bytes: int
    hidden: int
    moving: int  # files that the hot index still has something of
    damage: list[str]
    stays_hot: bool


@asynccontextmanager
async def _database(config: Config, clock: Clock) -> AsyncIterator[Database]:
    async with connected(config, clock) as db:
        await migrate(db)
        yield db


async def status(config: Config, clock: Clock) -> list[MonthState]:
    """Every month that has files, or was restored."""
    async with _database(config, clock) as db:
        months, files = await catalog.months(db), await catalog.files(db)
    states = []
    for month in months.values():
        held = [file for file in files if file.month == month.month]
        if held or month.stays_hot:
            states.append(
                MonthState(
                    month=month.month,
                    files=len(held),
                    messages=sum(file.built.rows for file in held),
                    bytes=sum(file.bytes for file in held),
                    hidden=sum(len(file.hidden) for file in held),
                    moving=sum(not file.is_cold for file in held),
                    damage=[f"{file.name}: {file.damage}" for file in held if file.damage is not None],
                    stays_hot=month.stays_hot,
                )
            )
    return states


async def do(
    config: Config, clock: Clock, progress: Progress, kind: str, *, month: str | None = None, is_forced: bool = False
) -> Job:
    """Asks for a job and waits until it has ended. Raises NobodyWorks, InvalidParam."""
    _check_month(month)
    async with _database(config, clock) as db:
        async with db.transaction() as tx:
            job_nid = await jobs.ask(tx, kind, month, clock.now_ms(), is_forced=is_forced)
        patience_s = clock.monotonic_s() + PATIENCE_S
        while True:
            job = await jobs.one(db, job_nid)
            if job is None:
                raise NobodyWorks("the job is gone")
            if job.result is not None:
                return job
            if job.is_begun and job.total:
                progress(job.what, min(job.done, job.total), job.total)
            elif not job.is_begun and clock.monotonic_s() > patience_s and not await jobs.is_working(db):
                raise NobodyWorks("no server has begun it")
            await clock.sleep(_LOOK_S)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a question finds in the archive, over all rooms, and what it reads of each file it asks."""

    count: int
    is_partial: bool
    bytes: int
    bytes_by_file: dict[str, int]
    missed: list[str]


async def explain(config: Config, clock: Clock, term: str) -> Cost | None:
    """Asks the archive as a search of all rooms would; None where there is nothing to look for. Raises InvalidParam."""
    parsed = parse(term, rooms={name: frozenset({name}) for name in rooms_in(term)})
    if parsed is None:
        return None
    async with _database(config, clock) as db, archive_reader(config, db, clock) as cold:
        everywhere = {nid: [(FIRST_PLACE, LAST_PLACE)] for nid, _ in await rooms.numbered(db)}
        question = Question(
            query=parsed.query,
            scope=everywhere,
            keys=frozenset(KEYS.values()),
            by_rank=False,
            upto=2**62,
            limit=10,
        )
        found, reading = await cold.explain(question)
    return Cost(
        count=found.count,
        is_partial=found.is_partial,
        bytes=reading.bytes,
        bytes_by_file=reading.bytes_by_file,
        missed=reading.missed,
    )


async def set_room_age(config: Config, clock: Clock, room_id: str, after_days: int | None, *, as_others: bool) -> None:
    """Gives a room an age of its own (None: it is never archived), or takes it away. Raises InvalidParam."""
    async with _database(config, clock) as db:
        found = await rooms.by_ids(db, [RoomId(room_id)])
        if not found:
            raise InvalidParam(f"{room_id} is no room that this server knows")
        async with db.transaction() as tx:
            if as_others:
                await catalog.unset_room_age(tx, found[0].nid)
            else:
                await catalog.set_room_age(tx, found[0].nid, after_days)


def _check_month(month: str | None) -> None:
    if month is not None:
        try:
            datetime.strptime(month, "%Y-%m").replace(tzinfo=UTC)
        except ValueError:
            raise InvalidParam(f"a month is written like 2025-03, not {month!r}") from None
