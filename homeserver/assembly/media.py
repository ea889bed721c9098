"""The media repository."""

from __future__ import annotations

from homeserver.assembly.base import Base
from homeserver.client_api.media import LegacyMediaEndpoints, MediaEndpoints
from homeserver.media.repository import MediaLimits, MediaRepository, MediaTools
from homeserver.media.thumbnails import Size, Thumbnailer
from homeserver.objects.local import LocalObjects


def media_endpoints(base: Base, thumbnailer: Thumbnailer) -> list[object]:
    chosen = base.config.media
    tools = MediaTools(
        clock=base.world.clock,
        randomness=base.world.randomness,
        thumbnailer=thumbnailer,
        server_name=base.server_name,
    )
    limits = MediaLimits(
        upload_bytes_max=chosen.upload_bytes_max,
        user_bytes_max=chosen.user_bytes_max,
        pending_max=chosen.pending_uploads_max,
        pending_lifetime_s=chosen.pending_upload_lifetime_s,
        sizes=tuple(Size(size.width, size.height, size.method) for size in chosen.thumbnail_sizes),
    )
    objects = LocalObjects(chosen.store_path, base.world.randomness)
    repository = MediaRepository(base.world.db, objects, tools, limits)
    return [MediaEndpoints(repository), LegacyMediaEndpoints(repository, is_open=chosen.legacy_access == "open")]
