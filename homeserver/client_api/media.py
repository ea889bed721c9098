"""Media: upload, download, thumbnails. spec: client-server-api/#content-repository"""

from __future__ import annotations

import msgspec

from homeserver.core.errors import InvalidParam, NotFound
from homeserver.media.headers import clean_name, headers_for
from homeserver.media.repository import Found, MediaRepository
from homeserver.web.endpoint import Access, Answer, Caller, Json, Request, endpoint

_V1 = "/_matrix/client/v1/media"
_LEGACY = ("/_matrix/media/v3", "/_matrix/media/r0", "/_matrix/media/v1")
_SPEC = "client-server-api/#content-repository"
PIXELS_MAX = 10_000


def _legacy(tail: str) -> tuple[str, ...]:
    return tuple(base + tail for base in _LEGACY)


class UploadQuery(msgspec.Struct, frozen=True):
    filename: str | None = None


class DownloadQuery(msgspec.Struct, frozen=True):
    timeout_ms: int = 20_000


class ThumbnailQuery(msgspec.Struct, frozen=True):
    width: int
    height: int
    method: str = "scale"
    animated: bool = False
    timeout_ms: int = 20_000


class MediaEndpoints:
    """Uploads, and downloads for those who have a token."""

    def __init__(self, repository: MediaRepository) -> None:
        self._repository = repository

    @endpoint(
        "POST",
        *_legacy("/upload"),
        access=Access.USER,
        spec="client-server-api/#post_matrixmediav3upload",
        limit="media_upload",
        raw_body=True,
        body_bytes_max=2**40,
        timeout_s=None,
        while_suspended=False,
    )
    async def upload(self, caller: Caller, request: Request, query: UploadQuery) -> Json:
        kind = request.headers.get("Content-Type")
        uri = await self._repository.upload(caller.user_id, request.stream(), kind, query.filename)
        return {"content_uri": uri}

    @endpoint(
        "POST",
        "/_matrix/media/v1/create",
        access=Access.USER,
        spec="client-server-api/#post_matrixmediav1create",
        limit="media_create",
        while_suspended=False,
    )
    async def create(self, caller: Caller) -> Json:
        uri, expires = await self._repository.create(caller.user_id)
        return {"content_uri": uri, "unused_expires_at": expires}

    @endpoint(
        "PUT",
        *_legacy("/upload/{server_name}/{media_id}"),
        access=Access.USER,
        spec="client-server-api/#put_matrixmediav3uploadservernamemediaid",
        limit="media_upload",
        raw_body=True,
        body_bytes_max=2**40,
        timeout_s=None,
        while_suspended=False,
    )
    async def fill(self, caller: Caller, request: Request, server_name: str, media_id: str, query: UploadQuery) -> Json:
        kind = request.headers.get("Content-Type")
        await self._repository.fill(caller.user_id, server_name, media_id, request.stream(), kind, query.filename)
        return {}

    @endpoint("GET", _V1 + "/config", *_legacy("/config"), access=Access.GUEST, spec=_SPEC)
    async def config(self) -> Json:
        return {"m.upload.size": self._repository.limits.upload_bytes_max}

    @endpoint(
        "GET", _V1 + "/download/{server_name}/{media_id}", access=Access.GUEST, spec=_SPEC, timeout_s=None,
        limit="media_download",
    )  # fmt: skip
    async def download(self, server_name: str, media_id: str, query: DownloadQuery) -> Answer:
        return _served(await self._repository.download(server_name, media_id, timeout_ms=query.timeout_ms))

    @endpoint(
        "GET", _V1 + "/download/{server_name}/{media_id}/{file_name}", access=Access.GUEST, spec=_SPEC, timeout_s=None,
        limit="media_download",
    )  # fmt: skip
    async def download_as(self, server_name: str, media_id: str, file_name: str, query: DownloadQuery) -> Answer:
        found = await self._repository.download(server_name, media_id, timeout_ms=query.timeout_ms)
        return _served(found, clean_name(file_name))

    @endpoint(
        "GET", _V1 + "/thumbnail/{server_name}/{media_id}", access=Access.GUEST, spec=_SPEC, timeout_s=None,
        limit="media_download",
    )  # fmt: skip
    async def thumbnail(self, server_name: str, media_id: str, query: ThumbnailQuery) -> Answer:
        return await _thumbnail(self._repository, server_name, media_id, query)


class LegacyMediaEndpoints:
    """Downloads without a token, as older clients ask for them; only where the operator wants that."""

    def __init__(self, repository: MediaRepository, *, is_open: bool) -> None:
        self._repository = repository
        self._is_open = is_open

    @endpoint("GET", *_legacy("/download/{server_name}/{media_id}"), access=Access.NONE, spec=_SPEC, timeout_s=None)
    async def download(self, server_name: str, media_id: str, query: DownloadQuery) -> Answer:
        self._check()
        return _served(await self._repository.download(server_name, media_id, timeout_ms=query.timeout_ms))

    @endpoint(
        "GET",
        *_legacy("/download/{server_name}/{media_id}/{file_name}"),
        access=Access.NONE,
        spec=_SPEC,
        timeout_s=None,
    )
    async def download_as(self, server_name: str, media_id: str, file_name: str, query: DownloadQuery) -> Answer:
        self._check()
        found = await self._repository.download(server_name, media_id, timeout_ms=query.timeout_ms)
        return _served(found, clean_name(file_name))

    @endpoint("GET", *_legacy("/thumbnail/{server_name}/{media_id}"), access=Access.NONE, spec=_SPEC, timeout_s=None)
    async def thumbnail(self, server_name: str, media_id: str, query: ThumbnailQuery) -> Answer:
        self._check()
        return await _thumbnail(self._repository, server_name, media_id, query)

    def _check(self) -> None:
        # Frozen means what was there before media needed a token: nothing, as this server never was without.
        if not self._is_open:
            raise NotFound("media needs an access token: use /_matrix/client/v1/media")


async def _thumbnail(repository: MediaRepository, server_name: str, media_id: str, query: ThumbnailQuery) -> Answer:
    if query.method not in ("crop", "scale"):
        raise InvalidParam("method must be crop or scale")
    if not (0 < query.width <= PIXELS_MAX and 0 < query.height <= PIXELS_MAX):
        raise InvalidParam(f"width and height must be 1 to {PIXELS_MAX}")
    found = await repository.thumbnail(
        server_name,
        media_id,
        width=query.width,
        height=query.height,
        method=query.method,
        timeout_ms=query.timeout_ms,
    )
    return _served(found)


def _served(found: Found, file_name: str | None = None) -> Answer:
    headers = headers_for(found.content_type, file_name or found.file_name)
    return Answer(
        found.pieces,
        content_type=found.content_type,
        headers={**headers, "Content-Length": str(found.size_bytes)},
    )
