"""Media: upload, download, thumbnails. spec: client-server-api/#content-repository"""

from __future__ import annotations

import msgspec

from homeserver.core.errors import InvalidParam, MatrixError, NotFound
from homeserver.media.headers import clean_name, headers_for
from homeserver.media.ranges import wanted
from homeserver.media.repository import Found, MediaRepository, Upload
from homeserver.objects.store import ObjectStore
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
    allow_redirect: bool = False
    allow_remote: bool = True


class ThumbnailQuery(msgspec.Struct, frozen=True):
    width: int
    height: int
    method: str = "scale"
    animated: bool = False
    timeout_ms: int = 20_000
    allow_redirect: bool = False
    allow_remote: bool = True


def _requester(caller: Caller, request: Request) -> str:
    """Whom a fetch is counted for. Guests are made by the dozen: they are counted together."""
    return request.network if caller.is_guest else caller.user_id


class MediaEndpoints:
    """Uploads, and downloads for those who have a token."""

    def __init__(self, repository: MediaRepository, delivery: Delivery) -> None:
        self._repository = repository
        self._delivery = delivery

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
        uri = await self._repository.upload(caller.user_id, _upload(request, query.filename))
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
        await self._repository.fill(caller.user_id, server_name, media_id, _upload(request, query.filename))
        return {}

    @endpoint("GET", _V1 + "/config", *_legacy("/config"), access=Access.GUEST, spec=_SPEC)
    async def config(self) -> Json:
        return {"m.upload.size": self._repository.limits.upload_bytes_max}

    @endpoint(
        "GET", _V1 + "/download/{server_name}/{media_id}", access=Access.GUEST, spec=_SPEC, timeout_s=None,
        limit="media_download",
    )  # fmt: skip
    async def download(
        self, caller: Caller, request: Request, server_name: str, media_id: str, query: DownloadQuery
    ) -> Answer:
        return await self._delivery.file(request, _requester(caller, request), server_name, media_id, query)

    @endpoint(
        "GET", _V1 + "/download/{server_name}/{media_id}/{file_name}", access=Access.GUEST, spec=_SPEC, timeout_s=None,
        limit="media_download",
    )  # fmt: skip
    async def download_as(
        self,
        caller: Caller,
        request: Request,
        server_name: str,
        media_id: str,
        file_name: str,
        query: DownloadQuery,
    ) -> Answer:
        return await self._delivery.file(
            request, _requester(caller, request), server_name, media_id, query, clean_name(file_name)
        )

    @endpoint(
        "GET", _V1 + "/thumbnail/{server_name}/{media_id}", access=Access.GUEST, spec=_SPEC, timeout_s=None,
        limit="media_download",
    )  # fmt: skip
    async def thumbnail(
        self, caller: Caller, request: Request, server_name: str, media_id: str, query: ThumbnailQuery
    ) -> Answer:
        return await self._delivery.thumbnail(request, _requester(caller, request), server_name, media_id, query)


class LegacyMediaEndpoints:
    """Downloads without a token, as older clients ask for them; only where the operator wants that."""

    def __init__(self, delivery: Delivery, *, is_open: bool) -> None:
        self._delivery = delivery
        self._is_open = is_open

    @endpoint(
        "GET", *_legacy("/download/{server_name}/{media_id}"), access=Access.NONE, spec=_SPEC, timeout_s=None,
        limit="media_download",
    )  # fmt: skip
    async def download(self, request: Request, server_name: str, media_id: str, query: DownloadQuery) -> Answer:
        self._check()
        return await self._delivery.file(request, request.network, server_name, media_id, query)

    @endpoint(
        "GET", *_legacy("/download/{server_name}/{media_id}/{file_name}"), access=Access.NONE, spec=_SPEC,
        timeout_s=None, limit="media_download",
    )  # fmt: skip
    async def download_as(
        self, request: Request, server_name: str, media_id: str, file_name: str, query: DownloadQuery
    ) -> Answer:
        self._check()
        return await self._delivery.file(request, request.network, server_name, media_id, query, clean_name(file_name))

    @endpoint(
        "GET", *_legacy("/thumbnail/{server_name}/{media_id}"), access=Access.NONE, spec=_SPEC, timeout_s=None,
        limit="media_download",
    )  # fmt: skip
    async def thumbnail(self, request: Request, server_name: str, media_id: str, query: ThumbnailQuery) -> Answer:
        self._check()
        return await self._delivery.thumbnail(request, request.network, server_name, media_id, query)

    def _check(self) -> None:
        # Frozen means what was there before media needed a token: nothing, as this server never was without.
        if not self._is_open:
            raise NotFound("media needs an access token: use /_matrix/client/v1/media")


