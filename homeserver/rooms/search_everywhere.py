"""Searching in all rooms of this server, for those who run it. Nothing is kept back but what is redacted or encrypted.

Who may ask, for which reason, and that it is written down, is the affair of whoever calls this.
"""

from __future__ import annotations

from homeserver.core.identifiers import RoomId, UserId
from homeserver.ports import MessageSearch, SearchWish
from homeserver.rooms.event_store import EventStore
from homeserver.rooms.searching import (
    LAST_POSITION,
    Facets,
    FoundEvent,
    Place,
    SearchPage,
    SearchRequest,
    facets_of,
)
from homeserver.storage import rooms
from homeserver.storage.database import Reader


class EverywhereSearch:
    """Asks as `Searching` does, over every room, or those of the request's filter."""

    def __init__(self, db: Reader, store: EventStore, search: MessageSearch) -> None:
        self._db = db
        self._store = store
        self._search = search

    async def search(self, operator: UserId, request: SearchRequest) -> SearchPage:
        """A page of what was said. `from:me` is the operator. Raises InvalidParam."""
        place = request.place or Place(LAST_POSITION)
        wish, _ = await self._wish(operator, request, place)
        found = await self._search.find(wish)
        stored = await self._store.by_nids({nid for hit in found.hits for nid in (hit.nid, hit.source_nid)})
        shown = [
            FoundEvent(stored[hit.nid], hit.rank, hit.cursor, stored[hit.source_nid])
            for hit in found.hits
            if hit.nid in stored
            and hit.source_nid in stored
            and stored[hit.nid].redacted_by is None
            and not (stored[hit.nid].is_lost or stored[hit.source_nid].is_lost)
        ]
        upto = place.upto if request.place is not None else found.upto
        page = SearchPage(shown[: request.limit], found.count, upto, found.words, is_partial=found.is_partial)
        if len(found.hits) > request.limit:
            page.next = Place(upto, found.hits[request.limit - 1].cursor)
        return page

    async def facets(self, operator: UserId, request: SearchRequest) -> Facets:
        """Over which rooms, senders and months it is spread. Raises InvalidParam."""
        wish, ids = await self._wish(operator, request, Place(LAST_POSITION))
        return facets_of(await self._search.facets(wish), ids)

    async def _wish(
        self, operator: UserId, request: SearchRequest, place: Place
    ) -> tuple[SearchWish, dict[int, RoomId]]:
        wanted = request.wanted
        ids = {
            nid: room_id
            for nid, room_id in await rooms.numbered(self._db)
            if (wanted.rooms is None or room_id in wanted.rooms) and room_id not in wanted.not_rooms
        }
        wish = SearchWish(
            term=request.term,
            keys=request.keys,
            order_by=request.order_by,
            viewer=operator,
            rooms=dict.fromkeys(ids, ((None, None),)),
            wanted=wanted,
            ignored=frozenset(),
            upto=place.upto,
            limit=request.limit + 1,
            after=place.after,
        )
        return wish, ids
