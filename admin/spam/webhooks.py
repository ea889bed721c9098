"""Calls of rules to other services: kept until they are answered, tried again for a day, bounded in number."""

from __future__ import annotations

import asyncio

import structlog

from admin.storage import spam_webhooks as webhooks
from admin.storage.spam_webhooks import CallRow
from homeserver.runtime.backoff import Backoff
from homeserver.runtime.clock import Clock
from homeserver.storage.database import Database
from homeserver.web.outgoing import Outgoing, OutgoingError

log = structlog.get_logger()

TIMEOUT_S = 10.0
ANSWER_BYTES_MAX = 4_096
WAITING_MAX = 10_000
AT_ONCE = 8
TRIES_MAX = 12
BACKOFF = Backoff(first_ms=5_000, most_ms=4 * 3_600_000)
_ROUND_S = 1.0


class Webhooks:
    """Takes calls, and makes them."""

    def __init__(self, db: Database, outgoing: Outgoing, clock: Clock) -> None:
        self._db = db
        self._outgoing = outgoing
        self._clock = clock
        self._new = asyncio.Event()
        self._new.set()

    async def call(self, url: str, body: str) -> None:
        """Durable when this returns. Where too many wait already, it is dropped, and the log says so."""
        async with self._db.transaction() as tx:
            is_kept = await webhooks.keep(tx, url, body, now_ms=self._clock.now_ms(), most=WAITING_MAX)
        if not is_kept:
            log.warning("spam_webhook_dropped", waiting=WAITING_MAX)
        self._new.set()

    async def run(self) -> None:
        """One round of a background task."""
        await self._new.wait()
        rows = await webhooks.due(self._db, self._clock.now_ms(), AT_ONCE)
        if rows:
            await asyncio.gather(*(self._make(row) for row in rows))
            return
        if await webhooks.waiting(self._db) == 0:
            self._new.clear()
        else:
            await self._clock.sleep(_ROUND_S)

    async def _make(self, row: CallRow) -> None:
        why = await self._failure(row)
        tries = row.tries + 1
        async with self._db.transaction() as tx:
            if why is None or tries >= TRIES_MAX:
                await webhooks.done(tx, row.call_id)
            else:
                wait_ms = BACKOFF.wait_ms(tries)
                await webhooks.put_off(tx, row.call_id, tries, self._clock.now_ms() + wait_ms)
        if why is not None:
            log.warning("spam_webhook_failed", tries=tries, is_last=tries >= TRIES_MAX, why=why[:200])

    async def _failure(self, row: CallRow) -> str | None:
        try:
            answer = await self._outgoing.request(
                "POST",
                row.url,
                headers={"Content-Type": "application/json"},
                body=row.body.encode(),
                timeout_s=TIMEOUT_S,
                response_bytes_max=ANSWER_BYTES_MAX,
            )
        except OutgoingError as error:
            return str(error)
        return None if 200 <= answer.status < 300 else f"it answers {answer.status}"
