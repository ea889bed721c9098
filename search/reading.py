"""What events say now, read from the database: the documents of a tier, and what is gone from it."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from homeserver.core.identifiers import EventId
from homeserver.core.relations import is_replacement
from homeserver.storage import events, relations
from homeserver.storage.database import Reader
from homeserver.storage.events import StoredEvent
from search import storage
from search.documents import documents_of, is_edit, key_of
from search.tiers import Document, Gone, Refused

# An event, and its edits from the newest on.
_Edited = tuple[StoredEvent, Sequence[StoredEvent]]


@dataclass(frozen=True, slots=True)
class Said:
    """Of some events: what is found of them, what isn't any more, and those that can't be read."""

    documents: Sequence[Document]
    gone: Sequence[Gone]
    refused: Sequence[Refused]
    event_ids: frozenset[str]  # of all that are here


async def read_events(db: Reader, changed: Mapping[EventId, StoredEvent | None], version: int) -> Said:
    """What they say now; what is read now is at least as new as the position `version`.

    One query for those that were just written and are given, where nothing has changed them since; five for others.
    """
    given = {stored.nid: stored for stored in changed.values() if stored is not None and stored.is_shown}
    unchanged = await storage.unchanged(db, given.values()) if given else {}
    received = {nid: (received_ms, 0) for nid, received_ms in unchanged.items()}
    fresh = [stored for nid, stored in given.items() if nid in received]
    found: list[StoredEvent] = fresh
    said: list[_Edited] = [(stored, ()) for stored in fresh]
    known = {stored.event.event_id for stored in fresh}
    if others := [event_id for event_id in changed if event_id not in known]:
        read, as_edited = await _read(db, others)
        found, said = [*fresh, *read], [*said, *as_edited]
        received.update(await storage.received(db, [one.nid for one in read]) if read else {})
    documents, refused = await asyncio.to_thread(_documents, said, version, received)
    kept = {document.event_nid for document in documents}
    gone = [
        Gone(one.nid, one.room_nid, version, one.event.event_id, *_received(received, one.nid))
        for one in found
        if one.nid not in kept and (key_of(one.event) is not None or one.redacted_by is not None)
    ]
    return Said(documents, gone, refused, frozenset(one.event.event_id for one in found))


def _received(received: Mapping[int, tuple[int, int]], nid: int) -> tuple[int | None, int]:
    """When an event came, if that is known, and how many slots it may have taken."""
    received_ms, edits = received.get(nid, (None, relations.EDITS_MAX))
    return received_ms, min(edits, relations.EDITS_MAX)


async def _read(db: Reader, ids: Collection[EventId]) -> tuple[list[StoredEvent], list[_Edited]]:
    """These events; and with their edits those that are shown."""
    found = await events.by_ids(db, ids)
    shown = [
        one
        for one in found
        if one.is_shown and one.redacted_by is None and key_of(one.event) is not None and not is_edit(one.event)
    ]
    children = await relations.children(db, [(one.room_nid, one.event) for one in shown]) if shown else {}
    nids = {nid for ones in children.values() for child in ones if child.rel_type == "m.replace" for nid in child.nids}
    edits = {one.nid: one for one in await events.by_nids(db, nids)} if nids else {}
    return found, [(one, edits_of(one, children[one.event.event_id], edits)) for one in shown]


async def concerned_by(db: Reader, nids: Sequence[int]) -> dict[EventId, StoredEvent | None]:
    """The events whose words these events change: themselves, those that they edit, those that they redact; with what
    was read of them here."""
    stored = await events.by_nids(db, nids)
    targets = [target for one in stored if (target := one.event.redacted_id) is not None]
    wanted = [one.nid for one in stored if key_of(one.event) is not None]
    ids = await storage.concerned(db, wanted, targets) if wanted or targets else []
    read = {one.event.event_id: one for one in stored if one.redacted_by is None and not is_edit(one.event)}
    return {EventId(event_id): read.get(EventId(event_id)) for event_id in ids}


def _documents(
    said: Sequence[_Edited], version: int, received: Mapping[int, tuple[int, int]]
) -> tuple[list[Document], list[Refused]]:
    """What they say; and those that can't be read, so that one of them doesn't stop all the others."""
    made: list[Document] = []
    refused: list[Refused] = []
    for one, edits in said:
        received_ms, slots = _received(received, one.nid)
        try:
            made += documents_of(one, edits, version=version, received_ms=received_ms or 0, slots=slots)
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
            refused.append(Refused(one.event.event_id, type(error).__name__))
    return made, refused


def latest_edit(
    one: StoredEvent, children: Sequence[relations.Children], edits: Mapping[int, StoredEvent]
) -> StoredEvent | None:
    """The edit that says what an event says now."""
    return next(iter(edits_of(one, children, edits)), None)


def edits_of(
    one: StoredEvent, children: Sequence[relations.Children], edits: Mapping[int, StoredEvent]
) -> Sequence[StoredEvent]:
    """The edits of an event that clients are shown, from the newest on: relations.EDITS_MAX at most."""
    return [
        edits[nid]
        for child in children
        if child.rel_type == "m.replace"
        for nid in child.nids
        if nid in edits and is_replacement(edits[nid].event, one.event)
    ]
