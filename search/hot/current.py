"""The tier that answers now, behind one name: the next generation takes its place without anybody noticing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from search.indexer import RenewableTier
from search.tiers import Document, Findings, Gone, Question, Refused, TierFault

# Who looks at figures doesn't wait longer for them.
WEIGHED_WITHIN_S = 2.0


class Generational(RenewableTier, Protocol):
    """A tier of which the next generation can be built beside it."""

    async def open(self) -> bool:
        """Whether it holds what was written before; else it has to be filled anew."""
        ...

    async def promote(self) -> None:
        """From now on it is the one that answers. Raises TierFault."""
        ...

    async def destroy(self) -> None:
        """Nothing of it is left. Raises TierFault."""
        ...

    async def count(self) -> int:
        """How many events it finds. Raises TierFault."""
        ...

    async def size(self) -> int:
        """Bytes that it takes. Raises TierFault."""
        ...

    async def tidy(self) -> int:
        """Makes it smaller where it isn't written any more, some parts at a time: how many. Raises TierFault."""
        ...

    async def let_go(self, documents: Sequence[Gone]) -> None:
        """Removes these without a trace: the archive has them. They can be written again. Raises TierFault."""
        ...

    async def drop_if_empty(self, month: str) -> None:
        """Gives back what a month takes of which nothing is left. Raises TierFault."""
        ...

    async def close(self) -> None: ...


class Held:
    """A tier and who asks it just now."""

    def __init__(self, tier: Generational) -> None:
        self.tier = tier
        self._asking = 0
        self._is_idle = asyncio.Event()
        self._is_idle.set()

    async def find(self, question: Question) -> Findings:
        """As the tier does."""
        with self._asked():
            return await self.tier.find(question)

    async def tidy(self) -> int:
        """As the tier does. Meanwhile somebody asks it."""
        with self._asked():
            return await self.tier.tidy()

    async def idle(self) -> None:
        """Returns when nobody asks."""
        await self._is_idle.wait()

    @contextmanager
    def _asked(self) -> Iterator[None]:
        self._asking += 1
        self._is_idle.clear()
        try:
            yield
        finally:
            self._asking -= 1
            if not self._asking:
                self._is_idle.set()


class CurrentTier:
    """Hands on to the one in place. Implements RenewableTier."""

    def __init__(self, tier: Generational) -> None:
        self._held = Held(tier)

    def replace(self, tier: Generational) -> Held:
        """The one that was in place until now; some may still ask it."""
        old, self._held = self._held, Held(tier)
        return old

    async def write(self, documents: Sequence[Document], gone: Sequence[Gone]) -> Sequence[Refused]:
        """As the tier does."""
        return await self._held.tier.write(documents, gone)

    async def find(self, question: Question) -> Findings:
        """As the tier does."""
        return await self._held.find(question)

    async def tidy(self) -> int:
        """As the tier does."""
        return await self._held.tidy()

    async def forget_rooms(self, room_nids: Sequence[int]) -> None:
        await self._held.tier.forget_rooms(room_nids)

    async def clear(self) -> None:
        await self._held.tier.clear()

    async def weighed(self) -> tuple[int, int] | None:
        """How many events it finds, and how many bytes it takes; None while it can't be asked."""
        try:
            async with asyncio.timeout(WEIGHED_WITHIN_S):
                return await self._held.tier.count(), await self._held.tier.size()
        except (TierFault, TimeoutError):
            return None

    async def adopt(self) -> None:
        await self._held.tier.adopt()

    async def close(self) -> None:
        await self._held.tier.close()
