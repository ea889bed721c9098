"""Reports: `/_synapse/admin/v1/event_reports`, `/user_reports`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
import orjson

from admin.actions.reports import Kind, Reports
from admin.storage.reports import ReportFilter, ReportRow
from homeserver.core.errors import InvalidParam
from homeserver.core.identifiers import EventId
from homeserver.core.operators import Permission
from homeserver.rooms.event_store import EventStore
from homeserver.web.endpoint import Access, Answer, Json, Operator, Reach, endpoint

_EVENTS = "/_synapse/admin/v1/event_reports"
_USERS = "/_synapse/admin/v1/user_reports"
_PAGE_MAX = 1_000


class ReportsQuery(msgspec.Struct, frozen=True):
    from_: Annotated[int, msgspec.Meta(ge=0, le=10_000_000)] = msgspec.field(default=0, name="from")
    limit: Annotated[int, msgspec.Meta(ge=0)] = 100
    dir: Literal["f", "b"] = "b"
    user_id: str | None = None
    room_id: str | None = None
    event_sender_user_id: str | None = None
    target_user_id: str | None = None


class ReportEndpoints:
    """List, look at, put away. What an event says is shown to those who may read it."""

    def __init__(self, reports: Reports, event_store: EventStore) -> None:
        self._reports = reports
        self._events = event_store

    @endpoint("GET", _EVENTS, access=Access.ADMIN, reach=Reach.WITHIN, spec="", needs=Permission.READ_REPORTS)
    async def of_events(self, operator: Operator, query: ReportsQuery) -> Json:
        wanted = ReportFilter(
            kind="event",
            reporter=query.user_id,
            room_id=query.room_id,
            sender=query.event_sender_user_id,
            backwards=query.dir == "b",
            rooms=operator.rooms,
        )
        return await self._page("event_reports", wanted, query)

    @endpoint(
        "GET", _EVENTS + "/{report_id}", access=Access.ADMIN, reach=Reach.WITHIN, spec="", needs=Permission.READ_REPORTS
    )
    async def of_event(self, operator: Operator, report_id: str) -> Answer:
        row = await self._reports.one(_number(report_id), "event", by=operator)
        answer = as_json(row)
        stored = await self._events.by_id(EventId(row.target))
        if operator.holds(Permission.READ_CONTENT):
            answer["event_json"] = dict(stored.event.pdu) if stored is not None and not stored.is_lost else {}
        return Answer(orjson.dumps(answer))

    @endpoint(
        "DELETE",
        _EVENTS + "/{report_id}",
        access=Access.ADMIN,
        reach=Reach.WITHIN,
        spec="",
        needs=Permission.HANDLE_REPORTS,
    )
    async def delete_of_event(self, operator: Operator, report_id: str) -> Json:
        await self._reports.delete(_number(report_id), "event", by=operator)
        return {}

    @endpoint("GET", _USERS, access=Access.ADMIN, reach=Reach.WITHIN, spec="", needs=Permission.READ_REPORTS)
    async def of_users(self, operator: Operator, query: ReportsQuery) -> Json:
        wanted = ReportFilter(
            kind="user",
            reporter=query.user_id,
            sender=query.target_user_id,
            backwards=query.dir == "b",
            rooms=operator.rooms,
        )
        return await self._page("user_reports", wanted, query)

    @endpoint(
        "GET", _USERS + "/{report_id}", access=Access.ADMIN, reach=Reach.WITHIN, spec="", needs=Permission.READ_REPORTS
    )
    async def of_user(self, operator: Operator, report_id: str) -> Json:
        return as_json(await self._reports.one(_number(report_id), "user", by=operator))

    @endpoint(
        "DELETE",
        _USERS + "/{report_id}",
        access=Access.ADMIN,
        reach=Reach.WITHIN,
        spec="",
        needs=Permission.HANDLE_REPORTS,
    )
    async def delete_of_user(self, operator: Operator, report_id: str) -> Json:
        await self._reports.delete(_number(report_id), "user", by=operator)
        return {}

    async def _page(self, name: str, wanted: ReportFilter, query: ReportsQuery) -> Json:
        rows, total = await self._reports.page(wanted, min(query.limit, _PAGE_MAX), query.from_)
        answer: Json = {name: [as_json(row) for row in rows], "total": total}
        if query.from_ + len(rows) < total:
            answer["next_token"] = query.from_ + len(rows)
        return answer


def as_json(row: ReportRow) -> dict[str, Any]:
    """A report as tools have it."""
    common = {"id": row.report_id, "received_ts": row.received_ts, "user_id": row.reporter, "reason": row.reason}
    kind: Kind = "user" if row.kind == "user" else "event"
    if kind == "user":
        return {**common, "target_user_id": row.target}
    return {
        **common,
        "room_id": row.room_id,
        "event_id": row.target,
        "score": None,
        "sender": row.sender,
        "canonical_alias": row.canonical_alias,
        "name": row.name,
    }


def _number(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > 18:
        raise InvalidParam("The report_id parameter must be a string representing a positive integer.")
    return int(text)
