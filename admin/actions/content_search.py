"""Searching in what everybody wrote: for owners, with a reason that is written down before anything is looked at."""

from __future__ import annotations

from dataclasses import dataclass

from admin.actions.four_eyes import FourEyes
from admin.audit import AuditLog, entry_of
from homeserver.core.errors import InvalidParam
from homeserver.core.filters import RoomEventFilter
from homeserver.core.identifiers import UserId
from homeserver.core.operators import Permission
from homeserver.rooms.search_everywhere import EverywhereSearch
from homeserver.rooms.searching import SearchPage, SearchRequest
from homeserver.storage.database import Database
from homeserver.web.endpoint import Operator

ACT = "search_content"
TERM_CHARS_MAX = 1_000
RESULTS_MAX = 1_000
_KEYS = ("content.body", "content.name", "content.topic")


@dataclass(frozen=True, slots=True, kw_only=True)
class ContentWish:
    """What is searched for. `room_id` and `sender` narrow it where they aren't empty."""

    term: str
    room_id: str = ""
    sender: str = ""
    order_by: str = "recent"
    limit: int = 100


class ContentSearch:
    """Asks the search over every room."""

    def __init__(self, db: Database, audit: AuditLog, four_eyes: FourEyes, everywhere: EverywhereSearch) -> None:
        self._db = db
        self._audit = audit
        self._four_eyes = four_eyes
        self._everywhere = everywhere

    async def find(self, wish: ContentWish, *, by: Operator, reason: str) -> SearchPage:
        """Raises Forbidden, also where a second operator has to agree first; InvalidParam for a term or no reason."""
        by.check(Permission.SEARCH_CONTENT)
        if not 0 < len(wish.term.strip()) <= TERM_CHARS_MAX or not 0 < wish.limit <= RESULTS_MAX:
            raise InvalidParam(f"a search has 1 to {TERM_CHARS_MAX} characters, and at most {RESULTS_MAX} results")
        if wish.order_by not in ("recent", "rank") or not reason.strip():
            raise InvalidParam("say why, and order_by recent or rank")
        target = " ".join(part for part in (wish.term, wish.room_id, wish.sender) if part)[:512]
        await self._four_eyes.check(ACT, target, Permission.SEARCH_CONTENT, by=by)
        asked = {"term": wish.term, "room_id": wish.room_id, "sender": wish.sender, "limit": wish.limit}
        async with self._db.transaction() as tx:
            await self._audit.record(tx, entry_of(by, "content.search", target, reason=reason, after=asked))
        wanted = RoomEventFilter(
            rooms=frozenset({wish.room_id}) if wish.room_id else None,
            senders=frozenset({wish.sender}) if wish.sender else None,
        )
        request = SearchRequest(
            term=wish.term, keys=_KEYS, order_by=wish.order_by, wanted=wanted, limit=wish.limit, place=None
        )
        return await self._everywhere.search(UserId(by.user_id), request)
