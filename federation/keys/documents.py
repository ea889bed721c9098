"""Key documents: what a server publishes about its keys, read and checked. Pure.

spec: server-server-api/#retrieving-server-keys
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from federation.request_signing import is_key_id
from federation.storage.server_keys import KeyRow, OwnKeyRow
from homeserver.core import canonical_json
from homeserver.core.errors import BadJson
from homeserver.core.identifiers import ServerName
from homeserver.core.known_keys import is_known_key
from homeserver.core.signing import Signer, decode_base64, encode_base64, is_signature_valid, signed_bytes

KEYS_MAX = 100
DOCUMENT_BYTES_MAX = 65_536
VALID_AHEAD_MS_MAX = 7 * 86_400_000
# Beyond any time of ours, and well within a database's column.
_TIME_MAX = 2**53 - 1


class BadKeys(ValueError):
    """The document isn't believed; the text says why."""


@dataclass(frozen=True, slots=True)
class KeyDocument:
    """A document that the server itself signed with every key that it lists.

    `valid_until_ms` is as published; `keys` have theirs bounded to a week from the time it was read.
    """

    server_name: ServerName
    valid_until_ms: int
    keys: Mapping[str, KeyRow]
    document: Mapping[str, Any]


def parse_document(document: Any, server_name: ServerName, now_ms: int) -> KeyDocument:
    """What a server's document says. Raises BadKeys, also for one of another server. Cost: 50 µs a key."""
    if not isinstance(document, dict):
        raise BadKeys("the keys are no JSON object")
    if document.get("server_name") != server_name:
        raise BadKeys("the keys are another server's")
    until_ms = _time(document.get("valid_until_ts"), "valid_until_ts")
    believed_ms = min(until_ms, now_ms + VALID_AHEAD_MS_MAX)
    keys = {
        key_id: KeyRow(server_name, key_id, key, believed_ms, False)
        for key_id, (key, _) in _listed(document, "verify_keys").items()
    }
    if not keys:
        raise BadKeys("there is no ed25519 key")
    for key_id, (key, expired_ms) in _listed(document, "old_verify_keys").items():
        # One that is said to be over in time to come is believed no longer than one in use.
        until = min(expired_ms, now_ms + VALID_AHEAD_MS_MAX)
        keys.setdefault(key_id, KeyRow(server_name, key_id, key, until, True))
    _check_own_signatures(document, server_name, keys)
    return KeyDocument(server_name, until_ms, keys, document)


def _listed(document: Mapping[str, Any], name: str) -> dict[str, tuple[bytes, int]]:
    """The ed25519 keys of a list, with `expired_ts` where the list has it. Keys of other kinds are passed over."""
    listed = document.get(name, {})
    if not isinstance(listed, dict) or len(listed) > KEYS_MAX:
        raise BadKeys(f"{name} must be an object of at most {KEYS_MAX} keys")
    found: dict[str, tuple[bytes, int]] = {}
    for key_id, entry in listed.items():
        if not is_key_id(key_id):
            continue
        if not isinstance(entry, dict) or not isinstance(entry.get("key"), str):
            raise BadKeys(f"{name} must hold objects with a key")
        try:
            key = decode_base64(entry["key"])
        except ValueError:
            raise BadKeys(f"{key_id} is not base64") from None
        if len(key) != 32:
            raise BadKeys(f"{key_id} has {len(key)} bytes, not 32")
        if is_known_key(key):
            raise BadKeys(f"{key_id} is a key that anybody can have")
        found[key_id] = (key, _time(entry.get("expired_ts"), "expired_ts") if name == "old_verify_keys" else 0)
    return found


def _check_own_signatures(document: Mapping[str, Any], server_name: ServerName, keys: Mapping[str, KeyRow]) -> None:
    try:
        canonical_json.check_values(document)
        message = signed_bytes(document)
    except BadJson as error:
        raise BadKeys(error.message) from None
    signatures = signatures_of(document, server_name)
    for key_id, row in keys.items():
        if not row.is_old and not is_signature_valid(message, signatures.get(key_id), row.verify_key):
            raise BadKeys(f"the keys aren't signed by {key_id}")


def signatures_of(signed: Mapping[str, Any], server_name: str) -> Mapping[str, Any]:
    """A server's entry in `signatures`, or nothing where there is none of the right form."""
    signatures = signed.get("signatures")
    own = signatures.get(server_name) if isinstance(signatures, dict) else None
    return own if isinstance(own, dict) else {}


def _time(value: Any, name: str) -> int:
    if type(value) is not int or not 0 <= value <= _TIME_MAX:
        raise BadKeys(f"{name} must be a time in milliseconds")
    return value


def own_document(signer: Signer, old: list[OwnKeyRow], valid_until_ms: int) -> dict[str, Any]:
    """What we publish, signed."""
    return signer.sign_json(
        {
            # In the order of canonical JSON: some check the signature over the text as it came.
            "old_verify_keys": {
                row.key_id: {"expired_ts": row.expired_ms, "key": encode_base64(row.verify_key)}
                for row in sorted(old, key=lambda row: row.key_id)
                if row.expired_ms is not None
            },
            "server_name": signer.server_name,
            "valid_until_ts": valid_until_ms,
            "verify_keys": {signer.key_id: {"key": encode_base64(signer.verify_key)}},
        }
    )
