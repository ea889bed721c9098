"""The media repository."""

from __future__ import annotations

from collections.abc import Callable

from homeserver.assembly.base import Base
from homeserver.assembly.network import build_outgoing
from homeserver.assembly.object_stores import bucket_of, store_transport
from homeserver.client_api.media import Delivery, LegacyMediaEndpoints, MediaEndpoints
from homeserver.client_api.resumable_uploads import ResumableUploadEndpoints
from homeserver.client_api.url_previews import UrlPreviews
from homeserver.config.schema import Media
from homeserver.journal.journal import Journal
from homeserver.media.allowance import Allowance
from homeserver.media.files import Files
from homeserver.media.housekeeping import EVERY_S, Housekeeping
from homeserver.media.links import MediaLinks
from homeserver.media.pace import Pace
from homeserver.media.previews import Previews, PreviewSettings
from homeserver.media.remote import RemoteFiles, RemoteLimits
from homeserver.media.repository import MediaLimits, MediaRepository, MediaTools
from homeserver.media.resumable import ResumableUploads
from homeserver.media.sandbox import Sandbox, SandboxLimits
from homeserver.media.scanning import Scanner, ScannerSettings
from homeserver.media.thumbnails import Size, Thumbnails
from homeserver.objects.local import LocalObjects
from homeserver.objects.s3 import S3Objects
from homeserver.objects.spool import Spool
from homeserver.objects.store import ObjectStore
from homeserver.ports import RemoteMedia
from homeserver.runtime.connector import SystemConnector

_CONNECTIONS_MAX = 128


class MediaParts:
    """Uploads, downloads, thumbnails, and what keeps them tidy, plugged together. `close` ends its processes."""

    def __init__(
        self, base: Base, journal: Journal, others: RemoteMedia | None, check_room: Callable[[], None]
    ) -> None:
        world, chosen = base.world, base.config.media
        self.base = base
        self._transport = store_transport(_CONNECTIONS_MAX) if chosen.s3.bucket is not None else None
        self.objects: ObjectStore = (
            S3Objects(self._transport, bucket_of(chosen.s3, links=chosen.s3.redirects), world.clock)
            if self._transport is not None
            else LocalObjects(chosen.store_path, world.randomness, world.clock)
        )
        self.allowance = Allowance(base.limiter)
        self.files = Files(world.db, self.objects, world.clock, world.randomness, _scanner(chosen))
        self.files.check_room = check_room
        self.sandbox = Sandbox(SandboxLimits(processes=chosen.decoding_processes))
        self.thumbnails = Thumbnails(
            world.db,
            self.files,
            self.sandbox,
            sizes=tuple(Size(size.width, size.height, size.method) for size in chosen.thumbnail_sizes),
            pixels_max=chosen.image_pixels_max,
        )
        tools = MediaTools(clock=world.clock, randomness=world.randomness, server_name=base.server_name)
        limits = MediaLimits(
            upload_bytes_max=chosen.upload_bytes_max,
            user_bytes_max=chosen.user_bytes_max,
            pending_max=chosen.pending_uploads_max,
            pending_lifetime_s=chosen.pending_upload_lifetime_s,
            pace=_pace(chosen),
        )
        self.remote = (
            RemoteFiles(world.db, self.files, others, world.clock, _remote_limits(chosen, self.allowance))
            if others is not None
            else None
        )
        self.repository = MediaRepository(world.db, self.files, self.thumbnails, self.remote, tools, limits)
        self.uploads = ResumableUploads(world.db, self.repository, Spool(chosen.store_path / "spool"), world.clock)
        self.links = MediaLinks(world.db, journal, world.clock, base.server_name)
        retention_s = base.config.rooms.redacted_retention_s
        self.housekeeping = Housekeeping(
            world.db,
            self.repository,
            self.files,
            self.links,
            world.clock,
            retention_s=retention_s,
            pictures_bytes_max=base.config.previews.all_pictures_bytes_max,
        )
        self._client = build_outgoing(base.config)
        journal.listen(self.links.hear)

    async def start(self) -> None:
        """Catches up, before anybody can write, and begins what runs beside the requests."""
        await self.links.start()
        self.base.tasks.forever(self.links.run, name="media_links")
        self.base.tasks.forever(self.housekeeping.run, name="media_housekeeping")
        self.base.tasks.forever(self._tidy_uploads, name="resumable_uploads")
        if self.remote is not None:
            self.base.tasks.forever(self._tidy_remote, name="remote_media")

    async def _tidy_uploads(self) -> None:
        await self.uploads.tidy()
        await self.base.world.clock.sleep(EVERY_S)

    async def _tidy_remote(self) -> None:
        assert self.remote is not None
        await self.remote.tidy()
        await self.base.world.clock.sleep(EVERY_S)

    def endpoints(self) -> list[object]:
        delivery = Delivery(self.repository, self.objects, with_token=True)
        access = self.base.config.media.legacy_access
        legacy = Delivery(self.repository, self.objects, with_token=False, fetches=access == "open_fetching")
        endpoints: list[object] = [
            MediaEndpoints(self.repository, delivery),
            ResumableUploadEndpoints(self.uploads),
            LegacyMediaEndpoints(legacy, is_open=access in ("open", "open_fetching")),
        ]
        if self.base.config.previews.enabled:
            endpoints.append(UrlPreviews(self._previews()))
        return endpoints

    def _previews(self) -> Previews:
        world, chosen = self.base.world, self.base.config.previews
        settings = PreviewSettings(
            denied_hosts=chosen.deny_hosts,
            language=chosen.language,
            page_bytes_max=chosen.page_bytes_max,
            picture_bytes_max=chosen.picture_bytes_max,
            all_pictures_bytes_max=chosen.all_pictures_bytes_max,
            pixels_max=self.base.config.media.image_pixels_max,
            timeout_s=chosen.timeout_s,
            redirects_max=chosen.redirects_max,
            lifetime_s=chosen.lifetime_s,
            allowance=self.allowance,
        )
        return Previews(world.db, self._client, self.sandbox, self.repository, world.clock, settings)

    async def close(self) -> None:
        await self.sandbox.close()
        await self._client.close()
        if self._transport is not None:
            await self._transport.close()


def _remote_limits(chosen: Media, allowance: Allowance) -> RemoteLimits:
    return RemoteLimits(
        file_bytes_max=chosen.upload_bytes_max,
        all_bytes_max=chosen.remote_bytes_max,
        retention_s=chosen.remote_retention_s,
        pace=_pace(chosen),
        allowance=allowance,
    )


def _pace(chosen: Media) -> Pace:
    return Pace(bytes_per_s_min=chosen.upload_bytes_per_s_min, patience_s=chosen.upload_patience_s)


def _scanner(chosen: Media) -> Scanner | None:
    if chosen.scanner.address is None:
        return None
    settings = ScannerSettings(
        address=chosen.scanner.address,
        timeout_s=chosen.scanner.timeout_s,
        lets_pass=chosen.scanner.when_unreachable == "allow",
    )
    return Scanner(SystemConnector(), settings)