class Delivery:
    """Answers with a file, a part of one, or the place in the object store where it can be fetched."""

    def __init__(
        self, repository: MediaRepository, objects: ObjectStore, *, with_token: bool, fetches: bool = True
    ) -> None:
        self._repository = repository
        self._objects = objects
        # Who has a token takes redirects without saying so.
        self._with_token = with_token
        # Whether files of other servers are fetched for those who ask here.
        self._fetches = fetches

    async def file(
        self,
        request: Request,
        requester: str,
        server_name: str,
        media_id: str,
        query: DownloadQuery,
        file_name: str | None = None,
    ) -> Answer:
        found = await self._repository.download(
            server_name,
            media_id,
            timeout_ms=query.timeout_ms,
            fetch_for=requester if self._fetches and query.allow_remote else None,
        )
        return await self._served(request, found, file_name, allow_redirect=query.allow_redirect)

    async def thumbnail(
        self, request: Request, requester: str, server_name: str, media_id: str, query: ThumbnailQuery
    ) -> Answer:
        if query.method not in ("crop", "scale"):
            raise InvalidParam("method must be crop or scale")
        if not (0 < query.width <= PIXELS_MAX and 0 < query.height <= PIXELS_MAX):
            raise InvalidParam(f"width and height must be 1 to {PIXELS_MAX}")
        found = await self._repository.thumbnail(
            server_name,
            media_id,
            width=query.width,
            height=query.height,
            method=query.method,
            animated=query.animated,
            timeout_ms=query.timeout_ms,
            fetch_for=requester if self._fetches and query.allow_remote else None,
        )
        return await self._served(request, found, None, allow_redirect=query.allow_redirect)

    async def _served(self, request: Request, found: Found, file_name: str | None, *, allow_redirect: bool) -> Answer:
        headers = {**headers_for(found.content_type, file_name or found.file_name), "Accept-Ranges": "bytes"}
        headers["ETag"] = found.etag
        if allow_redirect or self._with_token:
            sent = {"Content-Type": found.content_type, "Content-Disposition": headers["Content-Disposition"]}
            link = self._objects.link(found.object, sent)
            if link is not None:
                return Answer(status=307, headers={"Location": link, "Cache-Control": "no-store"})
        part = wanted(request.headers, found.size_bytes, found.etag)
        if part.kind == "unchanged":
            return Answer(b"", status=304, content_type=found.content_type, headers=headers)
        if part.kind == "beyond":
            error = MatrixError("the file ends before this range")
            headers["Content-Range"] = f"bytes */{found.size_bytes}"
            return Answer(msgspec.json.encode(error.body()), status=416, headers=headers)
        if part.kind == "part":
            headers["Content-Range"] = f"bytes {part.start}-{part.end - 1}/{found.size_bytes}"
        headers["Content-Length"] = str(part.end - part.start)
        return Answer(
            await found.read(part.start, part.end),
            status=206 if part.kind == "part" else 200,
            content_type=found.content_type,
            headers=headers,
        )


def _upload(request: Request, file_name: str | None) -> Upload:
    announced = request.headers.get("Content-Length", "")
    return Upload(
        pieces=request.stream(),
        content_type=request.headers.get("Content-Type"),
        file_name=file_name,
        size_bytes=int(announced) if announced.isdecimal() and len(announced) < 19 else None,
    )
