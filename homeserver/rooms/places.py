"""Places in a room's timeline as clients hold them: opaque to them, `tN` (before ordering N) or a sync token.

That of /sync is `sN`, a position of sliding sync `M_N` (MSC4186: it can be used in the same way).
"""

from __future__ import annotations

import re

from homeserver.core.errors import InvalidParam

_PLACE = re.compile(r"(?:([st])|\d{1,9}_)(-?\d{1,18})(?:_.*)?", re.ASCII)


def parse_place(token: str) -> int:
    """The place that a token names: events of ordering below it lie before. Raises InvalidParam."""
    match = _PLACE.fullmatch(token)
    if match is None:
        raise InvalidParam("this is no token of ours: use one from /sync, /messages or /context")
    # A sync token says up to which position (inclusive) its holder has seen all.
    return int(match[2]) + (0 if match[1] == "t" else 1)


def place_token(place: int, *, beside: str | None = None) -> str:
    """Another one than `beside`, which may be of the same place: clients that get it back believe to be at the end."""
    token = f"t{place}"
    return token if token != beside else f"{token}_"
