"""Previews of web pages: fetched once for everybody, by the guarded client, and read in the sandbox.

Every URL, the one that was asked for, those that redirects lead to and those that pages name, goes the same way.
"""

from __future__ import annotations

import asyncio
import hashlib
import zlib
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import orjson
import structlog

from homeserver.core import canonical_json
from homeserver.core.errors import Forbidden, InvalidParam, LimitExceeded, MatrixError, NotFound
from homeserver.core.identifiers import UserId
from homeserver.media import pages
from homeserver.media.allowance import Allowance, host_of
from homeserver.media.pages import Shown
from homeserver.media.repository import MediaRepository
from homeserver.media.sandbox import Sandbox, SandboxFault
from homeserver.runtime.clock import Clock
from homeserver.storage import url_previews
from homeserver.storage.database import Database
from homeserver.storage.url_previews import PreviewRow
from homeserver.web.outgoing import OutgoingError, OutgoingStream

log = structlog.get_logger()

FAILURE_S = 300
AT_ONCE = 20
METAS_MAX = 200
_UNPACKED_BYTES = 65_536
OEMBED_BYTES_MAX = 256 * 1024
# What an answer says it has may be more than is read of it: the beginning of a page has what is wanted.
_ANSWER_BYTES_MAX = 1024 * 1024 * 1024
_PAGE_TYPES = ("text/html", "application/xhtml+xml")


class Fetching(Protocol):
    """What is needed of the guarded client."""

    def stream(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        timeout_s: float,
        response_bytes_max: int,
        redirects_max: int = 0,
    ) -> AbstractAsyncContextManager[OutgoingStream]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviewSettings:
    allowance: Allowance
    denied_hosts: tuple[str, ...] = ()
    language: str = "en"
    page_bytes_max: int = 1024 * 1024
    picture_bytes_max: int = 10 * 1024 * 1024
    all_pictures_bytes_max: int = 2 * 1024 * 1024 * 1024
    pixels_max: int = 40_000_000
    timeout_s: float = 10.0
    redirects_max: int = 5
    lifetime_s: int = 3600


@dataclass(frozen=True, slots=True)
class _Fetched:
    url: str
    kind: str  # the type's essence
    charset: str | None
    data: bytes


