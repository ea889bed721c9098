"""Has files looked at by a virus scanner before anybody gets them: clamd's INSTREAM. man clamd(8)"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass

import structlog

from homeserver.core.errors import Forbidden, Unavailable
from homeserver.runtime.connector import Connector

log = structlog.get_logger()

_PIECE_BYTES = 256 * 1024
_VERDICT_BYTES_MAX = 4_096
_LENGTH = struct.Struct(">I")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScannerSettings:
    """`address` as Connector takes it; what can't be scanned is refused unless `lets_pass`."""

    address: str
    timeout_s: float
    lets_pass: bool


class Scanner:
    """Asks clamd, with a connection of its own for each file."""

    def __init__(self, connector: Connector, settings: ScannerSettings) -> None:
        self._connector = connector
        self._settings = settings

    async def check(self, pieces: AsyncIterator[bytes]) -> None:
        """Raises Forbidden for a file in which something was found, Unavailable where none can be scanned."""
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                verdict = await self._verdict(pieces)
        except (OSError, EOFError, TimeoutError, ValueError) as error:
            verdict = f"{type(error).__name__} ERROR"
        if verdict.endswith(" FOUND"):
            log.warning("harmful_file_refused", found=verdict[:200])
            raise Forbidden("this file was found to be harmful")
        if verdict != "stream: OK":
            log.warning("file_not_scanned", said=verdict[:200], lets_pass=self._settings.lets_pass)
            if not self._settings.lets_pass:
                raise Unavailable("files can't be scanned right now")

    async def _verdict(self, pieces: AsyncIterator[bytes]) -> str:
        reader, writer = await self._connector.connect(self._settings.address)
        try:
            writer.write(b"zINSTREAM\x00")
            async for piece in pieces:
                for start in range(0, len(piece), _PIECE_BYTES):
                    part = piece[start : start + _PIECE_BYTES]
                    writer.write(_LENGTH.pack(len(part)) + part)
                    await writer.drain()
            writer.write(_LENGTH.pack(0))
            await writer.drain()
            said = await reader.read(_VERDICT_BYTES_MAX)
            return said.partition(b"\x00")[0].decode("utf-8", "replace").strip()
        finally:
            writer.close()
