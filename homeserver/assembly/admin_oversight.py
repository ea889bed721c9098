"""Administration of media, reports and other servers, plugged together."""

from __future__ import annotations

from dataclasses import dataclass

from admin.actions.destinations import Destinations
from admin.actions.media import MediaActions
from admin.actions.reports import Reports
from admin.api.destinations import DestinationEndpoints
from admin.api.media import MediaEndpoints, QuarantineEndpoints
from admin.api.reports import ReportEndpoints
from admin.api.statistics import RoomStatistics
from admin.api.user_media import UserMedia
from admin.audit import AuditLog
from homeserver.assembly.base import Base
from homeserver.assembly.federation import FederationParts
from homeserver.assembly.media import MediaParts
from homeserver.assembly.rooms import RoomParts
from homeserver.media.repository import MediaRepository


@dataclass(frozen=True, slots=True, kw_only=True)
class OversightParts:
    """What pages use of it, and the endpoints."""

    media: MediaActions
    reports: Reports
    destinations: Destinations
    repository: MediaRepository
    endpoints: list[object]


def build_oversight(
    base: Base, parts: RoomParts, media: MediaParts, federation: FederationParts | None, audit: AuditLog
) -> OversightParts:
    db = base.world.db
    files = MediaActions(db, audit, media.files, base.world.clock, base.server_name)
    reports = Reports(db, audit)
    reach = federation.reachability if federation is not None else None
    others = Destinations(db, audit, reach, base.server_name)
    return OversightParts(
        media=files,
        reports=reports,
        destinations=others,
        repository=media.repository,
        endpoints=[
            MediaEndpoints(files),
            QuarantineEndpoints(files),
            UserMedia(db, files),
            ReportEndpoints(reports, parts.store),
            DestinationEndpoints(db, others),
            RoomStatistics(db),
        ],
    )
