"""What forms that act have in common: a reason, and for what can't be undone the operator's own password."""

from __future__ import annotations

from admin.console.desk import Desk, Visit
from admin.given import checked_reason
from homeserver.core.errors import InvalidParam
from homeserver.web.endpoint import Operator


def reason_of(visit: Visit) -> str:
    """Why. Raises InvalidParam where nothing is said."""
    return checked_reason(visit.fields.get("reason", ""))


async def proven(desk: Desk, visit: Visit) -> Operator:
    """The operator, once they have given their password again. Raises Forbidden, LimitExceeded."""
    operator = visit.operator
    await desk.sessions.check_password(operator.user_id, visit.fields.get("own_password", ""))
    return operator


def whole_number(visit: Visit, name: str) -> int | None:
    """A field that may be left empty. Raises InvalidParam."""
    text = visit.fields.get(name, "").strip()
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise InvalidParam(f"{name} must be a whole number")
    return int(text)
