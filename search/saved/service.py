"""Keeping searches, and telling their owners what they found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from html import escape
from typing import Any, Protocol
from urllib.parse import quote

import structlog

from homeserver.core.errors import InvalidParam, MatrixError, NotFound
from homeserver.core.events import Event
from homeserver.core.identifiers import RoomId, UserId
from homeserver.journal.journal import Journal
from homeserver.rooms.aggregations import RelationReads
from homeserver.rooms.writer import Transaction
from homeserver.runtime.clock import Clock
from homeserver.runtime.ids import Randomness
from homeserver.storage.events import StoredEvent
from homeserver.webhooks.registry import check_url
from search.saved import storage
from search.saved.storage import SavedSearch, Untold
from search.saved.watch import KEPT_MS, SavedSearchWatch

log = structlog.get_logger()

SEARCHES_MAX = 50  # of one user
NAME_CHARS_MAX = 200
PAGE_MAX = 50
TOLD_AT_ONCE = 10
SEARCHES_AT_ONCE = 100


class Teller(Protocol):
    """Says something to a user in the server's name. Implemented by accounts.server_notices."""

    async def send(
        self, user_id: UserId, content: Mapping[str, Any], *, transaction: Transaction | None = None
    ) -> Event: ...


class SavedSearches:
    """What their owners do with them."""

    def __init__(
        self, reads: RelationReads, watch: SavedSearchWatch, journal: Journal, clock: Clock, randomness: Randomness
    ) -> None:
        self._reads = reads
        self._watch = watch
        self._journal = journal
        self._clock = clock
        self._randomness = randomness

    async def of_user(self, user_id: UserId) -> list[SavedSearch]:
        return await storage.of_user(self._reads.db, user_id)

    async def add(
        self, user_id: UserId, name: str, term: str, *, is_paused: bool = False, webhook_url: str | None = None
    ) -> SavedSearch:
        """From now on it tells its owner. Raises InvalidParam; M_RESOURCE_LIMIT_EXCEEDED for one too many."""
        if webhook_url is not None:
            check_url(webhook_url)
        saved = SavedSearch(
            search_id=self._randomness.letters(16),
            user_id=user_id,
            name=await self._checked(user_id, name, term),
            term=term,
            is_paused=is_paused,
            since=self._journal.visible,
            created_ms=self._clock.now_ms(),
            webhook_url=webhook_url,
            webhook_secret=self._randomness.token(32) if webhook_url is not None else None,
        )
        async with self._reads.db.transaction() as tx:
            if not await storage.insert(tx, saved, SEARCHES_MAX):
                raise MatrixError(f"a user may save {SEARCHES_MAX} searches", errcode="M_RESOURCE_LIMIT_EXCEEDED")
        await self._watch.put(saved)
        return saved

    async def change(
        self, user_id: UserId, search_id: str, name: str, term: str, *, is_paused: bool, webhook_url: str | None = None
    ) -> SavedSearch:
        """Another name, term or webhook; it tells of what comes from now on. A webhook that stays keeps its secret.

        Raises NotFound, InvalidParam.
        """
        if webhook_url is not None:
            check_url(webhook_url)
        known = await self._own(user_id, search_id)
        fresh = self._randomness.token(32) if webhook_url is not None else None
        saved = replace(
            known,
            webhook_url=webhook_url,
            webhook_secret=known.webhook_secret if webhook_url == known.webhook_url else fresh,
            name=await self._checked(user_id, name, term),
            term=term,
            is_paused=is_paused,
            since=self._journal.visible,
        )
        async with self._reads.db.transaction() as tx:
            await storage.update(tx, saved)
        await self._watch.put(saved)
        self._watch.wake()
        return saved

    async def remove(self, user_id: UserId, search_id: str) -> None:
        """Raises NotFound."""
        async with self._reads.db.transaction() as tx:
            if not await storage.delete(tx, user_id, search_id):
                raise NotFound("there is no such saved search of yours")
        self._watch.drop(search_id)

    async def matches(
        self, user_id: UserId, search_id: str, below: int, limit: int
    ) -> tuple[list[tuple[StoredEvent, int]], int | None]:
        """What it found lately and its owner may still see: (event, when it was found); where the next page begins.

        Raises NotFound.
        """
        await self._own(user_id, search_id)
        wanted = max(1, min(limit, PAGE_MAX))
        found = await storage.matches(self._reads.db, search_id, below, wanted)
        shown = await self._watch.readable(user_id, {nid for nid, _ in found})
        following = found[-1][0] if len(found) == wanted else None
        return [(shown[nid], found_ms) for nid, found_ms in found if nid in shown], following

    async def _own(self, user_id: UserId, search_id: str) -> SavedSearch:
        for saved in await self.of_user(user_id):
            if saved.search_id == search_id:
                return saved
        raise NotFound("there is no such saved search of yours")

    async def _checked(self, user_id: UserId, name: str, term: str) -> str:
        """The name to show. Raises InvalidParam."""
        if not term.strip() or not await self._watch.is_meant(term, user_id):
            raise InvalidParam("term has nothing to look for")
        if len(name) > NAME_CHARS_MAX or "\x00" in name + term:
            raise InvalidParam(f"name may have {NAME_CHARS_MAX} characters")
        return name.strip() or term[:NAME_CHARS_MAX]


