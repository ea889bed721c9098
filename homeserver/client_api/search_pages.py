"""A page on which people search in all that they may read: for those whose client has no search.

It works without a script; with it, keys lead through what was found, and times are those of the reader's place.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlencode

from homeserver.client_api.visits import LOGIN_PATH, Visit, Visits
from homeserver.core.errors import LimitExceeded, MatrixError
from homeserver.core.filters import RoomEventFilter, parse_event_filter
from homeserver.core.identifiers import RoomId, UserId
from homeserver.ports import SearchKeeping
from homeserver.rooms.found_messages import FoundMessage, FoundMessages, Line
from homeserver.rooms.searching import Facets, SearchRequest, parse_search_place
from homeserver.web.endpoint import Access, Answer, Request, endpoint
from homeserver.web.rate_limits import RateLimiter

PATH = "/_hansa/search"
KEYS = ("content.body", "content.name", "content.topic")
TERM_CHARS_MAX = 1_000
RESULTS = 20
# The sides are for narrowing down: what is spread wider isn't worth the counting.
FACETS_UP_TO = 10_000
FACETS_SHOWN = 6
MONTHS_SHOWN = 12
KINDS = ("link", "image", "file", "video", "audio", "code", "poll")
_ACTIVE = re.compile(r"(?<!\S)-?(?:from|in|before|after|during|has|is|mentions):\S+", re.IGNORECASE)
_HUES = 8


class SearchPages:
    """/_hansa/search."""

    def __init__(self, visits: Visits, found: FoundMessages, kept: SearchKeeping, limiter: RateLimiter) -> None:
        self._visits = visits
        self._found = found
        self._kept = kept
        self._limiter = limiter

    @endpoint("GET", PATH, access=Access.NONE, limit="page", spec="")
    async def search(self, request: Request) -> Answer:
        visit = await self._visits.look(request)
        query = request.raw_query
        if visit.user_id is None:
            here = PATH + (f"?{urlencode({'q': query['q'][:TERM_CHARS_MAX]})}" if query.get("q") else "")
            return self._visits.go(f"{LOGIN_PATH}?next={quote(here, safe='')}")
        term = query.get("q", "").replace("\x00", "")[: TERM_CHARS_MAX + 1].strip()
        order = "rank" if query.get("order") == "rank" else "recent"
        values: dict[str, Any] = {**_empty(term, order), "user_id": visit.user_id}
        values["kept"] = [
            {"search_id": one.search_id, "name": one.name, "term": one.term, "href": _url(one.term, "recent")}
            for one in await self._kept.of_user(visit.user_id)
        ]
        values["is_kept"] = any(one["term"] == term for one in values["kept"])
        if not term:
            return self._page(visit, values)
        try:
            self._limiter.check("search", visit.user_id)
            place = parse_search_place(query["next"]) if query.get("next") else None
            asked = SearchRequest(
                term=term, keys=KEYS, order_by=order, wanted=_everything(), limit=RESULTS, place=place
            )
            values.update(await self._results(visit.user_id, asked))
        except LimitExceeded as error:
            return self._page(visit, {**values, "error": "search_too_often"}, status=error.http_status)
        except MatrixError as error:
            wrong = error.message.removeprefix("search_term, ")
            return self._page(visit, {**values, "wrong": wrong}, status=error.http_status)
        return self._page(visit, values)

    @endpoint("POST", PATH, access=Access.NONE, limit="page", raw_body=True, spec="")
    async def keep(self, request: Request) -> Answer:
        """Saves a search, or ends one that was saved."""
        visit, fields = await self._visits.form(request)
        if visit.user_id is None:
            return self._visits.go(LOGIN_PATH)
        term = fields.get("q", "")[: TERM_CHARS_MAX + 1].strip()
        try:
            self._limiter.check("account_data", visit.user_id)
            if "end" in fields:
                await self._kept.remove(visit.user_id, fields["end"][:100])
            else:
                await self._kept.add(visit.user_id, "", term)
        except MatrixError as error:
            values = {**_empty(term, "recent"), "user_id": visit.user_id, "wrong": error.message}
            return self._page(visit, values, status=error.http_status)
        return self._visits.go(_url(term, "recent") if term else PATH)

    async def _results(self, viewer: UserId, asked: SearchRequest) -> dict[str, Any]:
        # Once for the results and the sides: what somebody may see in all of their rooms is most of the work.
        prepared = await self._found.searching.prepared(viewer, asked)
        page, found = await self._found.page(viewer, asked, prepared)
        values: dict[str, Any] = {
            "count": page.count,
            "found": [_shown(one) for one in found],
            "is_partial": page.is_partial,
            "encrypted_rooms": page.encrypted_rooms,
            "is_first": asked.place is None,
        }
        if page.next is not None:
            values["next"] = _url(asked.term, asked.order_by, page.next.token())
        if asked.place is None and 1 < page.count <= FACETS_UP_TO:
            facets = await self._found.searching.facets(viewer, asked, prepared)
            values["facets"] = await self._facets(viewer, asked, facets)
        return values

    async def _facets(self, viewer: UserId, asked: SearchRequest, facets: Facets) -> list[dict[str, Any]]:
        """Ways to narrow down, where there is more than one."""
        rooms = facets.rooms[:FACETS_SHOWN]
        names = await self._found.names(viewer, {room_id for room_id, _ in rooms})
        groups: Sequence[tuple[str, str, Sequence[tuple[str, str, int]]]] = (
            ("search_rooms", "in", [(room_id, names.get(RoomId(room_id), room_id), n) for room_id, n in rooms]),
            ("search_people", "from", [(sender, sender, n) for sender, n in facets.senders[:FACETS_SHOWN]]),
            ("search_months", "during", [(month, month, n) for month, n in facets.months[:MONTHS_SHOWN]]),
        )
        return [
            {
                "title": title,
                "rows": [
                    {"name": name, "count": count, "href": _url(f"{asked.term} {key}:{value}", asked.order_by)}
                    for value, name, count in rows
                ],
            }
            for title, key, rows in groups
            if len(rows) > 1
        ]

    def _page(self, visit: Visit, values: dict[str, Any], *, status: int = 200) -> Answer:
        return self._visits.page(visit, "search", values, status=status, script="search.js")


def _everything() -> RoomEventFilter:
    return parse_event_filter({})


def _empty(term: str, order: str) -> dict[str, Any]:
    """What the page shows before anything was found."""
    return {
        "path": PATH,
        "term": term,
        "order": order,
        "orders": [("recent", _url(term, "recent")), ("rank", _url(term, "rank"))],
        "active": [
            {"text": one[0], "href": _url((term[: one.start()] + term[one.end() :]).strip(), order)}
            for one in _ACTIVE.finditer(term)
        ],
        "kinds": [
            {"kind": kind, "href": _url(f"{term} has:{kind}", order)} for kind in KINDS if f"has:{kind}" not in term
        ],
        "examples": [(text, _url(text, order)) for text in ("harb*", '"red harbour"', "from:me has:link", "港口")],
        "wrong": "",
        "kept": [],
        "is_kept": False,
        "count": None,
        "found": [],
        "facets": [],
        "next": "",
        "is_partial": False,
        "is_first": True,
        "encrypted_rooms": 0,
    }


def _url(term: str, order: str, token: str = "") -> str:
    asked = {"q": " ".join(term.split()), **({"order": order} if order != "recent" else {})}
    return f"{PATH}?{urlencode({**asked, **({'next': token} if token else {})})}"


def _shown(one: FoundMessage) -> dict[str, Any]:
    room = f"https://matrix.to/#/{quote(one.room_id, safe='')}"
    return {
        **_line(one.line),
        "room_name": one.room_name,
        "room_href": _url(f"in:{one.room_id}", "recent"),
        "href": f"{room}/{quote(one.event_id, safe='')}",
        "before": [_line(line) for line in one.before],
        "after": [_line(line) for line in one.after],
    }


def _line(line: Line) -> dict[str, Any]:
    moment = datetime.fromtimestamp(min(max(0, line.time_ms), 253_402_300_799_000) / 1000, UTC)
    return {
        "sender": line.sender,
        "name": line.name,
        "initial": line.name.lstrip("@#! ")[:1].upper(),
        "hue": sum(line.sender.encode("utf-8", "surrogatepass")) % _HUES,
        "iso": moment.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "time": moment.strftime("%Y-%m-%d %H:%M"),
        "kind": line.kind,
        "parts": line.parts,
    }
