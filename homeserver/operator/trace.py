"""What became of one event, for whoever is on the server: the same as the console's page says."""

from __future__ import annotations

from admin.trace import Trace, trace
from homeserver.config import Config
from homeserver.core.identifiers import EventId, ServerName
from homeserver.operator.database import connected
from homeserver.runtime.clock import Clock


async def traced(config: Config, clock: Clock, event_id: EventId) -> Trace | None:
    """None for an event that this server never had."""
    async with connected(config, clock) as db:
        return await trace(db, ServerName(config.server_name), event_id)
