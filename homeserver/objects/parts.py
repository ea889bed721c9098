"""Pieces as they come, in parts that a store takes at once."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator

from homeserver.objects.store import Written


async def hashed_parts(pieces: AsyncIterator[bytes], size: int) -> AsyncIterator[tuple[bytes, Written]]:
    """The same bytes in parts of `size`, but for the last one, each with what all up to it come to; one at least."""
    digest, total, held = hashlib.sha256(), 0, bytearray()
    is_first = True
    async for piece in pieces:
        held += piece
        while len(held) >= size:
            part = bytes(memoryview(held)[:size])
            del held[:size]
            await asyncio.to_thread(digest.update, part)
            total += len(part)
            is_first = False
            yield part, Written(total, digest.hexdigest())
    if held or is_first:
        part = bytes(held)
        await asyncio.to_thread(digest.update, part)
        yield part, Written(total + len(part), digest.hexdigest())
