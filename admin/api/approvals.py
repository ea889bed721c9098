"""Acts that need two operators: /_hansa/admin/v1/approvals."""

from __future__ import annotations

from dataclasses import asdict

from admin.actions.four_eyes import FourEyes
from homeserver.core.operators import Permission
from homeserver.web.endpoint import Access, Json, Operator, Reach, endpoint

_APPROVALS = "/_hansa/admin/v1/approvals"


class ApprovalEndpoints:
    """Listed, given, refused."""

    def __init__(self, four_eyes: FourEyes) -> None:
        self._four_eyes = four_eyes

    @endpoint("GET", _APPROVALS, access=Access.ADMIN, reach=Reach.SERVER, spec="", needs=Permission.APPROVE)
    async def waiting(self) -> Json:
        return {"approvals": [asdict(one) for one in await self._four_eyes.waiting()]}

    @endpoint(
        "POST",
        _APPROVALS + "/{approval_id}",
        access=Access.ADMIN,
        reach=Reach.SERVER,
        spec="",
        needs=Permission.APPROVE,
    )
    async def approve(self, operator: Operator, approval_id: str) -> Json:
        await self._four_eyes.approve(approval_id, by=operator)
        return {}

    @endpoint(
        "DELETE",
        _APPROVALS + "/{approval_id}",
        access=Access.ADMIN,
        reach=Reach.SERVER,
        spec="",
        needs=Permission.APPROVE,
    )
    async def refuse(self, operator: Operator, approval_id: str) -> Json:
        await self._four_eyes.refuse(approval_id, by=operator)
        return {}
