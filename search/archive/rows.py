"""What the archive keeps of a message."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

# In every file: another number means another set of columns.
FORMAT_VERSION = 2


class Row(NamedTuple):
    """A message that is archived: the columns, in their order, but for the rank, which its words say; and behind them
    the hosts that it links to, which the index of words alone has.

    `body` is the text that it is found by; `json` the event, canonical, as signed.
    """

    event_nid: int
    source_nid: int
    room_nid: int
    place: int
    source_place: int
    version: int
    origin_server_ts: int
    delay_ms: int
    type: str
    key: str
    room_id: str
    sender: str
    has: Sequence[str]
    mentions: Sequence[str]
    thread_root: str | None
    body: str
    event_id: str
    json: bytes
    edit_id: str | None = None
    edit_json: bytes | None = None
    hosts: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A row as it is read again, for those who export or rewrite. Times in milliseconds since the epoch."""

    event_nid: int
    source_nid: int
    room_nid: int
    place: int
    source_place: int
    version: int
    origin_server_ts: int
    delay_ms: int
    rank: int
    type: str
    key: str
    room_id: str
    sender: str
    has: list[str]
    mentions: list[str]
    thread_root: str | None
    body: str
    event_id: str
    json: bytes
    edit_id: str | None
    edit_json: bytes | None

    @property
    def received_ms(self) -> int:
        return self.origin_server_ts + self.delay_ms

    @property
    def time_ms(self) -> int:
        """What `recent` orders by."""
        return self.origin_server_ts + min(0, self.delay_ms)
