"""Which servers a room's m.room.server_acl lets take part.

spec: client-server-api/#server-access-control-lists-acls-for-rooms
"""

from __future__ import annotations

import hashlib
import ipaddress
from typing import Any

from homeserver.core.events import Event
from homeserver.core.globs import WholeGlob, fold

PATTERNS_MAX = 10_000
VERDICTS_KEPT_MAX = 10_000


class ServerAcl:
    """One room's rule, ready to be asked."""

    __slots__ = ("_allow", "_allows_literals", "_deny")

    def __init__(self, content: dict[str, Any]) -> None:
        self._allow = _patterns(content.get("allow"))
        self._deny = _patterns(content.get("deny"))
        # Only a literal false bans them.
        self._allows_literals = content.get("allow_ip_literals") is not False

    def allows(self, server_name: str) -> bool:
        """Ports don't count, and neither do case and the dot that ends a name in the DNS: it's the same server."""
        host = fold(host_of(server_name))
        if not self._allows_literals and _is_literal(host):
            return False
        if any(pattern.matches(host) for pattern in self._deny):
            return False
        return any(pattern.matches(host) for pattern in self._allow)


def is_allowed_by(event: Event | None, server_name: str) -> bool:
    """Whether the room's current ACL event, if there is one, lets this server take part."""
    return event is None or ServerAcl(event.content).allows(server_name)


class AclVerdicts:
    """What rooms' lists said of servers. A list that takes 5 ms to read is read once for each server that asks.

    Kept by what the list says, not by its event's id: a redacted one keeps that.
    """

    def __init__(self) -> None:
        self._kept: dict[tuple[bytes, str], bool] = {}

    def allow(self, event: Event | None, server_name: str) -> bool:
        """As `is_allowed_by`. Cost when kept: a hash of the event."""
        if event is None:
            return True
        key = hashlib.sha256(event.canonical).digest(), server_name
        verdict = self._kept.get(key)
        if verdict is None:
            if len(self._kept) >= VERDICTS_KEPT_MAX:
                self._kept.clear()
            verdict = self._kept[key] = is_allowed_by(event, server_name)
        return verdict


def _patterns(value: object) -> list[WholeGlob]:
    if not isinstance(value, list):
        return []
    return [WholeGlob(entry) for entry in value[:PATTERNS_MAX] if isinstance(entry, str)]


def host_of(server_name: str) -> str:
    """The name without its port, and without the dot at its end that changes nothing of where it leads."""
    if server_name.startswith("["):
        return server_name.partition("]")[0] + "]"
    host = server_name.partition(":")[0]
    return host.rstrip(".") or host


def _is_literal(host: str) -> bool:
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True
