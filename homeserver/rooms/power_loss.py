"""Rooms that lose their power levels: the operator is told, and nothing is mended, as other servers lose them too."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from homeserver.rooms.residents import Room

log = structlog.get_logger()

POWER_LEVELS = ("m.room.power_levels", "")


def watch_power(before: Room, after: Room, lost: Callable[[], None] | None) -> None:
    """Tells of a room whose power levels were there and are gone, and calls `lost`.

    No event can do that: state resolution did, in rooms before version 12.
    """
    if before.known_state(*POWER_LEVELS) is None or after.known_state(*POWER_LEVELS) is not None:
        return
    log.warning("power_levels_lost", room_id=after.room_id, room_version=after.version.id)
    if lost is not None:
        lost()
