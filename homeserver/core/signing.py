"""Signing JSON and checking signatures. spec: appendices/#signing-json"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey

from homeserver.core import canonical_json
from homeserver.core.identifiers import ServerName

_UNSIGNED_KEYS = ("signatures", "unsigned")


def encode_base64(data: bytes) -> str:
    """Unpadded base64. spec: appendices/#unpadded-base64"""
    return base64.b64encode(data).rstrip(b"=").decode("ascii")


def encode_base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def decode_base64(text: str) -> bytes:
    """Decodes unpadded or padded base64, of either alphabet. Raises ValueError."""
    standard = text.replace("-", "+").replace("_", "/").rstrip("=")
    try:
        return base64.b64decode(standard + "=" * (-len(standard) % 4), validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise ValueError("not base64") from error


class Signer:
    """A server's signing key, ready to sign. `key_id` is like `ed25519:a_1`.

    `policy` is the key of the same server as a policy server, where it is one.
    """

    __slots__ = ("_key", "key_id", "policy", "server_name")

    def __init__(self, server_name: ServerName, key_id: str, seed: bytes) -> None:
        self.server_name = server_name
        self.key_id = key_id
        self._key = SigningKey(seed)
        self.policy: Signer | None = None

    def __repr__(self) -> str:
        return f"Signer({self.server_name!r}, {self.key_id!r})"

    def named(self, key_id: str) -> Signer:
        """The same key under another id."""
        return Signer(self.server_name, key_id, bytes(self._key))

    @property
    def verify_key(self) -> bytes:
        return bytes(self._key.verify_key)

    def signature(self, message: bytes) -> str:
        """The unpadded base64 signature of these bytes. About 20 µs."""
        return encode_base64(self._key.sign(message).signature)

    def sign_json(self, value: dict[str, Any]) -> dict[str, Any]:
        """A copy of this object with our signature added beside those it has."""
        signature = self.signature(signed_bytes(value))
        signatures = {name: dict(keys) for name, keys in value.get("signatures", {}).items()}
        signatures.setdefault(self.server_name, {})[self.key_id] = signature
        return {**value, "signatures": signatures}


def signed_bytes(value: Mapping[str, Any]) -> bytes:
    """What a signature of this JSON object covers: all but `signatures` and `unsigned`, canonical."""
    return canonical_json.encode({key: item for key, item in value.items() if key not in _UNSIGNED_KEYS})


def is_signature_valid(message: bytes, signature: object, verify_key: bytes) -> bool:
    """Whether the base64 signature is this key's, over these bytes. Never raises; about 50 µs."""
    if not isinstance(signature, str) or len(verify_key) != 32:
        return False
    try:
        VerifyKey(verify_key).verify(message, decode_base64(signature))
    except (BadSignatureError, ValueError, TypeError):
        return False
    return True
