"""What operators give in paths, bodies and forms: numbers of things, and reasons."""

from __future__ import annotations

from homeserver.core.errors import InvalidParam, NotFound

REASON_CHARS_MAX = 1_000


def case_number(text: str) -> int:
    """Raises NotFound."""
    return _number(text, "case")


def decision_number(text: str) -> int:
    """Raises NotFound."""
    return _number(text, "decision")


def checked_reason(text: str) -> str:
    """Why something is done, as the audit log keeps it. Raises InvalidParam where nothing is said."""
    reason = text.strip()[:REASON_CHARS_MAX]
    if not reason:
        raise InvalidParam("say why: the reason is kept in the audit log")
    return reason


def _number(text: str, what: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 19):
        raise NotFound(f"there is no such {what}")
    return int(text)
