"""Device keys and one-time keys. spec: client-server-api/#key-management-api"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from homeserver.core import canonical_json
from homeserver.core.errors import BadJson, InvalidParam, LimitExceeded, MatrixError
from homeserver.core.identifiers import DeviceId, ServerName, UserId, domain_of, is_user_id
from homeserver.encryption.cross_signing import (
    check_made,
    check_signatures,
    check_signed_by_device,
    known_verifiers,
    merge_signatures,
)
from homeserver.encryption.device_lists import DeviceLists
from homeserver.journal.journal import Journal, JournalWrite
from homeserver.ports import RemoteKeys
from homeserver.storage import cross_signing, dehydrated_devices, device_keys, device_lists, to_device, users
from homeserver.storage.database import Database, Tx
from homeserver.storage.device_keys import ClaimedKey

DEVICE_KEYS_BYTES_MAX = 65_536
KEY_BYTES_MAX = 8_192
KEYS_PER_UPLOAD_MAX = 1_000
ONE_TIME_KEYS_MAX = 500  # of one algorithm, for one device
USERS_PER_QUERY_MAX = 5_000
CLAIMS_MAX = 5_000
COUNTS_REMEMBERED_MAX = 50_000

KeyCounts = tuple[dict[str, int], list[str]]
NamedKeys = Mapping[tuple[str, str], bytes]


class OneTimeKeys:
    """How many one-time keys each device has left: asked by every sync, so remembered."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._counts: OrderedDict[tuple[UserId, DeviceId], KeyCounts] = OrderedDict()
        self._forgotten = 0

    async def counts(self, user_id: UserId, device_id: DeviceId) -> KeyCounts:
        """(algorithm → count, algorithms whose fallback key is unused)."""
        key = (user_id, device_id)
        known = self._counts.get(key)
        if known is not None:
            return known
        before = self._forgotten
        counts = await device_keys.counts(self._db, user_id, device_id)
        # A client that sees no count for its algorithm would upload none.
        counts.setdefault("signed_curve25519", 0)
        known = counts, await device_keys.unused_fallback(self._db, user_id, device_id)
        if before == self._forgotten:
            self._counts[key] = known
            if len(self._counts) > COUNTS_REMEMBERED_MAX:
                self._counts.popitem(last=False)
        return known

    def forget(self, devices: Collection[tuple[UserId, DeviceId]]) -> None:
        """Told when keys of these devices came or went."""
        self._forgotten += 1
        for device in devices:
            self._counts.pop(device, None)


class NoRemoteKeys:
    """Implements `ports.RemoteKeys` for a server that talks with no other."""

    async def query(self, wanted: Mapping[UserId, Collection[DeviceId]]) -> dict[str, Any]:
        return {"device_keys": {}, "master_keys": {}, "self_signing_keys": {}, "failures": _unreached(wanted)}

    async def claim(self, wanted: Sequence[tuple[UserId, DeviceId, str]]) -> dict[str, Any]:
        return {"one_time_keys": {}, "failures": _unreached(user_id for user_id, _, _ in wanted)}


