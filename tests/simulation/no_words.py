"""An index of messages that keeps none: nobody searches in a simulated world, and files would be most of the work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from search.tiers import Document, Findings, Gone, Question, Refused
from search.upkeep.counting import Held, Tally
from search.upkeep.rebuilding import Engine


class NoWords:
    """Implements `search.hot.current.Generational`. Through the lives of its server it remembers that it was begun."""

    def __init__(self) -> None:
        self._is_begun = False

    @property
    def engine(self) -> Engine:
        return Engine("embedded", lambda number, is_live: self)

    async def open(self) -> bool:
        return self._is_begun

    async def adopt(self) -> None:
        self._is_begun = True

    async def clear(self) -> None:
        self._is_begun = False

    async def write(self, documents: Sequence[Document], gone: Sequence[Gone]) -> Sequence[Refused]:
        return ()

    async def find(self, question: Question) -> Findings:
        return Findings([], 0)

    async def forget_rooms(self, room_nids: Sequence[int]) -> None: ...

    async def let_go(self, documents: Sequence[Gone]) -> None: ...

    async def tidy(self) -> int:
        return 0

    async def drop_if_empty(self, month: str) -> None: ...

    async def promote(self) -> None: ...

    async def destroy(self) -> None: ...

    async def close(self) -> None: ...

    async def count(self) -> int:
        return 0

    async def size(self) -> int:
        return 0

    async def census(self) -> Mapping[tuple[str, int], Tally]:
        return {}

    async def held(self, month: str, room_nid: int) -> Sequence[Held]:
        return ()
