"""Exports of rooms and users: begun as jobs, kept for a while, handed out, deleted."""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import AsyncIterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from admin.audit import AuditLog, entry_of
from admin.exporting.exporter import EXPORTED, PART, Exporter, ExportWish
from admin.jobs import Job, Jobs
from homeserver.core.errors import InvalidParam, NotFound
from homeserver.core.identifiers import UserId, is_room_id, is_user_id
from homeserver.core.operators import Permission
from homeserver.objects.local import to_end
from homeserver.runtime.clock import Clock
from homeserver.storage.database import Database
from homeserver.web.endpoint import Operator

KIND = "export"
KEPT_S = 7 * 86_400
EVERY_S = 3_600.0
REASON_CHARS_MAX = 1_000
_PIECE_BYTES = 256 * 1024
_NAME = re.compile(r"(?:media/)?[0-9A-Za-z_-]{1,255}(?:\.[a-z]{1,8})?", re.ASCII)
_ID = re.compile(r"[0-9A-Za-z]{1,64}", re.ASCII)


class Exports:
    """Each is a folder under the id of its job. What is kept goes after a week, and when somebody in it is erased."""

    def __init__(self, db: Database, jobs: Jobs, audit: AuditLog, exporter: Exporter, folder: Path) -> None:
        self._db = db
        self._jobs = jobs
        self._audit = audit
        self._exporter = exporter
        self._folder = folder
        jobs.provide(KIND, self._write)

    async def begin(self, wish: ExportWish, *, reason: str, by: Operator) -> str:
        """The id of a job, which is that of the export too. What redacted events said is for owners alone.

        Raises Forbidden, InvalidParam, NotFound.
        """
        by.check(Permission.EXPORT)
        if wish.as_sent:
            by.check(Permission.SEARCH_CONTENT)
        if not (is_room_id(wish.target) if wish.kind == "room" else is_user_id(wish.target)):
            raise InvalidParam(f"this is no id of a {wish.kind}")
        if not reason.strip() or len(reason) > REASON_CHARS_MAX or "\x00" in reason:
            raise InvalidParam(f"give a reason of 1 to {REASON_CHARS_MAX} characters")
        await self._exporter.check(wish)
        arguments = {**asdict(wish), "formats": list(wish.formats)}
        return await self._jobs.begin(KIND, wish.target, arguments, by=by, action=EXPORTED[wish.kind], reason=reason)

    async def manifest(self, export_id: str) -> dict[str, Any]:
        """What is in an export. Raises NotFound, also for one that isn't done."""
        path = self._place(export_id) / "manifest.json"
        try:
            manifest: dict[str, Any] = orjson.loads(await asyncio.to_thread(path.read_bytes))
        except FileNotFoundError:
            raise NotFound("there is no such export, or it isn't done") from None
        return manifest

    async def read(self, export_id: str, name: str, *, by: Operator) -> tuple[int, AsyncIterator[bytes]]:
        """A file's size and its bytes; who takes it is written down. Raises NotFound."""
        by.check(Permission.EXPORT)
        manifest = await self.manifest(export_id)
        path = self._place(export_id) / name
        if _NAME.fullmatch(name) is None or not await asyncio.to_thread(path.is_file):
            raise NotFound("there is no such file in this export")
        if manifest["selection"]["as_sent"]:
            by.check(Permission.SEARCH_CONTENT)
        async with self._db.transaction() as tx:
            after = {"export": export_id, "file": name}
            await self._audit.record(tx, entry_of(by, "export.take", str(manifest["target"]), after=after))
        return (await asyncio.to_thread(path.stat)).st_size, _pieces(path)

    async def delete(self, export_id: str, *, by: Operator) -> None:
        """Raises NotFound."""
        by.check(Permission.EXPORT)
        manifest = await self.manifest(export_id)
        async with self._db.transaction() as tx:
            after = {"export": export_id}
            await self._audit.record(tx, entry_of(by, "export.delete", str(manifest["target"]), after=after))
        await to_end(shutil.rmtree, self._place(export_id))

    async def forget(self, user_id: UserId) -> int:
        """Deletes every export in which the user stands; how many. Implements ports.ContentKeeper."""
        return await to_end(_delete_naming, self._folder, user_id)

    async def scrub(self) -> None:
        """A deleted file's bytes are the file system's."""

    async def tidy(self, clock: Clock) -> None:
        """One round of a background task: deletes what is old, and what a crash left half written."""
        await to_end(_delete_old, self._folder, clock.now_ms() - KEPT_S * 1000)
        await clock.sleep(EVERY_S)

    async def _write(self, job: Job) -> None:
        folder = self._folder / job.job_id
        if await asyncio.to_thread((folder / "manifest.json").is_file):
            return  # done before a restart

        async def report(done: int, total: int) -> None:
            job.progress.update(done=done, of=max(done, total))
            await job.note()

        wish = ExportWish(**job.arguments)
        manifest = await self._exporter.write(wish, folder, made_by=job.started_by, report=report)
        job.progress.update(events=manifest["events"], files=sorted([*manifest["files"], "manifest.json"]))

    def _place(self, export_id: str) -> Path:
        """Raises NotFound for what can't be an export's id."""
        if _ID.fullmatch(export_id) is None:
            raise NotFound("there is no such export, or it isn't done")
        return self._folder / export_id


async def _pieces(path: Path) -> AsyncIterator[bytes]:
    file: BinaryIO = await to_end(lambda: path.open("rb"))
    try:
        while piece := await to_end(file.read, _PIECE_BYTES):
            yield piece
    finally:
        await to_end(file.close)


def _delete_naming(folder: Path, user_id: UserId) -> int:
    count, wanted = 0, f'"{user_id}"'.encode()
    for export in [path.parent for path in folder.glob("*/manifest.json")]:
        with (export / "events.jsonl").open("rb") as lines:
            named = any(wanted in line for line in lines)
        if named or wanted in (export / "manifest.json").read_bytes():
            shutil.rmtree(export)
            count += 1
    return count


def _delete_old(folder: Path, before_ms: int) -> None:
    if not folder.is_dir():
        return
    for export in folder.iterdir():
        manifest = export / "manifest.json"
        written = manifest if manifest.exists() else export
        if written.stat().st_mtime_ns // 1_000_000 < before_ms and (written is manifest or export.name.endswith(PART)):
            shutil.rmtree(export, ignore_errors=True)
