"""What events of known types must hold."""

from __future__ import annotations

from typing import Any

import pytest

from homeserver.core.errors import BadJson
from homeserver.core.known_content import check_content

GEO = {"m.location": {"uri": "geo:1,2"}, "m.ts": 1}
TEXT = {"msgtype": "m.text", "body": "x"}
REFERENCE = {"m.relates_to": {"rel_type": "m.reference", "event_id": "$e"}}


@pytest.mark.parametrize(
    ("type", "content", "why"),
    [
        ("m.room.message", {"msgtype": "m.text", "body": "moin", "org.own": [1]}, None),
        ("m.room.message", {"msgtype": "m.text"}, "body"),
        ("m.room.message", {"msgtype": "m.text", "body": 7}, "body"),
        ("m.room.message", {"msgtype": "m.image", "body": "x", "url": "javascript:x"}, "url"),
        ("m.room.message", {"msgtype": "m.image", "body": "x", "info": {"w": -1}}, "info.w"),
        ("m.room.message", {**TEXT, "m.new_content": {"body": 7}}, "m.new_content.*body"),
        ("m.room.message", {**TEXT, "m.new_content": 7}, "m.new_content"),
        ("m.room.message", {**TEXT, "m.new_content": TEXT}, None),
        ("m.beacon", {**GEO, **REFERENCE}, None),
        ("m.beacon", {**GEO, "m.relates_to": None}, "m.relates_to"),
        ("m.beacon", {**REFERENCE, "m.location": {"uri": 1}}, "m.location"),
        ("m.beacon", {**REFERENCE, "m.ts": "now"}, "m.ts"),
        ("m.reaction", {"m.relates_to": {"rel_type": "m.annotation", "event_id": "$e", "key": "x"}}, None),
        ("m.reaction", {"m.relates_to": {"rel_type": "m.annotation"}}, "event_id"),
        ("m.room.name", {"name": 1}, "name"),
        ("m.room.name", {}, None),
        ("m.room.pinned_events", {"pinned": "$e"}, "pinned"),
        ("org.own.type", {"body": 7}, None),
    ],
)
def test_content_of_known_types(type: str, content: Any, why: str | None) -> None:
    """T-P4: the refusal names the field; what means nothing to us is free."""
    if why is None:
        check_content(type, content)
    else:
        with pytest.raises(BadJson, match=why):
            check_content(type, content)
