"""What pictures look like, in 64 bits: near for pictures that people take for the same."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

from homeserver.core.errors import MatrixError
from homeserver.media.files import Files, Kept
from homeserver.media.sandbox import Sandbox, SandboxFault

BYTES_MAX = 20 * 1024 * 1024
PIXELS_MAX = 50_000_000


class Looks:
    """Has kept files looked at in a sandbox, while `is_wanted` says so."""

    def __init__(self, sandbox: Sandbox, files: Files, is_wanted: Callable[[], bool]) -> None:
        self._sandbox = sandbox
        self._files = files
        self._is_wanted = is_wanted

    async def of(self, kept: Kept) -> str:
        """Sixteen hexadecimal digits; empty for what is no picture, is too large, or comes while too many wait."""
        if not self._is_wanted() or kept.size_bytes > BYTES_MAX:
            return ""
        job = {"job": "look", "pixels_max": PIXELS_MAX}
        try:
            answer, _ = await self._sandbox.run(job, self._pieces(kept), kept.size_bytes)
        except (SandboxFault, MatrixError):
            return ""
        return str(answer.get("look", ""))

    async def _pieces(self, kept: Kept) -> AsyncIterator[bytes]:
        async for piece in await self._files.read(kept.object):
            yield piece
