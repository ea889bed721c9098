"""Rooms that all have left, as far as this server knows: it hears of them no more, and elsewhere they may go on."""

from __future__ import annotations

from collections import Counter

from homeserver.core.identifiers import ServerName, domain_of
from homeserver.rooms.residents import Room

SERVERS_ASKED_MAX = 3


def former_servers(room: Room, own: ServerName) -> list[ServerName]:
    """A few of the other servers that had users in a room, those with the most of them first. A walk over members."""
    left = Counter(domain_of(user_id) for user_id, membership in room.members.items() if membership == "leave")
    del left[own]
    return [server for server, _ in sorted(left.items(), key=lambda entry: (-entry[1], entry[0]))][:SERVERS_ASKED_MAX]
