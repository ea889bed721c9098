"""Exports from the command line, beside a running server or without one."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from admin.audit import AuditEntry, AuditLog
from admin.exporting.exporter import EXPORTED, Exporter, ExportWish, Report
from homeserver.config import Config
from homeserver.core.errors import InvalidParam
from homeserver.core.identifiers import ServerName
from homeserver.objects.local import LocalObjects
from homeserver.operator.database import connected
from homeserver.runtime.clock import Clock
from homeserver.runtime.ids import Randomness
from homeserver.runtime.signing_key import load_signer
from homeserver.storage.migrate import migrate

# Who acts, in the audit log, where no account does.
BY_COMMAND = "hansa export"


async def export(
    config: Config, clock: Clock, randomness: Randomness, wish: ExportWish, folder: Path, because: str, report: Report
) -> dict[str, Any]:
    """The manifest of what was written into `folder`. Raises MatrixError."""
    if await asyncio.to_thread(folder.exists):
        raise InvalidParam(f"{folder} is there already")
    if wish.files and config.media.s3.bucket is not None:
        raise InvalidParam("files in a bucket are taken out by the running server: POST /_hansa/admin/v1/exports")
    signer = load_signer(config.signing_key_path, ServerName(config.server_name), randomness)
    objects = LocalObjects(config.media.store_path, randomness, clock)
    async with connected(config, clock) as db:
        await migrate(db)
        exporter = Exporter(db, clock, signer, objects)
        await exporter.check(wish)
        async with db.transaction() as tx:
            after = {"as_sent": wish.as_sent, "formats": list(wish.formats)}
            entry = AuditEntry(
                actor=BY_COMMAND, action=EXPORTED[wish.kind], target=wish.target, reason=because, after=after
            )
            await AuditLog(clock).record(tx, entry)
        return await exporter.write(wish, folder, made_by=BY_COMMAND, report=report)
