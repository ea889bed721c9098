"""Audit rows of what operators do with rules, written in the transaction of the change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from admin.audit import AuditLog, entry_of
from admin.audit_actions import Action
from admin.spam.book import Recorded
from homeserver.storage.database import Tx
from homeserver.web.endpoint import Operator


def recording(audit: AuditLog, operator: Operator, action: Action, target: str, why: str = "") -> Recorded:
    """Writes the audit row of a change, once it is known what was before and what is after."""

    async def record(tx: Tx, before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> None:
        entry = entry_of(operator, action, target, reason=why or None, before=before, after=after)
        await audit.record(tx, entry)

    return record
