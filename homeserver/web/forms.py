"""HTML forms as they are sent, and cookies."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import Message
from email.parser import HeaderParser
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qsl, urlsplit

from homeserver.core.errors import InvalidParam, TooLarge
from homeserver.web.endpoint import Request

FORM_BYTES_MAX = 65_536
FIELDS_MAX = 100
_HEAD_BYTES_MAX = 4_096
_FORM = "application/x-www-form-urlencoded"
_FORM_WITH_FILE = "multipart/form-data"
# spec: RFC 2046, section 5.1.1; browsers use letters, digits and dashes.
_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,./:=?-]{1,70}", re.ASCII)


@dataclass(frozen=True, slots=True)
class SentFile:
    """A file of a form: its bytes, and the type that the browser says it has."""

    content: bytes
    content_type: str


async def read_form(request: Request) -> dict[str, str]:
    """The fields of a urlencoded body, for endpoints with `raw_body`. Raises InvalidParam, TooLarge.

    A field that comes twice is refused: whoever checks one must not be followed by whoever uses the other.
    """
    if request.headers.get("Content-Type", "").partition(";")[0].strip().lower() != _FORM:
        raise InvalidParam(f"the body must be {_FORM}")
    body = await _read(request, FORM_BYTES_MAX)
    try:
        pairs = parse_qsl(body.decode("utf-8"), keep_blank_values=True, max_num_fields=FIELDS_MAX, errors="strict")
    except (ValueError, UnicodeDecodeError):
        raise InvalidParam("the body is no form") from None
    return _fields(pairs)


async def read_form_with_file(
    request: Request, name: str, *, file_bytes_max: int
) -> tuple[dict[str, str], SentFile | None]:
    """The fields of a multipart body, and the file of this name if one was chosen. Raises InvalidParam, TooLarge.

    All of it is in memory: for small files. spec: RFC 7578
    """
    kind = Message()
    kind["Content-Type"] = request.headers.get("Content-Type", "")
    boundary = kind.get_boundary("")
    if kind.get_content_type() != _FORM_WITH_FILE or _BOUNDARY.fullmatch(boundary) is None:
        raise InvalidParam(f"the body must be {_FORM_WITH_FILE}")
    body = await _read(request, FORM_BYTES_MAX + file_bytes_max)
    # A few milliseconds for megabytes.
    pairs, file = await asyncio.to_thread(_parts, body, boundary.encode(), name)
    if file is not None and len(file.content) > file_bytes_max:
        raise TooLarge(f"a file may have {file_bytes_max} bytes")
    return _fields(pairs), file


def _parts(body: bytes, boundary: bytes, name: str) -> tuple[list[tuple[str, str]], SentFile | None]:
    pieces = (b"\r\n" + body).split(b"\r\n--" + boundary, FIELDS_MAX + 1)
    if len(pieces) < 2 or pieces[-1].rstrip(b"\r\n") != b"--":
        raise InvalidParam("the body is no form")
    pairs: list[tuple[str, str]] = []
    file: SentFile | None = None
    for piece in pieces[1:-1]:
        head, separator, content = piece.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        if not separator or len(head) > _HEAD_BYTES_MAX:
            raise InvalidParam("the body is no form")
        try:
            said = HeaderParser().parsestr(head.decode("utf-8"))
            field = said.get_param("name", header="content-disposition")
            if field == name:
                if file is not None:
                    raise InvalidParam("a field may be given once")
                file = SentFile(content, said.get_content_type())
            elif isinstance(field, str):
                pairs.append((field, content.decode("utf-8")))
        except UnicodeDecodeError:
            raise InvalidParam("the body is no form") from None
    # What browsers send where nobody chose a file is an empty one.
    return pairs, file if file is not None and file.content else None


async def _read(request: Request, bytes_max: int) -> bytes:
    pieces, size = [], 0
    async for piece in request.stream():
        size += len(piece)
        if size > bytes_max:
            raise TooLarge(f"a form may have {bytes_max} bytes")
        pieces.append(piece)
    return b"".join(pieces)


def _fields(pairs: list[tuple[str, str]]) -> dict[str, str]:
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
