"""A room's summary: counts, and the heroes that name a nameless room.

spec: client-server-api/#calculating-the-display-name-for-a-room
"""

from __future__ import annotations

import heapq
from typing import Any

from homeserver.core.identifiers import UserId
from homeserver.rooms.residents import Room

HEROES_MAX = 5


def heroes_of(room: Room, viewer: UserId) -> list[UserId]:
    """Up to five members beside the viewer: those who are in, or invited; where there are none, those who left.

    One pass over the memberships.
    """
    present = [user for user, kind in room.members.items() if kind in ("join", "invite") and user != viewer]
    chosen = present or [user for user, kind in room.members.items() if kind in ("leave", "ban") and user != viewer]
    return heapq.nsmallest(HEROES_MAX, chosen)


def summary_of(room: Room, viewer: UserId) -> dict[str, Any]:
    """What /sync says of a room's members."""
    summary: dict[str, Any] = {
        "m.joined_member_count": room.joined,
        "m.invited_member_count": sum(1 for kind in room.members.values() if kind == "invite"),
    }
    if not has_name(room):
        summary["m.heroes"] = heroes_of(room, viewer)
    return summary


def has_name(room: Room) -> bool:
    """Whether a client can name the room without knowing its members."""
    return bool(room.known_text("m.room.name", "name") or room.known_text("m.room.canonical_alias", "alias"))
