"""One-time keys that another server handed out: only what was asked for, and is a key, goes on to a client. Pure.

spec: client-server-api/#one-time-and-fallback-keys
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from homeserver.core import canonical_json
from homeserver.core.errors import MatrixError
from homeserver.core.identifiers import DeviceId, UserId
from homeserver.core.signing import decode_base64, is_signature_valid, signed_bytes
from homeserver.encryption.keys import named_keys

# So many entries of a device are looked at: one is asked for.
ENTRIES_MAX = 5
CURVE25519_BYTES = 32
SIGNED, PLAIN = "signed_curve25519", "curve25519"

Json = dict[str, Any]


def belonging(
    wanted: Sequence[tuple[UserId, DeviceId, str]], given: Json, lists: Mapping[UserId, bytes]
) -> dict[UserId, dict[DeviceId, Json]]:
    """Of what a server gave, a key for each that was wanted of it. `lists`: devices of users, as far as they are known.

    Where the device is known its signature is checked. Cost: 100 µs a key, and reading the lists.
    """
    found: dict[UserId, dict[DeviceId, Json]] = {}
    read: tuple[UserId | None, Json] = (None, {})  # the last one's list: they come by user, and lists can be large
    for user, device, algorithm in wanted:
        entries = _objects(_objects(given.get(user)).get(device))
        if user != read[0]:
            read = user, canonical_json.decode(lists[user]) if user in lists else {}
        verify_key = _verify_key(read[1], device)
        for name, key in list(entries.items())[:ENTRIES_MAX]:
            if name.startswith(algorithm + ":") and _is_key(name, key, user, device, verify_key):
                found.setdefault(user, {})[device] = {name: key}
                break
    return found


def _is_key(name: str, key: Any, user: UserId, device: DeviceId, verify_key: bytes | None) -> bool:
    try:
        named_keys({name: key})
    except MatrixError:
        return False
    algorithm = name.partition(":")[0]
    if algorithm in (SIGNED, PLAIN) and len(_decoded(key["key"] if isinstance(key, dict) else key)) != CURVE25519_BYTES:
        return False
    if algorithm != SIGNED:
        return True
    signature = key.get("signatures", {}).get(user, {}).get(f"ed25519:{device}") if isinstance(key, dict) else None
    if signature is None:
        return False
    return verify_key is None or is_signature_valid(signed_bytes(key), signature, verify_key)


def _verify_key(keys: Json, device: DeviceId) -> bytes | None:
    """The key by which a device signs, where it is known."""
    value = _objects(_objects(_objects(keys.get("devices")).get(device)).get("keys")).get(f"ed25519:{device}")
    return _decoded(value) if isinstance(value, str) else None


def _decoded(value: str) -> bytes:
    try:
        return decode_base64(value)
    except ValueError:
        return b""


def _objects(value: Any) -> Json:
    return value if isinstance(value, dict) else {}
