"""The file that holds the server's signing key: `ed25519 VERSION BASE64SEED`, one line, readable by its owner only."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from homeserver.core.identifiers import ServerName
from homeserver.core.known_keys import is_known_key
from homeserver.core.signing import Signer, decode_base64, encode_base64
from homeserver.runtime.ids import Randomness

_SEED_BYTES = 32


class WrongSigningKey(Exception):
    """The key file can't be used: the text says why and what would be right."""


@dataclass(frozen=True, slots=True)
class Rotation:
    """Key ids, and where the old key lies now."""

    old_key_id: str
    new_key_id: str
    kept_at: Path


def load_signer(path: Path, server_name: ServerName, randomness: Randomness) -> Signer:
    """The signer of this server's key; makes the file at the first start. Raises WrongSigningKey."""
    if not path.exists():
        _make(path, randomness)
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise WrongSigningKey(f"{path} can be read by others: type `chmod 600 {path}`")
    words = path.read_text("ascii", errors="replace").split()
    try:
        kind, version, seed = words[:3]
        decoded = decode_base64(seed)
    except ValueError:
        raise WrongSigningKey(f"{path} must hold one line like `ed25519 a_1 BASE64`") from None
    if kind != "ed25519" or len(decoded) != _SEED_BYTES or not version.replace("_", "").isalnum():
        raise WrongSigningKey(f"{path} must hold an ed25519 key of {_SEED_BYTES} bytes")
    signer = Signer(server_name, f"ed25519:{version}", decoded)
    if is_known_key(signer.verify_key):
        raise WrongSigningKey(f"the key in {path} is not random or was published: move it away, a new one is made")
    return signer


def rotate(path: Path, server_name: ServerName, randomness: Randomness) -> Rotation:
    """Puts a new key in the place of the one in use, which is kept beside it; never is there none.

    A server that runs goes on with the old key until it is started again; then it publishes the old one as over.
    Raises WrongSigningKey, also where there is no key yet.
    """
    if not path.exists():
        raise WrongSigningKey(f"there is no key at {path}: the first start makes one")
    old = load_signer(path, server_name, randomness)
    made = path.with_name(f"{path.name}.new")
    # What a rotation that was cut off left is nobody's key.
    made.unlink(missing_ok=True)
    # Longer than the first key's: a version that was in use before must not come again.
    _make(made, randomness, letters=10)
    kept = path.with_name(f"{path.name}.{old.key_id.removeprefix('ed25519:')}")
    if not kept.exists():
        os.link(path, kept)
    os.replace(made, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return Rotation(old.key_id, load_signer(path, server_name, randomness).key_id, kept)


def _make(path: Path, randomness: Randomness, *, letters: int = 4) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    line = f"ed25519 a_{randomness.letters(letters)} {encode_base64(randomness.bytes(_SEED_BYTES))}\n"
    made = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(made, "w") as file:
        file.write(line)
        file.flush()
        os.fsync(file.fileno())
