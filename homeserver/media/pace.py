"""The least speed at which a file must arrive, so that slow senders don't hold connections and disk for ever."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

from homeserver.core.errors import MatrixError
from homeserver.runtime.clock import Clock


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """`patience_s` is how long a sender may be silent, and how long it may be slower at the beginning."""

    bytes_per_s_min: int
    patience_s: float


async def keep_pace(
    pieces: AsyncIterator[bytes], pace: Pace, clock: Clock, *, status: int = 408
) -> AsyncIterator[bytes]:
    """The same pieces. Raises MatrixError with this status for a sender that is too slow."""
    started, received = clock.monotonic_s(), 0
    while True:
        try:
            async with asyncio.timeout(pace.patience_s):
                piece = await anext(pieces)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise _too_slow(status) from None
        received += len(piece)
        taken_s = clock.monotonic_s() - started
        if taken_s > pace.patience_s and received < taken_s * pace.bytes_per_s_min:
            raise _too_slow(status)
        yield piece


def _too_slow(status: int) -> MatrixError:
    return MatrixError("the file came too slowly", status=status)
