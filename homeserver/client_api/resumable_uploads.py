"""Resumable uploads: tus 1.0 with creation (with data too), termination, expiration and checksums. https://tus.io/protocols/resumable-upload"""

from __future__ import annotations

import base64
import binascii
import functools
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from typing import Any, ParamSpec

import msgspec

from homeserver.core.errors import InvalidParam, LimitExceeded, MatrixError, Unrecognized
from homeserver.core.identifiers import UserId
from homeserver.media.resumable import CHECKSUMS, Checksum, Progress, ResumableUploads
from homeserver.web.endpoint import Access, Answer, Caller, Request, endpoint

PATH = "/_matrix/client/unstable/org.hansa.tus/uploads"
_SPEC = "client-server-api/#content-repository"
_VERSION = "1.0.0"
_TYPE = "application/offset+octet-stream"
_METADATA_CHARS_MAX = 8_192


Given = ParamSpec("Given")
_takes_pieces = functools.partial(
    endpoint,
    access=Access.USER,
    spec=_SPEC,
    raw_body=True,
    body_bytes_max=2**40,
    timeout_s=None,
    while_suspended=False,
)


def _in_protocol(handler: Callable[Given, Awaitable[Answer]]) -> Callable[Given, Awaitable[Answer]]:
    """Refusals have the protocol's headers as well."""

    @functools.wraps(handler)
    async def answered(*args: Given.args, **kwargs: Given.kwargs) -> Answer:
        try:
            return await handler(*args, **kwargs)
        except MatrixError as error:
            if isinstance(error, LimitExceeded) or error.http_status >= 500:
                raise
            told = {"Tus-Version": _VERSION} if error.http_status == 412 else {}
            return _answer(error.http_status, told, error.body())

    return answered


class ResumableUploadEndpoints:
    """An upload is created with its length, then grows by PATCH; HEAD says how far it has got."""

    def __init__(self, uploads: ResumableUploads) -> None:
        self._uploads = uploads

    @endpoint("OPTIONS", PATH, access=Access.NONE, spec=_SPEC)
    async def offer(self) -> Answer:
        offered = {
            "Tus-Version": _VERSION,
            "Tus-Extension": "creation,creation-with-upload,termination,expiration,checksum",
            "Tus-Checksum-Algorithm": ",".join(CHECKSUMS),
            "Tus-Max-Size": str(self._uploads.bytes_max),
        }
        return _answer(204, offered)

    @_takes_pieces("POST", PATH, limit="media_create")
    @_in_protocol
    async def create(self, caller: Caller, request: Request) -> Answer:
        """The file's mxc URI is in the answer: it may be sent at once, who asks for the file waits for it.

        The first piece may come along; where it is refused or breaks off, nothing was created.
        """
        _check_version(request)
        comes_along = request.headers.get("Content-Type", "").strip().lower() == _TYPE
        checksum = _checked_by(request) if comes_along else None
        metadata = _metadata(request.headers.get("Upload-Metadata", ""))
        media_id, uri, expires_ms = await self._uploads.create(
            caller.user_id,
            _number(request, "Upload-Length"),
            metadata.get("filetype"),
            metadata.get("filename"),
        )
        told = {"Location": f"{PATH}/{media_id}", "Upload-Expires": _date(expires_ms)}
        if comes_along:
            told["Upload-Offset"] = str(await self._begin(caller.user_id, media_id, request, checksum))
        return _answer(201, told, {"content_uri": uri, "unused_expires_at": expires_ms})

    async def _begin(self, user_id: UserId, media_id: str, request: Request, checksum: Checksum | None) -> int:
        if not _number(request, "Upload-Length"):
            return 0  # an empty file is there already
        try:
            return (await self._uploads.append(user_id, media_id, 0, request.stream(), checksum)).offset
        except BaseException:
            # Whoever isn't told where it is can't go on with it.
            await self._uploads.cancel(user_id, media_id)
            raise

    @endpoint("HEAD", PATH + "/{media_id}", access=Access.USER, spec=_SPEC)
    @_in_protocol
    async def progress(self, caller: Caller, request: Request, media_id: str) -> Answer:
        _check_version(request)
        progress = await self._uploads.progress(caller.user_id, media_id)
        return _answer(200, {**_told(progress), "Upload-Length": str(progress.length)})

    @_takes_pieces("PATCH", PATH + "/{media_id}", limit="media_upload")
    @_in_protocol
    async def append(self, caller: Caller, request: Request, media_id: str) -> Answer:
        _check_version(request)
        if request.headers.get("Content-Type", "").strip().lower() != _TYPE:
            raise MatrixError(f"the Content-Type must be {_TYPE}", status=415)
        offset = _number(request, "Upload-Offset")
        progress = await self._uploads.append(caller.user_id, media_id, offset, request.stream(), _checked_by(request))
        return _answer(204, _told(progress))

    @endpoint("DELETE", PATH + "/{media_id}", access=Access.USER, spec=_SPEC)
    @_in_protocol
    async def cancel(self, caller: Caller, request: Request, media_id: str) -> Answer:
        _check_version(request)
        await self._uploads.cancel(caller.user_id, media_id)
        return _answer(204, {})

    @_takes_pieces("POST", PATH + "/{media_id}", limit="media_upload")
    @_in_protocol
    async def overridden(self, caller: Caller, request: Request, media_id: str) -> Answer:
        """For those who, or whose way to here, know no other methods."""
        match request.headers.get("X-HTTP-Method-Override", "").strip().upper():
            case "PATCH":
                return await self.append(caller, request, media_id)
            case "DELETE":
                return await self.cancel(caller, request, media_id)
            case "HEAD":
                return await self.progress(caller, request, media_id)
        raise Unrecognized("an upload takes HEAD, PATCH and DELETE", status=405)


