"""Tells webhooks what saved searches found: in order, signed, again until acknowledged, and checked anew each time.

What is told is who said something where, as in a notice; never what. A delivery that is sent again has the same number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import orjson
import structlog

from homeserver.core.errors import MatrixError
from homeserver.core.events import Event
from homeserver.rooms.aggregations import RelationReads
from homeserver.runtime.clock import Clock
from homeserver.runtime.tasks import Tasks
from homeserver.web.outgoing import Outgoing, OutgoingError
from homeserver.webhooks.telling import BACKOFF, GIVEN_UP_MS, post_signed
from search.saved import storage
from search.saved.service import Teller
from search.saved.storage import Call
from search.saved.watch import SavedSearchWatch

log = structlog.get_logger()

EVENTS_MAX = 50
AT_ONCE = 32
_TICK_S = 1.0
_GONE = 410


@dataclass(frozen=True, slots=True)
class Calling:
    """What calls are made with. The client keeps them from addresses inside."""

    outgoing: Outgoing
    teller: Teller
    tasks: Tasks


class SavedSearchCaller:
    """One call at a time for each search; slow receivers hold up nobody else's."""

    def __init__(self, reads: RelationReads, watch: SavedSearchWatch, calling: Calling, clock: Clock) -> None:
        self._reads = reads
        self._watch = watch
        self._calling = calling
        self._clock = clock
        self._running: set[str] = set()

    async def run(self) -> None:
        """One round of a background task."""
        self._watch.to_call.clear()
        db, room = self._reads.db, AT_ONCE - len(self._running)
        if room:
            for call in await storage.calls(db, EVENTS_MAX, room, self._clock.now_ms(), self._running):
                self._running.add(call.search_id)
                self._calling.tasks.start(self._call(call), name="saved_search_webhook")
        if self._running or await storage.are_calls_left(db):
            await self._clock.sleep(_TICK_S)
        else:
            await self._watch.to_call.wait()

    async def _call(self, call: Call) -> None:
        try:
            events = await self._watch.tellable(call.user_id, call.event_nids)
            if events and not call.is_pending:
                call = replace(call, delivery=call.delivery + 1)
                async with self._reads.db.transaction() as tx:
                    await storage.begun(tx, call)
            status = await self._post(call, events) if events else 200
            if 200 <= status < 300:
                async with self._reads.db.transaction() as tx:
                    await storage.acknowledged(tx, call)
            else:
                await self._failed(call, status)
        finally:
            self._running.discard(call.search_id)

    async def _post(self, call: Call, events: Sequence[Event]) -> int:
        """The status; 0 where no answer came."""
        told = [
            {
                "event_id": event.event_id,
                "room_id": event.room_id,
                "sender": event.sender,
                "origin_server_ts": event.origin_server_ts,
            }
            for event in events
        ]
        body = orjson.dumps({"search_id": call.search_id, "name": call.name, "delivery": call.delivery, "events": told})
        number, now_s = f"{call.search_id}-{call.delivery}", self._clock.now_ms() // 1000
        try:
            return await post_signed(self._calling.outgoing, call.url, call.secret, number, body, now_s)
        except OutgoingError as error:
            log.info("saved_search_webhook_not_delivered", search_id=call.search_id, reason=error.reason)
            return 0

    async def _failed(self, call: Call, status: int) -> None:
        now_ms, failures = self._clock.now_ms(), call.failures + 1
        since_ms = call.failing_since_ms if call.failing_since_ms is not None else now_ms
        log.info("saved_search_webhook_failed", search_id=call.search_id, status=status, failures=failures)
        if status != _GONE and now_ms - since_ms <= GIVEN_UP_MS:
            failing = replace(call, failures=failures, failing_since_ms=since_ms)
            async with self._reads.db.transaction() as tx:
                await storage.failed(tx, failing, now_ms + BACKOFF.wait_ms(failures))
            return
        async with self._reads.db.transaction() as tx:
            if not await storage.given_up(tx, call):
                return
        self._watch.wake()
        words = f"The webhook of your saved search “{call.name}” is switched off: its receiver doesn't take it. "
        try:
            await self._calling.teller.send(
                call.user_id, {"msgtype": "m.notice", "body": words + "From now on you are told here."}
            )
        except MatrixError as error:
            log.warning("saved_search_not_told", user_id=call.user_id, error=str(error))
