"""What the tiers of the search hold and answer: one meaning, whichever engine keeps it. Pure values and one Protocol.

A document is what one event says now (after its latest edit). Its text comes analysed: `tokens` have positions (words,
and pairs of characters in scripts without spaces), `extras` have none (single characters, forms without marks, parts of
identifiers). A term is found in either, a phrase in `tokens` alone.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

RANK_MAX = 64
HOST_LABELS_MAX = 8


def rank_of(tokens: int) -> int:
    """What a match is worth in a text of so many."""
    return max(0, RANK_MAX - 4 * max(0, tokens - 1).bit_length())


def hosts_of(linked: Sequence[str]) -> list[str]:
    """What links to these hosts are found by: they, and those that they lie below (of names; addresses have none)."""
    found: dict[str, None] = {}
    for host in linked:
        labels = host.split(".")
        most = len(labels) - 1 if not labels[-1].isdigit() else 1
        for at in range(max(1, min(most, HOST_LABELS_MAX))):
            found[".".join(labels[at:])] = None
    return list(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One event as the search finds it.

    `place` is its ordering in the room's timeline, which visibility speaks of; `version` the journal position of what
    last changed it (itself, its latest edit or redaction): a tier never replaces a document by an older version.
    """

    event_nid: int
    room_nid: int
    place: int
    source_nid: int  # the event that says it: itself, or its latest edit
    version: int
    received_ms: int  # month of receipt: which index or file it belongs to
    origin_server_ts: int
    event_id: str
    room_id: str
    sender: str
    type: str
    key: str  # content.body, content.name or content.topic
    source_place: int | None = None  # of `source_nid`; None where that is the event itself
    tokens: Sequence[str]
    extras: Sequence[str] = ()
    has: frozenset[str] = frozenset()  # link, file, image, video, audio, code, poll; url where the content has one
    hosts: Sequence[str] = ()  # of links
    mentions: Sequence[str] = ()
    thread_root: str | None = None
    # What an event said before it was edited, for those who may not read the edits: a document of its own, seen where
    # none of these places is. Empty where this is what the event says now.
    later: Sequence[int] = ()
    slot: int = 0  # which of an event's documents this is: 0 is what it says now
    slots: int = 0  # the highest slot that this event may ever have taken

    @property
    def time_ms(self) -> int:
        """What `recent` orders by: when it was said, by its sender's clock, but never later than it came here."""
        return min(self.origin_server_ts, self.received_ms)

    @property
    def rank(self) -> int:
        """How much a match is worth, 0 to RANK_MAX: the fewer words a text has. The same in every tier and for ever, so
        that pages stay right while messages come."""
        return rank_of(len(self.tokens))

    @property
    def checksum(self) -> int:
        """32 bits of all that a search can ask of it, whatever its version: sums of them are compared with sums."""
        numbers = (self.event_nid, self.room_nid, self.place, self.source_nid, self.source_place, self.time_ms)
        texts = (self.event_id, self.room_id, self.sender, self.type, self.key, self.thread_root or "")
        lists = (self.tokens, self.extras, sorted(self.has), self.hosts, self.mentions)
        parts = [
            repr(numbers),
            *map(str, self.later),
            str(self.origin_server_ts),
            *texts,
            *("\x1e".join(some) for some in lists),
        ]
        return zlib.crc32("\x1f".join(parts).encode("utf-8", "surrogatepass"))


class Gone(NamedTuple):
    """An event that isn't found any more, from journal position `version` on.

    `received_ms` is None where nothing else is known of it any more: it was purged. `slots` as of a Document.
    """

    event_nid: int
    room_nid: int
    version: int
    event_id: str
    received_ms: int | None
    slots: int = 0


@dataclass(frozen=True, slots=True)
class Refused:
    """A document that a tier won't take, however often it is given. The reason never holds a word of it."""

    event_id: str
    reason: str


# The query tree. Leaves are analysed already, so that every tier compares tokens alone.


