"""Erasing a user from the command line: the wish is written down, and the running server does it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import orjson

from admin.audit import AuditEntry, AuditLog
from admin.storage import accounts, jobs, user_erasures
from admin.storage.jobs import JobFilter
from admin.storage.user_erasures import ErasureRow
from homeserver.config import Config
from homeserver.core.errors import MatrixError, NotFound
from homeserver.core.identifiers import UserId, domain_of, parse_user_id
from homeserver.operator.database import connected
from homeserver.runtime.clock import Clock
from homeserver.runtime.ids import Randomness
from homeserver.storage.migrate import migrate

# Who acts, in the audit log, where no account does.
BY_COMMAND = UserId("hansa erase")
_LOOK_S = 0.5
_KIND = "erase_user"


async def erase(
    config: Config, clock: Clock, randomness: Randomness, name: str, *, because: str, room_names: bool, wait: bool
) -> AsyncIterator[tuple[ErasureRow, int, int]]:
    """The erasure as it goes on: (row, rows of events looked at, of how many); the last has its end.

    Without `wait`, as it begins. Raises MatrixError, NotFound.
    """
    user_id = parse_user_id(name)
    row = ErasureRow(
        erasure_id=randomness.letters(16),
        user_id=user_id,
        options=orjson.dumps({"room_names": room_names}).decode(),
        asked_by=BY_COMMAND,
        asked_ts=clock.now_ms(),
        reason=because,
        state="waiting",
        job_id=None,
        receipt=None,
    )
    async with connected(config, clock) as db:
        await migrate(db)
        if domain_of(user_id) == config.server_name and await accounts.one(db, user_id) is None:
            raise NotFound("there is no such user")
        async with db.transaction() as tx:
            if not await user_erasures.insert(tx, row):
                raise MatrixError("this user is being erased already")
            after = {"erasure": row.erasure_id, "room_names": room_names}
            entry = AuditEntry(actor=BY_COMMAND, action="user.erase", target=user_id, reason=because, after=after)
            await AuditLog(clock).record(tx, entry)
        while True:
            found = await user_erasures.one(db, row.erasure_id)
            assert found is not None
            under_way = await jobs.page(db, JobFilter(kind=_KIND, target=user_id), 1) if found.state == "begun" else []
            progress = orjson.loads(under_way[0].progress) if under_way else {}
            yield found, int(progress.get("after", 0)), int(progress.get("of", 0))
            if found.state == "done" or not wait:
                return
            if under_way and under_way[0].state in ("failed", "cancelled"):
                raise MatrixError(f"the erasure {under_way[0].state}: {under_way[0].error or 'by an operator'}")
            await clock.sleep(_LOOK_S)
