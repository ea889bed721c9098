"""Administration: roles, the audit log, the admin API."""

from __future__ import annotations

from dataclasses import dataclass

from admin.actions.operators import OperatorRoles
from admin.api.operators import AuditEndpoints, OperatorEndpoints
from admin.audit import AuditLog
from homeserver.assembly.accounts import AccountParts
from homeserver.assembly.base import Base
from homeserver.assembly.commands import CommandParts
from homeserver.assembly.console import console_endpoints
from homeserver.assembly.people import PeopleParts
from homeserver.assembly.rooms import RoomParts


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminParts:
    """What others may use of it, and the endpoints."""

    audit: AuditLog
    roles: OperatorRoles
    endpoints: list[object]


async def build_admin(
    base: Base, accounts: AccountParts, parts: RoomParts, commands: CommandParts, people: PeopleParts
) -> AdminParts:
    """Served where a listener names the API `admin`."""
    db, clock = base.world.db, base.world.clock
    audit = AuditLog(clock)
    roles = OperatorRoles(db, audit, accounts.sessions, clock)
    return AdminParts(
        audit=audit,
        roles=roles,
        endpoints=[
            OperatorEndpoints(roles),
            AuditEndpoints(db, audit),
            *console_endpoints(base, accounts, parts),
        ],
    )
