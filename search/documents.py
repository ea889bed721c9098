"""What of an event is found by searching. Never anything that is encrypted."""

from __future__ import annotations

from homeserver.core.events import Event
from homeserver.core.relations import REPLACE, relation_of

# Type → the key of its content that is searched in.
KEYS = {"m.room.message": "body", "m.room.name": "name", "m.room.topic": "topic"}


def key_of(event: Event) -> str | None:
    """The key that a search names, of events that can be found."""
    field = KEYS.get(event.type)
    return f"content.{field}" if field is not None and event.is_state == (field != "body") else None


def is_edit(event: Event) -> bool:
    """Whether it changes what another says: it isn't found itself."""
    relation = relation_of(event)
    return relation is not None and relation.rel_type == REPLACE


def text_of(event: Event, edit: Event | None) -> str | None:
    """What an event says, after its latest edit."""
    field = KEYS.get(event.type)
    content = edit.content.get("m.new_content") if edit is not None else event.content
    value = content.get(field) if field is not None and isinstance(content, dict) else None
    return value if isinstance(value, str) and value.strip() else None
