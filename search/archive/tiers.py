"""Hot and cold as one tier: one order, one cursor, and no event in both. Implements `Generational`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from search.archive.shelf import Shelf
from search.archive.tier import ColdTier
from search.hot.current import Generational
from search.tiers import Document, Findings, Gone, Question, Refused, TierFault, merged

# A question that events changed tiers under is asked again, so often.
TRIES = 3


class HotTiers:
    """The generations of the hot index that are open: the one that answers, and one that is built."""

    def __init__(self) -> None:
        self._open: list[Generational] = []

    def add(self, tier: Generational) -> None:
        self._open.append(tier)

    def remove(self, tier: Generational) -> None:
        self._open = [one for one in self._open if one is not tier]

    async def let_go(self, documents: Sequence[Gone]) -> None:
        """As each of them does. Raises TierFault."""
        for tier in self._open:
            await tier.let_go(documents)

    async def drop_if_empty(self, month: str) -> None:
        """As each of them does. Raises TierFault."""
        for tier in self._open:
            await tier.drop_if_empty(month)

    async def write(self, documents: Sequence[Document]) -> None:
        """As each of them does. Raises TierFault."""
        for tier in self._open:
            await tier.write(documents, ())


class HotAndCold:
    """Writes to the hot tier what the archive doesn't have; asks both."""

    def __init__(self, hot: Generational, cold: ColdTier, shelf: Shelf, opened: HotTiers) -> None:
        self._hot = hot
        self._cold = cold
        self._shelf = shelf
        self._opened = opened

    async def write(self, documents: Sequence[Document], gone: Sequence[Gone]) -> Sequence[Refused]:
        """Raises TierFault."""
        async with self._shelf.changing:
            kept = documents
            if self._shelf.files or self._shelf.touched:
                kept = await self._cold.hide(documents, gone)
            return await self._hot.write(kept, gone) if kept or gone else ()

    async def find(self, question: Question) -> Findings:
        """Partial where one of them can't be asked. Raises TierFault where neither has an answer."""
        if not self._shelf.files:
            return await self._hot.find(question)
        found, tries = await self._settled(question), 1
        while not found[1] and tries < TRIES:
            found, tries = await self._settled(question), tries + 1
        return found[0] if found[1] else replace(found[0], is_partial=True)

    async def count(self) -> int:
        """Of the hot tier. Raises TierFault."""
        return await self._hot.count()

    async def size(self) -> int:
        """Of the hot tier. Raises TierFault."""
        return await self._hot.size()

    async def forget_rooms(self, room_nids: Sequence[int]) -> None:
        """Raises TierFault."""
        async with self._shelf.changing:
            await self._cold.forget_rooms(room_nids)
            await self._hot.forget_rooms(room_nids)

    async def open(self) -> bool:
        self._opened.add(self._hot)
        return await self._hot.open()

    async def clear(self) -> None:
        await self._hot.clear()

    async def adopt(self) -> None:
        await self._hot.adopt()

    async def let_go(self, documents: Sequence[Gone]) -> None:
        await self._hot.let_go(documents)

    async def tidy(self) -> int:
        """Of the hot tier. Raises TierFault."""
        return await self._hot.tidy()

    async def drop_if_empty(self, month: str) -> None:
        await self._hot.drop_if_empty(month)

    async def promote(self) -> None:
        await self._hot.promote()

    async def destroy(self) -> None:
        self._opened.remove(self._hot)
        await self._hot.destroy()

    async def close(self) -> None:
        self._opened.remove(self._hot)
        await self._hot.close()

    async def _settled(self, question: Question) -> tuple[Findings, bool]:
        """What is found, and whether no event went from one tier to the other meanwhile."""
        epoch = self._shelf.epoch
        found = await self._find(question)
        return found, epoch == self._shelf.epoch and not epoch % 2

    async def _find(self, question: Question) -> Findings:
        hot, cold = await asyncio.gather(self._hot.find(question), self._cold.find(question), return_exceptions=True)
        if isinstance(cold, BaseException):
            raise cold
        if isinstance(hot, TierFault):
            self._shelf.on_hot_fault(hot)
            if not cold.hits:
                raise hot
            return Findings(cold.hits, cold.count, is_partial=True)
        if isinstance(hot, BaseException):
            raise hot
        return merged([hot, cold], question.limit)