def _checked_by(request: Request) -> Checksum | None:
    return _checksum(request.headers["Upload-Checksum"]) if "Upload-Checksum" in request.headers else None


def _checksum(header: str) -> Checksum:
    algorithm, _, digest = header.strip().partition(" ")
    try:
        decoded = base64.b64decode(digest, validate=True)
    except (binascii.Error, ValueError):
        decoded = b""
    if algorithm not in CHECKSUMS or not decoded:
        raise InvalidParam(f"Upload-Checksum must be one of {', '.join(CHECKSUMS)} and base64")
    return Checksum(algorithm, decoded)


def _check_version(request: Request) -> None:
    if request.headers.get("Tus-Resumable") != _VERSION:
        raise MatrixError(f"Tus-Resumable must be {_VERSION}", status=412)


def _number(request: Request, name: str) -> int:
    value = request.headers.get(name, "")
    if not (value.isascii() and value.isdecimal() and len(value) < 16):
        raise InvalidParam(f"{name} must be a number of bytes")
    return int(value)


def _metadata(header: str) -> dict[str, str]:
    """Pairs of a name and base64, with commas between. Raises InvalidParam."""
    found: dict[str, str] = {}
    if len(header) > _METADATA_CHARS_MAX:
        raise InvalidParam("Upload-Metadata is too large")
    for pair in filter(None, (part.strip() for part in header.split(","))):
        name, _, value = pair.partition(" ")
        try:
            found[name.lower()] = base64.b64decode(value.strip(), validate=True).decode()
        except (binascii.Error, ValueError):
            raise InvalidParam("Upload-Metadata must hold pairs of a name and base64") from None
    return found


def _told(progress: Progress) -> dict[str, str]:
    return {"Upload-Offset": str(progress.offset), "Upload-Expires": _date(progress.expires_ms)}


def _date(time_ms: int) -> str:
    return formatdate(time_ms / 1000, usegmt=True)


def _answer(status: int, headers: dict[str, str], body: dict[str, Any] | None = None) -> Answer:
    sent = {"Tus-Resumable": _VERSION, "Cache-Control": "no-store", **headers}
    return Answer(msgspec.json.encode(body) if body is not None else b"", status=status, headers=sent)
