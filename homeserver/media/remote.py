"""Files of other servers: fetched when somebody here asks for them, kept for a while, within bounds."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass

from homeserver.core.errors import LimitExceeded, NotFound, TooLarge
from homeserver.core.identifiers import ServerName, UserId
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


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteLimits:
    """`file_bytes_max` for one file, `all_bytes_max` for all; those nobody asks for go after `retention_s`."""

    file_bytes_max: int
    all_bytes_max: int
    retention_s: int
    pace: Pace
    fetches_max: int = 50
    fetches_per_server_max: int = 10


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

    async def get(self, server_name: ServerName, media_id: str, timeout_ms: int) -> MediaRow:
        """Raises NotFound, TooLarge, LimitExceeded, and what the other server's refusal comes to."""
        found = await remote_media.one(self._db, server_name, media_id)
        if found is None:
            return await self._fetched_once(server_name, media_id, timeout_ms)
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
        over = await remote_media.kept_bytes(self._db) - self._limits.all_bytes_max
        while over > 0:
            async with self._db.transaction() as tx:
                digests, size = await remote_media.delete_oldest(tx, 1 if over < self._limits.file_bytes_max else 10)
                await self._files.release(tx, digests)
            if not digests:
                break
            over -= size
        await self._files.delete_due()

    async def _fetched_once(self, server_name: ServerName, media_id: str, timeout_ms: int) -> MediaRow:
        key = (server_name, media_id)
        task = self._fetching.get(key)
        if task is None:
            if (
                len(self._fetching) >= self._limits.fetches_max
                or self._by_server[server_name] >= self._limits.fetches_per_server_max
            ):
                raise LimitExceeded("too many files are being fetched from other servers", retry_after_ms=2_000)
            task = asyncio.ensure_future(self._fetch(server_name, media_id, timeout_ms))
            self._fetching[key] = task
            self._by_server[server_name] += 1
            task.add_done_callback(lambda _: self._ended(key))
        return await asyncio.shield(task)

    def _ended(self, key: tuple[str, str]) -> None:
        del self._fetching[key]
        self._by_server[key[0]] -= 1
        if not self._by_server[key[0]]:
            del self._by_server[key[0]]

    async def _fetch(self, server_name: ServerName, media_id: str, timeout_ms: int) -> MediaRow:
        async with self._source.fetch(server_name, media_id, timeout_ms, self._limits.file_bytes_max) as file:
            kept = await self._files.keep("files", self._counted(file.pieces))
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
        if await remote_media.kept_bytes(self._db) > self._limits.all_bytes_max:
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
                raise TooLarge("this file of another server is too large")
            yield piece
