"""Searching in messages. spec: client-server-api/#server-side-search"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import orjson

from homeserver.core.errors import Forbidden, InvalidParam
from homeserver.core.filters import parse_event_filter
from homeserver.core.identifiers import RoomId
from homeserver.rooms.client_events import Viewer
from homeserver.rooms.history import History
from homeserver.rooms.neighbours import Surroundings
from homeserver.rooms.places import place_token
from homeserver.rooms.searching import (
    FoundEvent,
    Place,
    Searching,
    SearchPage,
    SearchRequest,
    parse_search_place,
)
from homeserver.rooms.views import RoomViews
from homeserver.web.endpoint import Access, Answer, Caller, Json, endpoint

KEYS = ("content.body", "content.name", "content.topic")
TERM_CHARS_MAX = 1_000
RESULTS_MAX = 100
CONTEXT_MAX = 20
GROUPS_MAX = 2
FACETS_MAX = 100


class EventContext(msgspec.Struct, frozen=True):
    before_limit: int = 5
    after_limit: int = 5
    include_profile: bool = False


class Group(msgspec.Struct, frozen=True):
    key: str = "room_id"


class Groupings(msgspec.Struct, frozen=True):
    group_by: list[Group] = []


class RoomEventsCriteria(msgspec.Struct, frozen=True):
    search_term: str
    keys: list[str] = msgspec.field(default_factory=lambda: list(KEYS))
    filter: dict[str, Any] = {}
    order_by: str = "rank"
    event_context: EventContext | None = None
    include_state: bool = False
    groupings: Groupings = Groupings()
    # Ours: the rooms of the filter stand for those that they were upgraded from as well.
    with_predecessors: bool = msgspec.field(default=False, name="org.hansa.include_predecessors")


class FacetsBody(msgspec.Struct, frozen=True):
    search_term: str
    keys: list[str] = msgspec.field(default_factory=lambda: list(KEYS))
    filter: dict[str, Any] = {}
    include_predecessors: bool = False


class Categories(msgspec.Struct, frozen=True):
    room_events: RoomEventsCriteria | None = None


class SearchBody(msgspec.Struct, frozen=True):
    search_categories: Categories


class SearchQuery(msgspec.Struct, frozen=True):
    next_batch: str | None = None


class Search:
    """POST /search."""

    def __init__(self, searching: Searching, history: History, views: RoomViews) -> None:
        self._searching = searching
        self._history = history
        self._views = views

    @endpoint(
        "POST",
        "/_matrix/client/v3/search",
        "/_matrix/client/r0/search",
        access=Access.USER,
        limit="search",
        needs_disk=False,
        compressed=True,
        spec="client-server-api/#post_matrixclientv3search",
    )
    async def search(self, caller: Caller, body: SearchBody, query: SearchQuery) -> Answer:
        criteria = body.search_categories.room_events
        if criteria is None:
            return Answer(b'{"search_categories":{}}')
        request = _request(criteria, query.next_batch)
        viewer = Viewer(caller.user_id, caller.device_id)
        page = await self._searching.search(caller.user_id, request)
        context = criteria.event_context
        around: Mapping[int, Surroundings] = {}
        if context is not None:
            limits = (_clamped(context.before_limit), _clamped(context.after_limit))
            around = await self._searching.surroundings(caller.user_id, page.found, *limits)
        answer: Json = {
            "count": page.count,
            "highlights": list(page.words),
            "results": await self._results(page.found, around, viewer),
        }
        if context is not None and context.include_profile:
            profiles = await self._searching.profiles(page.found, around)
            for one, result in zip(page.found, answer["results"], strict=True):
                result["context"]["profile_info"] = profiles.get(one.stored.nid, {})
        if page.is_partial:
            answer["org.hansa.partial"] = True
        if page.encrypted_rooms:
            answer["org.hansa.encrypted_rooms"] = page.encrypted_rooms
        following = _following(page, request)
        if following is not None:
            answer["next_batch"] = following.token()
        if criteria.groupings.group_by:
            answer["groups"] = _groups(page, [group.key for group in criteria.groupings.group_by], request)
        if criteria.include_state:
            answer["state"] = await self._states(page.found, viewer)
        return Answer(orjson.dumps({"search_categories": {"room_events": answer}}))

    @endpoint("POST", "/_hansa/client/v1/search/facets", access=Access.USER, limit="search", needs_disk=False, spec="")
    async def facets(self, caller: Caller, body: FacetsBody) -> Json:
        criteria = RoomEventsCriteria(
            search_term=body.search_term,
            keys=body.keys,
            filter=body.filter,
            with_predecessors=body.include_predecessors,
        )
        found = await self._searching.facets(caller.user_id, _request(criteria, None))
        answer: Json = {
            "count": found.count,
            "counted": found.counted,
            "rooms": [{"room_id": room_id, "count": count} for room_id, count in found.rooms[:FACETS_MAX]],
            "senders": [{"sender": sender, "count": count} for sender, count in found.senders[:FACETS_MAX]],
            "months": [{"month": month, "count": count} for month, count in found.months],
        }
        return {**answer, "partial": True} if found.is_partial else answer

    async def _results(
        self, found: Sequence[FoundEvent], around: Mapping[int, Surroundings], viewer: Viewer
    ) -> list[dict[str, Any]]:
        """All events of the answer, rendered at once."""
        contexts = [around.get(one.stored.nid) for one in found]
        flat = [
            event
            for one, context in zip(found, contexts, strict=True)
            for event in (one.stored, *((*context.before, *context.after) if context else ()))
        ]
        rendered = iter(await self._views.events(flat, viewer))
        results: list[dict[str, Any]] = []
        for one, context in zip(found, contexts, strict=True):
            result: dict[str, Any] = {"rank": one.rank, "result": next(rendered)}
            if context is not None:
                first = (context.before[-1] if context.before else one.stored).ordering or 0
                last = (context.after[-1] if context.after else one.stored).ordering or 0
                result["context"] = {
                    "events_before": [next(rendered) for _ in context.before],
                    "events_after": [next(rendered) for _ in context.after],
                    "start": place_token(first),
                    "end": place_token(last + 1),
                }
            results.append(result)
        return results

    async def _states(self, found: Sequence[FoundEvent], viewer: Viewer) -> dict[RoomId, list[orjson.Fragment]]:
        states: dict[RoomId, list[orjson.Fragment]] = {}
        for room_id in dict.fromkeys(one.stored.event.room_id for one in found):
            try:
                room = await self._history.room_for(viewer.user_id, room_id)
                state = await self._views.whole_state(room, viewer)
            except Forbidden:
                continue
            states[room_id] = await self._views.events(state, viewer)
        return states


def _following(page: SearchPage, request: SearchRequest) -> Place | None:
    """Where the next page begins. A full one has a token though it may be the last: clients page by full pages."""
    if page.next is not None or not page.found or len(page.found) < request.limit:
        return page.next
    return Place(page.upto, page.found[-1].cursor, request.place.group if request.place is not None else None)


def _request(criteria: RoomEventsCriteria, next_batch: str | None) -> SearchRequest:
    if len(criteria.search_term) > TERM_CHARS_MAX:
        raise InvalidParam(f"search_term may have {TERM_CHARS_MAX} characters")
    if criteria.order_by not in ("recent", "rank"):
        raise InvalidParam("order_by must be recent or rank")
    if any(key not in KEYS for key in criteria.keys):
        raise InvalidParam(f"keys may have {', '.join(KEYS)}")
    groups = [group.key for group in criteria.groupings.group_by]
    if len(groups) > GROUPS_MAX or any(key not in ("room_id", "sender") for key in groups):
        raise InvalidParam("group_by may have room_id and sender")
    wanted = parse_event_filter(criteria.filter)
    return SearchRequest(
        term=criteria.search_term,
        keys=criteria.keys,
        order_by=criteria.order_by,
        wanted=wanted,
        limit=max(1, min(wanted.limit if wanted.limit is not None else 10, RESULTS_MAX)),
        place=parse_search_place(next_batch) if next_batch else None,
        with_predecessors=criteria.with_predecessors,
    )


def _clamped(limit: int) -> int:
    return max(0, min(limit, CONTEXT_MAX))


def _groups(page: SearchPage, keys: Sequence[str], request: SearchRequest) -> dict[str, Any]:
    """The page's events by room or sender. Each group's token goes on within the group."""
    groups: dict[str, Any] = {}
    within = request.place.group if request.place is not None else None
    for key in keys:
        of_key = groups.setdefault(key, {})
        for one in page.found:
            value = one.group(key)
            group = of_key.setdefault(value, {"order": len(of_key), "results": []})
            group["results"].append(one.stored.event.event_id)
            if page.next is not None and within in (None, (key, value)):
                group["next_batch"] = Place(page.upto, one.cursor, (key, value)).token()
    return groups