class SavedSearchTeller:
    """Tells owners what was found: a notice for each search, never twice of the same event."""

    def __init__(self, reads: RelationReads, watch: SavedSearchWatch, teller: Teller, clock: Clock) -> None:
        self._reads = reads
        self._watch = watch
        self._teller = teller
        self._clock = clock

    async def run(self) -> None:
        """One round of a background task."""
        self._watch.to_notice.clear()
        untold = await storage.untold(self._reads.db, TOLD_AT_ONCE, SEARCHES_AT_ONCE)
        for one in untold:
            await self._tell(one)
        if not untold:
            async with self._reads.db.transaction() as tx:
                await storage.trim(tx, self._clock.now_ms() - KEPT_MS)
            await self._watch.to_notice.wait()

    async def _tell(self, untold: Untold) -> None:
        events = await self._watch.tellable(untold.user_id, untold.event_nids)
        if events:
            rooms = await self._reads.rooms.get_many(list({event.room_id for event in events}))
            names = {room_id: room.known_text("m.room.name", "name") or room_id for room_id, room in rooms.items()}
            # The same transaction again, after a crash, says nothing again.
            told = f"{untold.search_id}.{untold.event_nids[0]}.{untold.event_nids[-1]}"
            transaction = Transaction(untold.user_id, None, told, "saved_search")
            try:
                await self._teller.send(untold.user_id, notice(untold, events, names), transaction=transaction)
            except MatrixError as error:
                log.warning("saved_search_not_told", user_id=untold.user_id, error=str(error))
        async with self._reads.db.transaction() as tx:
            await storage.told(tx, untold.search_id, untold.event_nids)


def notice(untold: Untold, events: Sequence[Event], names: Mapping[RoomId, str]) -> dict[str, Any]:
    """What the owner reads: who said something where, with links. Not what: that stays where it can be redacted."""
    count = f"{len(events)} new message{'s' if len(events) > 1 else ''}"
    lines, items = list[str](), list[str]()
    for event in events:
        link = f"https://matrix.to/#/{quote(event.room_id, safe='')}/{quote(event.event_id, safe='')}"
        where = names.get(event.room_id, event.room_id)
        lines.append(f"{event.sender} in {where}: {link}")
        items.append(f'<li>{escape(event.sender)} in <a href="{escape(link)}">{escape(where)}</a></li>')
    return {
        "msgtype": "m.text",
        "body": "\n".join([f"Saved search “{untold.name}”: {count}", *lines]),
        "format": "org.matrix.custom.html",
        "formatted_body": f"Saved search “<b>{escape(untold.name)}</b>”: {count}<ul>{''.join(items)}</ul>",
        "org.hansa.saved_search": {"search_id": untold.search_id, "event_ids": [event.event_id for event in events]},
    }
