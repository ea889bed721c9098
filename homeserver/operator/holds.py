"""Legal holds from the command line, beside a running server or without one.

Whatever erases looks them up each time, so the server needn't be told.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from admin.actions.legal_holds import LegalHolds
from admin.audit import AuditLog
from homeserver.config import Config
from homeserver.core.identifiers import UserId
from homeserver.core.operators import Role
from homeserver.operator.database import connected
from homeserver.runtime.clock import Clock
from homeserver.runtime.ids import Randomness
from homeserver.storage.migrate import migrate
from homeserver.web.endpoint import Operator

# Who acts, in the audit log, where no account does.
BY_COMMAND = Operator(user_id=UserId("hansa hold"), role=Role.OWNER)


@asynccontextmanager
async def operator_holds(config: Config, clock: Clock, randomness: Randomness) -> AsyncIterator[LegalHolds]:
    """The holds of the configured server; its schema is brought up to date first."""
    async with connected(config, clock) as db:
        await migrate(db)
        yield LegalHolds(db, AuditLog(clock), clock, randomness)
