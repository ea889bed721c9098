"""Objects as files of HDFS, by its REST API (WebHDFS): the NameNode is asked, a DataNode gives and takes the bytes."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import orjson
import structlog

from homeserver.core.errors import Unavailable
from homeserver.objects.parts import hashed_parts
from homeserver.objects.s3 import Transport
from homeserver.objects.store import NoSuchObject, Written
from homeserver.runtime.clock import Clock
from homeserver.runtime.ids import Randomness

log = structlog.get_logger()

PART_BYTES = 8 * 1024 * 1024
# A part that was begun so long ago, and never ended, is a crash's.
ABANDONED_MS = 24 * 3600 * 1000
PARTS = "parts"
_ANSWER_BYTES_MAX = 4 * 1024 * 1024
_NAME = re.compile(r"[0-9A-Za-z_-]+(?:[./][0-9A-Za-z_-]+)*", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class HdfsFolder:
    """Where the objects are. `endpoint` is the NameNode's HTTP address; `user` is whom HDFS takes us for."""

    endpoint: str
    folder: str
    user: str


class HdfsObjects:
    """Implements ObjectStore. Objects are written beside and renamed, so that none is ever seen in part."""

    def __init__(self, transport: Transport, place: HdfsFolder, clock: Clock, randomness: Randomness) -> None:
        self._transport = transport
        self._place = place
        self._clock = clock
        self._randomness = randomness

    async def put(self, name: str, pieces: AsyncIterator[bytes]) -> Written:
        path, part = self._path(name), f"{PARTS}/{self._randomness.token(16)}"
        sent = Written(0, "")
        try:
            async for data, upto in hashed_parts(pieces, PART_BYTES):
                is_first = not sent.digest
                operation = {"op": "CREATE", "overwrite": "true"} if is_first else {"op": "APPEND"}
                await self._send_bytes("PUT" if is_first else "POST", part, operation, data)
                sent = upto
            await self._ask("PUT", path.rpartition("/")[0], {"op": "MKDIRS"})
            renamed = {"op": "RENAME", "destination": self._full(path), "renameoptions": "OVERWRITE"}
            await self._ask("PUT", part, renamed)
        except BaseException:
            await self._drop(part)
            raise
        return sent

    async def get(self, name: str, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        if end is not None and end <= start:
            return
        query = {"op": "OPEN", "offset": str(start), **({"length": str(end - start)} if end is not None else {})}
        try:
            location = await self._location("GET", self._path(name), query)
        except _OutOfFile:
            return
        async with self._transport.send("GET", location, {}, b"") as response:
            if response.status == 404:
                raise NoSuchObject(name)
            if response.status != 200:
                raise Unavailable("HDFS refuses to give an object")
            async for piece in response.pieces:
                yield piece

    async def size(self, name: str) -> int | None:
        try:
            answer = await self._ask("GET", self._path(name), {"op": "GETFILESTATUS"})
        except NoSuchObject:
            return None
        return int(answer["FileStatus"]["length"])

    async def delete(self, name: str) -> None:
        await self._delete(self._path(name))

    async def sweep(self) -> int:
        try:
            answer = await self._ask("GET", PARTS, {"op": "LISTSTATUS"})
        except NoSuchObject:
            return 0
        before, swept = self._clock.now_ms() - ABANDONED_MS, 0
        for status in answer["FileStatuses"]["FileStatus"]:
            if status["modificationTime"] < before:
                await self._delete(f"{PARTS}/{status['pathSuffix']}")
                swept += 1
        return swept

    def link(self, name: str, headers: Mapping[str, str]) -> str | None:
        return None

    # --- requests

    async def _send_bytes(self, method: str, path: str, query: Mapping[str, str], data: bytes) -> None:
        location = await self._location(method, path, query)
        headers = {"Content-Type": "application/octet-stream"}
        async with self._transport.send(method, location, headers, data) as response:
            if response.status not in (200, 201):
                raise Unavailable("HDFS refuses to take an object")

    async def _location(self, method: str, path: str, query: Mapping[str, str]) -> str:
        """The DataNode's URL to read from or write to."""
        answer = await self._ask(method, path, {**query, "noredirect": "true"})
        location = answer.get("Location")
        if not isinstance(location, str):
            raise Unavailable("HDFS names no DataNode")
        return location

    async def _ask(self, method: str, path: str, query: Mapping[str, str]) -> dict[str, Any]:
        asked = {**query, "user.name": self._place.user}
        url = f"{self._place.endpoint.rstrip('/')}/webhdfs/v1{self._full(path)}?{urlencode(asked)}"
        async with self._transport.send(method, url, {}, b"") as response:
            data = bytearray()
            async for piece in response.pieces:
                data += piece
                if len(data) > _ANSWER_BYTES_MAX:
                    raise Unavailable("HDFS answers more than it should")
            status = response.status
        try:
            answer = orjson.loads(bytes(data)) if data else {}
        except orjson.JSONDecodeError:
            answer = {}
        if status in (200, 201) and isinstance(answer, dict):
            return answer
        fault = answer.get("RemoteException") if isinstance(answer, dict) else None
        kind = str(fault.get("exception")) if isinstance(fault, dict) else ""
        if status == 404 or kind == "FileNotFoundException":
            raise NoSuchObject(path)
        if isinstance(fault, dict) and "out of the range" in str(fault.get("message")):
            raise _OutOfFile
        log.warning("hdfs_refused", status=status, exception=kind[:100])
        raise Unavailable("HDFS refuses")

    async def _delete(self, path: str) -> None:
        await self._ask("DELETE", path, {"op": "DELETE", "recursive": "false"})

    async def _drop(self, part: str) -> None:
        try:
            await self._delete(part)
        except (Unavailable, NoSuchObject):
            log.warning("hdfs_part_not_deleted")  # `sweep` finds it

    def _path(self, name: str) -> str:
        if _NAME.fullmatch(name) is None:
            raise ValueError(f"not a name of an object: {name!r}")
        return name

    def _full(self, path: str) -> str:
        folder = "/" + self._place.folder.strip("/")
        return f"{folder.rstrip('/')}/{path}" if path else folder


class _OutOfFile(Exception):
    """A place beyond the end of a file was asked for."""
