"""How media is served so that no browser takes it for a page of this server.

spec: client-server-api/#security-considerations-5
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote

# What a browser may show in place; all else is offered as a download.
INLINE_TYPES = frozenset(
    "text/css text/plain text/csv application/json application/ld+json image/jpeg image/gif image/png image/apng "
    "image/webp image/avif video/mp4 video/webm video/ogg video/quicktime audio/mp4 audio/webm audio/aac audio/mpeg "
    "audio/ogg audio/wave audio/wav audio/x-wav audio/x-pn-wav audio/flac audio/x-flac".split()
)
DEFAULT_TYPE = "application/octet-stream"
TYPE_CHARS_MAX = 255
FILE_NAME_CHARS_MAX = 255
# Parameters are well formed or left out: in `text/plain;,text/html` a browser finds two types and takes the last one.
_TOKEN = r"[0-9A-Za-z!#$%&'*+.^_`|~-]+"
_PARAMETER = rf' *; *{_TOKEN}=(?:{_TOKEN}|"[ !#-\[\]-~]*")'
_TYPE = re.compile(rf"([0-9A-Za-z!#$&^_.+-]+/[0-9A-Za-z!#$&^_.+-]+)((?:{_PARAMETER})*)(?: *;[\x20-\x7e]*)?", re.ASCII)
_PLAIN_NAME = re.compile(r"[0-9A-Za-z._-]+", re.ASCII)
_UNFIT = re.compile(r"[\x00-\x1f\x7f/\\]")

SAFETY = {
    "Content-Security-Policy": (
        "sandbox; default-src 'none'; script-src 'none'; plugin-types application/pdf; style-src 'unsafe-inline'; "
        "media-src 'self'; object-src 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "cross-origin",
    "Cache-Control": "private, max-age=86400, immutable",
    "Referrer-Policy": "no-referrer",
}


def clean_type(value: str | None) -> str:
    """The type that an upload says it has, or the one for any bytes where that is no type.

    Of its parameters those up to the first that isn't well formed.
    """
    match = _TYPE.fullmatch(value) if value is not None and len(value) <= TYPE_CHARS_MAX else None
    return match[1] + match[2] if match is not None else DEFAULT_TYPE


def clean_name(value: str | None) -> str | None:
    """A file name without folders and control characters, or None."""
    if not value:
        return None
    name = _UNFIT.sub("_", value)[:FILE_NAME_CHARS_MAX].strip()
    try:
        name.encode()
    except UnicodeEncodeError:
        return None
    return name or None


def headers_for(content_type: str, file_name: str | None) -> Mapping[str, str]:
    """All headers but the length. A name never breaks out of its header: what isn't plain is percent-encoded."""
    essence = content_type.partition(";")[0].strip().lower()
    disposition = "inline" if essence in INLINE_TYPES else "attachment"
    if file_name is not None:
        if _PLAIN_NAME.fullmatch(file_name):
            disposition += f"; filename={file_name}"
        else:
            disposition += f"; filename*=utf-8''{quote(file_name, safe='')}"
    return {**SAFETY, "Content-Disposition": disposition}
