"""Roles given and taken from the command line, beside a running server or without one.

A running server hears of it within seconds: it looks for accounts whose role was changed beside it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from admin.actions.operators import OperatorRoles
from admin.audit import AuditLog
from homeserver.config import Config
from homeserver.core.identifiers import UserId
from homeserver.core.operators import Role
from homeserver.operator.database import connected
from homeserver.runtime.clock import Clock
from homeserver.storage.migrate import migrate
from homeserver.web.endpoint import Operator

# Who acts, in the audit log, where no account does.
BY_COMMAND = Operator(user_id=UserId("hansa operator"), role=Role.OWNER)


@asynccontextmanager
async def operator_roles_of(config: Config, clock: Clock) -> AsyncIterator[OperatorRoles]:
    """The roles of the configured server; its schema is brought up to date first."""
    async with connected(config, clock) as db:
        await migrate(db)
        yield OperatorRoles(db, AuditLog(clock), lambda user_id: None, clock)
