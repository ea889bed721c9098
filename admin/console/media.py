"""Files of this server's users: a wall of blurred pictures, barred and let out, alone or many at once."""

from __future__ import annotations

from collections.abc import AsyncIterator

from admin.actions.media import MediaActions
from admin.console.acting import reason_of
from admin.console.bulk import done, preview, ticked
from admin.console.desk import OWN_SITE, Desk, Visit
from admin.console.page import page
from admin.storage import console_reads
from admin.storage.console_reads import Shown
from homeserver.core.errors import InvalidParam
from homeserver.core.operators import Permission
from homeserver.media.repository import MediaRepository
from homeserver.storage.database import Database
from homeserver.web.endpoint import Answer, Operator, Reach

_PATH = "/admin/media"
_NEWEST = 2**62
_COLUMNS = (
    "media_id",
    "user_id",
    "created_ts",
    "size_bytes",
    "content_type",
    "file_name",
    "digest",
    "is_quarantined",
)
STATES = ("all", "quarantined")
ACTS = ("quarantine", "unquarantine", "protect", "unprotect")
_PIXELS = 320
_PICTURES = ("image/png", "image/jpeg", "image/webp", "image/gif", "image/avif")


class MediaPages:
    """/admin/media."""

    def __init__(self, desk: Desk, db: Database, actions: MediaActions, repository: MediaRepository) -> None:
        self.desk = desk
        self._db = db
        self._actions = actions
        self._repository = repository

    @page("GET", _PATH, needs=Permission.READ_MEDIA, reach=Reach.SERVER)
    async def media(self, visit: Visit) -> Answer:
        about, state = visit.asked("q"), visit.asked("state") or "all"
        below = visit.number("below") or _NEWEST, visit.asked("below_id") or chr(0x10FFFF)

        async def fetch(limit: int) -> list[Shown]:
            return await console_reads.media(self._db, below, about, state, limit)

        values = {"q": about, "state": state, "states": STATES, "pictures": _PICTURES, "acts": ACTS}
        return await self.desk.listing(visit, "media", _COLUMNS, fetch, values)

    @page("GET", _PATH + "/{media_id}/picture", needs=Permission.READ_CONTENT, reach=Reach.SERVER)
    async def picture(self, visit: Visit, media_id: str) -> Answer:
        """A small picture of a file that isn't quarantined. Raises NotFound, MatrixError for what is no picture."""
        found = await self._repository.thumbnail(
            self._actions.server_name,
            media_id,
            width=_PIXELS,
            height=_PIXELS,
            method="scale",
            animated=False,
            timeout_ms=0,
        )
        if found.content_type not in _PICTURES:
            raise InvalidParam("this is no picture")
        headers = {
            **OWN_SITE,
            "Content-Length": str(found.size_bytes),
            "Content-Security-Policy": "default-src 'none'; sandbox",
            "X-Content-Type-Options": "nosniff",
            "Cache-Control": "private, no-store",
        }
        pieces: AsyncIterator[bytes] = await found.read(0, found.size_bytes)
        return Answer(pieces, 200, found.content_type, headers)

    @page("POST", _PATH + "/act", needs=Permission.MODERATE_MEDIA, reach=Reach.SERVER)
    async def act(self, visit: Visit) -> Answer:
        """Quarantines, releases or protects what was ticked: first shown, then done."""
        act, chosen, reason, by = visit.fields.get("act", ""), ticked(visit), reason_of(visit), visit.operator
        if act not in ACTS:
            raise InvalidParam("there is no such act")
        if visit.fields.get("step") != "do":
            return preview(self.desk, visit, act, chosen, reason, back=_PATH)
        return await done(self.desk, visit, act, chosen, lambda one: self._do(one, act, reason, by), back=_PATH)

    async def _do(self, media_id: str, act: str, reason: str, by: Operator) -> None:
        server = self._actions.server_name
        target = f"mxc://{server}/{media_id}"
        if act == "quarantine":
            if not await self._actions.quarantine([(server, media_id)], by=by, target=target, reason=reason):
                raise InvalidParam("it is protected, or isn't there")
        elif act == "unquarantine":
            await self._actions.release([(server, media_id)], by=by, target=target, reason=reason)
        else:
            await self._actions.set_protected(media_id, act == "protect", by=by)
