"""HTML forms as they are sent, and cookies."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qsl, urlsplit

from homeserver.core.errors import InvalidParam, TooLarge
from homeserver.web.endpoint import Request

FORM_BYTES_MAX = 65_536
FIELDS_MAX = 100
_FORM = "application/x-www-form-urlencoded"


async def read_form(request: Request) -> dict[str, str]:
    """The fields of a urlencoded body, for endpoints with `raw_body`. Raises InvalidParam, TooLarge.

    A field that comes twice is refused: whoever checks one must not be followed by whoever uses the other.
    """
    if request.headers.get("Content-Type", "").partition(";")[0].strip().lower() != _FORM:
        raise InvalidParam(f"the body must be {_FORM}")
    pieces, size = [], 0
    async for piece in request.stream():
        size += len(piece)
        if size > FORM_BYTES_MAX:
            raise TooLarge(f"a form may have {FORM_BYTES_MAX} bytes")
        pieces.append(piece)
    try:
        pairs = parse_qsl(
            b"".join(pieces).decode("utf-8"), keep_blank_values=True, max_num_fields=FIELDS_MAX, errors="strict"
        )
    except (ValueError, UnicodeDecodeError):
        raise InvalidParam("the body is no form") from None
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise InvalidParam("a field may be given once")
    if any("\x00" in text for pair in pairs for text in pair):
        raise InvalidParam("a field must not hold NUL")
    return fields


def cookie(request: Request, name: str) -> str | None:
    """One cookie's value."""
    jar: SimpleCookie = SimpleCookie()
    try:
        jar.load(request.headers.get("Cookie", "")[:8_192])
    except CookieError:
        return None
    return jar[name].value if name in jar else None


def form_code(cookie: str) -> str:
    """What a form must hold to be ours: only pages that we gave this cookie's holder know it."""
    return hashlib.sha256(f"form {cookie}".encode("utf-8", "surrogatepass")).hexdigest()


def set_cookie(
    name: str, value: str, *, path: str, is_secure: bool, lifetime_s: int | None = None, same_site: str = "Lax"
) -> str:
    """A Set-Cookie header that no script and no other site gets at; `lifetime_s=0` deletes it.

    With `same_site="Strict"` it doesn't come along either where a link of another site leads here.
    """
    parts = [f"{name}={value}", f"Path={path}", "HttpOnly", f"SameSite={same_site}"]
    if is_secure:
        parts.append("Secure")
    if lifetime_s is not None:
        parts.append(f"Max-Age={lifetime_s}")
    return "; ".join(parts)


def is_same_origin(headers: Mapping[str, str], base_url: str) -> bool:
    """Whether a form came from our own pages: browsers say so in Origin, or in Sec-Fetch-Site."""
    origin = headers.get("Origin")
    if origin is not None and origin != "null":
        return origin == base_url or urlsplit(origin).netloc == headers.get("Host")
    return headers.get("Sec-Fetch-Site", "same-origin") in ("same-origin", "none")
