"""Matrix identifiers and their grammar. spec: appendices/#common-identifier-format

Types are `NewType`s over `str`: a value of type `UserId` has passed `parse_user_id` (or was made by us).
"""

from __future__ import annotations

import re
from typing import NewType

from homeserver.core.errors import InvalidParam

UserId = NewType("UserId", str)
RoomId = NewType("RoomId", str)
RoomAlias = NewType("RoomAlias", str)
EventId = NewType("EventId", str)
DeviceId = NewType("DeviceId", str)
ServerName = NewType("ServerName", str)

ID_BYTES_MAX = 255
# The value of an opaque id that is ours to bound: device ids, transaction ids, filter ids and the like.
OPAQUE_BYTES_MAX = 255

_MXC = re.compile(r"mxc://[0-9A-Za-z.:\[\]-]{1,255}/[0-9A-Za-z_-]{1,255}", re.ASCII)
_SERVER_NAME = re.compile(
    r"(?:\d{1,3}(?:\.\d{1,3}){3}|\[[0-9A-Fa-f:.]{2,45}\]|[0-9A-Za-z.-]{1,230})(?::\d{1,5})?", re.ASCII
)
_LOCAL_LOCALPART = re.compile(r"[a-z0-9._=/+-]+", re.ASCII)
# What peers may still use: anything but a colon, NUL and lone surrogates. spec: appendices/#historical-user-ids
_HISTORICAL_LOCALPART = re.compile("[^:\x00\ud800-\udfff]*")
_OPAQUE = re.compile(r"[0-9A-Za-z._~-]+", re.ASCII)
_BASE64URL_43 = re.compile(r"[0-9A-Za-z_-]{43}", re.ASCII)


def is_mxc(value: str) -> bool:
    """Whether this is the URI of a file, with nothing in it that a path could take for more.

    spec: client-server-api/#matrix-content-mxc-uris
    """
    return len(value) <= 520 and _MXC.fullmatch(value) is not None


def is_server_name(value: str) -> bool:
    """Whether this is a server name by the spec's grammar. spec: appendices/#server-name"""
    return len(value) <= ID_BYTES_MAX and _SERVER_NAME.fullmatch(value) is not None


def _fits(value: str) -> bool:
    return len(value) <= ID_BYTES_MAX and len(value.encode("utf-8", "surrogatepass")) <= ID_BYTES_MAX


def is_user_id(value: object) -> bool:
    """Whether this is a user id, historical localparts included. spec: appendices/#user-identifiers"""
    if not isinstance(value, str) or not value.startswith("@") or not _fits(value):
        return False
    localpart, colon, server = value[1:].partition(":")
    return bool(colon) and _HISTORICAL_LOCALPART.fullmatch(localpart) is not None and is_server_name(server)


def is_room_id(value: object) -> bool:
    """Whether this is a room id: opaque, with a server name (versions 1–11) or 43 base64url characters (12)."""
    if not isinstance(value, str) or not value.startswith("!") or not _fits(value) or "\x00" in value:
        return False
    opaque, colon, server = value[1:].partition(":")
    if not colon:
        return _BASE64URL_43.fullmatch(opaque) is not None
    return bool(opaque) and is_server_name(server)


def is_room_alias(value: object) -> bool:
    if not isinstance(value, str) or not value.startswith("#") or not _fits(value):
        return False
    localpart, colon, server = value[1:].partition(":")
    if not colon or not localpart or any(char in "\x00\n\r\t " for char in localpart):
        return False
    return is_server_name(server)


def is_event_id(value: object) -> bool:
    if not isinstance(value, str) or not value.startswith("$") or len(value) < 2 or not _fits(value):
        return False
    return not any(char in "\x00\n\r\t " for char in value)


def parse_user_id(value: object) -> UserId:
    """Raises InvalidParam if it is not a user id."""
    if not is_user_id(value):
        raise InvalidParam("user_id must look like @localpart:server.name")
    return UserId(str(value))


def parse_room_id(value: object) -> RoomId:
    if not is_room_id(value):
        raise InvalidParam("room_id must look like !opaque:server.name or !base64url")
    return RoomId(str(value))


def parse_room_alias(value: object) -> RoomAlias:
    if not is_room_alias(value):
        raise InvalidParam("a room alias must look like #name:server.name")
    return RoomAlias(str(value))


def parse_event_id(value: object) -> EventId:
    if not is_event_id(value):
        raise InvalidParam("event_id must look like $opaque")
    return EventId(str(value))


def parse_server_name(value: object) -> ServerName:
    if not isinstance(value, str) or not is_server_name(value):
        raise InvalidParam("not a server name")
    return ServerName(value)


def domain_of(identifier: str) -> ServerName:
    """What stands after the first colon; empty for ids that have none (room version 12's room ids)."""
    return ServerName(identifier.partition(":")[2])


def localpart_of(identifier: str) -> str:
    return identifier[1:].partition(":")[0]


def is_new_localpart(value: str) -> bool:
    """Whether we would make an account of this name: the strict grammar, without the historical characters."""
    return _LOCAL_LOCALPART.fullmatch(value) is not None


def is_opaque_id(value: str) -> bool:
    """spec: appendices/#opaque-identifiers"""
    return 1 <= len(value) <= OPAQUE_BYTES_MAX and _OPAQUE.fullmatch(value) is not None
