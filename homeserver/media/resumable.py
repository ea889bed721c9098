"""Uploads that may be interrupted and gone on with, in pieces of any size. https://tus.io/protocols/resumable-upload"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import AsyncIterator
from dataclasses import dataclass

from homeserver.core.errors import Forbidden, MatrixError, NotFound, TooLarge
from homeserver.core.identifiers import UserId
from homeserver.media.headers import clean_name, clean_type
from homeserver.media.pace import keep_pace
from homeserver.media.repository import MediaRepository, Upload
from homeserver.objects.spool import Spool
from homeserver.runtime.clock import Clock
from homeserver.storage import media_uploads
from homeserver.storage.database import Database
from homeserver.storage.media_uploads import UploadRow

AT_ONCE = 100
CHECKSUMS = ("sha1", "sha256")
_CHECKSUM_MISMATCH = 460


@dataclass(frozen=True, slots=True)
class Progress:
    """How much of an upload has come."""

    offset: int
    length: int
    expires_ms: int


@dataclass(frozen=True, slots=True)
class Checksum:
    """What the pieces of one request come to, by an algorithm of CHECKSUMS."""

    algorithm: str
    digest: bytes


class ResumableUploads:
    """Each fills a media id that was created for it: its address is known from the beginning."""

    def __init__(self, db: Database, repository: MediaRepository, spool: Spool, clock: Clock) -> None:
        self._db = db
        self._repository = repository
        self._spool = spool
        self._clock = clock
        self._busy: set[str] = set()

    @property
    def bytes_max(self) -> int:
        return self._repository.limits.upload_bytes_max

    async def create(
        self, user_id: UserId, length: int, content_type: str | None, file_name: str | None
    ) -> tuple[str, str, int]:
        """The media id, its mxc URI, and when it expires (ms). Raises TooLarge, Forbidden, LimitExceeded."""
        await self._repository.check_room(user_id, length)
        uri, expires_ms = await self._repository.create(user_id)
        row = UploadRow(
            media_id=uri.rpartition("/")[2],
            user_id=user_id,
            length=length,
            content_type=clean_type(content_type),
            file_name=clean_name(file_name),
            expires_ts=expires_ms,
        )
        async with self._db.transaction() as tx:
            await media_uploads.insert(tx, row)
        if not length:
            await self._finish(row)
        return row.media_id, uri, expires_ms

    async def progress(self, user_id: UserId, media_id: str) -> Progress:
        """Raises NotFound, Forbidden."""
        row = await self._row(user_id, media_id)
        if await self._is_filled(row):
            return Progress(row.length, row.length, row.expires_ts)
        offset = await self._spool.size(media_id)
        if offset == row.length and media_id not in self._busy:
            # All has come, and then something went wrong: the sender, who was not told, learns that all is well.
            await self._finish(row)
        return Progress(offset, row.length, row.expires_ts)

    async def append(
        self,
        user_id: UserId,
        media_id: str,
        offset: int,
        pieces: AsyncIterator[bytes],
        checksum: Checksum | None = None,
    ) -> Progress:
        """Adds what comes, and makes the whole a file. With a checksum all of the request is added or nothing.

        Raises as `progress`, MatrixError (409, 423, 460 for another checksum), TooLarge.
        """
        row = await self._row(user_id, media_id)
        if media_id in self._busy:
            raise MatrixError("this upload is being written to", status=423)
        self._busy.add(media_id)
        try:
            if await self._is_filled(row) or offset != await self._spool.size(media_id):
                raise MatrixError("Upload-Offset must be where the upload has got to", status=409)
            bounded = self._bounded(pieces, row.length - offset)
            if checksum is None:
                await self._spool.append(media_id, bounded)
            else:
                await self._append_checked(media_id, offset, bounded, checksum)
            offset = await self._spool.size(media_id)
            if offset == row.length:
                await self._finish(row)
        finally:
            self._busy.discard(media_id)
        return Progress(offset, row.length, row.expires_ts)

    async def _append_checked(
        self, media_id: str, offset: int, pieces: AsyncIterator[bytes], checksum: Checksum
    ) -> None:
        hashed = hashlib.new(checksum.algorithm, usedforsecurity=False)

        async def hashing() -> AsyncIterator[bytes]:
            async for piece in pieces:
                hashed.update(piece)
                yield piece

        try:
            await self._spool.append(media_id, hashing())
            if not hmac.compare_digest(hashed.digest(), checksum.digest):
                raise MatrixError("what has come has another checksum", status=_CHECKSUM_MISMATCH)
        except BaseException:
            await self._spool.cut(media_id, offset)
            raise

    async def cancel(self, user_id: UserId, media_id: str) -> None:
        """Deletes an upload that isn't finished. Raises as `progress`, MatrixError (423)."""
        row = await self._row(user_id, media_id)
        if media_id in self._busy:
            raise MatrixError("this upload is being written to", status=423)
        if not await self._is_filled(row):
            await self._repository.delete([media_id])
        await self._forget(media_id)

    async def tidy(self) -> None:
        """Deletes those whose time is over."""
        while expired := await media_uploads.expired(self._db, self._clock.now_ms(), AT_ONCE):
            for media_id in expired:
                await self._forget(media_id)

    async def _finish(self, row: UploadRow) -> None:
        upload = Upload(
            pieces=self._spool.read(row.media_id),
            content_type=row.content_type,
            file_name=row.file_name,
            size_bytes=row.length,
        )
        await self._repository.fill(row.user_id, self._repository.server_name, row.media_id, upload)
        await self._spool.delete(row.media_id)

    async def _forget(self, media_id: str) -> None:
        await self._spool.delete(media_id)
        async with self._db.transaction() as tx:
            await media_uploads.delete(tx, media_id)

    async def _bounded(self, pieces: AsyncIterator[bytes], left: int) -> AsyncIterator[bytes]:
        async for piece in keep_pace(pieces, self._repository.limits.pace, self._clock):
            if len(piece) > left:
                raise TooLarge("more has come than was announced")
            left -= len(piece)
            yield piece

    async def _is_filled(self, row: UploadRow) -> bool:
        try:
            await self._repository.check_fillable(row.user_id, self._repository.server_name, row.media_id)
        except (NotFound, Forbidden):
            raise NotFound("there is no such upload") from None
        except MatrixError:
            return True
        return False

    async def _row(self, user_id: UserId, media_id: str) -> UploadRow:
        row = await media_uploads.one(self._db, media_id, self._clock.now_ms())
        if row is None or row.user_id != user_id:
            raise NotFound("there is no such upload")
        return row
