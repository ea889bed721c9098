"""Reports of events, rooms and users. spec: client-server-api/#reporting-content"""

from __future__ import annotations

import msgspec

from homeserver.core.identifiers import EventId, RoomId, UserId
from homeserver.rooms.commands.reporting import Reporting
from homeserver.web.endpoint import Access, Caller, Json, endpoint


class EventReport(msgspec.Struct, frozen=True):
    reason: str | None = None


class Report(msgspec.Struct, frozen=True):
    reason: str


class ReportContent:
    def __init__(self, reporting: Reporting) -> None:
        self._reporting = reporting

    @endpoint(
        "POST",
        "/_matrix/client/v3/rooms/{room_id}/report/{event_id}",
        "/_matrix/client/r0/rooms/{room_id}/report/{event_id}",
        access=Access.USER,
        limit="report",
        spec="client-server-api/#post_matrixclientv3roomsroomidreporteventid",
    )
    async def report_event(self, caller: Caller, room_id: RoomId, event_id: EventId, body: EventReport) -> Json:
        await self._reporting.report_event(room_id, event_id, by=caller.user_id, reason=body.reason or "")
        return {}

    @endpoint(
        "POST",
        "/_matrix/client/v3/rooms/{room_id}/report",
        access=Access.USER,
        limit="report",
        spec="client-server-api/#post_matrixclientv3roomsroomidreport",
    )
    async def report_room(self, caller: Caller, room_id: RoomId, body: Report) -> Json:
        await self._reporting.report_room(room_id, by=caller.user_id, reason=body.reason)
        return {}

    @endpoint(
        "POST",
        "/_matrix/client/v3/users/{user_id}/report",
        access=Access.USER,
        limit="report",
        spec="client-server-api/#post_matrixclientv3usersuseridreport",
    )
    async def report_user(self, caller: Caller, user_id: UserId, body: Report) -> Json:
        await self._reporting.report_user(user_id, by=caller.user_id, reason=body.reason)
        return {}
