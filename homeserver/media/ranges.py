"""Which part of a file a request wants. Pure. RFC 9110, sections 13 and 14."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

_RANGE = re.compile(r"bytes=(?:([0-9]{1,18})-([0-9]{0,18})|-([0-9]{1,18}))", re.ASCII)


@dataclass(frozen=True, slots=True)
class Part:
    """What to answer: all, the bytes from `start` to before `end`, that nothing changed, or that it is too far."""

    kind: Literal["whole", "part", "unchanged", "beyond"]
    start: int
    end: int


def wanted(headers: Mapping[str, str], size_bytes: int, etag: str) -> Part:
    """Several ranges at once, and what isn't a range, get the whole."""
    whole = Part("whole", 0, size_bytes)
    if _names(headers.get("If-None-Match", ""), etag):
        return Part("unchanged", 0, 0)
    match = _RANGE.fullmatch(headers.get("Range", "").strip())
    if match is None or headers.get("If-Range", etag).strip() != etag:
        return whole
    first, last, suffix = match.groups()
    if suffix is not None:
        start, end = max(0, size_bytes - int(suffix)), size_bytes
    else:
        start, end = int(first), min(int(last) + 1, size_bytes) if last else size_bytes
        if last and int(last) < start:
            return whole
    return Part("part", start, end) if start < end else Part("beyond", 0, 0)


def _names(header: str, etag: str) -> bool:
    return any(tag.strip().removeprefix("W/") in (etag, "*") for tag in header.split(","))
