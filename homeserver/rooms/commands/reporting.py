"""Reports to the people who run this server. spec: client-server-api/#reporting-content

Whether a room or a user exists is not told: reports about what isn't there are answered alike, and kept nowhere.
"""

from __future__ import annotations

from homeserver.core.errors import Forbidden, InvalidParam, LimitExceeded, NotFound
from homeserver.core.identifiers import EventId, RoomId, UserId
from homeserver.ports import AbuseCheck
from homeserver.rooms.history import History
from homeserver.rooms.residents import Rooms
from homeserver.runtime.bell import Bell
from homeserver.runtime.clock import Clock
from homeserver.storage import reports
from homeserver.storage.database import Database
from homeserver.storage.reports import NewReport

REASON_CHARS_MAX = 5_000
REPORTS_MAX = 5_000


class Reporting:
    """Takes reports."""

    def __init__(
        self, db: Database, rooms: Rooms, history: History, clock: Clock, abuse: AbuseCheck | None = None
    ) -> None:
        self._abuse = abuse
        self.reported = Bell()
        self._db = db
        self._rooms = rooms
        self._history = history
        self._clock = clock

    async def report_event(self, room_id: RoomId, event_id: EventId, *, by: UserId, reason: str) -> None:
        """Raises NotFound alike for rooms that the reporter isn't in and events that they can't see."""
        _check_reason(reason)
        try:
            room = await self._rooms.joined_room(room_id, by)
        except Forbidden:
            raise NotFound("there is no such event, or you may not see it") from None
        stored = await self._history.event(by, room, event_id)
        await self._check(by, reason)
        await self._keep(self._new("event", event_id, by, reason, room_id=room_id, sender=stored.event.sender))

    async def report_room(self, room_id: RoomId, *, by: UserId, reason: str) -> None:
        _check_reason(reason)
        report = self._new("room", room_id, by, reason, room_id=room_id)
        await self._check(by, reason)
        if await reports.is_room(self._db, room_id):
            await self._keep(report)

    async def report_user(self, user_id: UserId, *, by: UserId, reason: str) -> None:
        _check_reason(reason)
        report = self._new("user", user_id, by, reason, sender=user_id)
        await self._check(by, reason)
        if await reports.is_user(self._db, user_id):
            await self._keep(report)

    def _new(
        self,
        kind: str,
        target: str,
        reporter: UserId,
        reason: str,
        *,
        room_id: RoomId | None = None,
        sender: UserId | None = None,
    ) -> NewReport:
        return NewReport(
            kind=kind,
            target=target,
            reporter=reporter,
            reason=reason,
            received_ts=self._clock.now_ms(),
            room_id=room_id,
            sender=sender,
        )

    async def _check(self, by: UserId, reason: str) -> None:
        """Before anything is looked for: a refusal tells as little as success does. Raises MatrixError."""
        if self._abuse is not None:
            await self._abuse.check("report", by, content={"reason": reason})
        if await reports.count(self._db, by) >= REPORTS_MAX:
            raise LimitExceeded(f"a user may make {REPORTS_MAX} reports", retry_after_ms=3_600_000)

    async def _keep(self, report: NewReport) -> None:
        async with self._db.transaction() as tx:
            if await reports.count(tx, report.reporter) >= REPORTS_MAX:
                raise LimitExceeded(f"a user may make {REPORTS_MAX} reports", retry_after_ms=3_600_000)
            await reports.upsert(tx, report)
        self.reported.ring()


def _check_reason(reason: str) -> None:
    if len(reason) > REASON_CHARS_MAX:
        raise InvalidParam(f"a reason may have {REASON_CHARS_MAX} characters")
    if "\x00" in reason:
        raise InvalidParam("a reason must not hold NUL")
