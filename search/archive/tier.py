"""The cold tier: asks the archive's files, and hides in them what has changed since."""

from __future__ import annotations

import asyncio
import heapq
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pyroaring import BitMap64

from homeserver.core.errors import Unavailable
from homeserver.runtime.clock import Clock
from search.archive.catalog import File
from search.archive.evaluating import Asked, Found, evaluate
from search.archive.shelf import Shelf
from search.archive.terms import Damaged
from search.tiers import Document, Findings, Gone, Hit, Question, TierFault

if TYPE_CHECKING:
    from search.archive.reading import ArchiveFile

# An answer that takes longer is partial.
SEARCH_S = 20.0


@dataclass(slots=True)
class Reading:
    """What a question cost: bytes read by file, and the files that couldn't be asked."""

    bytes_by_file: dict[str, int] = field(default_factory=dict)
    missed: list[str] = field(default_factory=list)

    @property
    def bytes(self) -> int:
        return sum(self.bytes_by_file.values())


class ColdTier:
    """Finds what the archive's files have, but for what is hidden in them."""

    def __init__(self, shelf: Shelf, clock: Clock, on_read: Callable[[Reading], None]) -> None:
        self._shelf = shelf
        self._clock = clock
        self._on_read = on_read

    async def find(self, question: Question) -> Findings:
        """Exact counts; partial where a file is damaged or the store doesn't answer."""
        return (await self.explain(question))[0]

    async def explain(self, question: Question) -> tuple[Findings, Reading]:
        """The same, with what it cost."""
        reading = Reading()
        scope = {room_nid: spans for room_nid, spans in question.scope.items() if spans}
        files = self._shelf.of_rooms(scope)
        together, asked = Asked(question), []
        if not question.by_rank:
            # The newest first: those before them have but to count, once there are enough.
            files.sort(key=lambda file: file.month, reverse=True)
        for file in files:
            if file.damage is not None or (not file.is_cold and file.name not in self._shelf.still_hot):
                reading.missed.append(file.name)
            elif file.built.first_nid <= question.upto:
                asked.append(asyncio.ensure_future(self._ask(file, together, reading)))
        found: list[Found] = []
        try:
            if asked:
                done, late = await asyncio.wait(asked, timeout=SEARCH_S)
                found = [one for task in done if (one := task.result()) is not None]
                if late:
                    reading.missed.append("late")
        finally:
            for task in asked:
                task.cancel()
        self._on_read(reading)
        hits = heapq.merge(*(one.hits for one in found), key=_cursor, reverse=True)
        first = [hit for hit, _ in zip(hits, range(question.limit), strict=False)]
        return Findings(first, sum(one.count for one in found), is_partial=bool(reading.missed)), reading

    async def hide(self, documents: Sequence[Document], gone: Sequence[Gone]) -> list[Document]:
        """Hides what is no longer as the archive has it. Which documents it doesn't have: those the hot index keeps.

        Durable when it returns. Whoever calls holds `Shelf.changing`. Raises TierFault.
        """
        hidden: defaultdict[tuple[str, int], list[int]] = defaultdict(list)
        hot: list[Document] = []
        for document in documents:
            if document.later:
                # Files have what events say now.
                hot.append(document)
                continue
            key = self._shelf.key_of(document.received_ms, document.room_nid)
            file = self._shelf.file(key) if key is not None else None
            nid = document.event_nid
            if key is not None and key in self._shelf.touched:
                self._shelf.touched[key].add(nid)
                hidden[key].append(nid)
            elif key is not None and file is not None and file.may_have(nid) and nid not in file.hidden:
                if await self._says(file, document):
                    # What leaves the hot index just now stays right in it until then.
                    if nid in self._shelf.still_hot.get(file.name, ()):
                        hot.append(document)
                    continue
                hidden[key].append(nid)
            hot.append(document)
        for one in gone:
            for key in self._keys_of(one):
                if key in self._shelf.touched:
                    self._shelf.touched[key].add(one.event_nid)
                if await self._has(key, one.event_nid):
                    hidden[key].append(one.event_nid)
        await self._hide(hidden)
        return hot

    async def without_kept(self, documents: Sequence[Document]) -> list[Document]:
        """Those of these documents that the hot index has to have, as the archive hasn't. Raises TierFault."""
        wanted = []
        for document in documents:
            key = self._shelf.key_of(document.received_ms, document.room_nid)
            file = self._shelf.file(key) if key is not None else None
            if (
                document.later
                or file is None
                or not file.is_cold
                or document.event_nid in file.hidden
                or not file.may_have(document.event_nid)
                or not await self._says(file, document)
            ):
                wanted.append(document)
        return wanted

    async def forget_rooms(self, room_nids: Sequence[int]) -> None:
        """Hides all of these rooms. Whoever calls holds `Shelf.changing`. Raises TierFault."""
        rooms = frozenset(room_nids)
        hidden: dict[tuple[str, int], list[int]] = {}
        for file in self._shelf.of_rooms(rooms):
            try:
                hidden[file.key], _ = await self._shelf.reading(file, lambda one: _of_rooms(one, rooms))
            except Damaged as damage:
                await self._shelf.damaged(file, str(damage))
        await self._hide(hidden)

    async def _ask(self, file: File, question: Asked, reading: Reading) -> Found | None:
        hidden = file.hidden | self._shelf.still_hot.get(file.name, BitMap64())
        try:
            found, reading.bytes_by_file[file.name] = await self._shelf.reading(
                file, lambda one: evaluate(one, question, hidden)
            )
        except Damaged as damage:
            await self._shelf.damaged(file, str(damage))
        except TierFault:
            pass
        else:
            return found
        reading.missed.append(file.name)
        return None

    async def _has(self, key: tuple[str, int], event_nid: int) -> bool:
        """Whether a file may show an event; of one that can't be read it is taken for granted."""
        file = self._shelf.file(key)
        if file is None or not file.may_have(event_nid):
            return False
        if file.damage is not None:
            return True
        try:
            return event_nid in (await self._shelf.events(file)).nids
        except Damaged as damage:
            await self._shelf.damaged(file, str(damage))
            return True

    async def _says(self, file: File, document: Document) -> bool:
        if file.damage is not None:
            return False
        try:
            return (await self._shelf.events(file)).says(document.event_nid, document.source_nid)
        except Damaged as damage:
            await self._shelf.damaged(file, str(damage))
            return False

    def _keys_of(self, one: Gone) -> list[tuple[str, int]]:
        if one.received_ms is not None:
            key = self._shelf.key_of(one.received_ms, one.room_nid)
            return [key] if key is not None and self._is_there(key, one) else []
        keys = [file.key for file in self._shelf.of_rooms([one.room_nid]) if file.may_have(one.event_nid)]
        under_way = [key for key in self._shelf.touched if one.room_nid % (self._shelf.buckets(key[0]) or 1) == key[1]]
        return list(dict.fromkeys([*keys, *under_way]))

    def _is_there(self, key: tuple[str, int], one: Gone) -> bool:
        file = self._shelf.file(key)
        return key in self._shelf.touched or (file is not None and file.may_have(one.event_nid))

    async def _hide(self, hidden: dict[tuple[str, int], list[int]] | defaultdict[tuple[str, int], list[int]]) -> None:
        if not hidden:
            return
        try:
            await self._shelf.hide(hidden, self._clock.now_ms())
        except Unavailable as error:
            raise TierFault("the archive's catalog can't be written") from error


def _of_rooms(file: ArchiveFile, room_nids: frozenset[int]) -> list[int]:
    nids: list[int] = []
    for room in file.rooms:
        if room.room_nid in room_nids:
            first, last = room.first_row, room.first_row + room.count
            for group in range(file.groups):
                begin, end = file.span(group)
                if begin < last and first < end:
                    nids += file.column(group, "event_nid")[max(0, first - begin) : last - begin]
    return nids


def _cursor(hit: Hit) -> tuple[float, int]:
    return hit.cursor