class Keys:
    """Takes up keys, shows them, and hands out one-time keys."""

    def __init__(
        self,
        db: Database,
        journal: Journal,
        lists: DeviceLists,
        one_time: OneTimeKeys,
        remote: RemoteKeys,
        server_name: ServerName,
    ) -> None:
        self._db = db
        self._journal = journal
        self._lists = lists
        self._one_time = one_time
        self._remote = remote
        self._server_name = server_name

    async def upload(
        self,
        user_id: UserId,
        device_id: DeviceId,
        *,
        device: Mapping[str, Any] | None,
        one_time: Mapping[str, Any],
        fallback: Mapping[str, Any],
    ) -> dict[str, int]:
        """The counts after it. Raises InvalidParam, BadJson, LimitExceeded."""
        if device is not None:
            check_device_keys(device, user_id, device_id)
        new, fallbacks = named_keys(one_time), named_keys(fallback)
        async with self._journal.write() as write:
            await self.store(write, user_id, device_id, device, new, fallbacks)
        self.forget_counts(user_id, device_id)
        return (await self._one_time.counts(user_id, device_id))[0]

    async def store(
        self,
        write: JournalWrite,
        user_id: UserId,
        device_id: DeviceId,
        device: Mapping[str, Any] | None,
        one_time: NamedKeys,
        fallback: NamedKeys,
    ) -> None:
        """Keeps checked keys, in an open transaction; `forget_counts` must follow it.

        Raises InvalidSignature for a signature that the user's key it names hasn't made.
        """
        if device is not None:
            if device["signatures"].get(user_id, {}).keys() - {f"ed25519:{device_id}"}:
                verifiers = await known_verifiers(write.tx, user_id)
                verifiers.pop(f"ed25519:{device_id}", None)  # those of before; its new keys were checked by themselves
                check_made(device, user_id, verifiers)
            kept = {key: value for key, value in device.items() if key != "unsigned"}
            # As with cross-signing keys: what others have signed comes from them.
            made = kept["signatures"].get(user_id)
            encoded = canonical_json.encode({**kept, "signatures": {user_id: made} if made else {}})
            if await device_keys.upsert(write.tx, user_id, device_id, encoded):
                # What others have signed is no longer what is there.
                await cross_signing.delete_signatures_on(write.tx, user_id, [device_id])
                await self._lists.record(write, user_id)
        fresh = await self._fresh(write.tx, user_id, device_id, one_time)
        if fresh:
            await device_keys.insert_one_time(write.tx, user_id, device_id, fresh, write.position)
        if fallback:
            await device_keys.upsert_fallback(write.tx, user_id, device_id, fallback)
        if fresh or fallback:
            write.publish("one_time_keys", user_ids=[user_id])

    def forget_counts(self, user_id: UserId, device_id: DeviceId) -> None:
        self._one_time.forget([(user_id, device_id)])

    async def record_change(self, write: JournalWrite, user_id: UserId) -> None:
        """Notes that the user's devices are others now."""
        await self._lists.record(write, user_id)

    async def query(self, viewer: UserId, wanted: Mapping[UserId, Collection[DeviceId]]) -> dict[str, Any]:
        """Device and cross-signing keys of these users; an empty collection of devices means all."""
        if len(wanted) > USERS_PER_QUERY_MAX:
            raise InvalidParam(f"at most {USERS_PER_QUERY_MAX} users can be asked for at once")
        local = [user_id for user_id in wanted if domain_of(user_id) == self._server_name]
        elsewhere = {user: devices for user, devices in wanted.items() if domain_of(user) != self._server_name}
        answer: dict[str, Any] = {"device_keys": {}, "master_keys": {}, "self_signing_keys": {}, "failures": {}}
        if elsewhere:
            answer |= await self._remote.query(elsewhere)
        devices: dict[UserId, dict[str, Any]] = {user_id: {} for user_id in local}
        for row in await device_keys.of_users(self._db, local):
            if not wanted[row.user_id] or row.device_id in wanted[row.user_id]:
                keys = canonical_json.decode(row.keys)
                keys["unsigned"] = {"device_display_name": row.display_name} if row.display_name else {}
                devices[row.user_id][row.device_id] = keys
        usages = await cross_signing.of_users(self._db, local)
        signatures = await cross_signing.signatures_of(self._db, [*local, *elsewhere], viewer)
        answer["device_keys"] |= devices
        for usage, name in (("master", "master_keys"), ("self_signing", "self_signing_keys")):
            answer[name] |= {
                user_id: canonical_json.decode(found[usage]) for user_id, found in usages.items() if usage in found
            }
        own = usages.get(viewer, {}).get("user_signing")
        answer["user_signing_keys"] = {viewer: canonical_json.decode(own)} if own is not None else {}
        merge_signatures(answer, signatures)
        return answer

    async def claim(self, wanted: Sequence[tuple[UserId, DeviceId, str]]) -> dict[str, Any]:
        """One one-time key for each (user, device, algorithm), or the fallback key. Each is handed out once."""
        if len(wanted) > CLAIMS_MAX:
            raise InvalidParam(f"at most {CLAIMS_MAX} keys can be claimed at once")
        local = [item for item in wanted if domain_of(item[0]) == self._server_name]
        elsewhere = [item for item in wanted if domain_of(item[0]) != self._server_name]
        async with self._journal.write() as write:
            claimed = await device_keys.claim(write.tx, local) if local else []
            have = {(key.user_id, key.device_id, key.algorithm) for key in claimed}
            rest = [item for item in local if item not in have]
            claimed += await device_keys.use_fallback(write.tx, rest) if rest else []
            write.publish("one_time_keys", user_ids=sorted({key.user_id for key in claimed}))
        self._one_time.forget([(key.user_id, key.device_id) for key in claimed])
        answer = await self._remote.claim(elsewhere) if elsewhere else {"one_time_keys": {}, "failures": {}}
        answer["one_time_keys"] |= _by_device(claimed)
        return answer

    async def is_known(self, user_id: UserId) -> bool:
        """Whether there is such a user here."""
        return await users.by_id(self._db, user_id) is not None

    async def list_version(self, user_id: UserId) -> int:
        """A number that grows with each change of the user's devices or keys."""
        return await device_lists.position(self._db, user_id)

    async def devices_deleted(self, tx: Tx, user_id: UserId, device_ids: Sequence[DeviceId]) -> None:
        """Deletes what these devices published and what waits for them. An observer of sessions."""
        await device_keys.delete(tx, user_id, device_ids)
        await to_device.delete(tx, user_id, device_ids)
        await cross_signing.delete_signatures_on(tx, user_id, device_ids)
        await dehydrated_devices.delete_these(tx, user_id, device_ids)
        self._one_time.forget([(user_id, device_id) for device_id in device_ids])

    async def _fresh(
        self, tx: Tx, user_id: UserId, device_id: DeviceId, new: Mapping[tuple[str, str], bytes]
    ) -> dict[tuple[str, str], bytes]:
        """Those that aren't there yet. Raises InvalidParam for another key under a name that is in use."""
        if not new:
            return {}
        # One upload after the other: two at once would pass the cap, and lose a key without a word.
        await device_keys.lock(tx, user_id, device_id)
        known = await device_keys.known_one_time(tx, user_id, device_id, [name[1] for name in new])
        for name, key in new.items():
            if name in known and canonical_json.decode(known[name]) != canonical_json.decode(key):
                raise InvalidParam(f"the one-time key {name[0]}:{name[1]} exists already, with another value")
        fresh = {name: key for name, key in new.items() if name not in known}
        counts = Counter(await device_keys.counts(tx, user_id, device_id))
        counts.update(Counter(algorithm for algorithm, _ in fresh))
        if fresh and max(counts.values()) > ONE_TIME_KEYS_MAX:
            raise LimitExceeded(
                f"a device may have {ONE_TIME_KEYS_MAX} one-time keys of an algorithm", retry_after_ms=60_000
            )
        return fresh


