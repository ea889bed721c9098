"""Exports of rooms and users: begun, watched, taken, checked, deleted."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from admin.actions.exports import KEPT_S, KIND, Exports
from admin.console.acting import proven, reason_of
from admin.console.desk import OWN_SITE, Desk, Visit
from admin.console.page import page
from admin.exporting.exporter import FORMS, ExportWish
from admin.jobs import Jobs
from admin.storage import evidence_reads
from admin.storage.console_reads import Shown
from homeserver.core.errors import InvalidParam, NotFound
from homeserver.core.operators import Permission
from homeserver.storage.database import Database
from homeserver.web.endpoint import Answer, Reach

_PATH = "/admin/exports"
_NEWEST = 2**62
_COLUMNS = ("job_id", "export_kind", "target", "formats", "state", "events", "error", "started_by", "created_ts")
_STATES = ("all", "scheduled", "active", "complete", "failed", "cancelled")
_FILES_MAX = 200
_DAY_MS = 86_400_000


class ExportPages:
    """/admin/exports."""

    def __init__(self, desk: Desk, db: Database, exports: Exports, jobs: Jobs) -> None:
        self.desk = desk
        self._db = db
        self._exports = exports
        self._jobs = jobs

    @page("GET", _PATH, needs=Permission.EXPORT, reach=Reach.SERVER)
    async def exports(self, visit: Visit) -> Answer:
        about, state = visit.asked("q"), visit.asked("state") or "all"
        below = visit.number("below") or _NEWEST, visit.asked("below_id") or chr(0x10FFFF)

        async def fetch(limit: int) -> list[Shown]:
            return [_shown(row) for row in await evidence_reads.jobs_of(self._db, KIND, below, about, state, limit)]

        values = {
            "q": about,
            "state": state,
            "states": _STATES,
            "forms": sorted(FORMS),
            "target": visit.asked("target"),
            "kept_days": KEPT_S // 86_400,
        }
        return await self.desk.listing(visit, "exports", _COLUMNS, fetch, values)

    @page("POST", _PATH, needs=Permission.EXPORT, reach=Reach.SERVER)
    async def begin(self, visit: Visit) -> Answer:
        """Out of the server with what people wrote: so it wants the password again."""
        fields, reason = visit.fields, reason_of(visit)
        target = fields.get("target", "").strip()
        until_ms = _day_ms(visit, "until")
        wish = ExportWish(
            kind="user" if target.startswith("@") else "room",
            target=target,
            formats=["jsonl", *(form for form in FORMS if form != "jsonl" and f"form_{form}" in fields)],
            since_ms=_day_ms(visit, "since"),
            until_ms=until_ms + _DAY_MS - 1 if until_ms is not None else None,
            as_sent="as_sent" in fields,
            files="files" in fields,
        )
        export_id = await self._exports.begin(wish, reason=reason, by=await proven(self.desk, visit))
        return self.desk.go(f"{_PATH}/{export_id}?done=export")

    @page("GET", _PATH + "/{export_id}", needs=Permission.EXPORT, reach=Reach.SERVER)
    async def export(self, visit: Visit, export_id: str) -> Answer:
        row = await self._jobs.one(export_id)
        if row.kind != KIND:
            raise NotFound("there is no such export")
        try:
            manifest: dict[str, Any] | None = await self._exports.manifest(export_id)
        except NotFound:
            manifest = None  # not done yet, failed, or gone by age
        job = {**_shown({**_row(row)}), "wish": json.loads(row.arguments)}
        files = sorted((manifest or {}).get("files", {}).items())
        values = {"job": job, "manifest": manifest, "files": files[:_FILES_MAX], "more_files": len(files) - _FILES_MAX}
        return self.desk.page(visit, "export", values)

    @page("GET", _PATH + "/{export_id}/files/{file_name}", needs=Permission.EXPORT, reach=Reach.SERVER)
    async def file(self, visit: Visit, export_id: str, file_name: str) -> Answer:
        """One file of it, to keep; never shown in the browser."""
        size, pieces = await self._exports.read(export_id, file_name, by=visit.operator)
        name = f"{export_id}-{file_name.rpartition('/')[2]}"
        headers = {
            **OWN_SITE,
            "Content-Disposition": f'attachment; filename="{name}"',
            "Content-Length": str(size),
            "X-Content-Type-Options": "nosniff",
            "Content-Security-Policy": "default-src 'none'; sandbox",
            "Cache-Control": "private, no-store",
        }
        return Answer(pieces, 200, "application/octet-stream", headers)

    @page("POST", _PATH + "/{export_id}/delete", needs=Permission.EXPORT, reach=Reach.SERVER)
    async def delete(self, visit: Visit, export_id: str) -> Answer:
        await self._exports.delete(export_id, by=visit.operator)
        return self.desk.go(f"{_PATH}?done=export_deleted")


def _row(row: Any) -> Shown:
    names = ("job_id", "target", "arguments", "state", "progress", "error", "started_by", "created_ts", "changed_ts")
    return {name: getattr(row, name) for name in names}


def _shown(row: Any) -> Shown:
    arguments, progress = json.loads(row["arguments"]), json.loads(row["progress"])
    return {
        **row,
        "export_kind": arguments.get("kind", "room"),
        "formats": ", ".join(arguments.get("formats", [])),
        "events": progress.get("events"),
        "done": progress.get("done", 0),
        "of": progress.get("of", 0),
    }


def _day_ms(visit: Visit, name: str) -> int | None:
    """The beginning of a day in UTC; None where the field is empty. Raises InvalidParam."""
    text = visit.fields.get(name, "").strip()
    if not text:
        return None
    try:
        return int(datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).timestamp() * 1_000)
    except ValueError:
        raise InvalidParam(f"{name} must be a day, such as 2025-03-31") from None
