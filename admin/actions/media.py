"""What operators do with media: bar it, protect it, delete it."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from admin.audit import AuditLog, entry_of
from admin.audit_actions import Action
from admin.storage import media as admin_media
from admin.storage.media import Change, MediaInfo
from homeserver.core.errors import MatrixError, NotFound
from homeserver.core.identifiers import RoomId, ServerName, UserId
from homeserver.core.operators import Permission
from homeserver.media.files import Files
from homeserver.runtime.clock import Clock
from homeserver.storage import media
from homeserver.storage.database import Database
from homeserver.web.endpoint import Operator

AT_ONCE = 500
# Media of a room are looked for in so many of its newest events.
EVENTS_MAX = 50_000
# So many are deleted by one request.
DELETED_MAX = 100_000

Named = tuple[str, str]  # the server that a file is of, and its id there


class MediaActions:
    """Changes take hold at once, on downloads and thumbnails, under whatever id the same bytes have."""

    def __init__(self, db: Database, audit: AuditLog, files: Files, clock: Clock, server_name: ServerName) -> None:
        self._db = db
        self._audit = audit
        self._files = files
        self._clock = clock
        self.server_name = server_name

    async def info(self, origin: str, media_id: str) -> MediaInfo:
        """Raises NotFound."""
        found = await admin_media.one(self._db, self.server_name, origin, media_id)
        if found is None:
            raise NotFound("Unknown media")
        return found

    async def of_room(self, room_id: RoomId) -> list[Named]:
        """What the newest events of a room show."""
        return sorted(await admin_media.shown_in_room(self._db, room_id, EVENTS_MAX, self.server_name))

    async def changes(self, after: int, limit: int) -> list[Change]:
        """What was quarantined and let out, the oldest first."""
        return await admin_media.changes(self._db, after, limit)

    async def quarantine(
        self, named: Collection[Named], *, by: Operator, target: str, reason: str | None = None
    ) -> int:
        """Bars these files; how many of them there are. Protected ones stay as they are."""
        return await self._set_quarantined(named, True, by, target, reason)

    async def release(self, named: Collection[Named], *, by: Operator, target: str, reason: str | None = None) -> int:
        """Lets these files out again."""
        return await self._set_quarantined(named, False, by, target, reason)

    async def quarantine_room(self, room_id: RoomId, *, by: Operator, reason: str | None = None) -> int:
        """Bars what a room shows."""
        by.check_room(room_id)
        return await self.quarantine(await self.of_room(room_id), by=by, target=room_id, reason=reason)

    async def quarantine_user(self, user_id: UserId, *, by: Operator, reason: str | None = None) -> int:
        """Bars what a user of ours has uploaded."""
        ids = await admin_media.ids_of_user(self._db, user_id, DELETED_MAX)
        named = [(self.server_name, media_id) for media_id in ids]
        return await self.quarantine(named, by=by, target=user_id, reason=reason)

    async def count_of_user(self, user_id: UserId) -> int:
        """How many files a user of ours has uploaded."""
        return await admin_media.count_of_user(self._db, user_id)

    async def release_user(self, user_id: UserId, *, by: Operator, reason: str | None = None) -> int:
        """Lets what a user of ours has uploaded out again."""
        ids = await admin_media.ids_of_user(self._db, user_id, DELETED_MAX)
        return await self.release([(self.server_name, one) for one in ids], by=by, target=user_id, reason=reason)

    async def set_protected(self, media_id: str, is_protected: bool, *, by: Operator) -> None:
        """Keeps a file of ours from being quarantined, or no longer. Raises NotFound."""
        by.check(Permission.MODERATE_MEDIA)
        async with self._db.transaction() as tx:
            if not await admin_media.set_protected(tx, media_id, is_protected):
                raise NotFound("Unknown media")
            after = {"protected": is_protected}
            await self._audit.record(tx, entry_of(by, "media.protect", self._uri(media_id), after=after))

    async def delete(self, origin: str, media_id: str, *, by: Operator, reason: str | None = None) -> list[str]:
        """Deletes one file. Raises NotFound; MatrixError (409) where a legal hold keeps it."""
        await self.info(origin, media_id)
        target = f"mxc://{origin}/{media_id}"
        if origin == self.server_name:
            return await self._delete([media_id], by, target, reason)
        by.check(Permission.DELETE_MEDIA)
        async with self._db.transaction() as tx:
            await self._files.release(tx, await admin_media.delete_remote(tx, [(origin, media_id)]))
            await self._audit.record(tx, entry_of(by, "media.delete", target, reason=reason))
        await self._files.delete_due()
        return [media_id]

    async def delete_old(self, before_ms: int, larger_than: int, *, keep_profiles: bool, by: Operator) -> list[str]:
        """Deletes files of ours from before a time, larger than so many bytes; their ids."""
        wanted = f"before {before_ms}, larger than {larger_than}"
        deleted: list[str] = []
        while len(deleted) < DELETED_MAX:
            found = await admin_media.old(self._db, before_ms, larger_than, keep_profiles=keep_profiles, limit=AT_ONCE)
            if not found:
                break
            deleted += await self._delete(found, by, wanted, None)
        return deleted

    async def delete_some(self, media_ids: Sequence[str], *, by: Operator, target: str) -> list[str]:
        """Deletes these files of ours."""
        return await self._delete(media_ids, by, target, None)

    async def purge_remote(self, before_ms: int, *, by: Operator) -> int:
        """Deletes what was fetched from others and not asked for since; how many files. They can be fetched again."""
        by.check(Permission.DELETE_MEDIA)
        async with self._db.transaction() as tx:
            await self._audit.record(tx, entry_of(by, "media.purge_remote", "remote", after={"before": before_ms}))
        total, count = 0, 1
        while count:
            async with self._db.transaction() as tx:
                digests, count = await admin_media.delete_remote_before(tx, before_ms, AT_ONCE)
                await self._files.release(tx, digests)
            total += count
        await self._files.delete_due()
        return total

    async def _delete(self, media_ids: Sequence[str], by: Operator, target: str, reason: str | None) -> list[str]:
        by.check(Permission.DELETE_MEDIA)
        held = await media.held(self._db, media_ids)
        free = [media_id for media_id in media_ids if media_id not in held]
        if held and not free:
            raise MatrixError("a legal hold keeps this", status=409)
        for start in range(0, len(free), AT_ONCE):
            portion = free[start : start + AT_ONCE]
            async with self._db.transaction() as tx:
                await self._files.release(tx, await media.delete(tx, portion))
                before = {"media_ids": portion}
                await self._audit.record(tx, entry_of(by, "media.delete", target, reason=reason, before=before))
        await self._files.delete_due()
        return free

    async def _set_quarantined(
        self, named: Collection[Named], is_quarantined: bool, by: Operator, target: str, reason: str | None
    ) -> int:
        by.check(Permission.MODERATE_MEDIA)
        if len(named) > DELETED_MAX:
            raise MatrixError(f"at most {DELETED_MAX} files at once")
        now = self._clock.now_ms()
        action: Action = "media.quarantine" if is_quarantined else "media.unquarantine"
        async with self._db.transaction() as tx:
            count = await admin_media.set_quarantined(tx, self.server_name, named, is_quarantined, by.user_id, now)
            await self._audit.record(tx, entry_of(by, action, target, reason=reason, after={"count": count}))
        return count

    def _uri(self, media_id: str) -> str:
        return f"mxc://{self.server_name}/{media_id}"
