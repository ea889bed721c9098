"""Accounts: found, looked at, acted upon."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from admin.actions.access import AccountAccess
from admin.actions.accounts import Accounts
from admin.actions.sanctions import Sanctions
from admin.console.acting import proven, reason_of
from admin.console.bulk import done, preview, ticked
from admin.console.desk import Desk, Visit, user_path
from admin.console.export import REPORT_COLUMNS
from admin.console.page import page
from admin.storage import accounts, cases, console_reads
from admin.storage.console_reads import Shown
from homeserver.core.errors import InvalidParam, NotFound
from homeserver.core.identifiers import UserId, parse_user_id
from homeserver.core.operators import Permission
from homeserver.storage.database import Database
from homeserver.web.endpoint import Answer, Operator, Reach

SANCTIONS = ("suspend", "unsuspend", "lock", "unlock")
STATES = ("all", "active", "suspended", "locked", "deactivated", "guests", "operators")
_COLUMNS = (
    "user_id",
    "display_name",
    "role",
    "created_ts",
    "last_seen_ts",
    "is_guest",
    "is_suspended",
    "is_locked",
    "is_deactivated",
)
_DEVICE_COLUMNS = ("device_id", "display_name", "last_seen_ts", "last_seen_ip", "last_seen_user_agent")
_ROOM_COLUMNS = ("room_id", "name", "membership")


@dataclass(frozen=True, slots=True)
class UserActs:
    """What the page does, by the same actions as the admin API."""

    accounts: Accounts
    access: AccountAccess
    sanctions: Sanctions


class UserPages:
    """/admin/users."""

    def __init__(self, desk: Desk, db: Database, acts: UserActs) -> None:
        self.desk = desk
        self._db = db
        self._acts = acts

    @page("GET", "/admin/users", needs=Permission.READ_USERS, reach=Reach.WITHIN)
    async def users(self, visit: Visit) -> Answer:
        start, state, after = visit.asked("q"), visit.asked("state") or "all", visit.asked("after")

        async def fetch(limit: int) -> list[Shown]:
            return await console_reads.users(self._db, after, start, state, limit, visit.rooms)

        values = {"q": start, "state": state, "states": STATES}
        return await self.desk.listing(visit, "users", _COLUMNS, fetch, values, more="user_id")

    @page("GET", "/admin/users/{user_id}", needs=Permission.READ_USERS, reach=Reach.WITHIN)
    async def user(self, visit: Visit, user_id: str) -> Answer:
        found = await console_reads.user(self._db, user_id)
        if found is None or not await accounts.is_in_rooms(self._db, UserId(user_id), visit.rooms):
            raise NotFound("there is no such account here")
        values: dict[str, Any] = {
            "user": found,
            "devices": await console_reads.devices(self._db, user_id) if visit.rooms is None else [],
            "rooms": await console_reads.rooms_of(self._db, user_id, visit.rooms),
            "reports": await console_reads.reports_about(self._db, user_id, visit.rooms),
            "case_id": await cases.open_about(self._db, user_id, visit.rooms),
        }
        tables = {
            "devices": (_DEVICE_COLUMNS, values["devices"]),
            "rooms": (_ROOM_COLUMNS, values["rooms"]),
            "reports": (REPORT_COLUMNS, values["reports"]),
        }
        return self.desk.tables(visit, "user", values, tables)

    @page("POST", "/admin/users/act", needs=Permission.MODERATE_USERS, reach=Reach.SERVER)
    async def act(self, visit: Visit) -> Answer:
        """The same as `sanction` with many: first what would be done, then doing it."""
        act, chosen, reason, by = visit.fields.get("act", ""), ticked(visit), reason_of(visit), visit.operator
        targets = {one: parse_user_id(one) for one in chosen}
        if act not in SANCTIONS:
            raise InvalidParam("there is no such act")
        if visit.fields.get("step") != "do":
            return preview(self.desk, visit, act, chosen, reason, back="/admin/users")
        return await done(
            self.desk,
            visit,
            act,
            chosen,
            lambda one: self._sanction(targets[one], act, reason, by),
            back="/admin/users",
        )

    @page("POST", "/admin/users/{user_id}/sanction", needs=Permission.MODERATE_USERS, reach=Reach.SERVER)
    async def sanction(self, visit: Visit, user_id: str) -> Answer:
        """Suspends, locks, or lifts it."""
        target, act, reason, by = parse_user_id(user_id), visit.fields.get("act"), reason_of(visit), visit.operator
        if act not in SANCTIONS:
            raise InvalidParam("there is no such act")
        await self._sanction(target, act, reason, by)
        return self.desk.go(f"{user_path(user_id)}?done={act}")

    @page("POST", "/admin/users/{user_id}/password", needs=Permission.IMPERSONATE, reach=Reach.SERVER)
    async def set_password(self, visit: Visit, user_id: str) -> Answer:
        target, logs_out = parse_user_id(user_id), "log_out" in visit.fields
        by = await proven(self.desk, visit)
        new = visit.fields.get("new_password", "")
        await self._acts.access.reset_password(target, new, logs_out=logs_out, by=by, reason=reason_of(visit))
        return self.desk.go(f"{user_path(user_id)}?done=password")

    @page("POST", "/admin/users/{user_id}/deactivate", needs=Permission.END_USERS, reach=Reach.SERVER)
    async def deactivate(self, visit: Visit, user_id: str) -> Answer:
        target, reason = parse_user_id(user_id), reason_of(visit)
        by = await proven(self.desk, visit)
        await self._acts.accounts.deactivate(target, erase="erase" in visit.fields, by=by, reason=reason)
        return self.desk.go(f"{user_path(user_id)}?done=deactivate")

    @page("POST", "/admin/users/{user_id}/factor", needs=Permission.CHANGE_OPERATORS, reach=Reach.SERVER)
    async def forget_factor(self, visit: Visit, user_id: str) -> Answer:
        """For an operator who lost the authenticator app."""
        target, reason = parse_user_id(user_id), reason_of(visit)
        by = await proven(self.desk, visit)
        await self.desk.sessions.forget_factor(target, by=by, reason=reason)
        return self.desk.go(f"{user_path(user_id)}?done=factor")

    async def _sanction(self, target: UserId, act: str, reason: str, by: Operator) -> None:
        if act in ("suspend", "unsuspend"):
            await self._acts.sanctions.set_suspended(target, act == "suspend", by=by, reason=reason)
        else:
            await self._acts.sanctions.set_locked(target, act == "lock", by=by, reason=reason)
