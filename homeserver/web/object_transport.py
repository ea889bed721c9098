"""HTTP to the operator's own object store. Its address is the operator's to choose: nothing is denied here."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping

from homeserver.core.errors import Unavailable
from homeserver.objects.s3 import Response
from homeserver.web.outgoing import OutgoingClient, OutgoingError

TIMEOUT_S = 3600.0
_ANSWER_BYTES_MAX = 2**42


class ObjectTransport:
    """Implements homeserver.objects.s3.Transport."""

    def __init__(self, client: OutgoingClient) -> None:
        self._client = client

    @contextlib.asynccontextmanager
    async def send(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> AsyncIterator[Response]:
        sent = {name: value for name, value in headers.items() if name != "host"}
        try:
            async with self._client.stream(
                method,
                url,
                headers=sent,
                body=body or None,
                timeout_s=TIMEOUT_S,
                response_bytes_max=_ANSWER_BYTES_MAX,
            ) as answer:
                yield Response(answer.status, answer.headers, answer.pieces)
        except OutgoingError:
            raise Unavailable("the object store can't be reached") from None

    async def close(self) -> None:
        await self._client.close()
