"""Cross-signing keys, and the signatures put on keys. spec: client-server-api/#cross-signing"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from homeserver.core import canonical_json
from homeserver.core.errors import BadJson, InvalidParam, MatrixError
from homeserver.core.identifiers import DeviceId, UserId, domain_of
from homeserver.core.signing import decode_base64, is_signature_valid, signed_bytes
from homeserver.encryption.device_lists import DeviceLists
from homeserver.journal.journal import Journal
from homeserver.ports import RemoteKeys
from homeserver.storage import cross_signing, device_keys
from homeserver.storage.cross_signing import Signature
from homeserver.storage.database import Database, Reader

USAGES = {"master_key": "master", "self_signing_key": "self_signing", "user_signing_key": "user_signing"}
KEY_BYTES_MAX = 65_536
SIGNATURES_PER_UPLOAD_MAX = 5_000


class InvalidSignature(MatrixError):
    errcode, status = "M_INVALID_SIGNATURE", 400


class CrossSigning:
    """Takes up a user's cross-signing keys and the signatures that users make."""

    def __init__(self, db: Database, journal: Journal, lists: DeviceLists, remote: RemoteKeys) -> None:
        self._db = db
        self._journal = journal
        self._lists = lists
        self._remote = remote

    async def is_first_or_same(self, user_id: UserId, keys: Mapping[str, dict[str, Any]]) -> bool:
        """Whether this upload needs no further authentication: the user has no keys yet, or they are these."""
        known = (await cross_signing.of_users(self._db, [user_id])).get(user_id, {})
        if "master" not in known:
            return True
        return all(
            usage in known and canonical_json.decode(known[usage]).get("keys") == keys[name].get("keys")
            for name, usage in USAGES.items()
            if name in keys
        )

    async def upload(self, user_id: UserId, keys: Mapping[str, dict[str, Any]]) -> None:
        """Raises InvalidParam for a wrong form; InvalidSignature where the master key hasn't signed the others, and for
        a signature that the key it names hasn't made."""
        known = (await cross_signing.of_users(self._db, [user_id])).get(user_id, {})
        for name, key in keys.items():
            _check_key(key, user_id, USAGES[name])
        master = keys.get("master_key") or (canonical_json.decode(known["master"]) if "master" in known else None)
        if master is None:
            raise MatrixError("a master key must come first", errcode="M_MISSING_PARAM")
        for name in ("self_signing_key", "user_signing_key"):
            if name in keys:
                _check_signed(keys[name], user_id, master)
        verifiers = await known_verifiers(self._db, user_id)
        verifiers |= {f"ed25519:{public}": public for key in keys.values() if (public := _public_key(key)) is not None}
        for key in keys.values():
            check_made(key, user_id, verifiers)
        async with self._journal.write() as write:
            if "master_key" in keys and keys["master_key"].get("keys") != (_decode(known.get("master")) or {}).get(
                "keys"
            ):
                # What the old master key has signed is no longer this user's.
                await cross_signing.delete(write.tx, user_id)
            for name, key in keys.items():
                await cross_signing.upsert(write.tx, user_id, USAGES[name], canonical_json.encode(_own(key, user_id)))
            await self._lists.record(write, user_id)

    async def add_signatures(
        self, user_id: UserId, body: Mapping[UserId, Mapping[str, Any]]
    ) -> dict[str, dict[str, Any]]:
        """Keeps the signatures that are right; what was wrong with the others: user → key → error.

        Master keys of users elsewhere are asked for where they aren't known. What is checked is so in a thread.
        """
        if sum(len(found) for found in body.values()) > SIGNATURES_PER_UPLOAD_MAX:
            raise InvalidParam(f"at most {SIGNATURES_PER_UPLOAD_MAX} keys can be signed at once")
        usages = await cross_signing.of_users(self._db, [user_id, *body])
        away = {target: () for target in body if domain_of(target) != domain_of(user_id)}
        known = _Known(
            own=usages.get(user_id, {}),
            devices={row.device_id: row.keys for row in await device_keys.of_users(self._db, [user_id])},
            masters={user: found["master"] for user, found in usages.items() if "master" in found},
            elsewhere=(await self._remote.query(away))["master_keys"] if away else {},
        )
        good, failures = await asyncio.to_thread(_checked, user_id, body, known)
        if good:
            async with self._journal.write() as write:
                await cross_signing.upsert_signatures(write.tx, good, write.position)
                if any(signature.target_user == user_id for signature in good):
                    await self._lists.record(write, user_id)
                else:  # whom one has verified is told to nobody but one's own devices
                    write.publish("device_list", user_ids=[user_id])
        return failures


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """What signatures of a user are held against: their own keys, and the master keys of those whose keys they sign."""

    own: Mapping[str, bytes]
    devices: Mapping[DeviceId, bytes]
    masters: Mapping[UserId, bytes]
    elsewhere: Mapping[UserId, dict[str, Any]]

    def master(self, target: UserId) -> dict[str, Any] | None:
        return _decode(self.masters.get(target)) or self.elsewhere.get(target)


