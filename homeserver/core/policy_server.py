"""A room's policy server: which it is, and whether it signed an event. spec: server-server-api/#policy-servers"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from homeserver.core.events import Event, signed_form
from homeserver.core.identifiers import ServerName, is_server_name
from homeserver.core.room import POLICY
from homeserver.core.signing import decode_base64, is_signature_valid

KEY_ID = "ed25519:policy_server"
_KEY_BYTES = 32
__all__ = ["KEY_ID", "POLICY", "PolicyServer", "is_signed", "needs_signature", "policy_server_of", "with_signature"]


@dataclass(frozen=True, slots=True)
class PolicyServer:
    """Where a room has its events looked at, and the key by which that server says yes."""

    via: ServerName
    verify_key: bytes


def policy_server_of(event: Event | None, servers: Collection[str]) -> PolicyServer | None:
    """What this m.room.policy event names, if it counts: it is whole, and its server is among those in the room."""
    if event is None:
        return None
    via, keys = event.content.get("via"), event.content.get("public_keys")
    key = keys.get("ed25519") if isinstance(keys, dict) else None
    if not isinstance(via, str) or not is_server_name(via) or via not in servers or not isinstance(key, str):
        return None
    try:
        verify_key = decode_base64(key)
    except ValueError:
        return None
    return PolicyServer(ServerName(via), verify_key) if len(verify_key) == _KEY_BYTES else None


def needs_signature(event: Event) -> bool:
    """All but the state that names the policy server: a room can always do without."""
    return event.type != POLICY[0] or event.state_key != POLICY[1]


def is_signed(event: Event, server: PolicyServer) -> bool:
    """Whether the policy server's signature is there, and right. About 80 µs."""
    of_server = event.pdu["signatures"].get(server.via)
    signature = of_server.get(KEY_ID) if isinstance(of_server, dict) else None
    return signature is not None and is_signature_valid(
        signed_form(event.version, event.pdu), signature, server.verify_key
    )


def with_signature(event: Event, server: PolicyServer, signature: str) -> Event:
    """The same event with the policy server's signature beside those that it has."""
    signatures = {name: dict(keys) for name, keys in event.pdu["signatures"].items()}
    signatures.setdefault(server.via, {})[KEY_ID] = signature
    return Event(event.version, {**event.pdu, "signatures": signatures}, event.event_id)
