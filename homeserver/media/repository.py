"""Keeps uploads and gives them back. spec: client-server-api/#content-repository"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from homeserver.core.errors import Forbidden, LimitExceeded, MatrixError, NotFound, RemoteTooLarge, TooLarge
from homeserver.core.identifiers import ServerName, UserId, is_server_name
from homeserver.media.files import Files, Kept
from homeserver.media.headers import clean_name, clean_type
from homeserver.media.pace import Pace, keep_pace
from homeserver.media.remote import RemoteFiles
from homeserver.media.thumbnails import Source, Thumbnails
from homeserver.ports import AbuseCheck
from homeserver.runtime.clock import Clock
from homeserver.runtime.ids import Randomness
from homeserver.storage import media, media_files, remote_media
from homeserver.storage.database import Database, Tx
from homeserver.storage.media import MediaRow

_MEDIA_ID = re.compile(r"[0-9A-Za-z_-]{1,255}", re.ASCII)
WAIT_MS_MAX = 60_000
# Who waits for a file that another process takes looks for it so often; within this process they are woken.
_LOOK_AGAIN_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaLimits:
    upload_bytes_max: int
    user_bytes_max: int | None
    pending_max: int
    pending_lifetime_s: int
    pace: Pace


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaTools:
    clock: Clock
    randomness: Randomness
    server_name: ServerName


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """A file that comes in, and what its sender says of it. `size_bytes` is what was announced, if anything was."""

    pieces: AsyncIterator[bytes]
    content_type: str | None = None
    file_name: str | None = None
    size_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A file to be served. `read` gives its bytes from a start to before an end; it raises NotFound."""

    read: Callable[[int, int], Coroutine[Any, Any, AsyncIterator[bytes]]]
    object: str
    size_bytes: int
    content_type: str
    file_name: str | None
    etag: str


