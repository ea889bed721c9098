"""Keeps uploads and gives them back. The bytes are stored once per content, however often they are uploaded."""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass

from homeserver.core.errors import Forbidden, LimitExceeded, MatrixError, NotFound, TooLarge
from homeserver.core.identifiers import ServerName, UserId
from homeserver.media.headers import DEFAULT_TYPE, clean_name, clean_type
from homeserver.media.thumbnails import THUMBNAIL_SOURCE_BYTES_MAX, NoThumbnail, Size, Thumbnailer, choose
from homeserver.objects.store import NoSuchObject, ObjectStore
from homeserver.runtime.clock import Clock
from homeserver.runtime.ids import Randomness
from homeserver.storage import media
from homeserver.storage.database import Database
from homeserver.storage.media import MediaRow

_MEDIA_ID = re.compile(r"[0-9A-Za-z_-]{1,255}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaLimits:
    upload_bytes_max: int
    user_bytes_max: int | None
    pending_max: int
    pending_lifetime_s: int
    sizes: tuple[Size, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaTools:
    clock: Clock
    randomness: Randomness
    thumbnailer: Thumbnailer
    server_name: ServerName


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A file to be served."""

    pieces: AsyncIterator[bytes]
    size_bytes: int
    content_type: str
    file_name: str | None


class MediaRepository:
    """The media of this server."""

    def __init__(self, db: Database, objects: ObjectStore, tools: MediaTools, limits: MediaLimits) -> None:
        self._db = db
        self._objects = objects
        self._tools = tools
        self.limits = limits

    async def upload(
        self, user_id: UserId, pieces: AsyncIterator[bytes], content_type: str | None, file_name: str | None
    ) -> str:
        """The mxc URI. Streams: the file is never in memory. Raises TooLarge, LimitExceeded."""
        digest, size = await self._keep(user_id, pieces)
        row = MediaRow(
            media_id=self._new_id(),
            user_id=user_id,
            created_ts=self._tools.clock.now_ms(),
            digest=digest,
            size_bytes=size,
            content_type=clean_type(content_type),
            file_name=clean_name(file_name),
        )
        async with self._db.transaction() as tx:
            await media.insert(tx, row)
        return self._uri(row.media_id)

    async def create(self, user_id: UserId) -> tuple[str, int]:
        """An id to upload to later: its mxc URI and when it expires (ms). Raises LimitExceeded."""
        now = self._tools.clock.now_ms()
        if await media.pending(self._db, user_id, now) >= self.limits.pending_max:
            raise LimitExceeded("too many uploads are pending", retry_after_ms=60_000)
        expires = now + self.limits.pending_lifetime_s * 1000
        row = MediaRow(media_id=self._new_id(), user_id=user_id, created_ts=now, expires_ts=expires)
        async with self._db.transaction() as tx:
            await media.insert(tx, row)
        return self._uri(row.media_id), expires

    async def fill(
        self,
        user_id: UserId,
        server_name: str,
        media_id: str,
        pieces: AsyncIterator[bytes],
        content_type: str | None,
        file_name: str | None,
    ) -> None:
        """Uploads to an id that was created. Raises NotFound, Forbidden, MatrixError (M_CANNOT_OVERWRITE_MEDIA)."""
        row = await self._row(server_name, media_id)
        if row.user_id != user_id:
            raise Forbidden("this id was created by somebody else")
        if row.digest is not None:
            raise MatrixError("this id has its file", errcode="M_CANNOT_OVERWRITE_MEDIA", status=409)
        digest, size = await self._keep(user_id, pieces)
        kind, name = clean_type(content_type), clean_name(file_name)
        async with self._db.transaction() as tx:
            if not await media.fill(tx, media_id, digest=digest, size_bytes=size, content_type=kind, file_name=name):
                raise MatrixError("this id has its file", errcode="M_CANNOT_OVERWRITE_MEDIA", status=409)

    async def download(self, server_name: str, media_id: str, *, timeout_ms: int) -> Found:
        """A file. Raises NotFound; MatrixError (M_NOT_YET_UPLOADED) after waiting for one that is pending."""
        row = await self._filled(server_name, media_id, timeout_ms)
        assert row.digest is not None and row.size_bytes is not None
        return Found(
            pieces=self._read(_object(row.digest)),
            size_bytes=row.size_bytes,
            content_type=row.content_type or DEFAULT_TYPE,
            file_name=row.file_name,
        )

    async def thumbnail(
        self, server_name: str, media_id: str, *, width: int, height: int, method: str, timeout_ms: int
    ) -> Found:
        """A smaller picture, made at the first request for its size. Raises NotFound, MatrixError."""
        row = await self._filled(server_name, media_id, timeout_ms)
        assert row.digest is not None and row.size_bytes is not None
        size = choose(self.limits.sizes, width, height, method)
        name = f"thumbnails/{row.digest[:2]}/{row.digest}-{size.name}"
        kept = await self._objects.size(name)
        if kept is None:
            if row.size_bytes > THUMBNAIL_SOURCE_BYTES_MAX:
                raise MatrixError("this picture is too large for a thumbnail", status=413, errcode="M_TOO_LARGE")
            source = b"".join([piece async for piece in self._read(_object(row.digest))])
            try:
                made, _ = await self._tools.thumbnailer.make(source, size)
            except NoThumbnail as error:
                raise MatrixError(str(error), errcode="M_UNKNOWN", status=400) from None
            await self._objects.put(name, _one(made))
            kept = len(made)
        pieces = self._read(name)
        first = await anext(pieces)
        kind = "image/png" if first.startswith(b"\x89PNG") else "image/jpeg"
        return Found(pieces=_after(first, pieces), size_bytes=kept, content_type=kind, file_name=None)

    async def _keep(self, user_id: UserId, pieces: AsyncIterator[bytes]) -> tuple[str, int]:
        """Stores the bytes under their digest."""
        await self._check_quota(user_id)
        digest, size = hashlib.sha256(), 0
        incoming = f"incoming/{self._tools.randomness.token(16)}"

        async def counted() -> AsyncIterator[bytes]:
            nonlocal size
            async for piece in pieces:
                size += len(piece)
                if size > self.limits.upload_bytes_max:
                    raise TooLarge(f"a file may have {self.limits.upload_bytes_max} bytes")
                digest.update(piece)
                yield piece

        await self._objects.put(incoming, counted())
        name = digest.hexdigest()
        if await self._objects.size(_object(name)) == size:
            await self._objects.delete(incoming)
        else:
            await self._objects.rename(incoming, _object(name))
        return name, size

    async def _check_quota(self, user_id: UserId) -> None:
        most = self.limits.user_bytes_max
        if most is not None and await media.kept_bytes(self._db, user_id) >= most:
            raise Forbidden("you keep as much here as you may", errcode="M_LIMIT_EXCEEDED", status=403)

    async def _filled(self, server_name: str, media_id: str, timeout_ms: int) -> MediaRow:
        deadline = self._tools.clock.monotonic_s() + max(0, min(timeout_ms, 60_000)) / 1000
        while True:
            row = await self._row(server_name, media_id)
            if row.digest is not None:
                return row
            if self._tools.clock.monotonic_s() >= deadline:
                raise MatrixError("the file hasn't been uploaded yet", errcode="M_NOT_YET_UPLOADED", status=504)
            await self._tools.clock.sleep(0.25)

    async def _row(self, server_name: str, media_id: str) -> MediaRow:
        row = None
        if server_name == self._tools.server_name and _MEDIA_ID.fullmatch(media_id):
            row = await media.one(self._db, media_id)
        if row is None or (row.expires_ts is not None and row.expires_ts <= self._tools.clock.now_ms()):
            raise NotFound("there is no such file")
        return row

    async def _read(self, name: str) -> AsyncIterator[bytes]:
        try:
            async for piece in self._objects.get(name):
                yield piece
        except NoSuchObject:
            raise NotFound("the file is gone") from None

    def _new_id(self) -> str:
        return self._tools.randomness.token(18)

    def _uri(self, media_id: str) -> str:
        return f"mxc://{self._tools.server_name}/{media_id}"


def _object(digest: str) -> str:
    return f"files/{digest[:2]}/{digest}"


async def _after(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for piece in rest:
        yield piece


async def _one(data: bytes) -> AsyncIterator[bytes]:
    yield data
