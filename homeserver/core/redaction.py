"""The redaction algorithm: what is left of an event. spec: rooms/v12/#redactions (and each version before)"""

from __future__ import annotations

from typing import Any

from homeserver.core.room_versions import ALL_CONTENT, RoomVersion


def redact(version: RoomVersion, pdu: dict[str, Any]) -> dict[str, Any]:
    """The redacted copy of a PDU, in which only what the room version keeps is left. Changes nothing it was given."""
    kept = {key: value for key, value in pdu.items() if key in version.kept_top_level}
    content = pdu.get("content")
    kept["content"] = redacted_content(version, str(pdu.get("type")), content if isinstance(content, dict) else {})
    return kept


def redacted_content(version: RoomVersion, event_type: str, content: dict[str, Any]) -> dict[str, Any]:
    keys = version.kept_content.get(event_type)
    if keys is None:
        return {}
    if keys is ALL_CONTENT:
        return dict(content)
    kept = {key: content[key] for key in keys if key in content}
    if event_type == "m.room.member" and version.redaction_keeps_third_party_signed:
        invite = content.get("third_party_invite")
        if isinstance(invite, dict):
            # Kept even where nothing is left in it: deployed servers do so, and event ids depend on it.
            kept["third_party_invite"] = {"signed": invite["signed"]} if "signed" in invite else {}
    return kept
