"""Keeps the index: a durable consumer of the journal, never part of a write.

`hear` notes which events' words may have changed; a background task (or the next search) works out anew what each of
them says now and writes it with the cursor. Doing so twice ends in the same place.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence

from homeserver.core.events import Event
from homeserver.core.identifiers import EventId
from homeserver.core.relations import is_replacement, relation_of
from homeserver.journal.journal import Entry, Journal
from homeserver.rooms.building import PAST, Written
from homeserver.runtime.clock import Clock
from homeserver.storage import events, journal_cursors, relations
from homeserver.storage.database import Database
from homeserver.storage.events import StoredEvent
from search import storage
from search.documents import document_of, is_edit, key_of
from search.storage import CONSUMER, Document

FLUSH_S = 2.0
BATCH = 200
# Texts are cut into words on the event loop, so many characters at a time.
CHARS_AT_ONCE = 4_000


class Indexer:
    """Takes in what rooms say."""

    def __init__(self, db: Database, journal: Journal, clock: Clock) -> None:
        self._db = db
        self._journal = journal
        self._clock = clock
        self._changed: dict[EventId, None] = {}
        self._heard = 0
        self._caught_up = 0
        self._catch_up_to = 0
        self._writing = asyncio.Lock()

    async def start(self) -> None:
        """Learns how far an earlier run came; `run` takes in what came since, beside the requests."""
        self._caught_up = await journal_cursors.position(self._db, CONSUMER) or 0
        self._catch_up_to = self._heard = self._journal.visible
        self._journal.listen(self.hear)
        self._journal.follow(CONSUMER, lambda: self._caught_up if self._is_behind else self._heard)

    async def run(self) -> None:
        """One round of a background task."""
        while self._is_behind:
            await self._catch_up()
        await self._clock.sleep(FLUSH_S)
        await self.flush()

    def hear(self, entries: Sequence[Entry]) -> None:
        """A journal listener."""
        for entry in entries:
            if isinstance(entry.payload, Written):
                self._note(entry.payload.event)
                if entry.payload.redacts is not None:
                    self._note(entry.payload.redacts.event)
            elif entry.kind == PAST:
                for past in entry.payload:
                    self._note(past.event)
            self._heard = entry.position

    async def flush(self) -> None:
        """Takes in all that was heard, with the cursor."""
        async with self._writing:
            while self._changed:
                heard, ids = self._heard, list(self._changed)[:BATCH]
                is_last = len(ids) == len(self._changed)
                for event_id in ids:
                    del self._changed[event_id]
                try:
                    await self._write(ids, self._caught_up if self._is_behind else heard if is_last else None)
                except BaseException:
                    self._changed.update(dict.fromkeys(ids))
                    raise

    @property
    def _is_behind(self) -> bool:
        return self._caught_up < self._catch_up_to

    def _note(self, event: Event) -> None:
        if key_of(event) is None:
            return
        relation = relation_of(event)
        self._changed[relation.event_id if is_edit(event) and relation is not None else event.event_id] = None

    async def _catch_up(self) -> None:
        nids = await storage.after(self._db, self._caught_up, self._catch_up_to, BATCH)
        upto = nids[-1] if len(nids) == BATCH else self._catch_up_to
        stored = await events.by_nids(self._db, nids)
        redacted = [EventId(target) for one in stored if (target := one.event.redacts) is not None]
        for one in stored:
            self._note(one.event)
        self._changed.update(dict.fromkeys(redacted))
        self._caught_up = upto
        await self.flush()
        async with self._db.transaction() as tx:
            await journal_cursors.advance(tx, CONSUMER, upto)

    async def _write(self, ids: Collection[EventId], position: int | None) -> None:
        found = await events.by_ids(self._db, ids)
        # The redacted edit of a message leaves the message to be looked at.
        documents, gone = await self._documents(found)
        async with self._db.transaction() as tx:
            await storage.replace(tx, documents, gone)
            if position is not None:
                await journal_cursors.advance(tx, CONSUMER, position)

    async def _documents(self, found: Sequence[StoredEvent]) -> tuple[list[Document], list[int]]:
        shown = [
            one
            for one in found
            if one.is_shown and one.redacted_by is None and key_of(one.event) is not None and not is_edit(one.event)
        ]
        children = await relations.children(self._db, [(one.room_nid, one.event) for one in shown]) if shown else {}
        nids = {
            nid for ones in children.values() for child in ones if child.rel_type == "m.replace" for nid in child.nids
        }
        edits = {one.nid: one for one in await events.by_nids(self._db, nids)} if nids else {}
        documents: list[Document] = []
        chars = 0
        for one in shown:
            edit = _latest(one, children[one.event.event_id], edits)
            made = document_of(one, edit, version=0, received_ms=0)
            if made is not None:
                words = [*made.tokens, *made.extras]
                documents.append(Document(one.nid, one.room_nid, made.source_nid, made.key, words))
                chars += one.size_bytes
            if chars > CHARS_AT_ONCE:
                chars = 0
                await self._clock.sleep(0)
        kept = {document.event_nid for document in documents}
        return documents, [one.nid for one in found if one.nid not in kept]


def _latest(
    one: StoredEvent, children: Sequence[relations.Children], edits: Mapping[int, StoredEvent]
) -> StoredEvent | None:
    for child in children:
        if child.rel_type == "m.replace":
            for nid in child.nids:
                if nid in edits and is_replacement(edits[nid].event, one.event):
                    return edits[nid]
    return None
