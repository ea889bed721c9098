"""Places in a room's timeline as clients hold them: opaque to them, `tN` (before ordering N) or a sync token `sN`."""

from __future__ import annotations

import re

from homeserver.core.errors import InvalidParam

_PLACE = re.compile(r"([st])(-?\d{1,18})(?:_.*)?", re.ASCII)


def parse_place(token: str) -> int:
    """The place that a token names: events of ordering below it lie before. Raises InvalidParam."""
    match = _PLACE.fullmatch(token)
    if match is None:
        raise InvalidParam("this is no token of ours: use one from /sync, /messages or /context")
    # A sync token says up to which position (inclusive) its holder has seen all.
    return int(match[2]) + (1 if match[1] == "s" else 0)


def place_token(place: int) -> str:
    return f"t{place}"