def _checked(
    signer: UserId, body: Mapping[UserId, Mapping[str, Any]], known: _Known
) -> tuple[list[Signature], dict[str, dict[str, Any]]]:
    """The signatures that are right, and what is wrong with the others. About 150 µs a key."""
    by_user, by_self = (_verifier(_decode(known.own.get(usage))) for usage in ("user_signing", "self_signing"))
    devices = {device: canonical_json.decode(keys) for device, keys in known.devices.items()}
    by_devices = {f"ed25519:{device}": _device_key(keys, device) for device, keys in devices.items()}
    good: list[Signature] = []
    failures: dict[str, dict[str, Any]] = {}
    for target, signed_keys in body.items():
        master = known.master(target)
        for name, signed in signed_keys.items():
            try:
                if master is not None and name == _public_key(master):
                    verifiers, base = by_devices if target == signer else by_user, master
                elif target == signer and DeviceId(name) in devices:
                    verifiers, base = by_self, devices[DeviceId(name)]
                else:
                    raise MatrixError("there is no such key", errcode="M_NOT_FOUND", status=404)
                good += _signatures(signer, target, name, signed, verifiers, base)
            except MatrixError as error:
                failures.setdefault(target, {})[name] = error.body()
    return good, failures


def _signatures(
    signer: UserId,
    target: UserId,
    name: str,
    signed: Any,
    verifiers: Mapping[str, str | None],
    base: Mapping[str, Any],
) -> Iterable[Signature]:
    """The signatures of `signer` on one key of `target`. Raises MatrixError for what is wrong with them."""
    if not isinstance(signed, dict):
        raise InvalidParam("a signed key must be an object")
    if signed_bytes(signed) != signed_bytes(base):
        raise InvalidParam("what was signed is not the key that was uploaded")
    made = signed.get("signatures", {}).get(signer) if isinstance(signed.get("signatures"), dict) else None
    found = []
    for key_id, signature in made.items() if isinstance(made, dict) else ():
        verify_key = verifiers.get(key_id)
        if verify_key is None:
            continue
        if not is_signature_valid(signed_bytes(signed), signature, _decoded(verify_key)):
            raise InvalidSignature(f"the signature by {key_id} is wrong")
        found.append(Signature(signer, key_id, target, name, signature))
    if not found:
        raise InvalidSignature("there is no signature by a key that may sign this")
    return found


def check_signatures(signatures: Any) -> None:
    """Raises BadJson unless these are signatures by user and key id."""
    if not isinstance(signatures, dict) or not all(
        isinstance(made, dict) and all(isinstance(signature, str) for signature in made.values())
        for made in signatures.values()
    ):
        raise BadJson("signatures must be objects of strings by user id")


def check_signed_by_device(keys: Mapping[str, Any], user_id: UserId, device_id: DeviceId) -> None:
    """Raises InvalidSignature for keys whose signature by the device's own Ed25519 key is wrong.

    Keys without one are let through, as everywhere: no client trusts them. spec: client-server-api/#device-keys
    """
    name = f"ed25519:{device_id}"
    signature = keys["signatures"].get(user_id, {}).get(name)
    if signature is None:
        return
    if not is_signature_valid(signed_bytes(keys), signature, _decoded(_device_key(keys, device_id))):
        raise InvalidSignature(f"device_keys must be signed by {name}")


async def known_verifiers(db: Reader, user_id: UserId) -> dict[str, str | None]:
    """By key id, the keys of a user of ours that signatures are checked by: of devices, and for cross-signing."""
    found: dict[str, str | None] = {}
    for row in await device_keys.of_users(db, [user_id]):
        found[f"ed25519:{row.device_id}"] = _device_key(canonical_json.decode(row.keys), row.device_id)
    for key in (await cross_signing.of_users(db, [user_id])).get(user_id, {}).values():
        found |= _verifier(canonical_json.decode(key))
    return found


