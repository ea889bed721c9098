"""What an event says of another: `m.relates_to`, read in one place.

spec: client-server-api/#forming-relationships-between-events
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

from homeserver.core.events import Event
from homeserver.core.identifiers import EventId

REPLACE, THREAD, REFERENCE, ANNOTATION = "m.replace", "m.thread", "m.reference", "m.annotation"
TEXT_BYTES_MAX = 512
_ENCRYPTED = "m.room.encrypted"


@dataclass(frozen=True, slots=True)
class Relation:
    """A relation of a kind: `rel_type` to `event_id`; `key` is an annotation's."""

    rel_type: str
    event_id: EventId
    key: str | None = None


def relation_of(event: Event) -> Relation | None:
    """The relation that an event declares; None where there is none, or none that counts. State events have none."""
    return relation_in(event.content) if not event.is_state else None


def relation_in(content: Mapping[str, Any]) -> Relation | None:
    """The same for the content of an event that isn't state."""
    relates_to = content.get("m.relates_to")
    if not isinstance(relates_to, dict):
        return None
    rel_type, target, key = relates_to.get("rel_type"), relates_to.get("event_id"), relates_to.get("key")
    if not is_relation_text(rel_type) or not is_relation_text(target):
        return None
    return Relation(rel_type, EventId(target), key if is_relation_text(key) else None)


def may_be_replaced(original: Event) -> bool:
    """Whether edits of this event count at all. spec: client-server-api/#validity-of-replacement-events"""
    if original.is_state:
        return False
    relation = relation_of(original)
    return relation is None or relation.rel_type != REPLACE


def is_replacement(edit: Event, original: Event) -> bool:
    """Whether an edit of an event counts: by its sender, of its type, in its room, with new content.

    What is in an encrypted one only clients can tell. spec: client-server-api/#validity-of-replacement-events
    """
    relation = relation_of(edit)
    return (
        relation is not None
        and relation.rel_type == REPLACE
        and relation.event_id == original.event_id
        and may_be_replaced(original)
        and (edit.room_id, edit.sender, edit.type) == (original.room_id, original.sender, original.type)
        and (edit.type == _ENCRYPTED or isinstance(edit.content.get("m.new_content"), dict))
    )


def is_relation_text(value: object) -> TypeGuard[str]:
    """Whether a type, target or key of a relation has a form that counts."""
    if not isinstance(value, str) or not value or "\x00" in value:
        return False
    return len(value.encode("utf-8", "replace")) <= TEXT_BYTES_MAX and not any("\ud800" <= c <= "\udfff" for c in value)
