"""What single values must be. Each check says what is wrong, or nothing."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from urllib.parse import urlsplit

from homeserver.core.identifiers import is_server_name, is_user_id
from homeserver.core.room_versions import ROOM_VERSIONS


def server_name(value: str) -> str | None:
    return None if is_server_name(value) else f"`{value}` is not a server name such as `example.org`"


def each(check: Callable[[str], str | None]) -> Callable[[tuple[str, ...]], str | None]:
    """The same check for every element of a list."""

    def check_all(values: tuple[str, ...]) -> str | None:
        return next((wrong for value in values if (wrong := check(value)) is not None), None)

    return check_all


def optional(check: Callable[[str], str | None]) -> Callable[[str | None], str | None]:
    """The same check for a value that may be missing."""

    def check_given(value: str | None) -> str | None:
        return None if value is None else check(value)

    return check_given


def user_id(value: str) -> str | None:
    return None if is_user_id(value) else f"`{value}` is not a user id such as `@alice:example.org`"


def room_version(value: str) -> str | None:
    return None if value in ROOM_VERSIONS else f"`{value}` is not one of the room versions {', '.join(ROOM_VERSIONS)}"


def http_url(value: str) -> str | None:
    try:
        parts = urlsplit(value)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and not parts.query and not parts.fragment
    except ValueError:
        usable = False
    return None if usable else f"`{value}` is not an address such as `https://matrix.example.org`"


def content_source(value: str) -> str | None:
    usable = re.fullmatch(r"https?://[A-Za-z0-9*.:-]+(/[A-Za-z0-9._/-]*)?", value) is not None
    return None if usable else f"`{value}` is not where a page may load from, such as `https://captcha.example.org/`"


def websocket_url(value: str) -> str | None:
    try:
        parts = urlsplit(value)
        usable = parts.scheme in ("ws", "wss") and bool(parts.hostname) and not parts.query and not parts.fragment
    except ValueError:
        usable = False
    return None if usable else f"`{value}` is not an address such as `wss://livekit.example.org`"


def socket_address(value: str) -> str | None:
    host, colon, port = value.rpartition(":")
    usable = value.startswith("unix:/") or (bool(host) and bool(colon) and port.isdecimal() and int(port) < 65_536)
    return None if usable else f"`{value}` is neither `unix:/path/of.socket` nor `host:port`"


def index_prefix(value: str) -> str | None:
    usable = 0 < len(value) <= 64 and value[0].isalnum() and set(value) <= set("abcdefghijklmnopqrstuvwxyz0123456789_-")
    return None if usable else f"`{value}` must be lower-case letters, digits, `-` and `_`, at most 64"


def ip_range(value: str) -> str | None:
    try:
        ipaddress.ip_network(value)
    except ValueError as error:
        return f"`{value}` is not an IP range such as `10.0.0.0/8` ({error})"
    return None


def turn_uri(value: str) -> str | None:
    known = value.startswith(("turn:", "turns:", "stun:", "stuns:"))
    return None if known else f"`{value}` does not begin with `turn:`, `turns:`, `stun:` or `stuns:`"