def _unreached(users: Iterable[UserId]) -> dict[str, Any]:
    servers = sorted({domain_of(user_id) for user_id in users})
    return {server: {"errcode": "M_UNKNOWN", "error": "not reached"} for server in servers}


def check_device_keys(keys: Mapping[str, Any], user_id: UserId, device_id: DeviceId) -> None:
    """Raises InvalidParam or BadJson unless these are this device's own keys, in the form that the spec gives.

    Raises InvalidSignature unless the device itself has signed them.
    """
    if keys.get("user_id") != user_id or keys.get("device_id") != device_id:
        raise InvalidParam("device_keys must be those of the device that uploads them")
    for name in ("keys", "signatures"):
        if not isinstance(keys.get(name), dict):
            raise BadJson(f"device_keys.{name} must be an object")
    if not isinstance(keys.get("algorithms"), list):
        raise BadJson("device_keys.algorithms must be a list")
    if not all(isinstance(value, str) for value in (*keys["keys"].values(), *keys["algorithms"])):
        raise BadJson("device_keys.keys and .algorithms must hold strings")
    if not all(name.endswith(f":{device_id}") for name in keys["keys"]):
        raise InvalidParam("device_keys.keys must be named algorithm:device_id")
    check_signatures(keys["signatures"])
    canonical_json.check_values(dict(keys))
    if len(canonical_json.encode(keys)) > DEVICE_KEYS_BYTES_MAX:
        raise MatrixError(f"device_keys may have {DEVICE_KEYS_BYTES_MAX} bytes", errcode="M_TOO_LARGE", status=413)
    check_signed_by_device(keys, user_id, device_id)


def parse_users(value: object) -> UserId:
    """A user id used as a key of an object. Raises InvalidParam."""
    if not is_user_id(value):
        raise InvalidParam("the keys must be user ids")
    return UserId(str(value))


def named_keys(keys: Mapping[str, Any]) -> dict[tuple[str, str], bytes]:
    """(algorithm, key id) → key, from `algorithm:id` → key. Raises InvalidParam, BadJson, MatrixError (M_TOO_LARGE)."""
    if len(keys) > KEYS_PER_UPLOAD_MAX:
        raise InvalidParam(f"at most {KEYS_PER_UPLOAD_MAX} keys can be uploaded at once")
    found: dict[tuple[str, str], bytes] = {}
    for name, key in keys.items():
        algorithm, colon, key_id = name.partition(":")
        if not colon or not algorithm or not 0 < len(key_id) <= 255 or len(algorithm) > 255 or "\x00" in name:
            raise InvalidParam("keys must be named algorithm:id")
        if not isinstance(key, str | dict):
            raise BadJson("a key must be a string or an object")
        if isinstance(key, dict):
            if not isinstance(key.get("key"), str):
                raise BadJson("a signed key must have a string `key`")
            check_signatures(key.get("signatures"))
        canonical_json.check_values(key)
        found[algorithm, key_id] = canonical_json.encode(key)
        if len(found[algorithm, key_id]) > KEY_BYTES_MAX:
            raise MatrixError(f"a key may have {KEY_BYTES_MAX} bytes", errcode="M_TOO_LARGE", status=413)
    return found


def _by_device(claimed: Sequence[ClaimedKey]) -> dict[str, dict[str, dict[str, Any]]]:
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for key in claimed:
        device = found.setdefault(key.user_id, {}).setdefault(key.device_id, {})
        device[f"{key.algorithm}:{key.key_id}"] = canonical_json.decode(key.key)
    return found
