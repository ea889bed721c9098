"""Files of other servers, fetched from them. spec: server-server-api/#content-repository"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import unquote

import orjson

from federation.client import FederationClient, FederationError, Unreachable, path_of
from federation.multipart import NotMultipart, Parts, boundary_of
from homeserver.core.errors import MatrixError, NotFound, RemoteTooLarge
from homeserver.core.identifiers import ServerName
from homeserver.ports import RemoteFile
from homeserver.web.outgoing import Outgoing, OutgoingError, OutgoingStream

TRANSFER_S = 300.0
REDIRECTS_MAX = 3
# What a multipart answer may have beside the file.
_AROUND_BYTES = 256 * 1024
_REFUSAL_BYTES_MAX = 65_536
_FILE_NAME = re.compile(r"filename\*=utf-8''([^;]{1,1000})|filename=\"([^\"]{1,500})\"|filename=([^;\s]{1,500})", re.I)


class FederatedMedia:
    """Implements homeserver.ports.RemoteMedia."""

    def __init__(self, client: FederationClient, outgoing: Outgoing) -> None:
        self._client = client
        self._outgoing = outgoing

    @asynccontextmanager
    async def fetch(
        self, server_name: ServerName, media_id: str, timeout_ms: int, bytes_max: int
    ) -> AsyncIterator[RemoteFile]:
        path = path_of("/_matrix/federation/v1/media/download/{}", media_id) + f"?timeout_ms={timeout_ms}"
        try:
            async with self._client.download(
                server_name,
                path,
                timeout_s=TRANSFER_S + timeout_ms / 1000,
                response_bytes_max=bytes_max + _AROUND_BYTES,
            ) as answer:
                if answer.status != 200:
                    raise await _refusal(answer)
                parts = Parts(answer.pieces, boundary_of(answer.headers.get("Content-Type", "")))
                await parts.next_part()  # what is said of the file: nothing, so far
                head = await parts.next_part()
                if "location" in head:
                    async with self._elsewhere(head["location"], bytes_max) as file:
                        yield file
                else:
                    name = _file_name(head.get("content-disposition", ""))
                    yield RemoteFile(parts.body(), head.get("content-type"), name)
        except (Unreachable, FederationError) as error:
            raise error.as_matrix_error() from None
        except NotMultipart:
            raise MatrixError(f"{server_name} sends no file", status=502) from None
        except OutgoingError as error:
            raise _as_matrix_error(error) from None

    @asynccontextmanager
    async def _elsewhere(self, url: str, bytes_max: int) -> AsyncIterator[RemoteFile]:
        """Where the server says that the file is: by the guarded client, as any address that strangers name."""
        async with self._outgoing.stream(
            "GET", url, timeout_s=TRANSFER_S, response_bytes_max=bytes_max, redirects_max=REDIRECTS_MAX
        ) as answer:
            if answer.status != 200:
                raise NotFound("there is no such file")
            name = _file_name(answer.headers.get("Content-Disposition", ""))
            yield RemoteFile(answer.pieces, answer.headers.get("Content-Type"), name)


async def _refusal(answer: OutgoingStream) -> MatrixError:
    """Never a code that would make a client log out, nor a 5xx of somebody else's but that a file isn't there yet."""
    read = b""
    async for piece in answer.pieces:
        read += piece
        if len(read) > _REFUSAL_BYTES_MAX:
            break
    try:
        body = orjson.loads(read)
    except orjson.JSONDecodeError:
        body = None
    code = body.get("errcode") if isinstance(body, dict) else None
    if code == "M_NOT_YET_UPLOADED":
        return MatrixError("the file hasn't been uploaded yet", errcode=code, status=504)
    if code == "M_TOO_LARGE":
        return RemoteTooLarge("this file of another server is too large")
    return NotFound("there is no such file")


def _as_matrix_error(error: OutgoingError) -> MatrixError:
    if error.reason == "too_large":
        return RemoteTooLarge("this file of another server is too large")
    return MatrixError("the file can't be fetched", status=502)


def _file_name(disposition: str) -> str | None:
    match = _FILE_NAME.search(disposition)
    if match is None:
        return None
    return unquote(match[1], errors="replace") if match[1] else match[2] or match[3]
