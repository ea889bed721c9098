"""Saved searches over HTTP: an extension of ours, described in docs/operating/search.md."""

from __future__ import annotations

from typing import Any

import msgspec
import orjson

from homeserver.rooms.client_events import Viewer
from homeserver.rooms.views import RoomViews
from homeserver.web.endpoint import Access, Answer, Caller, Json, endpoint
from search.saved.service import PAGE_MAX, SavedSearches
from search.saved.storage import SavedSearch

_ALL = "/_hansa/client/v1/saved_searches"
_ONE = _ALL + "/{search_id}"
_LAST = 2**62


class SavedSearchBody(msgspec.Struct, frozen=True):
    term: str
    name: str = ""
    paused: bool = False
    webhook_url: str | None = None


class MatchesQuery(msgspec.Struct, frozen=True):
    below: int = _LAST
    limit: int = 20


class SavedSearchEndpoints:
    """GET, POST, PUT and DELETE of saved searches, and what one found."""

    def __init__(self, searches: SavedSearches, views: RoomViews) -> None:
        self._searches = searches
        self._views = views

    @endpoint("GET", _ALL, access=Access.USER, limit="search", spec="")
    async def get_all(self, caller: Caller) -> Json:
        return {"saved_searches": [_shown(one) for one in await self._searches.of_user(caller.user_id)]}

    @endpoint("POST", _ALL, access=Access.USER, limit="account_data", spec="")
    async def add(self, caller: Caller, body: SavedSearchBody) -> Json:
        saved = await self._searches.add(
            caller.user_id, body.name, body.term, is_paused=body.paused, webhook_url=body.webhook_url
        )
        return _shown(saved, tells_secret=True)

    @endpoint("PUT", _ONE, access=Access.USER, limit="account_data", spec="")
    async def change(self, caller: Caller, search_id: str, body: SavedSearchBody) -> Json:
        changed = await self._searches.change(
            caller.user_id, search_id, body.name, body.term, is_paused=body.paused, webhook_url=body.webhook_url
        )
        return _shown(changed, tells_secret=True)

    @endpoint("DELETE", _ONE, access=Access.USER, limit="account_data", spec="")
    async def remove(self, caller: Caller, search_id: str) -> Json:
        await self._searches.remove(caller.user_id, search_id)
        return {}

    @endpoint("GET", _ONE + "/matches", access=Access.USER, limit="search", spec="")
    async def matches(self, caller: Caller, search_id: str, query: MatchesQuery) -> Answer:
        below = max(0, min(query.below, _LAST))
        found, following = await self._searches.matches(
            caller.user_id, search_id, below, max(1, min(query.limit, PAGE_MAX))
        )
        rendered = await self._views.events([one for one, _ in found], Viewer(caller.user_id, caller.device_id))
        answer: dict[str, Any] = {
            "matches": [
                {"event": event, "found_ts": found_ms} for event, (_, found_ms) in zip(rendered, found, strict=True)
            ]
        }
        if following is not None:
            answer["next_below"] = following
        return Answer(orjson.dumps(answer))


def _shown(saved: SavedSearch, *, tells_secret: bool = False) -> Json:
    """The secret that deliveries are signed with is told to who makes or changes it."""
    shown: Json = {
        "search_id": saved.search_id,
        "name": saved.name,
        "term": saved.term,
        "paused": saved.is_paused,
        "created_ts": saved.created_ms,
    }
    if saved.webhook_url is not None:
        shown["webhook_url"] = saved.webhook_url
        if tells_secret:
            shown["webhook_secret"] = saved.webhook_secret
    return shown
