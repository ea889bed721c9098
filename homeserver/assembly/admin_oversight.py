"""Administration of media, reports and other servers, plugged together."""

from __future__ import annotations

from collections.abc import Mapping
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
from admin.console.federation import Ask
from federation.client import FederationError, Unreachable
from homeserver.assembly.base import Base
from homeserver.assembly.federation import FederationParts
from homeserver.assembly.media import MediaParts
from homeserver.assembly.rooms import RoomParts
from homeserver.core.identifiers import ServerName
from homeserver.media.repository import MediaRepository

_ASKED_S = 10.0
_ANSWER_BYTES_MAX = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class OversightParts:
    """What pages use of it, and the endpoints."""

    media: MediaActions
    reports: Reports
    destinations: Destinations
    repository: MediaRepository
    # Asks another server for its version; None where this one talks with no others.
    ask: Ask | None
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
        ask=_asking(federation) if federation is not None else None,
        endpoints=[
            MediaEndpoints(files),
            QuarantineEndpoints(files),
            UserMedia(db, files),
            ReportEndpoints(reports, parts.store),
            DestinationEndpoints(db, others),
            RoomStatistics(db),
        ],
    )


def _asking(federation: FederationParts) -> Ask:
    async def ask(server: ServerName) -> Mapping[str, str]:
        path = "/_matrix/federation/v1/version"
        try:
            answer = await federation.client.get(
                server, path, timeout_s=_ASKED_S, response_bytes_max=_ANSWER_BYTES_MAX, also_when_down=True
            )
        except (FederationError, Unreachable) as error:
            return {"problem": str(error)[:500]}
        told = answer.get("server")
        said = told if isinstance(told, dict) else {}
        return {key: str(said.get(key, "?"))[:100] for key in ("name", "version")}

    return ask
