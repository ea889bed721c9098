"""The index as a place where content lies: it lets go of what the database has erased, and is made anew."""

from __future__ import annotations

from homeserver.core.identifiers import UserId
from homeserver.runtime.clock import Clock
from search.indexer import Indexer
from search.tiers import TierLost

_LOOK_S = 0.2


class IndexKeeper:
    """Implements ports.ContentKeeper. Waits for as long as the index can't be written."""

    def __init__(self, indexer: Indexer, clock: Clock) -> None:
        self._indexer = indexer
        self._clock = clock

    async def forget(self, user_id: UserId) -> int | None:
        """Returns once the index has all that it was told of, erasures too."""
        while not await self._indexer.flushed():
            await self._clock.sleep(_LOOK_S)
        return None

    async def scrub(self) -> None:
        """Empties the index and fills it from the database: what was deleted lies in its files until they are merged.

        Meanwhile a search finds what is in it already, and says that it is partial.
        """
        self._indexer.failed(TierLost("to be written anew"))
        while not await self._indexer.flushed():
            await self._clock.sleep(_LOOK_S)
