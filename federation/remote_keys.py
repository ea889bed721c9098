"""Keys of users on other servers. spec: server-server-api/#end-to-end-encryption, #device-management

What a server said of users who share a room with ours is kept, until that server announces a change: then it is asked
for anew, all of it, so that no gap in the announcements matters. Of strangers nothing is kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import structlog

from federation.claimed_keys import belonging
from federation.client import FederationClient, FederationError, Unreachable
from federation.storage import remote_devices
from homeserver.core import canonical_json
from homeserver.core.errors import MatrixError
from homeserver.core.identifiers import DeviceId, ServerName, UserId, domain_of
from homeserver.encryption.cross_signing import check_signatures, without_wrong
from homeserver.encryption.keys import check_device_keys
from homeserver.journal.journal import Entry
from homeserver.rooms.building import Written
from homeserver.rooms.completing import Whole
from homeserver.runtime.clock import Clock
from homeserver.storage.database import Database

log = structlog.get_logger()
Json = dict[str, Any]

TIMEOUT_S = 10.0
FLUSH_S = 5.0
# All servers of a room's members may be asked at once: what each may answer has to fit into memory together.
ANSWER_BYTES_MAX = 16 * 1024 * 1024
CLAIM_BYTES_MAX = 1024 * 1024
DEVICES_PER_USER_MAX = 1_000
LIST_BYTES_MAX = 4 * 1024 * 1024
_USERS_PER_QUESTION = 250
_LISTS_AT_ONCE = 50


class RemoteKeys:
    """Implements `homeserver.ports.RemoteKeys`."""

    def __init__(self, db: Database, client: FederationClient, clock: Clock) -> None:
        self._db = db
        self._client = client
        self._clock = clock
        self._came: set[UserId] = set()

    def hear(self, entries: Sequence[Entry]) -> None:
        """A journal listener: of who comes into a room, changes may have been missed before."""
        for entry in entries:
            written = entry.payload
            if isinstance(written, Whole):
                self._came |= {user for user in written.came if domain_of(user) != self._client.server_name}
            if not isinstance(written, Written) or written.event.type != "m.room.member":
                continue
            if written.event.membership != "join" or written.membership_before == "join":
                continue
            me = self._client.server_name
            came = written.room.members if written.is_entry else {UserId(written.event.state_key or ""): "join"}
            self._came |= {user for user, membership in came.items() if membership == "join" and domain_of(user) != me}

    async def run(self) -> None:
        """One round of a background task."""
        await self._clock.sleep(FLUSH_S)
        await self._mark_old()

    async def _mark_old(self, more: Collection[UserId] = ()) -> None:
        came, self._came = self._came, set()
        users = came | set(more)
        if not users:
            return
        try:
            async with self._db.transaction() as tx:
                await remote_devices.mark_old(tx, users)
        except BaseException:
            self._came |= came  # for the next round: nobody else knows of them
            raise

    async def query(self, wanted: Mapping[UserId, Collection[DeviceId]]) -> Json:
        """As `POST /keys/query` answers: device_keys, master_keys, self_signing_keys, failures."""
        answer: Json = {"device_keys": {}, "master_keys": {}, "self_signing_keys": {}, "failures": {}}
        await self._mark_old()
        known = await remote_devices.lists(self._db, wanted)
        fresh = {user: entry for user, entry in known.items() if entry.fetched_version == entry.version and entry.keys}
        if fresh:
            # Of who is in no room with us any more, nobody tells us what changes.
            gone = fresh.keys() - await remote_devices.sharing(self._db, fresh, self._client.server_name)
            await self._mark_old(gone)
            fresh = {user: entry for user, entry in fresh.items() if user not in gone}
        found: dict[UserId, Json] = {user: canonical_json.decode(entry.keys or b"{}") for user, entry in fresh.items()}
        missing = _by_server(user for user in wanted if user not in fresh)
        fetched = await asyncio.gather(*(self._fetch(server, users) for server, users in missing.items()))
        new: dict[UserId, Json] = {}
        for server, lists in zip(missing, fetched, strict=True):
            if lists is None:
                answer["failures"][server] = {"errcode": "M_UNKNOWN", "error": "the server can't be reached"}
                stale = {user: known[user].keys for user in missing[server] if user in known}
                found |= {user: canonical_json.decode(keys) for user, keys in stale.items() if keys is not None}
            else:
                new |= lists
        await self._keep(new, {user: entry.version for user, entry in known.items()})
        for user, keys in {**found, **new}.items():
            _add(answer, user, keys, wanted[user])
        return answer

    async def claim(self, wanted: Sequence[tuple[UserId, DeviceId, str]]) -> Json:
        """As `POST /keys/claim` answers: one_time_keys, failures."""
        by_server: dict[ServerName, list[tuple[UserId, DeviceId, str]]] = {}
        for one in wanted:
            by_server.setdefault(domain_of(one[0]), []).append(one)
        answers = await asyncio.gather(*(self._claim(server, asked) for server, asked in by_server.items()))
        answer: Json = {"one_time_keys": {}, "failures": {}}
        for (server, asked), claimed in zip(by_server.items(), answers, strict=True):
            if claimed is None:
                answer["failures"][server] = {"errcode": "M_UNKNOWN", "error": "the server can't be reached"}
            else:
                answer["one_time_keys"] |= await self._belonging(asked, claimed)
        return answer

    async def _belonging(
        self, asked: Sequence[tuple[UserId, DeviceId, str]], claimed: Json
    ) -> dict[UserId, dict[DeviceId, Json]]:
        """What of the claimed keys was asked for. A query for some users each: a user's list may have megabytes."""
        found: dict[UserId, dict[DeviceId, Json]] = {}
        users = list(dict.fromkeys(user for user, _, _ in asked))
        for at in range(0, len(users), _LISTS_AT_ONCE):
            some = set(users[at : at + _LISTS_AT_ONCE])
            known = await remote_devices.lists(self._db, some)
            lists = {
                user: entry.keys
                for user, entry in known.items()
                if entry.keys is not None and entry.fetched_version == entry.version
            }
            found |= await asyncio.to_thread(belonging, [one for one in asked if one[0] in some], claimed, lists)
        return found

    async def _claim(self, server: ServerName, asked: Sequence[tuple[UserId, DeviceId, str]]) -> Json | None:
        keys: dict[UserId, dict[DeviceId, str]] = {}
        for user, device, algorithm in asked:
            keys.setdefault(user, {})[device] = algorithm
        try:
            answer = await self._client.post(
                server,
                "/_matrix/federation/v1/user/keys/claim",
                {"one_time_keys": keys},
                timeout_s=TIMEOUT_S,
                response_bytes_max=CLAIM_BYTES_MAX,
            )
        except (Unreachable, FederationError) as error:
            log.info("keys_not_claimed", server=server, error=str(error))
            return None
        return _objects(answer.get("one_time_keys"))

    async def _fetch(self, server: ServerName, users: Sequence[UserId]) -> dict[UserId, Json] | None:
        """What the server says of its users; None where it doesn't answer."""
        found: dict[UserId, Json] = {}
        for at in range(0, len(users), _USERS_PER_QUESTION):
            asked = users[at : at + _USERS_PER_QUESTION]
            try:
                answer = await self._client.post(
                    server,
                    "/_matrix/federation/v1/user/keys/query",
                    {"device_keys": {user: [] for user in asked}},
                    timeout_s=TIMEOUT_S,
                    response_bytes_max=ANSWER_BYTES_MAX,
                )
            except (Unreachable, FederationError) as error:
                log.info("keys_not_queried", server=server, error=str(error))
                return None
            found |= await asyncio.to_thread(_lists_of, answer, asked)
        return found

    async def _keep(self, new: Mapping[UserId, Json], versions: Mapping[UserId, int]) -> None:
        if not new:
            return
        sharing = await remote_devices.sharing(self._db, new, self._client.server_name)
        encoded = {user: canonical_json.encode(new[user]) for user in sharing}
        kept = {user: (versions.get(user, 0), keys) for user, keys in encoded.items() if len(keys) <= LIST_BYTES_MAX}
        if kept:
            async with self._db.transaction() as tx:
                await remote_devices.put(tx, kept)


