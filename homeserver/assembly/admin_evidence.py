"""What operators keep as evidence, take out and erase, plugged together."""

from __future__ import annotations

from dataclasses import dataclass

from admin.actions.exports import Exports
from admin.actions.legal_holds import LegalHolds
from admin.actions.retention_preview import RetentionPreview
from admin.actions.scrubbing import Scrubbing
from admin.actions.targets import AccountTools
from admin.actions.user_erasure import ErasureTools, UserErasure
from admin.actions.user_redaction import RedactionTools, UserRedaction
from admin.api.erasures import ErasureEndpoints
from admin.api.exports import ExportEndpoints
from admin.api.legal_holds import LegalHoldEndpoints
from admin.api.retention import RetentionEndpoints
from admin.api.user_redaction import UserRedactionEndpoints
from admin.exporting.exporter import Exporter
from admin.jobs import Jobs
from homeserver.accounts.deactivation import Deactivation
from homeserver.assembly.base import Base
from homeserver.assembly.commands import retention_times
from homeserver.assembly.media import MediaParts
from homeserver.assembly.rooms import RoomParts


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceParts:
    """What pages use of it, and the endpoints."""

    holds: LegalHolds
    redaction: UserRedaction
    erasure: UserErasure
    exports: Exports
    scrubbing: Scrubbing
    preview: RetentionPreview
    endpoints: list[object]


def build_evidence(
    base: Base, parts: RoomParts, media: MediaParts, deactivation: Deactivation, tools: AccountTools, jobs: Jobs
) -> EvidenceParts:
    """Call it before the jobs begin."""
    db, clock = base.world.db, base.world.clock
    erasure = UserErasure(jobs, tools, _erasure_tools(base, parts, media, deactivation))
    base.tasks.forever(erasure.run, name="user_erasures")
    scrubbing = Scrubbing(db, jobs, base.keepers)
    holds = LegalHolds(db, tools.audit, clock, base.world.randomness)
    exporter = Exporter(db, clock, base.signer, media.objects)
    exports = Exports(db, jobs, tools.audit, exporter, base.config.data_dir / "exports")
    base.keepers["exports"] = exports
    base.tasks.forever(lambda: exports.tidy(clock), name="exports")
    hand = RedactionTools(db=db, clock=clock, rooms=parts.rooms, events=parts.store, writer=parts.writer)
    redaction = UserRedaction(jobs, tools.roles, hand)
    preview = RetentionPreview(db, jobs, clock, retention_times(base.config.rooms))
    return EvidenceParts(
        holds=holds,
        redaction=redaction,
        erasure=erasure,
        exports=exports,
        scrubbing=scrubbing,
        preview=preview,
        endpoints=[
            LegalHoldEndpoints(holds),
            UserRedactionEndpoints(redaction),
            ErasureEndpoints(erasure, scrubbing),
            ExportEndpoints(exports),
            RetentionEndpoints(preview),
        ],
    )


def _erasure_tools(base: Base, parts: RoomParts, media: MediaParts, deactivation: Deactivation) -> ErasureTools:
    return ErasureTools(
        rooms=parts.rooms,
        events=parts.store,
        writer=parts.writer,
        journal=parts.journal,
        media=media.repository,
        deactivation=deactivation,
        signer=base.signer,
        randomness=base.world.randomness,
        keepers=base.keepers,
    )
