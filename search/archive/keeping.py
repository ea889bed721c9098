"""Keeps the archive: what is due leaves the hot index, what is hidden is rewritten, what is damaged is made anew."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field

import orjson
import structlog

from homeserver.core.errors import Unavailable
from homeserver.objects.store import NoSuchObject
from homeserver.runtime.clock import Clock
from homeserver.runtime.progress import Progress, unseen
from search.archive import catalog, source
from search.archive.bodies import NotHere
from search.archive.catalog import PARQUET, TERMS, File, Month
from search.archive.files import Made
from search.archive.making import Makers
from search.archive.moving import Mover, NotWhole, Target
from search.archive.rows import FORMAT_VERSION
from search.archive.shelf import Shelf, month_span
from search.archive.terms import Damaged

log = structlog.get_logger()

DAY_MS = 24 * 3600 * 1000
# Messages of a month that go into one file, about.
FILE_ROWS = 200_000
BUCKETS_MAX = 1024
# Each in a process of its own, with its terms in memory: some hundred megabytes of a large one.
FILES_AT_ONCE = 2
# Another number means that rows are found by more than before (2: by hosts, by formatted text): files are made anew.
FOUND_BY = 2
# Of a file's messages, in percent, that may be hidden before it is rewritten; and how long the first may be at most.
HIDDEN_PERCENT = 1
HIDDEN_MS = 7 * DAY_MS
_MONTH = re.compile(r"20\d\d-(0[1-9]|1[0-2])", re.ASCII)


@dataclass(frozen=True, slots=True)
class Policy:
    """What leaves the hot index by itself: months that ended so many days ago; and the database. None: nothing does."""

    after_days: int | None = None
    bodies_after_days: int | None = None


@dataclass(slots=True)
class Verdict:
    """What a look at the archive found."""

    files: int = 0
    bytes: int = 0
    damaged: list[str] = field(default_factory=list)
    repaired: list[str] = field(default_factory=list)
    manifests: list[str] = field(default_factory=list)  # written anew
    lost: list[str] = field(default_factory=list)  # couldn't be made anew: bodies that the database has no more


class Keeper:
    """One work at a time."""

    def __init__(self, shelf: Shelf, mover: Mover, clock: Clock, policy: Policy) -> None:
        self._shelf = shelf
        self._mover = mover
        self._clock = clock
        self._policy = policy
        self._working = asyncio.Lock()

    async def has_policy(self) -> bool:
        """Whether anything may become due by itself."""
        if self._policy.after_days is not None or self._policy.bodies_after_days is not None:
            return True
        return any(age is not None for age in (await catalog.room_ages(self._shelf.db)).values())

    async def finish(self) -> None:
        """Ends what a crash cut short: events that are in a file leave the hot index. Raises TierFault, Unavailable."""
        async with self._working:
            for file in self._shelf.files:
                if not file.is_cold and file.damage is None:
                    try:
                        await self._mover.let_go(file, unseen)
                    except Damaged as damage:
                        await self._shelf.damaged(file, str(damage))

    async def run(
        self, progress: Progress = unseen, *, month: str | None = None, is_forced: bool = False
    ) -> dict[str, int]:
        """Archives what is due: of all months or one, whatever its age if it is forced. Messages by month.

        Raises NotWhole, TierFault, Unavailable, OSError.
        """
        async with self._working:
            counts = await source.counts(self._shelf.db, _span(month))
            ages = await catalog.room_ages(self._shelf.db)
            targets = [
                target
                for one, events in counts.items()
                if month in (None, one) and (one not in self._shelf.stays_hot or is_forced)
                for target in await self._targets(one, events, ages, is_forced=is_forced, is_named=month is not None)
            ]
            makers = Makers(sum(counts[one] for one in {target.month for target in targets}))
            try:
                moved = await self._archive(targets, makers, progress)
            finally:
                await makers.end()
            await self.write_manifests()
            await self._move_bodies(progress, month, is_forced=is_forced)
            return moved

    async def _archive(self, targets: Sequence[Target], makers: Makers, progress: Progress) -> dict[str, int]:
        """Makes these files; while one is checked and let go, the next is made. Messages by month."""
        moved: dict[str, int] = {}
        under_way: dict[asyncio.Future[int], Target] = {}

        def tell(target: Target) -> Progress:
            # Of two, the one that was begun first.
            def told(what: str, done: int, total: int) -> None:
                if target is next(iter(under_way.values()), target):
                    progress(what, done, total)

            return told

        async def until_left(most: int) -> None:
            while len(under_way) > most:
                done, _ = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
                for one in done:
                    month = under_way.pop(one).month
                    moved[month] = moved.get(month, 0) + one.result()
                    if all(target.month != month for target in under_way.values()):
                        log.info("month_archived", month=month, messages=moved[month])

        try:
            for target in targets:
                await until_left(FILES_AT_ONCE - 1)
                archiving = self._mover.archive(target, makers, tell(target))
                under_way[asyncio.ensure_future(archiving)] = target
            await until_left(0)
        finally:
            for one in under_way:
                one.cancel()
            if under_way:
                await asyncio.wait(under_way)
        return moved

    async def tidy(self) -> None:
        """One round of what needs no policy: rewrites, repairs, deletes. Raises NotWhole, TierFault, Unavailable."""
        await self.finish()
        await self.compact()
        async with self._working:
            for file in self._shelf.files:
                if file.damage is not None or _is_outdated(file.rule):
                    try:
                        await self._make_anew(file, unseen)
                    except NotWhole as fault:
                        # It stays, with the bodies that it alone has, until its object is brought back.
                        log.error("archive_file_not_mended", month=file.month, bucket=file.bucket, reason=str(fault))
            await self.write_manifests()
        await self.delete_leftovers()

    async def delete_leftovers(self, *, is_forced: bool = False) -> None:
        """Deletes the objects that don't count any more, and are due (forced: all). Raises Unavailable."""
        until_ms = 2**62 if is_forced else self._clock.now_ms()
        async with self._working:
            while names := await catalog.leftovers(self._shelf.db, until_ms, 100):
                for name in names:
                    await self._shelf.store.delete(name)
                async with self._shelf.db.transaction() as tx:
                    await catalog.keep(tx, names)

    async def compact(self, *, is_forced: bool = False) -> int:
        """Rewrites files in which enough is hidden, or (forced) anything, and deletes the old ones; how many.

        Raises NotWhole, TierFault, Unavailable.
        """
        now_ms, count = self._clock.now_ms(), 0
        async with self._working:
            for file in self._shelf.files:
                is_old = file.hidden_since_ms is not None and now_ms - file.hidden_since_ms > HIDDEN_MS
                is_due = is_old or len(file.hidden) * 100 > file.built.rows * HIDDEN_PERCENT
                if file.hidden and (is_forced or is_due):
                    await self._make_anew(file, unseen)
                    count += 1
                    if is_forced:
                        await self._delete(file.name)
            if count:
                await self.write_manifests()
        return count

    async def restore(self, month: str, progress: Progress = unseen) -> int:
        """Brings a month back to the hot index, where it stays; how many messages. Raises TierFault, Unavailable."""
        async with self._working:
            files = [file for file in self._shelf.files if file.month == month]
            count = 0
            for file in files:
                try:
                    count += await self._mover.restore(file, progress)
                except NotHere as lost:
                    raise NotWhole(str(lost)) from None
            names = [file.name + suffix for file in files for suffix in (PARQUET, TERMS)]
            async with self._shelf.changing:
                async with self._shelf.db.transaction() as tx:
                    await catalog.restored(tx, month)
                    await catalog.leave(tx, [*names, _manifest_name(month)], self._clock.now_ms())
                for file in files:
                    self._shelf.drop(file)
                self._shelf.set_month(month, None, stays_hot=True)
            return count

    async def verify(self, progress: Progress = unseen) -> Verdict:
        """Reads every object, compares it with what was written, and makes anew what is damaged.

        Raises NotWhole, TierFault, Unavailable.
        """
        verdict = Verdict()
        async with self._working:
            files = self._shelf.files
            for done, file in enumerate(files):
                progress("read again", done, len(files))
                verdict.files += 1
                verdict.bytes += file.bytes
                damage = await self._damage_of(file)
                if damage is not None:
                    await self._shelf.damaged(file, damage)
                    verdict.damaged.append(f"{file.name}: {damage}")
            progress("read again", len(files), len(files))
            for file in self._shelf.files:
                if file.damage is not None:
                    try:
                        await self._make_anew(file, progress)
                    except NotWhole as fault:
                        verdict.lost.append(str(fault))
                        continue
                    verdict.repaired.append(f"{file.month}, bucket {file.bucket}")
            for month in await self._months():
                if month.manifest is not None and await self._digest(_manifest_name(month.month)) != month.manifest:
                    async with self._shelf.db.transaction() as tx:
                        await catalog.set_manifest(tx, month.month, None)
            verdict.manifests = await self.write_manifests()
        return verdict

    async def write_manifests(self) -> list[str]:
        """Writes those that aren't as their months' files are now; of which months. Raises Unavailable."""
        written = []
        for month in await self._months():
            if month.manifest is None:
                data = manifest(month, [file for file in self._shelf.files if file.month == month.month])
                made = await self._shelf.store.put(_manifest_name(month.month), _one_piece(data))
                async with self._shelf.db.transaction() as tx:
                    await catalog.set_manifest(tx, month.month, made.digest)
                written.append(month.month)
        return written

    async def _months(self) -> list[Month]:
        having = {file.month for file in self._shelf.files}
        return [month for month in (await catalog.months(self._shelf.db)).values() if month.month in having]

    async def _targets(
        self, month: str, events: int, ages: Mapping[int, int | None], *, is_forced: bool, is_named: bool
    ) -> list[Target]:
        """The files of a month that aren't as the policy would have them now."""
        end_ms, now_ms = month_span(month)[1], self._clock.now_ms()
        is_due = is_forced or _is_due(self._policy.after_days, end_ms, now_ms)
        if is_due:
            # Those with an age of their own that isn't reached; when one is told to, the rooms that never leave.
            rooms = frozenset(
                room for room, age in ages.items() if age is None or not (is_forced or _is_due(age, end_ms, now_ms))
            )
        else:
            rooms = frozenset(room for room, age in ages.items() if _is_due(age, end_ms, now_ms))
        if not is_due and not rooms:
            return []
        wanted = max(1, min(BUCKETS_MAX, -(-events // FILE_ROWS)))
        async with self._shelf.db.transaction() as tx:
            buckets = await catalog.set_month(tx, month, wanted)
        self._shelf.set_month(month, buckets)
        targets = []
        for bucket in range(buckets):
            of_bucket = frozenset(room for room in rooms if room % buckets == bucket)
            if not is_due and not of_bucket:
                continue
            rule = _rule(is_due, of_bucket)
            old = self._shelf.file((month, bucket))
            # What was made before the month was over lacks its rest.
            is_begun = old is not None and old.made_ms < end_ms + DAY_MS and (is_forced or now_ms >= end_ms + DAY_MS)
            if old is None or old.rule != rule or old.damage is not None or is_begun or is_named:
                targets.append(
                    Target(
                        month=month,
                        bucket=bucket,
                        buckets=buckets,
                        rule=rule,
                        without=of_bucket if is_due else frozenset(),
                        only=None if is_due else of_bucket,
                    )
                )
        return targets

    async def _move_bodies(self, progress: Progress, month: str | None, *, is_forced: bool) -> None:
        """What is old enough leaves the database, of files that are read again first and found whole."""
        days, now_ms = self._policy.bodies_after_days, self._clock.now_ms()
        for file in self._shelf.files if days is not None else ():
            is_due = is_forced or _is_due(days, month_span(file.month)[1], now_ms)
            if month not in (None, file.month) or not is_due or file.bodies_moved or not file.is_cold:
                continue
            damage = await self._damage_of(file)
            if damage is None:
                try:
                    moved = await self._mover.bodies.move_out(file, progress)
                    log.info("archive_bodies_moved", month=file.month, bucket=file.bucket, events=moved)
                except Damaged as found:
                    damage = str(found)
            if damage is not None:
                await self._shelf.damaged(file, damage)

    async def _make_anew(self, file: File, progress: Progress) -> None:
        """With the rooms that it has."""
        is_all, rooms = _ruled(file.rule)
        target = Target(
            month=file.month,
            bucket=file.bucket,
            buckets=self._shelf.buckets(file.month) or 1,
            rule=_rule(is_all, rooms),
            without=rooms if is_all else frozenset(),
            only=None if is_all else rooms,
        )
        makers = Makers(file.built.rows)
        try:
            await self._mover.archive(target, makers, progress)
        finally:
            await makers.end()

    async def _delete(self, name: str) -> None:
        names = [name + PARQUET, name + TERMS]
        for one in names:
            await self._shelf.store.delete(one)
        async with self._shelf.db.transaction() as tx:
            await catalog.keep(tx, names)

    async def _damage_of(self, file: File) -> str | None:
        objects: list[tuple[str, Made]] = [(PARQUET, file.built.parquet), (TERMS, file.built.terms)]
        for suffix, made in objects:
            digest = await self._digest(file.name + suffix)
            if digest is None:
                return f"{suffix} is missing"
            if digest != made.digest:
                return f"{suffix} isn't what was written"
        return file.damage

    async def _digest(self, name: str) -> str | None:
        """SHA-256 of an object, None where there is none. Raises Unavailable."""
        digest = hashlib.sha256()
        try:
            async for piece in self._shelf.store.get(name):
                await asyncio.to_thread(digest.update, piece)
        except NoSuchObject:
            return None
        except OSError as error:
            raise Unavailable("the archive's store can't be read") from error
        return digest.hexdigest()


def manifest(month: Month, files: list[File]) -> bytes:
    """What is in a month's files, for those who read them without Hansa. JSON."""
    listed = [
        {
            "bucket": file.bucket,
            "parquet": _told(file.name + PARQUET, file.built.parquet),
            "terms": _told(file.name + TERMS, file.built.terms),
            "rows": file.built.rows,
            "rows_digest": file.built.digest,
            "first_event_nid": file.built.first_nid,
            "last_event_nid": file.built.last_nid,
            "journal_position": file.upto,
            "made_ms": file.made_ms,
        }
        for file in sorted(files, key=lambda file: file.bucket)
    ]
    told = {"format": FORMAT_VERSION, "month": month.month, "buckets": month.buckets, "files": listed}
    return orjson.dumps(told, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS)


def _told(name: str, made: Made) -> dict[str, str | int]:
    return {"name": name, "bytes": made.size_bytes, "sha256": made.digest}


def _manifest_name(month: str) -> str:
    return f"{month}/manifest.json"


async def _one_piece(data: bytes) -> AsyncIterator[bytes]:
    yield data


def _span(month: str | None) -> tuple[int, int]:
    """Where events of a month may be; of what is no month, anywhere."""
    return month_span(month) if month is not None and _MONTH.fullmatch(month) else (-(2**62), 2**62)


def _is_due(after_days: int | None, end_ms: int, now_ms: int) -> bool:
    return after_days is not None and end_ms + after_days * DAY_MS <= now_ms


def _rule(is_all: bool, rooms: frozenset[int]) -> str:
    """Which rooms a file is to have, as it is kept: all but some, or some; behind FOUND_BY."""
    return f"{FOUND_BY}{'-' if is_all else '+'}{','.join(map(str, sorted(rooms)))}"


def _is_outdated(rule: str) -> bool:
    """Whether a file was made when its rows were found by less."""
    return not rule.startswith(str(FOUND_BY))


def _ruled(rule: str) -> tuple[bool, frozenset[int]]:
    rule = rule.lstrip("0123456789")
    return rule.startswith("-"), frozenset(int(room) for room in rule[1:].split(",") if room)
