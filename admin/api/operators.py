"""Operators and the audit log: `/_hansa/admin/v1/operators`, `/_hansa/admin/v1/audit`."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import orjson

from admin.actions.operators import OperatorRoles
from admin.audit import PAGE_MAX, AuditLog
from admin.storage.audit_log import AuditFilter, AuditRow
from homeserver.core.identifiers import UserId
from homeserver.core.operators import PERMISSIONS, Bounds, Permission, Role
from homeserver.storage.database import Reader
from homeserver.web.endpoint import Access, Json, Operator, Reach, endpoint

_OPERATORS = "/_hansa/admin/v1/operators"


class RoleBody(msgspec.Struct, frozen=True):
    """What a moderator may be bound to: ids of rooms, and of spaces whose rooms count; permissions."""

    role: Role
    rooms: Annotated[list[str], msgspec.Meta(max_length=1_000)] | None = None
    actions: Annotated[list[Permission], msgspec.Meta(max_length=100)] | None = None
    reason: Annotated[str, msgspec.Meta(max_length=1000)] | None = None


class AuditQuery(msgspec.Struct, frozen=True, rename={"before": "from"}):
    before: Annotated[int, msgspec.Meta(ge=1)] | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=PAGE_MAX)] = 100
    actor: str | None = None
    action: str | None = None
    target: str | None = None
    from_ts: Annotated[int, msgspec.Meta(ge=0, le=2**53)] | None = None
    until_ts: Annotated[int, msgspec.Meta(ge=0, le=2**53)] | None = None


class OperatorEndpoints:
    """Who runs the server."""

    def __init__(self, roles: OperatorRoles) -> None:
        self._roles = roles

    @endpoint("GET", _OPERATORS, access=Access.ADMIN, reach=Reach.SERVER, spec="", needs=Permission.READ_AUDIT)
    async def list_operators(self) -> Json:
        found = await self._roles.all_of_them()
        return {
            "operators": [
                {
                    "user_id": user_id,
                    "role": role.value,
                    "permissions": sorted(one for one in PERMISSIONS[role] if bounds.allow(one)),
                    "rooms": sorted(bounds.rooms) if bounds.rooms is not None else None,
                    "actions": sorted(bounds.actions) if bounds.actions is not None else None,
                }
                for user_id, role, bounds in found
            ]
        }

    @endpoint(
        "PUT",
        _OPERATORS + "/{user_id}",
        access=Access.ADMIN,
        reach=Reach.SERVER,
        spec="",
        needs=Permission.CHANGE_OPERATORS,
    )
    async def give(self, operator: Operator, user_id: UserId, body: RoleBody) -> Json:
        bounds = Bounds(
            rooms=frozenset(body.rooms) if body.rooms is not None else None,
            actions=frozenset(body.actions) if body.actions is not None else None,
        )
        await self._roles.give(user_id, body.role, bounds, by=operator, reason=body.reason)
        return {}

    @endpoint(
        "DELETE",
        _OPERATORS + "/{user_id}",
        access=Access.ADMIN,
        reach=Reach.SERVER,
        spec="",
        needs=Permission.CHANGE_OPERATORS,
    )
    async def take(self, operator: Operator, user_id: UserId) -> Json:
        await self._roles.take(user_id, by=operator)
        return {}


class AuditEndpoints:
    """What operators did."""

    def __init__(self, db: Reader, audit: AuditLog) -> None:
        self._db = db
        self._audit = audit

    @endpoint(
        "GET", "/_hansa/admin/v1/audit", access=Access.ADMIN, reach=Reach.SERVER, spec="", needs=Permission.READ_AUDIT
    )
    async def page(self, query: AuditQuery) -> Json:
        wanted = AuditFilter(
            actor=query.actor,
            action=query.action,
            target=query.target,
            from_ts=query.from_ts,
            until_ts=query.until_ts,
        )
        rows = await self._audit.page(self._db, wanted, below=query.before, limit=query.limit)
        answer: Json = {"entries": [as_json(row) for row in rows]}
        if len(rows) == query.limit:
            answer["next_token"] = str(rows[-1].entry_nid)
        return answer


def as_json(row: AuditRow) -> dict[str, Any]:
    """An entry as pages and tools are told of it."""
    return {
        "id": row.entry_nid,
        "ts": row.ts,
        "actor": row.actor,
        "action": row.action,
        "target": row.target,
        "reason": row.reason,
        "before": orjson.loads(row.before) if row.before is not None else None,
        "after": orjson.loads(row.after) if row.after is not None else None,
        "address": row.address,
        "request_id": row.request_id,
        "hash": row.hash.hex(),
    }
