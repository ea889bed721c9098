"""What is done about a case, all at once: first shown, then done, each step by the action that its own page has."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from admin.actions.appeals import Appeals
from admin.actions.cases import Cases
from admin.actions.media import MediaActions
from admin.actions.operators import OperatorRoles
from admin.actions.room_moderation import EVENTS_MAX, Member, RoomModeration
from admin.actions.rooms import RoomActions
from admin.actions.sanctions import Sanctions
from admin.actions.user_redaction import LIMIT_DEFAULT, UserRedaction
from admin.storage import cases, sent_events
from admin.storage.cases import Case
from homeserver.core.errors import InvalidParam, MatrixError
from homeserver.core.identifiers import EventId, RoomId, UserId, domain_of
from homeserver.storage.database import Database
from homeserver.web.endpoint import Operator

ROOMS_MAX = 50
_NEWEST = 2**62
_LOOKED_BACK = 2_000
# Against a user of ours, against any user, against a room; those that take something back last.
OF_OURS = (
    "redact",
    "redact_lately",
    "redact_all",
    "kick",
    "ban",
    "suspend",
    "quarantine",
    "unban",
    "unsuspend",
    "release",
)
OF_OTHERS = ("redact", "redact_lately", "kick", "ban", "unban")
OF_ROOMS = ("block", "quarantine_room", "unblock")


@dataclass(frozen=True, slots=True)
class CaseHands:
    """The actions that other pages have."""

    rooms: RoomModeration
    blocking: RoomActions
    sanctions: Sanctions
    media: MediaActions
    redaction: UserRedaction
    roles: OperatorRoles


@dataclass(slots=True)
class Plan:
    """What would be done, by act: on which events, rooms or files."""

    acts: list[str]
    events: list[EventId] = field(default_factory=list)
    rooms: list[RoomId] = field(default_factory=list)
    files: int = 0


class CaseActs:
    """Plans and does."""

    def __init__(self, db: Database, hands: CaseHands) -> None:
        self._db = db
        self._hands = hands

    def possible(self, case: Case, by: Operator) -> tuple[str, ...]:
        """The acts that make sense for whom it is about; bound to rooms, those that are done in rooms."""
        if case.kind == "room":
            return OF_ROOMS
        is_ours = domain_of(case.entity) == self._hands.media.server_name
        return OF_OURS if is_ours and by.rooms is None else OF_OTHERS

    async def rooms_of(self, case: Case, by: Operator) -> list[RoomId]:
        """The operator's rooms in which it happened, as reports, evidence and rules say; at most `ROOMS_MAX`."""
        if case.kind == "room":
            return [RoomId(case.entity)]
        found = [row["room_id"] for row in await cases.reports(self._db, case, 500, by.rooms)]
        found += [row["room_id"] for row in await cases.hits(self._db, case.entity, 500, by.rooms)]
        found += [row["room_id"] for row in await cases.refusals(self._db, case.entity, 500, by.rooms)]
        return [RoomId(one) for one in dict.fromkeys(found) if one][:ROOMS_MAX]

    async def plan(self, case: Case, acts: Sequence[str], by: Operator) -> Plan:
        """Raises InvalidParam for acts that make no sense, and for none."""
        chosen = [act for act in self.possible(case, by) if act in acts]
        if not chosen or len(chosen) != len(set(acts)):
            raise InvalidParam("choose what to do")
        if "redact_lately" in chosen:
            chosen = [act for act in chosen if act != "redact"]
        plan = Plan(chosen, rooms=await self.rooms_of(case, by))
        if "redact" in acts:
            plan.events = [EventId(row["event_id"]) for row in await cases.evidence(self._db, case.case_id, by.rooms)]
        if "redact_lately" in chosen:
            plan.events = list(dict.fromkeys([*plan.events, *await self._said(case, plan.rooms)]))
        if "quarantine" in chosen or "release" in chosen:
            plan.files = await self._hands.media.count_of_user(UserId(case.entity))
        return plan

    async def do(self, case: Case, plan: Plan, *, by: Operator, reason: str) -> list[str]:
        """Does it, as far as it can be done: what came of each step, in words.

        Raises Forbidden where it is about an operator of the same or a higher rank.
        """
        if case.kind == "user" and domain_of(case.entity) == self._hands.media.server_name:
            await self._hands.roles.check_may_act_on(by, UserId(case.entity))
        told = []
        for act in plan.acts:
            try:
                told.append(f"{act}: {await self._steps(case, plan, by, reason)[act]()}")
            except MatrixError as error:
                told.append(f"{act}: not done: {error.message}")
        return told

    def _steps(self, case: Case, plan: Plan, by: Operator, why: str) -> dict[str, Callable[[], Awaitable[str]]]:
        hands, user_id, room_id = self._hands, UserId(case.entity), RoomId(case.entity)

        async def redact() -> str:
            failed = await hands.rooms.redact(plan.events, by=by, reason=why)
            first = next(iter(failed.values()), "")
            return f"{len(plan.events) - len(failed)} of {len(plan.events)}{f' ({first})' if first else ''}"

        async def redact_all() -> str:
            job = await hands.redaction.begin(user_id, [], limit=LIMIT_DEFAULT, by_operator=False, reason=why, by=by)
            return f"job {job}"

        async def suspended(is_suspended: bool) -> str:
            await hands.sanctions.set_suspended(user_id, is_suspended, by=by, reason=why)
            return "done"

        async def blocked(is_blocked: bool) -> str:
            await hands.blocking.set_blocked(room_id, is_blocked, by=by, reason=why)
            return "done"

        async def quarantine() -> str:
            return f"{await hands.media.quarantine_user(user_id, by=by, reason=why)} files"

        async def release() -> str:
            return f"{await hands.media.release_user(user_id, by=by, reason=why)} files"

        async def quarantine_room() -> str:
            return f"{await hands.media.quarantine_room(room_id, by=by, reason=why)} files"

        return {
            "redact": redact,
            "redact_lately": redact,
            "redact_all": redact_all,
            "kick": lambda: self._members(plan.rooms, user_id, "kick", by, why),
            "ban": lambda: self._members(plan.rooms, user_id, "ban", by, why),
            "unban": lambda: self._members(plan.rooms, user_id, "unban", by, why),
            "suspend": lambda: suspended(True),
            "unsuspend": lambda: suspended(False),
            "quarantine": quarantine,
            "release": release,
            "block": lambda: blocked(True),
            "unblock": lambda: blocked(False),
            "quarantine_room": quarantine_room,
        }

    async def _members(self, rooms: Sequence[RoomId], user_id: UserId, act: Member, by: Operator, why: str) -> str:
        done, problem = 0, ""
        for room_id in rooms:
            try:
                await self._hands.rooms.set_member(room_id, user_id, act, by=by, reason=why)
                done += 1
            except MatrixError as error:
                problem = problem or error.message
        return f"{done} of {len(rooms)} rooms{f' ({problem})' if problem else ''}"

    async def _said(self, case: Case, rooms: Sequence[RoomId]) -> list[EventId]:
        """What they said among the newest events of these rooms."""
        found: list[EventId] = []
        for room_id in rooms:
            try:
                room, _ = await self._hands.rooms.acting(room_id)
            except MatrixError:
                continue
            _, said = await sent_events.page(self._db, room.nid, UserId(case.entity), _NEWEST, _LOOKED_BACK)
            found += said
            if len(found) >= EVENTS_MAX:
                break
        return found[:EVENTS_MAX]


@dataclass(frozen=True, slots=True)
class CaseWork:
    """Keeping cases, acting on them, answering appeals."""

    keeping: Cases
    acts: CaseActs
    appeals: Appeals
