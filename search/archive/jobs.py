"""What operators ask of the archive by the command line: noted in the database, done by the server that runs."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import orjson
import structlog

from homeserver.core.errors import Unavailable
from homeserver.runtime.clock import Clock
from homeserver.storage.database import Database, Reader, Row, Tx
from search.archive.keeping import Keeper
from search.archive.moving import NotWhole
from search.tiers import TierFault

log = structlog.get_logger()

KINDS = ("run", "verify", "restore", "compact")
# How often a server looks whether something was asked, and how often what is due by itself is done.
LOOK_S = 1.0
TIDY_S = 60.0
POLICY_S = 6 * 3600.0
NOTED_EVERY_S = 0.5
_ENDED_KEPT = 100

_ASK = """
    INSERT INTO archive_jobs (kind, month, is_forced, asked_ms) VALUES ($1, $2, $3, $4) RETURNING job_nid
"""
_ONE = "SELECT * FROM archive_jobs WHERE job_nid = $1"
_NEXT = "SELECT * FROM archive_jobs WHERE ended_ms IS NULL ORDER BY job_nid LIMIT 1"
_WORKING = "SELECT EXISTS (SELECT FROM archive_jobs WHERE begun_ms IS NOT NULL AND ended_ms IS NULL)"
_BEGIN = "UPDATE archive_jobs SET begun_ms = $2 WHERE job_nid = $1"
_NOTE = "UPDATE archive_jobs SET what = $2, done = $3, total = $4 WHERE job_nid = $1"
_END = "UPDATE archive_jobs SET ended_ms = $2, result = $3 WHERE job_nid = $1"
_FORGET = "DELETE FROM archive_jobs WHERE ended_ms IS NOT NULL AND job_nid <= $1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Something asked for, and how far it is. `result` when it has ended: figures, or `error`."""

    job_nid: int
    kind: str
    month: str | None
    is_forced: bool
    is_begun: bool
    what: str
    done: int
    total: int
    result: Mapping[str, Any] | None


async def ask(tx: Tx, kind: str, month: str | None, now_ms: int, *, is_forced: bool) -> int:
    """The number of a new job."""
    return int(await tx.fetchval(_ASK, kind, month, is_forced, now_ms))


async def one(db: Reader, job_nid: int) -> Job | None:
    row = await db.fetchrow(_ONE, job_nid)
    return _job(row) if row is not None else None


async def is_working(db: Reader) -> bool:
    """Whether a server does one of them now."""
    return bool(await db.fetchval(_WORKING))


class Worker:
    """Does them one after the other; between them, what the policy and the state of the files ask for."""

    def __init__(self, db: Database, keeper: Keeper, clock: Clock) -> None:
        self._db = db
        self._keeper = keeper
        self._clock = clock
        self._tidied_s: float | None = None
        self._ran_s: float | None = None

    async def run(self) -> None:
        """One round of a background task."""
        row = await self._db.fetchrow(_NEXT)
        if row is not None:
            await self._do(_job(row))
            return
        now_s = self._clock.monotonic_s()
        try:
            if self._tidied_s is None or now_s - self._tidied_s >= TIDY_S:
                self._tidied_s = now_s
                await self._keeper.tidy()
            if self._ran_s is None or now_s - self._ran_s >= POLICY_S:
                self._ran_s = now_s
                if await self._keeper.has_policy():
                    await self._keeper.run()
        except (NotWhole, TierFault, Unavailable, OSError) as fault:
            log.warning("archive_round_failed", error=type(fault).__name__, reason=str(fault))
        await self._clock.sleep(LOOK_S)

    async def _do(self, job: Job) -> None:
        noted = _Noted()
        await self._db.execute(_BEGIN, job.job_nid, self._clock.now_ms())
        telling = asyncio.ensure_future(self._tell(job.job_nid, noted))
        result: Mapping[str, Any]
        try:
            result = await self._work(job, noted)
        except (NotWhole, TierFault, Unavailable, OSError) as fault:
            log.warning("archive_job_failed", kind=job.kind, error=str(fault))
            result = {"error": str(fault) or type(fault).__name__}
        except Exception as fault:
            # Begun again for ever it would hold up all others.
            log.exception("archive_job_failed", kind=job.kind)
            result = {"error": type(fault).__name__}
        finally:
            telling.cancel()
            await asyncio.wait([telling])
        await self._db.execute(_NOTE, job.job_nid, *noted.now)
        await self._db.execute(_END, job.job_nid, self._clock.now_ms(), orjson.dumps(result))
        await self._db.execute(_FORGET, job.job_nid - _ENDED_KEPT)

    async def _work(self, job: Job, noted: _Noted) -> Mapping[str, Any]:
        match job.kind:
            case "run":
                moved = await self._keeper.run(noted, month=job.month, is_forced=job.is_forced)
                return {"months": moved, "messages": sum(moved.values())}
            case "verify":
                return asdict(await self._keeper.verify(noted))
            case "restore":
                return {"messages": await self._keeper.restore(job.month or "", noted)}
            case "compact":
                return {"files": await self._keeper.compact(is_forced=job.is_forced)}
            case _:
                return {"error": f"{job.kind} is nothing that can be asked"}

    async def _tell(self, job_nid: int, noted: _Noted) -> None:
        """Writes down now and then how far it is."""
        told = noted.now
        while True:
            await self._clock.sleep(NOTED_EVERY_S)
            if noted.now != told:
                told = noted.now
                await self._db.execute(_NOTE, job_nid, *told)


class _Noted:
    """A Progress that remembers."""

    def __init__(self) -> None:
        self.now: tuple[str, int, int] = ("", 0, 0)

    def __call__(self, what: str, done: int, total: int) -> None:
        self.now = (what, done, total)


def _job(row: Row) -> Job:
    return Job(
        job_nid=row["job_nid"],
        kind=row["kind"],
        month=row["month"],
        is_forced=row["is_forced"],
        is_begun=row["begun_ms"] is not None,
        what=row["what"],
        done=row["done"],
        total=row["total"],
        result=orjson.loads(row["result"]) if row["result"] is not None else None,
    )