def check_made(value: Mapping[str, Any], user_id: UserId, verifiers: Mapping[str, str | None]) -> None:
    """Raises InvalidSignature for a signature of the user by one of these keys that the key hasn't made."""
    for key_id, signature in value.get("signatures", {}).get(user_id, {}).items():
        verify_key = verifiers.get(key_id)
        if verify_key and not is_signature_valid(signed_bytes(value), signature, _decoded(verify_key)):
            raise InvalidSignature(f"the signature by {key_id} is wrong")


def without_wrong(value: dict[str, Any], user_id: UserId, signed_by: Mapping[str, Any] | None) -> dict[str, Any]:
    """The key without what `signed_by`, a cross-signing key of its owner, is said to have signed and hasn't."""
    try:
        check_made(value, user_id, _verifier(signed_by))
    except InvalidSignature:
        made = {name: one for name, one in value["signatures"][user_id].items() if name not in _verifier(signed_by)}
        return {**value, "signatures": {**value["signatures"], user_id: made}}
    return value


def _own(key: Mapping[str, Any], user_id: UserId) -> dict[str, Any]:
    """The key with none but its owner's signatures: what others have signed comes from them."""
    made = key.get("signatures", {}).get(user_id)
    kept = {name: value for name, value in key.items() if name != "signatures"}
    return {**kept, "signatures": {user_id: made}} if made else kept


def _check_key(key: Mapping[str, Any], user_id: UserId, usage: str) -> None:
    if key.get("user_id") != user_id:
        raise InvalidParam("a cross-signing key must be one's own")
    if not isinstance(key.get("usage"), list) or usage not in key["usage"]:
        raise InvalidParam(f"usage must hold {usage}")
    if _public_key(key) is None or len(_decoded(_public_key(key))) != 32:
        raise InvalidParam("keys must hold exactly one ed25519 key")
    check_signatures(key.get("signatures", {}))
    canonical_json.check_values(dict(key))
    if len(canonical_json.encode(key)) > KEY_BYTES_MAX:
        raise MatrixError(f"a key may have {KEY_BYTES_MAX} bytes", errcode="M_TOO_LARGE", status=413)


def _check_signed(key: Mapping[str, Any], user_id: UserId, master: Mapping[str, Any]) -> None:
    public = _public_key(master)
    signatures = key.get("signatures", {}).get(user_id)
    signature = signatures.get(f"ed25519:{public}") if isinstance(signatures, dict) else None
    if not is_signature_valid(signed_bytes(key), signature, _decoded(public)):
        raise InvalidSignature("the key must be signed by the master key")


def _public_key(key: Mapping[str, Any]) -> str | None:
    """The one ed25519 key of a cross-signing key, named by itself."""
    keys = key.get("keys")
    if not isinstance(keys, dict) or len(keys) != 1:
        return None
    ((name, value),) = keys.items()
    return value if isinstance(value, str) and name == f"ed25519:{value}" else None


def _device_key(keys: Mapping[str, Any], device_id: DeviceId) -> str | None:
    value = keys.get("keys", {}).get(f"ed25519:{device_id}")
    return value if isinstance(value, str) else None


def _verifier(key: Mapping[str, Any] | None) -> dict[str, str | None]:
    public = _public_key(key) if key is not None else None
    return {f"ed25519:{public}": public} if public is not None else {}


def _decode(key: bytes | None) -> dict[str, Any] | None:
    value: dict[str, Any] | None = canonical_json.decode(key) if key is not None else None
    return value


def _decoded(text: str | None) -> bytes:
    try:
        return decode_base64(text or "")
    except ValueError:
        return b""


def merge_signatures(answer: Mapping[str, Any], signatures: Sequence[Signature]) -> None:
    """Puts signatures that were uploaded apart into the keys of a query's answer."""
    for signature in signatures:
        target = answer["device_keys"].get(signature.target_user, {}).get(signature.target_key)
        if target is None:
            master = answer["master_keys"].get(signature.target_user)
            target = master if master is not None and _public_key(master) == signature.target_key else None
        if target is None:
            continue
        made = target.setdefault("signatures", {}).setdefault(signature.signer, {})
        made[signature.signing_key_id] = signature.signature
