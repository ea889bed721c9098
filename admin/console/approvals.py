"""Acts that wait for a second operator: seen, approved, refused."""

from __future__ import annotations

from dataclasses import asdict

from admin.actions.four_eyes import GOOD_FOR_MS, FourEyes
from admin.console.acting import reason_of
from admin.console.desk import Desk, Visit
from admin.console.page import page
from admin.storage.console_reads import Shown
from homeserver.core.errors import InvalidParam
from homeserver.core.operators import Permission
from homeserver.web.endpoint import Answer, Reach

_PATH = "/admin/approvals"
_COLUMNS = ("approval_id", "act", "target", "asked_by", "asked_ts", "approved_by", "approved_ts")


class ApprovalPages:
    """/admin/approvals."""

    def __init__(self, desk: Desk, four_eyes: FourEyes) -> None:
        self.desk = desk
        self._four_eyes = four_eyes

    @page("GET", _PATH, needs=Permission.APPROVE, reach=Reach.SERVER)
    async def waiting(self, visit: Visit) -> Answer:
        async def fetch(limit: int) -> list[Shown]:
            found = await self._four_eyes.waiting()
            return [
                {
                    **asdict(one),
                    "until_ts": (one.approved_ts or one.asked_ts) + GOOD_FOR_MS,
                    "may": visit.may(Permission(one.permission)),
                }
                for one in found[:limit]
            ]

        return await self.desk.listing(visit, "approvals", _COLUMNS, fetch)

    @page("POST", _PATH + "/{approval_id}", needs=Permission.APPROVE, reach=Reach.SERVER)
    async def answer(self, visit: Visit, approval_id: str) -> Answer:
        act = visit.fields.get("act")
        if act == "approve":
            await self._four_eyes.approve(approval_id, by=visit.operator)
        elif act == "refuse":
            await self._four_eyes.refuse(approval_id, by=visit.operator, reason=reason_of(visit))
        else:
            raise InvalidParam("there is no such act")
        return self.desk.go(f"{_PATH}?done={act}")
