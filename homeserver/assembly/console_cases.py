"""Cases and their pages, plugged together."""

from __future__ import annotations

from admin.actions.case_acts import CaseActs, CaseHands
from admin.actions.cases import Cases, CaseTools
from admin.console.cases import CasePages, CaseWork
from homeserver.assembly.admin import AdminParts
from homeserver.assembly.base import Base
from homeserver.assembly.people import PeopleParts


def case_pages(base: Base, admin: AdminParts, people: PeopleParts) -> list[object]:
    """Cases are opened by themselves from now on."""
    db, clock = base.world.db, base.world.clock
    cases = Cases(CaseTools(db, clock, admin.audit), admin.roles, people.notices)
    base.tasks.forever(cases.run, name="cases")
    hands = CaseHands(
        rooms=admin.rooms.hand,
        blocking=admin.rooms.actions,
        sanctions=admin.sanctions,
        media=admin.oversight.media,
        redaction=admin.evidence.redaction,
        roles=admin.roles,
    )
    return [CasePages(admin.desk, db, CaseWork(cases, CaseActs(db, hands)))]
