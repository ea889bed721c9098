"""Keys of devices and users, and messages to devices. spec: client-server-api/#end-to-end-encryption"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from homeserver.accounts.oauth.browser import CrossSigningResets
from homeserver.accounts.uia import OAUTH, Challenge, Uia
from homeserver.core.errors import BadJson, Forbidden, InvalidParam
from homeserver.core.identifiers import DeviceId, UserId
from homeserver.encryption.cross_signing import USAGES, CrossSigning
from homeserver.encryption.device_lists import DeviceLists
from homeserver.encryption.keys import Keys, parse_users
from homeserver.encryption.to_device import ToDevice
from homeserver.sync.token import parse_token
from homeserver.web.endpoint import Access, Caller, Json, endpoint

_BASES = ("/_matrix/client/v3", "/_matrix/client/r0", "/_matrix/client/unstable")
BODY_BYTES_MAX = 8 * 1024 * 1024


def _paths(tail: str) -> tuple[str, ...]:
    return tuple(base + tail for base in _BASES)


class UploadBody(msgspec.Struct, frozen=True):
    device_keys: dict[str, Any] | None = None
    one_time_keys: dict[str, Any] | None = None
    fallback_keys: dict[str, Any] | None = None
    legacy_fallback_keys: dict[str, Any] | None = msgspec.field(default=None, name="org.matrix.msc2732.fallback_keys")


class QueryBody(msgspec.Struct, frozen=True):
    device_keys: dict[str, Any]
    timeout: int | None = None


class ClaimBody(msgspec.Struct, frozen=True):
    one_time_keys: dict[str, dict[str, Any]]
    timeout: int | None = None


class ChangesQuery(msgspec.Struct, frozen=True):
    from_: str = msgspec.field(name="from")
    to: str


class CrossSigningBody(msgspec.Struct, frozen=True):
    master_key: dict[str, Any] | None = None
    self_signing_key: dict[str, Any] | None = None
    user_signing_key: dict[str, Any] | None = None
    auth: dict[str, Any] | None = None


class ToDeviceBody(msgspec.Struct, frozen=True):
    messages: dict[str, dict[str, dict[str, Any]]]


class KeyEndpoints:
    """/keys."""

    def __init__(
        self, keys: Keys, cross_signing: CrossSigning, device_lists: DeviceLists, uia: Uia, resets: ResetPage
    ) -> None:
        self._keys = keys
        self._cross_signing = cross_signing
        self._device_lists = device_lists
        self._uia = uia
        self._resets = resets

    @endpoint(
        "POST",
        *_paths("/keys/upload"),
        access=Access.GUEST,
        spec="client-server-api/#post_matrixclientv3keysupload",
        limit="keys_upload",
    )
    async def upload(self, caller: Caller, body: UploadBody) -> Json:
        if caller.device_id is None:
            raise InvalidParam("only devices have keys")
        counts = await self._keys.upload(
            caller.user_id,
            caller.device_id,
            device=body.device_keys or None,
            one_time=body.one_time_keys or {},
            fallback=body.fallback_keys or body.legacy_fallback_keys or {},
        )
        return {"one_time_key_counts": counts}

    @endpoint(
        "POST",
        *_paths("/keys/query"),
        access=Access.GUEST,
        spec="client-server-api/#post_matrixclientv3keysquery",
        needs_disk=False,
        compressed=True,
        limit="keys_query",
    )
    async def query(self, caller: Caller, body: QueryBody) -> Json:
        wanted: dict[UserId, list[DeviceId]] = {}
        for user_id, devices in body.device_keys.items():
            if not isinstance(devices, list) or not all(isinstance(device, str) for device in devices):
                raise BadJson("device_keys must hold lists of device ids")
            wanted[parse_users(user_id)] = [DeviceId(device) for device in devices]
        return await self._keys.query(caller.user_id, wanted)

    @endpoint(
        "POST",
        *_paths("/keys/claim"),
        access=Access.GUEST,
        spec="client-server-api/#post_matrixclientv3keysclaim",
        limit="keys_query",
    )
    async def claim(self, caller: Caller, body: ClaimBody) -> Json:
        wanted: list[tuple[UserId, DeviceId, str]] = []
        for user_id, devices in body.one_time_keys.items():
            for device_id, algorithm in devices.items():
                if not isinstance(algorithm, str) or "\x00" in algorithm + device_id:
                    raise BadJson("one_time_keys must name an algorithm for each device")
                wanted.append((parse_users(user_id), DeviceId(device_id), algorithm))
        return await self._keys.claim(wanted)

    @endpoint(
        "GET",
        *_paths("/keys/changes"),
        access=Access.USER,
        spec="client-server-api/#get_matrixclientv3keyschanges",
    )
    async def changes(self, caller: Caller, query: ChangesQuery) -> Json:
        since, upto = parse_token(query.from_).position, parse_token(query.to).position
        changed, left = await self._device_lists.changes(caller.user_id, since, upto)
        return {"changed": sorted(changed), "left": sorted(left)}

    @endpoint(
        "POST",
        *_paths("/keys/device_signing/upload"),
        access=Access.USER,
        spec="client-server-api/#post_matrixclientv3keysdevice_signingupload",
        limit="keys_upload",
    )
    async def upload_cross_signing(self, caller: Caller, body: CrossSigningBody) -> Json:
        keys = {name: key for name in USAGES if (key := getattr(body, name)) is not None}
        if not await self._cross_signing.is_first_or_same(caller.user_id, keys):
            await self._check_may_replace(caller.user_id, body.auth)
        if keys:
            await self._cross_signing.upload(caller.user_id, keys)
        return {}

    async def _check_may_replace(self, user_id: UserId, auth: dict[str, Any] | None) -> None:
        """By the password, or on our page. spec: client-server-api/#oauth-authentication"""
        if self._resets.allowed.take(user_id):
            return
        if self._resets.elsewhere is not None:
            raise _to_be_allowed(await self._resets.elsewhere())
        page = {"url": self._resets.url}
        params = {OAUTH: page, "org.matrix.cross_signing_reset": page}
        operation = "keys/device_signing/upload"
        await self._uia.require_owner(operation, auth, user_id, more=[(OAUTH,)], params=params)

    @endpoint(
        "POST",
        *_paths("/keys/signatures/upload"),
        access=Access.USER,
        spec="client-server-api/#post_matrixclientv3keyssignaturesupload",
        limit="keys_upload",
        body_bytes_max=BODY_BYTES_MAX,
    )
    async def upload_signatures(self, caller: Caller, body: Json) -> Json:
        signed: dict[UserId, dict[str, Any]] = {}
        for user_id, found in body.items():
            if not isinstance(found, dict):
                raise BadJson("the body must hold objects by user id")
            signed[parse_users(user_id)] = found
        return {"failures": await self._cross_signing.add_signatures(caller.user_id, signed)}


