"""Files of other servers."""

from __future__ import annotations

from federation.remote_media import FederatedMedia
from homeserver.assembly.base import Base
from homeserver.assembly.federation import FederationParts


def build_remote_media(base: Base, parts: FederationParts) -> FederatedMedia:
    return FederatedMedia(parts.client, base.outgoing)
