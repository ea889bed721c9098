"""Cross-signing keys, and the signatures put on keys. spec: client-server-api/#cross-signing"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from homeserver.core import canonical_json
from homeserver.core.errors import BadJson, InvalidParam, MatrixError
from homeserver.core.identifiers import DeviceId, UserId
from homeserver.core.signing import decode_base64, is_signature_valid, signed_bytes
from homeserver.encryption.device_lists import DeviceLists
from homeserver.journal.journal import Journal
from homeserver.storage import cross_signing, device_keys
from homeserver.storage.cross_signing import Signature
from homeserver.storage.database import Database

USAGES = {"master_key": "master", "self_signing_key": "self_signing", "user_signing_key": "user_signing"}
KEY_BYTES_MAX = 65_536
SIGNATURES_PER_UPLOAD_MAX = 5_000


class InvalidSignature(MatrixError):
    errcode, status = "M_INVALID_SIGNATURE", 400


class CrossSigning:
    """Takes up a user's cross-signing keys and the signatures that users make."""

    def __init__(self, db: Database, journal: Journal, lists: DeviceLists) -> None:
        self._db = db
        self._journal = journal
        self._lists = lists

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
        """Raises InvalidParam for a wrong form, InvalidSignature where the master key hasn't signed the others."""
        known = (await cross_signing.of_users(self._db, [user_id])).get(user_id, {})
        for name, key in keys.items():
            _check_key(key, user_id, USAGES[name])
        master = keys.get("master_key") or (canonical_json.decode(known["master"]) if "master" in known else None)
        if master is None:
            raise MatrixError("a master key must come first", errcode="M_MISSING_PARAM")
        for name in ("self_signing_key", "user_signing_key"):
            if name in keys:
                _check_signed(keys[name], user_id, master)
        await self._check_made_by_devices(user_id, keys)
        async with self._journal.write() as write:
            if "master_key" in keys and keys["master_key"].get("keys") != (_decode(known.get("master")) or {}).get(
                "keys"
            ):
                # What the old master key has signed is no longer this user's.
                await cross_signing.delete(write.tx, user_id)
            for name, key in keys.items():
                await cross_signing.upsert(write.tx, user_id, USAGES[name], canonical_json.encode(_own(key, user_id)))
            await self._lists.record(write, user_id)

    async def _check_made_by_devices(self, user_id: UserId, keys: Mapping[str, dict[str, Any]]) -> None:
        """Raises InvalidSignature for a signature by a device of the user that the device hasn't made."""
        verifiers: dict[str, str | None] = {}
        for row in await device_keys.of_users(self._db, [user_id]):
            verifiers[f"ed25519:{row.device_id}"] = _device_key(canonical_json.decode(row.keys), row.device_id)
        for key in keys.values():
            for key_id, signature in key.get("signatures", {}).get(user_id, {}).items():
                verify_key = verifiers.get(key_id)
                if verify_key and not is_signature_valid(signed_bytes(key), signature, _decoded(verify_key)):
                    raise InvalidSignature(f"the signature by {key_id} is wrong")

    async def add_signatures(
        self, user_id: UserId, body: Mapping[UserId, Mapping[str, Any]]
    ) -> dict[str, dict[str, Any]]:
        """Keeps the signatures that are right; what was wrong with the others: user → key → error."""
        if sum(len(found) for found in body.values()) > SIGNATURES_PER_UPLOAD_MAX:
            raise InvalidParam(f"at most {SIGNATURES_PER_UPLOAD_MAX} keys can be signed at once")
        usages = await cross_signing.of_users(self._db, [user_id, *body])
        devices = {
            row.device_id: canonical_json.decode(row.keys) for row in await device_keys.of_users(self._db, [user_id])
        }
        failures: dict[str, dict[str, Any]] = {}
        good: list[Signature] = []
        for target, signed_keys in body.items():
            for name, signed in signed_keys.items():
                try:
                    good += _signatures(user_id, target, name, signed, usages, devices)
                except MatrixError as error:
                    failures.setdefault(target, {})[name] = error.body()
        if good:
            async with self._journal.write() as write:
                await cross_signing.upsert_signatures(write.tx, good, write.position)
                if any(signature.target_user == user_id for signature in good):
                    await self._lists.record(write, user_id)
                else:  # whom one has verified is told to nobody but one's own devices
                    write.publish("device_list", user_ids=[user_id])
        return failures


def _signatures(
    signer: UserId,
    target: UserId,
    name: str,
    signed: Any,
    usages: Mapping[UserId, Mapping[str, bytes]],
    devices: Mapping[DeviceId, dict[str, Any]],
) -> Iterable[Signature]:
    """The signatures of `signer` on one key of `target`. Raises MatrixError for what is wrong with them."""
    if not isinstance(signed, dict):
        raise InvalidParam("a signed key must be an object")
    own = {usage: canonical_json.decode(key) for usage, key in usages.get(signer, {}).items()}
    stored = usages.get(target, {}).get("master")
    master = canonical_json.decode(stored) if stored is not None else None
    if master is not None and name == _public_key(master):
        if target == signer:
            verifiers = {f"ed25519:{device}": _device_key(keys, device) for device, keys in devices.items()}
        else:
            verifiers = _verifier(own.get("user_signing"))
        base = master
    elif target == signer and DeviceId(name) in devices:
        verifiers, base = _verifier(own.get("self_signing")), devices[DeviceId(name)]
    else:
        raise MatrixError("there is no such key", errcode="M_NOT_FOUND", status=404)
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
