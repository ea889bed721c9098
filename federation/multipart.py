"""Reads a multipart/mixed answer as it comes: nothing of it is held but one part's head and the end of a piece.

spec: server-server-api/#content-repository
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping

HEAD_BYTES_MAX = 16_384
JSON_BYTES_MAX = 65_536
_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]", re.ASCII)


class NotMultipart(ValueError):
    """The answer isn't what it should be."""


def boundary_of(content_type: str) -> str:
    """The boundary that a Content-Type names. Raises NotMultipart."""
    essence, *parameters = content_type.split(";")
    if essence.strip().lower() == "multipart/mixed":
        for parameter in parameters:
            name, _, value = parameter.partition("=")
            boundary = value.strip().strip('"')
            if name.strip().lower() == "boundary" and _BOUNDARY.fullmatch(boundary):
                return boundary
    raise NotMultipart("no multipart/mixed with a boundary")


class Parts:
    """The parts of a body, one after the other: `next_part` gives a head, then `body` gives its bytes."""

    def __init__(self, pieces: AsyncIterator[bytes], boundary: str) -> None:
        self._pieces = pieces
        self._delimiter = b"\r\n--" + boundary.encode("ascii")
        # The first delimiter may stand at the very beginning.
        self._held = bytearray(b"\r\n")

    async def next_part(self) -> Mapping[str, str]:
        """The next part's headers, in lower case. Raises NotMultipart, also where there is no further part."""
        await self._skip_to_delimiter()
        while len(self._held) < 2:
            await self._more()
        if self._held[:2] == b"--":
            raise NotMultipart("a part is missing")
        while (end := self._held.find(b"\r\n\r\n")) < 0:
            if len(self._held) > HEAD_BYTES_MAX:
                break
            await self._more()
        if not 0 <= end <= HEAD_BYTES_MAX:
            raise NotMultipart("the head of a part is too large")
        # Between the delimiter and its line's end there may be blanks.
        head = bytes(self._held[:end]).partition(b"\r\n")[2].decode("latin-1")
        # Its own line's end stays: an empty part's delimiter begins with it.
        del self._held[: end + 2]
        headers: dict[str, str] = {}
        for line in head.split("\r\n"):
            name, colon, value = line.partition(":")
            if colon:
                headers.setdefault(name.strip().lower(), value.strip())
        return headers

    async def body(self) -> AsyncIterator[bytes]:
        """The bytes of the part whose head was read. Raises NotMultipart where the answer ends within."""
        is_first = True
        while True:
            start = 2 if is_first else 0
            found = self._held.find(self._delimiter)
            if found >= 0:
                if found > start:
                    yield bytes(self._held[start:found])
                del self._held[:found]
                return
            ready = len(self._held) - len(self._delimiter)
            if ready > start:
                yield bytes(self._held[start:ready])
                del self._held[:ready]
                is_first = False
            await self._more()

    async def _skip_to_delimiter(self) -> None:
        skipped = 0
        while (found := self._held.find(self._delimiter)) < 0:
            keep = min(len(self._held), len(self._delimiter))
            skipped += len(self._held) - keep
            del self._held[: len(self._held) - keep]
            if skipped > JSON_BYTES_MAX:
                raise NotMultipart("the first part is too large")
            await self._more()
        if skipped + found > JSON_BYTES_MAX:
            raise NotMultipart("the first part is too large")
        del self._held[: found + len(self._delimiter)]

    async def _more(self) -> None:
        piece = await anext(self._pieces, None)
        if piece is None:
            raise NotMultipart("the answer has no end")
        self._held += piece
