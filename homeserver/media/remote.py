"""Files of other servers: fetched when somebody here asks for them, kept for a while, within bounds."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass

from homeserver.core.errors import LimitExceeded, NotFound, RemoteTooLarge
from homeserver.core.identifiers import ServerName, UserId
from homeserver.media.allowance import FILE_BYTES_MIN, Allowance
from homeserver.media.files import Files
from homeserver.media.headers import clean_name, clean_type
from homeserver.media.pace import Pace, keep_pace
from homeserver.ports import RemoteMedia
from homeserver.runtime.clock import Clock
from homeserver.storage import remote_media
from homeserver.storage.database import Database
from homeserver.storage.media import MediaRow

_HOUR_MS = 3600 * 1000
AT_ONCE = 100
# Where there is too much, so much goes that there is room for a while: to count what is kept takes time.
_KEPT_AFTERWARDS = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteLimits:
    """`file_bytes_max` for one file, `all_bytes_max` for all; those nobody asks for go after `retention_s`."""

    file_bytes_max: int
    all_bytes_max: int
    retention_s: int
    pace: Pace
    allowance: Allowance
    fetches_max: int = 100
    fetches_per_server_max: int = 10
    fetches_per_requester_max: int = 25


class RemoteFiles:
    """Finds them here, or fetches them: each once, however many ask at the same time."""

    def __init__(self, db: Database, files: Files, source: RemoteMedia, clock: Clock, limits: RemoteLimits) -> None:
        self._db = db
        self._files = files
        self._source = source
        self._clock = clock
        self._limits = limits
        self._fetching: dict[tuple[str, str], asyncio.Task[MediaRow]] = {}
        self._by_server: Counter[str] = Counter()
        self._by_requester: Counter[str] = Counter()
        # None before it was counted. What is added meanwhile is added to it; each round of tidying counts anew.
        self._kept_bytes: int | None = None

    async def get(self, server_name: ServerName, media_id: str, timeout_ms: int, requester: str) -> MediaRow:
        """Raises NotFound, RemoteTooLarge, LimitExceeded, and what the other server's refusal comes to.

        `requester`, a user or an address, is whom a fetch is counted for.
        """
        found = await remote_media.one(self._db, server_name, media_id)
        if found is None:
            return await self._fetched_once(server_name, media_id, timeout_ms, requester)
        row, used_ts = found
        now = self._clock.now_ms()
        if used_ts < now - _HOUR_MS:
            async with self._db.transaction() as tx:
                await remote_media.used(tx, server_name, media_id, now)
        return row

    async def tidy(self) -> None:
        """Deletes what nobody has asked for, and what is too much, that asked for longest ago first."""
        before, size = self._clock.now_ms() - self._limits.retention_s * 1000, 1
        while size:
            async with self._db.transaction() as tx:
                digests, size = await remote_media.delete_unused(tx, before, AT_ONCE)
                await self._files.release(tx, digests)
        kept = await remote_media.kept_bytes(self._db, FILE_BYTES_MIN)
        if kept > self._limits.all_bytes_max:
            kept = await self._make_room(kept)
        self._kept_bytes = kept
        await self._files.delete_due()

    async def _make_room(self, kept_bytes: int) -> int:
        while kept_bytes > self._limits.all_bytes_max * _KEPT_AFTERWARDS:
            over = kept_bytes - self._limits.all_bytes_max * _KEPT_AFTERWARDS
            async with self._db.transaction() as tx:
                few = 1 if over < self._limits.file_bytes_max else 10
                digests, size = await remote_media.delete_oldest(tx, few, FILE_BYTES_MIN)
                await self._files.release(tx, digests)
            if not digests:
                break
            kept_bytes -= size
        return kept_bytes

    async def _fetched_once(self, server_name: ServerName, media_id: str, timeout_ms: int, requester: str) -> MediaRow:
        key = (server_name, media_id)
        task = self._fetching.get(key)
        if task is None:
            if (
                len(self._fetching) >= self._limits.fetches_max
                or self._by_server[server_name] >= self._limits.fetches_per_server_max
                or self._by_requester[requester] >= self._limits.fetches_per_requester_max
            ):
                raise LimitExceeded("too many files are being fetched from other servers", retry_after_ms=2_000)
            self._limits.allowance.begin(requester, server_name)
            task = asyncio.ensure_future(self._fetch(server_name, media_id, timeout_ms, requester))
            self._fetching[key] = task
            self._by_server[server_name] += 1
            self._by_requester[requester] += 1
            task.add_done_callback(lambda _: self._ended(key, requester))
        return await asyncio.shield(task)

    def _ended(self, key: tuple[str, str], requester: str) -> None:
        del self._fetching[key]
        for counter, name in ((self._by_server, key[0]), (self._by_requester, requester)):
            counter[name] -= 1
            if not counter[name]:
                del counter[name]

    async def _fetch(self, server_name: ServerName, media_id: str, timeout_ms: int, requester: str) -> MediaRow:
        async with self._source.fetch(server_name, media_id, timeout_ms, self._limits.file_bytes_max) as file:
            pieces = self._limits.allowance.counted(file.pieces, requester, server_name)
            kept = await self._files.keep("files", self._counted(pieces))
        row = MediaRow(
            media_id=media_id,
            user_id=UserId(""),
            created_ts=self._clock.now_ms(),
            digest=kept.digest,
            size_bytes=kept.size_bytes,
            content_type=clean_type(file.content_type),
            file_name=clean_name(file.file_name),
        )
        async with self._db.transaction() as tx:
            await self._files.settle(tx, kept)
            await remote_media.insert(tx, server_name, row)
        if self._kept_bytes is not None:
            self._kept_bytes += max(kept.size_bytes, FILE_BYTES_MIN)
        if self._kept_bytes is None or self._kept_bytes > self._limits.all_bytes_max:
            await self.tidy()
        await self._files.delete_due()
        found = await remote_media.one(self._db, server_name, media_id)
        if found is None:
            raise NotFound("there is no room for this file")
        return found[0]

    async def _counted(self, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        size = 0
        # Few are fetched at once: a server that trickles would keep everybody else's from coming.
        async for piece in keep_pace(pieces, self._limits.pace, self._clock, status=504):
            size += len(piece)
            if size > self._limits.file_bytes_max:
                raise RemoteTooLarge("this file of another server is too large")
            yield piece