class Previews:
    """Finds previews, or makes them."""

    def __init__(
        self,
        db: Database,
        client: Fetching,
        sandbox: Sandbox,
        repository: MediaRepository,
        clock: Clock,
        settings: PreviewSettings,
    ) -> None:
        self._db = db
        self._client = client
        self._sandbox = sandbox
        self._repository = repository
        self._clock = clock
        self._settings = settings
        self._making: dict[str, asyncio.Task[dict[str, Any] | None]] = {}

    async def get(self, url: str, requester: UserId) -> dict[str, Any]:
        """The page's properties. Raises InvalidParam, Forbidden, NotFound where there is no preview, LimitExceeded.

        `requester` is whom the fetches are counted for, where there are any.
        What went wrong is never told: who asks learns nothing of networks that this server sees.
        """
        address = pages.web_address(url)
        if address is None:
            raise InvalidParam("url must be a http or https URL")
        if pages.is_denied(address, self._settings.denied_hosts):
            raise Forbidden("there are no previews of this site")
        kept = await url_previews.one(self._db, _hash(address), self._clock.now_ms())
        if kept is not None:
            found: dict[str, Any] | None = orjson.loads(kept.preview) if kept.preview is not None else None
        else:
            found = await self._made_once(address, requester)
        if found is None:
            raise NotFound("there is no preview of this page")
        return found

    async def _made_once(self, url: str, requester: UserId) -> dict[str, Any] | None:
        task = self._making.get(url)
        if task is None:
            if len(self._making) >= AT_ONCE:
                raise LimitExceeded("too many previews are being made", retry_after_ms=2_000)
            task = asyncio.ensure_future(self._make(url, requester))
            self._making[url] = task
            task.add_done_callback(lambda _: self._making.pop(url, None))
        return await asyncio.shield(task)

    async def _make(self, url: str, requester: UserId) -> dict[str, Any] | None:
        properties: dict[str, Any] | None = None
        media_id = None
        try:
            async with asyncio.timeout(self._settings.timeout_s * 3):
                properties, media_id = await self._look(url, requester)
        except (OutgoingError, SandboxFault, TimeoutError) as error:
            log.info("preview_failed", error=type(error).__name__, reason=getattr(error, "reason", None))
        now = self._clock.now_ms()
        lifetime_s = self._settings.lifetime_s if properties is not None else min(FAILURE_S, self._settings.lifetime_s)
        row = PreviewRow(
            url_hash=_hash(url),
            fetched_ts=now,
            expires_ts=now + lifetime_s * 1000,
            preview=canonical_json.encode(properties) if properties is not None else None,
            media_id=media_id,
        )
        async with self._db.transaction() as tx:
            replaced = await url_previews.put(tx, row)
        if replaced is not None:
            await self._repository.delete([replaced])
        return properties

    async def _look(self, url: str, requester: UserId) -> tuple[dict[str, Any] | None, str | None]:
        """What is shown of a page, and the id of its picture."""
        shown = await self._asked(pages.oembed_address(url), url, requester)
        if shown is None:
            fetched = await self._fetch(url, self._settings.page_bytes_max, "text/html,*/*;q=0.8", requester)
            if fetched is None:
                return None, None
            if fetched.kind.startswith("image/"):
                return await self._with_picture(Shown({"og:url": url}, url), requester)
            if fetched.kind not in _PAGE_TYPES:
                return {"og:url": url}, None
            shown = await self._read(fetched, requester)
        return await self._with_picture(shown, requester)

    async def _read(self, fetched: _Fetched, requester: UserId) -> Shown:
        job = {
            "job": "page",
            "charset": fetched.charset,
            "metas_max": METAS_MAX,
            "text_chars_max": pages.URL_CHARS_MAX,
        }
        page, _ = await self._sandbox.run(job, _one(fetched.data), len(fetched.data))
        shown = pages.page_shown(page, fetched.url)
        if "og:title" not in page["metas"]:
            told = await self._asked(pages.absolute(page["oembed"], fetched.url), fetched.url, requester)
            if told is not None:
                return Shown({**shown.properties, **told.properties}, told.picture or shown.picture)
        return shown

    async def _asked(self, address: str | None, url: str, requester: UserId) -> Shown | None:
        """What oEmbed says of a page."""
        if address is None:
            return None
        try:
            fetched = await self._fetch(address, OEMBED_BYTES_MAX, "application/json", requester)
            return pages.oembed_shown(orjson.loads(fetched.data), url) if fetched is not None else None
        except (OutgoingError, orjson.JSONDecodeError):
            return None

    async def _with_picture(self, shown: Shown, requester: UserId) -> tuple[dict[str, Any] | None, str | None]:
        """The properties with the picture, as a file of this server, where it can be fetched and is one."""
        if shown.picture is None or await self._is_full():
            return shown.properties, None
        try:
            fetched = await self._fetch(
                shown.picture, self._settings.picture_bytes_max, "image/*", requester, whole=True
            )
            if fetched is None or not fetched.kind.startswith("image/"):
                return shown.properties, None
            job = {"job": "measure", "pixels_max": self._settings.pixels_max}
            picture, _ = await self._sandbox.run(job, _one(fetched.data), len(fetched.data))
            uri, media_id = await self._repository.keep_own(_one(fetched.data), str(picture["content_type"]))
        except (OutgoingError, SandboxFault, MatrixError):
            return shown.properties, None
        properties = {
            **shown.properties,
            "og:image": uri,
            "og:image:type": picture["content_type"],
            "og:image:width": picture["width"],
            "og:image:height": picture["height"],
            "matrix:image:size": len(fetched.data),
        }
        return properties, media_id

    async def _is_full(self) -> bool:
        """Whether pictures take all the room they may: previews go without one until the oldest were deleted."""
        return await url_previews.pictures_bytes(self._db) >= self._settings.all_pictures_bytes_max

    async def _fetch(
        self, url: str, bytes_max: int, accept: str, requester: UserId, *, whole: bool = False
    ) -> _Fetched | None:
        """The beginning of an answer (all of it, with `whole`, or none); None for any status but 200.

        Its type is looked at first: nothing is read of what endless streams and archives send.
        """
        if pages.is_denied(url, self._settings.denied_hosts):
            return None
        allowance = self._settings.allowance
        allowance.begin(requester, host_of(url))
        headers = {"Accept": accept, "Accept-Language": self._settings.language, "User-Agent": "Hansa (link previews)"}
        async with self._client.stream(
            "GET",
            url,
            headers=headers,
            timeout_s=self._settings.timeout_s,
            response_bytes_max=_ANSWER_BYTES_MAX,
            redirects_max=self._settings.redirects_max,
        ) as answer:
            kind, _, parameters = answer.headers.get("Content-Type", "").lower().partition(";")
            kind = kind.strip()
            if answer.status != 200 or pages.is_denied(answer.url, self._settings.denied_hosts):
                return None
            pieces = allowance.counted(answer.pieces, requester, host_of(answer.url))
            match answer.headers.get("Content-Encoding", "identity").strip().lower():
                case "identity" | "":
                    pass
                case "gzip" | "x-gzip":
                    pieces = _unpacked(pieces, self._clock)
                case _:
                    return None  # none was asked for
            read = await _beginning(pieces, bytes_max) if _is_wanted(kind, accept) else b""
            if whole and len(read) > bytes_max:
                return None
            return _Fetched(answer.url, kind, _charset(parameters), read[:bytes_max])


async def _unpacked(pieces: AsyncIterator[bytes], clock: Clock) -> AsyncIterator[bytes]:
    """What some sites pack though nobody asked: small pieces, so that of a bomb no more is unpacked than is read.

    Raises OutgoingError.
    """
    unpacking = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    async for packed in pieces:
        while packed and not unpacking.eof:
            try:
                piece = unpacking.decompress(packed, _UNPACKED_BYTES)
            except zlib.error:
                raise OutgoingError("unreachable", "the answer is no gzip") from None
            packed = unpacking.unconsumed_tail
            yield piece
            await clock.sleep(0)
    if not unpacking.eof:
        raise OutgoingError("unreachable", "the answer breaks off")


async def _beginning(pieces: AsyncIterator[bytes], bytes_max: int) -> bytes:
    held: list[bytes] = []
    size = 0
    async for piece in pieces:
        held.append(piece)
        size += len(piece)
        if size > bytes_max:
            break
    return b"".join(held)


def _is_wanted(kind: str, accept: str) -> bool:
    """Whether the body of this type is read at all."""
    if accept == "application/json":
        return kind in ("application/json", "text/json", "application/json+oembed", "text/javascript")
    return kind.startswith("image/") if accept == "image/*" else kind in _PAGE_TYPES


def _charset(parameters: str) -> str | None:
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip() == "charset":
            return value.strip(" \"'")[:40]
    return None


def _hash(url: str) -> bytes:
    return hashlib.sha256(url.encode()).digest()


async def _one(data: bytes) -> AsyncIterator[bytes]:
    yield data
