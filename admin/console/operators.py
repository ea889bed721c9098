"""Who runs the server: roles given and taken, a moderator's bound to rooms and actions."""

from __future__ import annotations

from admin.actions.operators import OperatorRoles
from admin.console.acting import proven, reason_of
from admin.console.desk import Desk, Visit
from admin.console.page import page
from admin.storage import console_reads
from admin.storage.console_reads import Shown
from homeserver.core.errors import InvalidParam
from homeserver.core.identifiers import parse_user_id
from homeserver.core.operators import BINDABLE, PERMISSIONS, RANKS, Bounds, Permission, Role
from homeserver.storage.database import Database
from homeserver.web.endpoint import Answer, Reach

_PATH = "/admin/operators"
_COLUMNS = ("user_id", "role", "rooms", "actions")
_TICK = "may_"


class OperatorPages:
    """/admin/operators."""

    def __init__(self, desk: Desk, db: Database, roles: OperatorRoles) -> None:
        self.desk = desk
        self._db = db
        self._roles = roles

    @page("GET", _PATH, needs=Permission.READ_AUDIT, reach=Reach.SERVER)
    async def operators(self, visit: Visit) -> Answer:
        found, after = await self._roles.all_of_them(), visit.asked("after")
        rows: list[Shown] = [
            {
                "user_id": user_id,
                "role": role.value,
                "rooms": sorted(bounds.rooms) if bounds.rooms is not None else None,
                "actions": sorted(one for one in PERMISSIONS[role] if bounds.allow(one)),
                "is_bound": bounds.actions is not None,
            }
            for user_id, role, bounds in found
            if user_id > after
        ]

        async def fetch(limit: int) -> list[Shown]:
            return rows[:limit]

        named = {room_id for row in rows for room_id in row["rooms"] or ()}
        chosen = next((row for row in rows if row["user_id"] == visit.asked("who")), None)
        values = {
            "names": await console_reads.room_names(self._db, sorted(named)),
            "roles": sorted(Role, key=lambda role: RANKS[role]),
            "bindable": sorted(BINDABLE),
            "who": visit.asked("who"),
            "chosen": chosen,
        }
        return await self.desk.listing(visit, "operators", _COLUMNS, fetch, values, more="user_id")

    @page("POST", _PATH, needs=Permission.CHANGE_OPERATORS, reach=Reach.SERVER)
    async def give(self, visit: Visit) -> Answer:
        """Gives a role, in place of the one that there was; it wants the password again."""
        fields, reason = visit.fields, reason_of(visit)
        if fields.get("role") not in set(Role):
            raise InvalidParam("there is no such role")
        role, bounds = Role(fields["role"]), Bounds()
        if role is Role.MODERATOR:
            ticked = frozenset(one for one in BINDABLE if _TICK + one in fields)
            rooms = fields.get("rooms", "").split()
            bounds = Bounds(rooms=frozenset(rooms) if rooms else None, actions=ticked if ticked != BINDABLE else None)
        target = parse_user_id(fields.get("user_id", "").strip())
        await self._roles.give(target, role, bounds, by=await proven(self.desk, visit), reason=reason)
        return self.desk.go(f"{_PATH}?done=role")

    @page("POST", _PATH + "/{user_id}/take", needs=Permission.CHANGE_OPERATORS, reach=Reach.SERVER)
    async def take(self, visit: Visit, user_id: str) -> Answer:
        target, reason = parse_user_id(user_id), reason_of(visit)
        await self._roles.take(target, by=await proven(self.desk, visit), reason=reason)
        return self.desk.go(f"{_PATH}?done=role_taken")
