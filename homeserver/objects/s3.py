"""Objects in a bucket of an S3-compatible store. Large ones go up in parts: two of them are in memory at most."""

from __future__ import annotations

import asyncio
import hashlib
import html
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from urllib.parse import urlsplit

import structlog

from homeserver.core.errors import Unavailable
from homeserver.objects.signature_v4 import EMPTY, Asked, Credentials, presigned_query, query_string, signed_headers
from homeserver.objects.store import NoSuchObject, Written
from homeserver.runtime.clock import Clock

log = structlog.get_logger()

PART_BYTES = 8 * 1024 * 1024
LINK_S = 300
TRIES = 3
# An upload in parts that was begun so long ago, and never ended, is a crash's.
ABANDONED_MS = 48 * 3600 * 1000
_NAME = re.compile(r"[0-9A-Za-z_-]+(?:[./][0-9A-Za-z_-]+)*", re.ASCII)
_UPLOAD_ID = re.compile(r"<UploadId>([^<]{1,2000})</UploadId>")
_UPLOAD = re.compile(
    r"<Upload>.*?<Key>([^<]{1,2000})</Key>.*?<UploadId>([^<]{1,2000})</UploadId>.*?<Initiated>([^<]{1,50})</Initiated>"
    r"|<Upload>.*?<Initiated>([^<]{1,50})</Initiated>.*?<Key>([^<]{1,2000})</Key>.*?<UploadId>([^<]{1,2000})</UploadId>",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Response:
    """An answer of the store. `pieces` is its body."""

    status: int
    headers: Mapping[str, str]
    pieces: AsyncIterator[bytes]


class Transport(Protocol):
    """HTTP to the store. Raises Unavailable where there is no answer."""

    def send(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes
    ) -> AbstractAsyncContextManager[Response]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """Where the objects are. `endpoint` is the store's URL; names begin with `prefix`."""

    endpoint: str
    name: str
    prefix: str = ""
    credentials: Credentials
    links: bool = False


class S3Objects:
    """Implements ObjectStore."""

    def __init__(self, transport: Transport, bucket: Bucket, clock: Clock) -> None:
        self._transport = transport
        self._bucket = bucket
        self._clock = clock
        self._host = urlsplit(bucket.endpoint).netloc

    async def put(self, name: str, pieces: AsyncIterator[bytes]) -> Written:
        key = self._key(name)
        parts = _parts(pieces)
        first = await anext(parts, b"")
        digest, size = hashlib.sha256(), len(first)
        await asyncio.to_thread(digest.update, first)
        if len(first) < PART_BYTES:
            status, text, _ = await self._ask("PUT", key, {}, first)
            _check(status, text)
            return Written(size, digest.hexdigest())
        upload_id = await self._begin(key)
        sending: asyncio.Task[str] | None = None
        try:
            tags = [await self._put_part(key, upload_id, 1, first)]
            async for part in parts:
                await asyncio.to_thread(digest.update, part)
                size += len(part)
                if sending is not None:
                    tags.append(await sending)
                number = len(tags) + 1
                sending = asyncio.ensure_future(self._put_part(key, upload_id, number, part))
            if sending is not None:
                tags.append(await sending)
            await self._complete(key, upload_id, tags)
        except BaseException:
            if sending is not None:
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)
            await asyncio.shield(self._abort(key, upload_id))
            raise
        return Written(size, digest.hexdigest())

    async def get(self, name: str, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        if end is not None and end <= start:
            return
        headers = {"Range": f"bytes={start}-{'' if end is None else end - 1}"} if start or end is not None else {}
        async with self._send("GET", self._key(name), {}, b"", headers) as response:
            if response.status == 404:
                raise NoSuchObject(name)
            if response.status == 416:  # an empty object has no range
                return
            if response.status not in (200, 206):
                raise Unavailable("the object store refuses to give an object")
            async for piece in response.pieces:
                yield piece

    async def size(self, name: str) -> int | None:
        async with self._send("HEAD", self._key(name), {}, b"") as response:
            if response.status == 404:
                return None
            if response.status != 200:
                raise Unavailable("the object store refuses to tell of an object")
            return int(response.headers.get("Content-Length", "0"))

    async def delete(self, name: str) -> None:
        status, text, _ = await self._ask("DELETE", self._key(name), {}, b"")
        if status != 404:
            _check(status, text)

    async def sweep(self) -> int:
        status, text, _ = await self._ask("GET", "", {"uploads": "", "prefix": self._bucket.prefix}, b"")
        _check(status, text)
        before, swept = self._clock.now_ms() - ABANDONED_MS, 0
        for match in _UPLOAD.finditer(text):
            key, upload_id, begun = (match[1], match[2], match[3]) if match[1] else (match[5], match[6], match[4])
            if datetime.fromisoformat(begun.replace("Z", "+00:00")).timestamp() * 1000 < before:
                await self._abort(html.unescape(key), html.unescape(upload_id))
                swept += 1
        return swept

    def link(self, name: str, headers: Mapping[str, str]) -> str | None:
        if not self._bucket.links:
            return None
        query = {f"response-{header.lower()}": value for header, value in headers.items()}
        asked = Asked(method="GET", path=self._path(self._key(name)), query=query, headers={"host": self._host})
        signed = presigned_query(asked, LINK_S, self._clock.now_ms(), self._bucket.credentials)
        return f"{self._bucket.endpoint.rstrip('/')}{asked.path}?{signed}"

    # --- parts

    async def _begin(self, key: str) -> str:
        status, text, _ = await self._ask("POST", key, {"uploads": ""}, b"")
        _check(status, text)
        match = _UPLOAD_ID.search(text)
        if match is None:
            raise Unavailable("the object store takes no upload")
        return html.unescape(match[1])

    async def _put_part(self, key: str, upload_id: str, number: int, part: bytes) -> str:
        query = {"partNumber": str(number), "uploadId": upload_id}
        status, text, headers = await self._ask("PUT", key, query, part)
        _check(status, text)
        return headers.get("ETag", "")

    async def _complete(self, key: str, upload_id: str, tags: list[str]) -> None:
        listed = "".join(
            f"<Part><PartNumber>{number}</PartNumber><ETag>{html.escape(tag)}</ETag></Part>"
            for number, tag in enumerate(tags, start=1)
        )
        body = f"<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>".encode()
        status, text, _ = await self._ask("POST", key, {"uploadId": upload_id}, body)
        _check(status, text)
        if "<Error>" in text:  # a 200 may turn out to be none
            raise Unavailable("the object store didn't put an object together")

    async def _abort(self, key: str, upload_id: str) -> None:
        try:
            await self._ask("DELETE", key, {"uploadId": upload_id}, b"")
        except Unavailable:
            log.warning("upload_not_aborted")  # `sweep` finds it

    # --- requests

    async def _ask(
        self, method: str, key: str, query: Mapping[str, str], body: bytes
    ) -> tuple[int, str, Mapping[str, str]]:
        """Status, body and headers of a small answer. Asks again where the store is busy or was not reached."""
        for left in reversed(range(TRIES)):
            try:
                async with self._send(method, key, query, body) as response:
                    text = b"".join([piece async for piece in response.pieces])[: 4 * 1024 * 1024]
                    if response.status < 500 or not left:
                        return response.status, text.decode("utf-8", "replace"), response.headers
            except Unavailable:
                if not left:
                    raise
            await self._clock.sleep(0.2 * (TRIES - left))
        raise Unavailable("the object store doesn't answer")

    def _send(
        self, method: str, key: str, query: Mapping[str, str], body: bytes, headers: Mapping[str, str] | None = None
    ) -> AbstractAsyncContextManager[Response]:
        payload = hashlib.sha256(body).hexdigest() if body else EMPTY
        asked = Asked(method=method, path=self._path(key), query=query, headers={"Host": self._host, **(headers or {})})
        signed = signed_headers(asked, payload, self._clock.now_ms(), self._bucket.credentials)
        url = self._bucket.endpoint.rstrip("/") + asked.path + (f"?{query_string(query)}" if query else "")
        return self._transport.send(method, url, signed, body)

    def _path(self, key: str) -> str:
        return f"/{self._bucket.name}/{key}" if key else f"/{self._bucket.name}"

    def _key(self, name: str) -> str:
        if _NAME.fullmatch(name) is None:
            raise ValueError(f"not a name of an object: {name!r}")
        return self._bucket.prefix + name


async def _parts(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same bytes in parts of PART_BYTES, but for the last one."""
    held = bytearray()
    async for piece in pieces:
        held += piece
        while len(held) >= PART_BYTES:
            yield bytes(memoryview(held)[:PART_BYTES])
            del held[:PART_BYTES]
    if held:
        yield bytes(held)


def _check(status: int, text: str) -> None:
    if status not in (200, 201, 204):
        code = re.search(r"<Code>([A-Za-z]{1,60})</Code>", text)
        log.warning("object_store_refused", status=status, code=code[1] if code else None)
        raise Unavailable("the object store refuses")