class MediaRepository:
    """The media of this server."""

    abuse: AbuseCheck | None = None
    # What a kept picture looks like, where anybody asks for that; empty for what is no picture.
    look: Callable[[Kept], Awaitable[str]] | None = None

    def __init__(
        self,
        db: Database,
        files: Files,
        thumbnails: Thumbnails,
        remote: RemoteFiles | None,
        tools: MediaTools,
        limits: MediaLimits,
    ) -> None:
        self._db = db
        self._files = files
        self._thumbnails = thumbnails
        self._remote = remote
        self._tools = tools
        self._arrivals = _Arrivals()
        self.limits = limits

    async def upload(self, user_id: UserId, upload: Upload) -> str:
        """The mxc URI. Streams: the file is never in memory. Raises TooLarge, MatrixError."""
        kept = await self._keep(user_id, upload)
        row = MediaRow(
            media_id=self._new_id(),
            user_id=user_id,
            created_ts=self._tools.clock.now_ms(),
            digest=kept.digest,
            size_bytes=kept.size_bytes,
            content_type=clean_type(upload.content_type),
            file_name=clean_name(upload.file_name),
        )

        async def name(tx: Tx) -> None:
            await media.insert(tx, row)

        await self._name(user_id, kept, name)
        return self._uri(row.media_id)

    async def keep_own(self, pieces: AsyncIterator[bytes], content_type: str) -> tuple[str, str]:
        """A file of the server itself, for a preview: its mxc URI and id. It counts for nobody's quota."""
        kept = await self._files.keep("files", pieces)
        row = MediaRow(
            media_id=self._new_id(),
            user_id=UserId(""),
            created_ts=self._tools.clock.now_ms(),
            digest=kept.digest,
            size_bytes=kept.size_bytes,
            content_type=content_type,
        )
        async with self._db.transaction() as tx:
            await self._files.settle(tx, kept)
            await media.insert(tx, row)
        await self._files.delete_due()
        return self._uri(row.media_id), row.media_id

    async def delete(self, media_ids: Sequence[str]) -> None:
        """Deletes media, and the files that no other id names."""
        async with self._db.transaction() as tx:
            await self._files.release(tx, await media.delete(tx, media_ids))
        await self._files.delete_due()

    async def create(self, user_id: UserId) -> tuple[str, int]:
        """An id to upload to later: its mxc URI and when it expires (ms). Raises LimitExceeded."""
        now = self._tools.clock.now_ms()
        expires = now + self.limits.pending_lifetime_s * 1000
        row = MediaRow(media_id=self._new_id(), user_id=user_id, created_ts=now, expires_ts=expires)
        async with self._db.transaction() as tx:
            await media.lock(tx, user_id)
            if await media.pending(tx, user_id, now) >= self.limits.pending_max:
                raise LimitExceeded("too many uploads are pending", retry_after_ms=60_000)
            await media.insert(tx, row)
        return self._uri(row.media_id), expires

    @property
    def server_name(self) -> ServerName:
        return self._tools.server_name

    async def check_room(self, user_id: UserId, size_bytes: int) -> None:
        """Raises TooLarge, or Forbidden for what would pass the quota, before any of it comes."""
        if size_bytes > self.limits.upload_bytes_max:
            raise self._too_large()
        await self._check_quota(self._db, user_id, size_bytes)

    async def check_fillable(self, user_id: UserId, server_name: str, media_id: str) -> None:
        """Raises NotFound, Forbidden, MatrixError (M_CANNOT_OVERWRITE_MEDIA)."""
        row = await self._row(server_name, media_id)
        if row.user_id != user_id:
            raise Forbidden("this id was created by somebody else")
        if row.digest is not None:
            raise _is_filled()

    async def fill(self, user_id: UserId, server_name: str, media_id: str, upload: Upload) -> None:
        """Uploads to an id that was created. Raises NotFound, Forbidden, MatrixError (M_CANNOT_OVERWRITE_MEDIA)."""
        await self.check_fillable(user_id, server_name, media_id)
        kept = await self._keep(user_id, upload)

        async def name(tx: Tx) -> None:
            is_filled = await media.fill(
                tx,
                media_id,
                digest=kept.digest,
                size_bytes=kept.size_bytes,
                content_type=clean_type(upload.content_type),
                file_name=clean_name(upload.file_name),
                now_ms=self._tools.clock.now_ms(),
            )
            if not is_filled:
                raise _is_filled()

        await self._name(user_id, kept, name)
        self._arrivals.tell(media_id)

    async def download(
        self, server_name: str, media_id: str, *, timeout_ms: int, fetch_for: str | None = None
    ) -> Found:
        """A file. Raises NotFound; MatrixError (M_NOT_YET_UPLOADED) after waiting for one that is pending.

        Another server's file only with `fetch_for`, the user or address whom the fetch is counted for.
        """
        row, source = await self._filled(server_name, media_id, timeout_ms, fetch_for=fetch_for)
        return self._found(source.object, source.size_bytes, clean_type(row.content_type), source.digest, row.file_name)

    async def thumbnail(
        self,
        server_name: str,
        media_id: str,
        *,
        width: int,
        height: int,
        method: str,
        animated: bool,
        timeout_ms: int,
        fetch_for: str | None = None,
    ) -> Found:
        """A smaller picture, made at the first request for its size. Raises NotFound, MatrixError, LimitExceeded."""
        _, source = await self._filled(server_name, media_id, timeout_ms, fetch_for=fetch_for)
        try:
            made, name = await self._thumbnails.get(source, width, height, method, animated=animated)
        except TooLarge as error:
            if server_name == self._tools.server_name:
                raise
            raise RemoteTooLarge(error.message) from None
        file_name = "thumbnail." + made.content_type.partition("/")[2]
        return self._found(name, made.size_bytes, made.content_type, name.rpartition("/")[2], file_name)

    async def set_quarantined(self, server_name: str, media_id: str, is_quarantined: bool) -> None:
        """Bars a file, under whatever ids and sizes it is asked for, or lets it out again. Raises NotFound."""
        if server_name == self._tools.server_name:
            row = await self._row(server_name, media_id)
        else:
            kept = await remote_media.one(self._db, server_name, media_id)
            if kept is None:
                raise NotFound("there is no such file")
            row = kept[0]
        if row.digest is None:
            raise NotFound("there is no such file")
        async with self._db.transaction() as tx:
            await media_files.set_quarantined(tx, row.digest, is_quarantined)

    def waiting_for(self, media_id: str) -> int:
        """How many downloads wait for this id to be filled."""
        return self._arrivals.count(media_id)

    def _found(self, name: str, size: int, content_type: str, tag: str, file_name: str | None) -> Found:
        return Found(
            read=lambda start, end: self._files.read(name, start, end),
            object=name,
            size_bytes=size,
            content_type=content_type,
            file_name=file_name,
            etag=f'"{tag}"',
        )

    async def _keep(self, user_id: UserId, upload: Upload) -> Kept:
        """Stores the bytes. Raises before the first one is read where the answer will be no."""
        await self.check_room(user_id, upload.size_bytes or 1)
        kept = await self._files.keep("files", self._counted(upload.pieces))
        if self.abuse is not None:
            told = {"mimetype": clean_type(upload.content_type), "filename": clean_name(upload.file_name) or ""}
            try:
                told["look"] = await self.look(kept) if self.look is not None else ""
                await self.abuse.check("media", user_id, content=told, size=kept.size_bytes, hash=kept.digest)
            except BaseException:
                await self._files.drop(kept)
                raise
        return kept

    async def _counted(self, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        size = 0
        async for piece in keep_pace(pieces, self.limits.pace, self._tools.clock):
            size += len(piece)
            if size > self.limits.upload_bytes_max:
                raise self._too_large()
            yield piece

    async def _name(self, user_id: UserId, kept: Kept, name: Callable[[Tx], Coroutine[Any, Any, None]]) -> None:
        """Gives stored bytes a name, within the quota: two uploads at once don't pass it together."""
        try:
            async with self._db.transaction() as tx:
                await media.lock(tx, user_id)
                await self._check_quota(tx, user_id, kept.size_bytes)
                await self._files.settle(tx, kept)
                await name(tx)
        except BaseException:
            await self._files.drop(kept)
            raise
        await self._files.delete_due()

    async def _check_quota(self, db: Database | Tx, user_id: UserId, more: int) -> None:
        most = self.limits.user_bytes_max
        if most is not None and await media.kept_bytes(db, user_id) + more > most:
            raise Forbidden("you keep as much here as you may")

    def _too_large(self) -> TooLarge:
        return TooLarge(f"a file may have {self.limits.upload_bytes_max} bytes")

    async def _filled(
        self, server_name: str, media_id: str, timeout_ms: int, *, fetch_for: str | None
    ) -> tuple[MediaRow, Source]:
        """The one gate: whatever leaves the server, the file or a picture of it, passes here."""
        timeout_ms = max(0, min(timeout_ms, WAIT_MS_MAX))
        if server_name == self._tools.server_name:
            row = await self._arrived(media_id, timeout_ms)
        elif (
            self._remote is not None
            and fetch_for is not None
            and is_server_name(server_name)
            and _MEDIA_ID.fullmatch(media_id)
        ):
            row = await self._remote.get(ServerName(server_name), media_id, timeout_ms, fetch_for)
        else:
            raise NotFound("there is no such file")
        if row.is_quarantined or row.hidden_ts is not None:
            raise NotFound("there is no such file")
        assert row.digest is not None and row.object is not None and row.size_bytes is not None
        return row, Source(digest=row.digest, object=row.object, size_bytes=row.size_bytes)

    async def _arrived(self, media_id: str, timeout_ms: int) -> MediaRow:
        clock, server_name = self._tools.clock, self._tools.server_name
        deadline = clock.monotonic_s() + timeout_ms / 1000
        with self._arrivals.waiting(media_id) as arrived:
            row = await self._row(server_name, media_id)
            while row.digest is None:
                left_s = deadline - clock.monotonic_s()
                if left_s <= 0:
                    raise MatrixError("the file hasn't been uploaded yet", errcode="M_NOT_YET_UPLOADED", status=504)
                await arrived(min(left_s, _LOOK_AGAIN_S))
                row = await self._row(server_name, media_id)
        return row

    async def _row(self, server_name: str, media_id: str) -> MediaRow:
        row = None
        if server_name == self._tools.server_name and _MEDIA_ID.fullmatch(media_id):
            row = await media.one(self._db, media_id)
        if row is None or (row.expires_ts is not None and row.expires_ts <= self._tools.clock.now_ms()):
            raise NotFound("there is no such file")
        return row

    def _new_id(self) -> str:
        return self._tools.randomness.token(18)

    def _uri(self, media_id: str) -> str:
        return f"mxc://{self._tools.server_name}/{media_id}"


class _Arrivals:
    """Wakes who waits for a file."""

    def __init__(self) -> None:
        self._events: dict[str, asyncio.Event] = {}
        self._waiting: Counter[str] = Counter()

    def tell(self, media_id: str) -> None:
        event = self._events.get(media_id)
        if event is not None:
            event.set()

    def count(self, media_id: str) -> int:
        return self._waiting[media_id]

    def waiting(self, media_id: str) -> _Waiting:
        return _Waiting(self, media_id)

    def enter(self, media_id: str) -> asyncio.Event:
        self._waiting[media_id] += 1
        return self._events.setdefault(media_id, asyncio.Event())

    def leave(self, media_id: str) -> None:
        self._waiting[media_id] -= 1
        if not self._waiting[media_id]:
            del self._waiting[media_id], self._events[media_id]


class _Waiting:
    """Entered before the first look: so no arrival falls between looking and waiting."""

    def __init__(self, arrivals: _Arrivals, media_id: str) -> None:
        self._arrivals = arrivals
        self._media_id = media_id

    def __enter__(self) -> Callable[[float], Coroutine[Any, Any, None]]:
        event = self._arrivals.enter(self._media_id)

        async def arrived(seconds: float) -> None:
            try:
                async with asyncio.timeout(seconds):
                    await event.wait()
            except TimeoutError:
                return

        return arrived

    def __exit__(self, *_: object) -> None:
        self._arrivals.leave(self._media_id)


def _is_filled() -> MatrixError:
    return MatrixError("this id has its file", errcode="M_CANNOT_OVERWRITE_MEDIA", status=409)
