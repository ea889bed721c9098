"""Whether the audit log is what it was when it was written."""

from __future__ import annotations

from admin.audit import Verdict, verify
from homeserver.config import Config
from homeserver.operator.database import connected
from homeserver.runtime.clock import Clock
from homeserver.storage.migrate import migrate


async def verify_audit_log(config: Config, clock: Clock) -> Verdict:
    """Reads the whole log and checks its chain."""
    async with connected(config, clock) as db:
        await migrate(db)
        return await verify(db)
