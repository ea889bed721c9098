"""Our files for other servers. spec: server-server-api/#content-repository"""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec

from homeserver.core.errors import InvalidParam
from homeserver.core.identifiers import ServerName
from homeserver.media.headers import headers_for
from homeserver.media.repository import Found, MediaRepository
from homeserver.runtime.ids import Randomness
from homeserver.web.endpoint import Access, Answer, endpoint

_SPEC = "server-server-api/#content-repository"
PIXELS_MAX = 10_000


class DownloadQuery(msgspec.Struct, frozen=True):
    timeout_ms: int = 20_000


class ThumbnailQuery(msgspec.Struct, frozen=True):
    width: int
    height: int
    method: str = "scale"
    animated: bool = False
    timeout_ms: int = 20_000


class MediaForServers:
    """Only what was uploaded here: nobody fetches by us what others keep."""

    def __init__(self, repository: MediaRepository, randomness: Randomness, server_name: ServerName) -> None:
        self._repository = repository
        self._randomness = randomness
        self._server_name = server_name

    @endpoint(
        "GET",
        "/_matrix/federation/v1/media/download/{media_id}",
        access=Access.SERVER,
        spec=_SPEC,
        timeout_s=None,
        limit="federation_media",
    )
    async def download(self, media_id: str, query: DownloadQuery) -> Answer:
        found = await self._repository.download(self._server_name, media_id, timeout_ms=query.timeout_ms)
        return await self._mixed(found)

    @endpoint(
        "GET",
        "/_matrix/federation/v1/media/thumbnail/{media_id}",
        access=Access.SERVER,
        spec=_SPEC,
        timeout_s=None,
        limit="federation_media",
    )
    async def thumbnail(self, media_id: str, query: ThumbnailQuery) -> Answer:
        if query.method not in ("crop", "scale"):
            raise InvalidParam("method must be crop or scale")
        if not (0 < query.width <= PIXELS_MAX and 0 < query.height <= PIXELS_MAX):
            raise InvalidParam(f"width and height must be 1 to {PIXELS_MAX}")
        found = await self._repository.thumbnail(
            self._server_name,
            media_id,
            width=query.width,
            height=query.height,
            method=query.method,
            animated=query.animated,
            timeout_ms=query.timeout_ms,
        )
        return await self._mixed(found)

    async def _mixed(self, found: Found) -> Answer:
        """An empty description, then the file."""
        boundary = self._randomness.letters(40)
        disposition = headers_for(found.content_type, found.file_name)["Content-Disposition"]
        before = (
            f"--{boundary}\r\nContent-Type: application/json\r\n\r\n{{}}\r\n--{boundary}\r\n"
            f"Content-Type: {found.content_type}\r\nContent-Disposition: {disposition}\r\n\r\n"
        ).encode()
        after = f"\r\n--{boundary}--\r\n".encode()
        size = len(before) + found.size_bytes + len(after)
        return Answer(
            _around(before, await found.read(0, found.size_bytes), after),
            content_type=f"multipart/mixed; boundary={boundary}",
            headers={"Content-Length": str(size)},
        )


async def _around(before: bytes, pieces: AsyncIterator[bytes], after: bytes) -> AsyncIterator[bytes]:
    yield before
    async for piece in pieces:
        yield piece
    yield after