@dataclass(frozen=True, slots=True)
class ResetPage:
    """Where people allow that their keys are replaced, and who has."""

    allowed: CrossSigningResets
    url: str
    # The page of the service where people sign in, if that isn't us.
    elsewhere: Callable[[], Awaitable[str]] | None = None


def _to_be_allowed(url: str) -> Challenge:
    """In the form of interactive authentication, which clients know; there is no session to go on with."""
    params = {stage: {"url": url} for stage in (OAUTH, "org.matrix.cross_signing_reset")}
    hint = f"To reset your end-to-end encryption cross-signing identity, you first need to approve it at {url} and "
    flows = [{"stages": [stage]} for stage in params]
    return Challenge({"session": "dummy", "flows": flows, "params": params, "msg": hint + "then try again."})


class ToDeviceEndpoint:
    """PUT /sendToDevice."""

    def __init__(self, to_device: ToDevice) -> None:
        self._to_device = to_device

    @endpoint(
        "PUT",
        *_paths("/sendToDevice/{event_type}/{txn_id}"),
        access=Access.GUEST,
        spec="client-server-api/#put_matrixclientv3sendtodeviceeventtypetxnid",
        limit="to_device",
        body_bytes_max=BODY_BYTES_MAX,
    )
    async def send(self, caller: Caller, event_type: str, txn_id: str, body: ToDeviceBody) -> Json:
        if not 0 < len(txn_id.encode()) <= 255 or len(event_type.encode()) > 255:
            raise InvalidParam("types and transaction ids may have 255 bytes")
        messages = {parse_users(user_id): found for user_id, found in body.messages.items()}
        # Whoever is suspended may still verify devices of their own, which talk to each other this way.
        if caller.is_suspended and messages.keys() - {caller.user_id}:
            raise Forbidden("this account is suspended", errcode="M_USER_SUSPENDED")
        # With its length, so that no two types and ids come out alike.
        scoped = f"{len(event_type)} {event_type} {txn_id}"
        await self._to_device.send(caller.user_id, caller.device_id, event_type, scoped, messages)
        return {}
