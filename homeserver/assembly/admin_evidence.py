"""What operators keep as evidence, take out and erase, plugged together."""

from __future__ import annotations

from dataclasses import dataclass

from admin.actions.legal_holds import LegalHolds
from admin.actions.targets import AccountTools
from admin.actions.user_redaction import RedactionTools, UserRedaction
from admin.api.legal_holds import LegalHoldEndpoints
from admin.api.user_redaction import UserRedactionEndpoints
from admin.jobs import Jobs
from homeserver.assembly.base import Base
from homeserver.assembly.rooms import RoomParts


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceParts:
    """What pages use of it, and the endpoints."""

    holds: LegalHolds
    redaction: UserRedaction
    endpoints: list[object]


def build_evidence(base: Base, parts: RoomParts, tools: AccountTools, jobs: Jobs) -> EvidenceParts:
    """Call it before the jobs begin."""
    db, clock = base.world.db, base.world.clock
    holds = LegalHolds(db, tools.audit, clock, base.world.randomness)
    hand = RedactionTools(db=db, clock=clock, rooms=parts.rooms, events=parts.store, writer=parts.writer)
    redaction = UserRedaction(jobs, tools.roles, hand)
    return EvidenceParts(
        holds=holds, redaction=redaction, endpoints=[LegalHoldEndpoints(holds), UserRedactionEndpoints(redaction)]
    )
