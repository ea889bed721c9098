"""How much may be fetched from elsewhere: for one requester, and from one host."""

from __future__ import annotations

from collections.abc import AsyncIterator
from urllib.parse import urlsplit

from homeserver.web.rate_limits import RateLimiter

REQUESTER = "fetched_bytes_user"
HOST = "fetched_bytes_host"
# What the smallest file takes: a block of the disk, and the rows that name it.
FILE_BYTES_MIN = 4096


class Allowance:
    """Counts bytes as they come, whatever becomes of them.

    What has begun is let come to its end; then nothing more is begun until the time has paid for it.
    """

    def __init__(self, limiter: RateLimiter) -> None:
        self._limiter = limiter

    def begin(self, requester: str, host: str) -> None:
        """To be asked before a fetch. `host` is a server or the host of a URL, with its port. Raises LimitExceeded."""
        self._limiter.check(REQUESTER, requester, cost=0)
        self._limiter.check(HOST, _plain(host), cost=0)
        self._spend(requester, host, FILE_BYTES_MIN)

    async def counted(self, pieces: AsyncIterator[bytes], requester: str, host: str) -> AsyncIterator[bytes]:
        """The same pieces."""
        async for piece in pieces:
            self._spend(requester, host, len(piece))
            yield piece

    def _spend(self, requester: str, host: str, size_bytes: int) -> None:
        self._limiter.spend(REQUESTER, requester, size_bytes)
        self._limiter.spend(HOST, _plain(host), size_bytes)


def host_of(url: str) -> str:
    """The host of a URL, with its port."""
    return urlsplit(url).netloc


def _plain(host: str) -> str:
    """One name for a host, however it is written, and for all its ports."""
    return (urlsplit("//" + host).hostname or host).rstrip(".").lower()
