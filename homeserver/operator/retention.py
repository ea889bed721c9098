"""What retention would delete, from the command line."""

from __future__ import annotations

from typing import Any

from admin.actions.retention_preview import Report, preview
from homeserver.config import Config
from homeserver.operator.database import connected
from homeserver.rooms.retention import RetentionTimes
from homeserver.runtime.clock import Clock
from homeserver.storage.migrate import migrate


async def preview_retention(
    config: Config,
    clock: Clock,
    room_id: str | None,
    *,
    default_s: int | None,
    least_s: int | None,
    most_s: int | None,
    report: Report,
) -> dict[str, Any]:
    """What would go, by the rules in force or by those given. Raises InvalidParam, NotFound."""
    chosen = config.rooms
    times = RetentionTimes(
        default=(chosen.retention_default_s if default_s is None else default_s) * 1000,
        least=(chosen.retention_least_s if least_s is None else least_s) * 1000,
        most=(chosen.retention_most_s if most_s is None else most_s) * 1000,
    )
    found: dict[str, Any] = {}
    async with connected(config, clock) as db:
        await migrate(db)
        await preview(db, times, clock.now_ms(), room_id, found, report)
    return found