@dataclass(frozen=True, slots=True)
class Term:
    token: str


@dataclass(frozen=True, slots=True)
class Phrase:
    tokens: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Prefix:
    token: str


@dataclass(frozen=True, slots=True)
class Fuzzy:
    token: str
    distance: int  # edits: 1 or 2


@dataclass(frozen=True, slots=True)
class Senders:
    user_ids: frozenset[str]


@dataclass(frozen=True, slots=True)
class Types:
    types: frozenset[str]


@dataclass(frozen=True, slots=True)
class InRooms:
    room_ids: frozenset[str]


@dataclass(frozen=True, slots=True)
class Between:
    """origin_server_ts: after_ms <= it < before_ms; None is open."""

    after_ms: int | None
    before_ms: int | None


@dataclass(frozen=True, slots=True)
class Has:
    kind: str


@dataclass(frozen=True, slots=True)
class InThread:
    pass


@dataclass(frozen=True, slots=True)
class Mentions:
    user_id: str


@dataclass(frozen=True, slots=True)
class LinksTo:
    """A link to a host, or to one below it."""

    host: str


@dataclass(frozen=True, slots=True)
class All:
    parts: tuple[Query, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    parts: tuple[Query, ...]


@dataclass(frozen=True, slots=True)
class Not:
    part: Query


Query = (
    Term
    | Phrase
    | Prefix
    | Fuzzy
    | Senders
    | Types
    | InRooms
    | Between
    | Has
    | InThread
    | Mentions
    | LinksTo
    | All
    | AnyOf
    | Not
)

# Ends of an interval that is open: no place lies beyond.
FIRST_PLACE, LAST_PLACE = -(2**62), 2**62
# Room number → closed intervals of places that the asker may read, in order, not touching. A document is found if both
# its `place` and its `source_place` lie in one of them, and none of its `later`: of an event's documents one at most.
Scope = Mapping[int, Sequence[tuple[int, int]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What to find, for whom, in which order. `after` is the `Hit.cursor` to go on behind; `upto` bounds event numbers,
    so that later pages stay right while messages come."""

    query: Query
    scope: Scope
    keys: frozenset[str]
    by_rank: bool
    upto: int
    limit: int
    after: tuple[float, int] | None = None


@dataclass(frozen=True, slots=True)
class Hit:
    """`cursor` is (`Document.rank` or `Document.time_ms`, event number), which is the order, both falling."""

    event_nid: int
    source_nid: int
    room_nid: int
    rank: float
    cursor: tuple[float, int]


@dataclass(frozen=True, slots=True)
class Findings:
    """`count` is exact up to what the tier says it counts; `is_partial` where a part of the tier couldn't be asked."""

    hits: Sequence[Hit]
    count: int
    is_partial: bool = False


def merged(found: Sequence[Findings], limit: int) -> Findings:
    """Of disjoint parts, the first ones of all."""
    hits = sorted((hit for one in found for hit in one.hits), key=lambda hit: hit.cursor, reverse=True)
    return Findings(hits[:limit], sum(one.count for one in found), any(one.is_partial for one in found))


class TierFault(Exception):
    """The tier can't be asked or written now. What wasn't written is written again later."""


class TierLost(TierFault):
    """What the tier held is gone or can't be read any more: it has to be emptied and filled anew."""


class Tier(Protocol):
    """An engine that keeps documents: tantivy, Elasticsearch, or the cold archive."""

    async def write(self, documents: Sequence[Document], gone: Sequence[Gone]) -> Sequence[Refused]:
        """Durable, and seen by the next `find`, once it returns; all but those refused.

        All documents of an event come together, and take the place of those that there were. Doing it twice ends in
        the same place. Raises TierFault.
        """
        ...

    async def find(self, question: Question) -> Findings:
        """Raises TierFault."""
        ...

    async def forget_rooms(self, room_nids: Sequence[int]) -> None: ...
