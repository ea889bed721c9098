"""What an index of Elasticsearch looks like: names, settings, fields, and a document's way into them. Pure.

One index a month of receipt, which never changes for an event, unlike what its sender says of its time. No text is
stored: words come analysed, `_source` is off, and what a hit shows is read from the database.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import Any

from homeserver.core.folding import is_paired
from search.analyser import VERSION
from search.hot.months import month_of
from search.tiers import Document, hosts_of

# Another number means that the index is built anew.
SCHEMA_VERSION = 6

_NUMBER = {"type": "long"}
# What only orders, or narrows what a word or a room has found already, needs no index of its own; what only narrows by
# itself needs no column.
_COLUMN = {"type": "long", "index": False}
_WORD = {"type": "keyword", "doc_values": False, "norms": False}
PROPERTIES: dict[str, Any] = {
    "room": _NUMBER,
    "place": _NUMBER,
    **dict.fromkeys(("nid", "time", "check"), _COLUMN),
    # By its sender's clock, only where that isn't its time: where that clock was ahead of ours.
    "said": _COLUMN,
    # Only where they aren't those of the event itself: what was edited has them.
    "source": _COLUMN,
    "source_place": _NUMBER,
    # What an event said before it was edited isn't found by its room as what it says now; with its later edits' places.
    "old_room": _NUMBER,
    "later": _COLUMN,
    "rank": {"type": "byte", "index": False},
    **dict.fromkeys(("room_key", "sender", "type", "key", "has", "host", "mention", "thread"), _WORD),
    "tokens": {"type": "text", "analyzer": "whitespace", "norms": False, "index_options": "positions"},
    "extras": {"type": "text", "analyzer": "whitespace", "norms": False, "index_options": "docs"},
}


@dataclass(frozen=True, slots=True)
class Names:
    """Of one generation: reindexing builds the next one beside it."""

    prefix: str
    generation: int

    @property
    def stem(self) -> str:
        """What the names of its indices begin with, and the name of its template."""
        return f"{self.prefix}-{VERSION}.{SCHEMA_VERSION}-g{self.generation}"

    @property
    def pattern(self) -> str:
        return f"{self.stem}-*"

    @property
    def alias(self) -> str:
        """All indices of the generation that answers."""
        return f"{self.prefix}-live"

    def index(self, received_ms: int) -> str:
        return f"{self.stem}-{month_of(received_ms)}"


def template(names: Names, months: Sequence[str], *, replicas_max: int, is_live: bool) -> dict[str, Any]:
    """What every index of a generation is made by. `_meta` says which months there must be."""
    return {
        "index_patterns": [names.pattern],
        "priority": 500,
        "template": {
            "settings": {
                "index": {
                    "number_of_shards": 1,
                    "auto_expand_replicas": f"0-{replicas_max}",
                    # Whoever searches refreshes first, if there was something new.
                    "refresh_interval": "60s",
                    "codec": "best_compression",
                    # Rooms lie together, by place: so a room's part is a run, and what is alike is near and small.
                    "sort": {"field": ["room", "place"], "order": ["asc", "asc"]},
                }
            },
            "mappings": {
                "dynamic": "strict",
                "_source": {"enabled": False},
                "_meta": {"analyser": VERSION, "schema": SCHEMA_VERSION},
                "properties": PROPERTIES,
            },
            "aliases": {names.alias: {}} if is_live else {},
        },
        "_meta": {"analyser": VERSION, "schema": SCHEMA_VERSION, "months": sorted(months)},
    }


def stored(document: Document) -> dict[str, Any]:
    """The fields of a document. Those that are empty are left out."""
    has = [*sorted(document.has), *(["thread"] if document.thread_root is not None else [])]
    is_edited = document.source_nid != document.event_nid
    fields: dict[str, Any] = {
        "nid": document.event_nid,
        "old_room" if document.later else "room": document.room_nid,
        "place": document.place,
        "source": document.source_nid if is_edited or document.later else None,
        "source_place": document.source_place,
        "later": list(document.later),
        "said": document.origin_server_ts if document.origin_server_ts != document.time_ms else None,
        "time": document.time_ms,
        "rank": document.rank,
        "check": document.checksum,
        "room_key": short(document.room_id),
        "sender": document.sender,
        "type": document.type,
        "key": document.key,
        "has": has,
        "host": hosts_of(document.hosts),
        "mention": list(document.mentions),
        "thread": short(document.thread_root) if document.thread_root is not None else None,
        "tokens": " ".join(document.tokens),
        "extras": " ".join(_extras(document)),
    }
    return {name: value for name, value in fields.items() if value not in (None, "", [])}


@lru_cache(maxsize=10_000)
def short(matrix_id: str) -> str:
    """Twelve letters in the place of an id of any length, which a search only compares. Nobody makes another id with
    the same ones: that takes 2**71 tries."""
    return urlsafe_b64encode(blake2b(matrix_id.encode("utf-8", "surrogatepass"), digest_size=9).digest()).decode()


def _extras(document: Document) -> Iterator[str]:
    """Without the characters that a pair among the tokens begins with: the pairs are looked for by their beginning."""
    heads = {token[0] for token in document.tokens if len(token) == 2}
    for extra in document.extras:
        if extra not in heads or not is_paired(extra):
            yield extra


def id_of(event_nid: int, slot: int) -> str:
    """The id of an event's document: of what it says now, the event's number."""
    return f"{event_nid}.{slot}" if slot else str(event_nid)


def tombstone(event_nid: int) -> dict[str, Any]:
    """What is left of a document says that it is gone, so that nothing older comes back. No room has the number 0.

    (A deletion's version is forgotten after a minute.)
    """
    return {"nid": event_nid, "room": 0}