def _by_server(users: Iterable[UserId]) -> dict[ServerName, list[UserId]]:
    found: dict[ServerName, list[UserId]] = {}
    for user in users:
        found.setdefault(domain_of(user), []).append(user)
    return found


def _objects(value: Any) -> Json:
    return value if isinstance(value, dict) else {}


def _lists_of(answer: Json, users: Sequence[UserId]) -> dict[UserId, Json]:
    """What of an answer is about these users. About 200 µs a device: not on the event loop."""
    return {user: _list_of(answer, user) for user in users}


def _list_of(answer: Json, user: UserId) -> Json:
    """What of an answer is about one user, and in the right form: the rest is dropped.

    So are signatures by the user's own cross-signing keys, as far as they are told here, that these haven't made.
    """
    devices: Json = {}
    for device, keys in list(_objects(_objects(answer.get("device_keys")).get(user)).items())[:DEVICES_PER_USER_MAX]:
        try:
            if not isinstance(keys, dict):
                continue
            check_device_keys(keys, user, DeviceId(device))
        except MatrixError:
            continue
        devices[device] = keys
    found: Json = {"devices": devices}
    for name, usage in (("master_keys", "master"), ("self_signing_keys", "self_signing")):
        key = _objects(answer.get(name)).get(user)
        if _is_cross_signing_key(key, user, usage):
            found[usage] = key
    if "self_signing" in found:
        found["self_signing"] = without_wrong(found["self_signing"], user, found.get("master"))
        found["devices"] = {name: without_wrong(keys, user, found["self_signing"]) for name, keys in devices.items()}
    return found


def _is_cross_signing_key(key: Any, user: UserId, usage: str) -> bool:
    if not isinstance(key, dict) or key.get("user_id") != user:
        return False
    usages, keys = key.get("usage"), key.get("keys")
    if not isinstance(usages, list) or usage not in usages or not isinstance(keys, dict) or len(keys) != 1:
        return False
    try:
        check_signatures(key.get("signatures", {}))
        canonical_json.check_values(key)
    except MatrixError:
        return False
    return all(isinstance(value, str) for value in keys.values()) and len(canonical_json.encode(key)) <= 65_536


def _add(answer: Json, user: UserId, keys: Json, wanted: Collection[DeviceId]) -> None:
    devices = keys.get("devices", {})
    answer["device_keys"][user] = {device: devices[device] for device in devices if not wanted or device in wanted}
    for name, usage in (("master_keys", "master"), ("self_signing_keys", "self_signing")):
        if usage in keys:
            answer[name][user] = keys[usage]
