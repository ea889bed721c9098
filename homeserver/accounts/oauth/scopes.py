"""Scopes. spec: client-server-api/#scope"""

from __future__ import annotations

import re

from homeserver.accounts.oauth.errors import OAuthError
from homeserver.core.identifiers import DeviceId

API = ("urn:matrix:client:api:*", "urn:matrix:org.matrix.msc2967.client:api:*")
_DEVICE = re.compile(
    r"urn:matrix:(?:client|org\.matrix\.msc2967\.client):device:([\x21\x23-\x5b\x5d-\x7e]{1,255})", re.ASCII
)
SCOPE_CHARS_MAX = 2_000


def device_of(scope: str) -> DeviceId:
    """The device that a scope asks for, with full access. Raises OAuthError (invalid_scope)."""
    tokens = scope.split(" ") if len(scope) <= SCOPE_CHARS_MAX else []
    devices = [match[1] for token in tokens if (match := _DEVICE.fullmatch(token))]
    if not any(token in API for token in tokens) or len(set(devices)) != 1:
        raise OAuthError("invalid_scope", "the scope must name full access to the client API, and one device")
    return DeviceId(devices[0])


def scope_of(device_id: DeviceId) -> str:
    """The scope that a session has."""
    return f"{API[0]} urn:matrix:client:device:{device_id}"
