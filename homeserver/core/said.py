"""What an event says to people who read it as text. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

TEXT_CHARS_MAX = 20_000
_STATE = {"m.room.name": "name", "m.room.topic": "topic"}
_POLLS = ("m.poll", "m.poll.start", "org.matrix.msc3381.poll.start")
_TEXTS = ("m.text", "org.matrix.msc1767.text", "body")


def said(event_type: str, content: Mapping[str, Any]) -> str:
    """The words of a message, a caption with its file's name, a poll's question, a room's new name or topic.

    Empty for everything else: members who come and go, reactions, what is encrypted or redacted.
    """
    if event_type in _STATE:
        return _string(content.get(_STATE[event_type]))
    for key in _POLLS:
        poll = content.get(key)
        if isinstance(poll, dict):
            return _extensible(poll.get("question"))
    if event_type not in ("m.room.message", "m.sticker"):
        return ""
    body, name = _string(content.get("body")), _string(content.get("filename"))
    if isinstance(relates_to := content.get("m.relates_to"), dict) and "m.in_reply_to" in relates_to:
        body = without_quote(body)
    return f"{body}\n{name}" if name and name != body else body


def without_quote(body: str) -> str:
    """A reply without the fallback that older clients put before it. spec: client-server-api/#rich-replies"""
    if not body.startswith("> "):
        return body
    lines = body.split("\n")
    first = next((at for at, line in enumerate(lines) if not line.startswith(">")), len(lines))
    kept = "\n".join(lines[first:])
    return kept if kept.strip() else body


def _string(value: object) -> str:
    return value[:TEXT_CHARS_MAX] if isinstance(value, str) else ""


def _extensible(value: object) -> str:
    if not isinstance(value, dict):
        return ""
    for key in _TEXTS:
        text = value.get(key)
        if isinstance(text, list):
            text = next((one.get("body") for one in text if isinstance(one, dict)), None)
        if isinstance(text, str):
            return _string(text)
    return ""
