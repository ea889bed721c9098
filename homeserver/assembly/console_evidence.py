"""The console's pages of holds, exports and retention, plugged together."""

from __future__ import annotations

from admin.console.exports import ExportPages
from admin.console.holds import HoldPages
from admin.console.retention import RetentionPages, RetentionWork
from homeserver.assembly.admin import AdminParts
from homeserver.assembly.base import Base


def evidence_pages(base: Base, admin: AdminParts) -> list[object]:
    db, desk, jobs, evidence = base.world.db, admin.desk, admin.rooms.jobs, admin.evidence
    work = RetentionWork(evidence.preview, admin.rooms.retention)
    return [
        HoldPages(desk, db, evidence.holds),
        ExportPages(desk, db, evidence.exports, jobs),
        RetentionPages(desk, db, jobs, work, is_on=base.config.rooms.retention),
    ]
