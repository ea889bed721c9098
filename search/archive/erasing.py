"""The archive as a place where content lies: it lets go of what the database has erased."""

from __future__ import annotations

from homeserver.core.identifiers import UserId
from homeserver.runtime.clock import Clock
from search.archive.keeping import Keeper
from search.indexer import Indexer

_LOOK_S = 0.2


class ArchiveEraser:
    """Implements ports.ContentKeeper. Waits for as long as the index can't be written."""

    def __init__(self, keeper: Keeper, indexer: Indexer, clock: Clock) -> None:
        self.keeper = keeper
        self._indexer = indexer
        self._clock = clock

    async def forget(self, user_id: UserId) -> int | None:
        """Returns once nothing is shown of it, and no file has a byte of it: those with something hidden are rewritten.

        How many files were. Raises NotWhole, TierFault, Unavailable.
        """
        while not await self._indexer.flushed():
            await self._clock.sleep(_LOOK_S)
        count = await self.keeper.compact(is_forced=True)
        # Those that were replaced a moment ago, and of work that was cut short, have it as well.
        await self.keeper.delete_leftovers(is_forced=True)
        return count

    async def scrub(self) -> None:
        """Rewrites the files in which anything is hidden, and deletes what is left over."""
        await self.keeper.compact(is_forced=True)
        await self.keeper.delete_leftovers(is_forced=True)
