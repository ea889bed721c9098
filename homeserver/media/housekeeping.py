"""Deletes what media leave behind: ids that were never filled, files that nothing shows, leftovers of a crash."""

from __future__ import annotations

from homeserver.media.files import AT_ONCE, Files
from homeserver.media.links import MediaLinks
from homeserver.media.repository import MediaRepository
from homeserver.runtime.clock import Clock
from homeserver.storage import media, media_links, url_previews
from homeserver.storage.database import Database

EVERY_S = 60.0
# Previews stay a while after they are out of date: events show their pictures.
PREVIEWS_KEPT_MS = 24 * 3600 * 1000
PREVIEWS_MAX = 100_000


class Housekeeping:
    """A background task: `run` does one round, the first one at once."""

    def __init__(
        self,
        db: Database,
        repository: MediaRepository,
        files: Files,
        links: MediaLinks,
        clock: Clock,
        *,
        retention_s: int,
        pictures_bytes_max: int,
    ) -> None:
        self._db = db
        self._repository = repository
        self._files = files
        self._links = links
        self._clock = clock
        self._retention_ms = retention_s * 1000
        self._pictures_bytes_max = pictures_bytes_max

    async def run(self) -> None:
        await self.tidy()
        await self._clock.sleep(EVERY_S)

    async def tidy(self) -> None:
        """Deletes all that is due now."""
        async with self._db.transaction() as tx:
            await media.delete_expired(tx, self._clock.now_ms())
            await media_links.of_erased_users(tx)
        await self._links.hide_unshown()
        before = self._clock.now_ms() - self._retention_ms
        while hidden := await media.hidden(self._db, before, AT_ONCE):
            await self._repository.delete(hidden)
        await self._delete_previews()
        await self._files.delete_due()
        await self._files.objects.sweep()

    async def _delete_previews(self) -> None:
        """Those that are long out of date, or too many, with their pictures."""
        before, found = self._clock.now_ms() - PREVIEWS_KEPT_MS, AT_ONCE
        while found == AT_ONCE:
            async with self._db.transaction() as tx:
                found, media_ids = await url_previews.delete_old(
                    tx, before, PREVIEWS_MAX, AT_ONCE, self._pictures_bytes_max
                )
            if media_ids:
                await self._repository.delete(media_ids)
