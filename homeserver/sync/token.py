"""Sync tokens: `sN`, `sN_M` or `sN_M_K`. Opaque to clients.

N is the journal position up to which all has been told; M, where it is there, the position up to which to-device
messages have been: they can lag behind when there are many. K is the same for sticky events.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from homeserver.core.errors import InvalidParam

_TOKEN = re.compile(r"s(\d{1,18})(?:_(\d{1,18}))?(?:_(\d{1,18}))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class SyncToken:
    position: int
    to_device: int
    sticky: int

    def __str__(self) -> str:
        if self.sticky != self.position:
            return f"s{self.position}_{self.to_device}_{self.sticky}"
        return f"s{self.position}" if self.to_device == self.position else f"s{self.position}_{self.to_device}"


def parse_token(text: str) -> SyncToken:
    """Raises InvalidParam."""
    match = _TOKEN.fullmatch(text)
    if match is None:
        raise InvalidParam("since is no token of ours: use next_batch of an earlier /sync")
    position = int(match[1])
    to_device, sticky = (int(part) if part else position for part in (match[2], match[3]))
    return SyncToken(position, to_device, sticky)
