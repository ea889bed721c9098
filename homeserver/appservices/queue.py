"""The queue of one application service: transactions in order, each until it is acknowledged.

A transaction is written down before it is sent and is never altered, but for what erased users said: after a crash or
a lost answer it goes again under its number. One that fails waits longer and longer, and holds up nobody but its own
service. Writing it down is one statement, which crosses out the one before it too.

The first transaction after a while goes at once. What happens within `GATHER_S` of it goes together in the next: busy
rooms cost at most twenty transactions a second, however many messages those are.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson
import structlog

from homeserver.appservices.beside_events import BesideEvents, Told
from homeserver.appservices.client import AppserviceClient
from homeserver.appservices.interest import Interest
from homeserver.appservices.outside import Outside
from homeserver.appservices.registration import Registration
from homeserver.core.identifiers import UserId
from homeserver.journal.event_log import EventLog
from homeserver.journal.journal import Entry
from homeserver.rooms.client_events import ClientEvents, Viewer
from homeserver.runtime.backoff import Backoff, left_ms
from homeserver.runtime.clock import Clock
from homeserver.storage import appservices
from homeserver.storage.appservices import Pending, QueueRow
from homeserver.storage.database import Database
from homeserver.storage.events import StoredEvent

log = structlog.get_logger()

EVENTS_MAX = 100
BACKOFF = Backoff(first_ms=1_000, most_ms=600_000)
# After so long without anything to send the acknowledged transaction is crossed out in the database too.
IDLE_S = 1.0
# From the making of one transaction to that of the next, at least.
GATHER_S = 0.05
_TICK_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueTools:
    """What every queue works with."""

    db: Database
    clock: Clock
    event_log: EventLog
    client_events: ClientEvents
    client: AppserviceClient


class Queue:
    """Run by a task of its own."""

    def __init__(
        self, service: Registration, interest: Interest, outside: Outside, beside: BesideEvents, tools: QueueTools
    ) -> None:
        self.service = service
        self._interest = interest
        self._outside = outside
        self._beside = beside
        self._tools = tools
        self._row = QueueRow(position=0)
        self._is_saved = True
        self._is_alive = False
        self._due_s = 0.0  # of the event loop
        self._changing = asyncio.Lock()

    @property
    def position(self) -> int:
        """Up to here all was acknowledged or is of no interest."""
        return self._row.position

    async def start(self) -> None:
        """Finds where an earlier run ended. A new service hears of what happens from now on."""
        row = await appservices.queue(self._tools.db, self.service.id)
        if row is None:
            row = QueueRow(position=self._tools.event_log.upto)
            await self._save(row)
        self._row = row
        await self._interest.start(row.position, self._tools.event_log)
        await self._outside.start(row.pending.upto if row.pending is not None else row.position)
        await self._beside.start()

    def hear(self, entries: Sequence[Entry]) -> None:
        """A journal listener. Call it before the event log's."""
        self._interest.hear(entries)
        self._outside.hear(entries)
        self._beside.hear(entries)

    def shows_life(self) -> None:
        """Told when the service has called us: it is tried again at once."""
        self._is_alive = True

    async def forget(self, user_id: UserId) -> int:
        """Takes what a user said out of the transaction that waits; how many events that were."""
        # Nobody makes or writes one meanwhile, who would bring back what is taken out.
        async with self._changing:
            pending = self._row.pending
            if pending is None:
                return 0
            body, count = without_events_of(pending.body, user_id)
            if count:
                await self._save(replace(self._row, pending=replace(pending, body=body)))
            return count

    async def run(self) -> None:
        """One round: makes the next transaction, and brings it there."""
        if self._row.pending is None:
            await self._make_next()
        await self._deliver()

    # --- making

    async def _make_next(self) -> None:
        while True:
            if self._row.position >= self._tools.event_log.upto and not self._beside.has_any:
                await self._wait()
            await self._gather()
            if await self._make():
                self._due_s = asyncio.get_running_loop().time() + GATHER_S
                return

    async def _make(self) -> bool:
        """Whether there is something for the next transaction, which then waits to be brought."""
        async with self._changing:
            events, upto = await self._next_events()
            told = await self._beside.take(self._tools.event_log.upto) if self._beside.has_any else Told()
            self._interest.forget_turns(self._row.position)
            if not (events or told.parts):
                self._row = replace(self._row, position=max(self._row.position, upto))
                return False
            body: dict[str, Any] = {"events": await self._rendered(events), **told.parts}
            if "ephemeral" in body:
                body["de.sorunome.msc2409.ephemeral"] = body["ephemeral"]
            pending = Pending(self._row.number + 1, orjson.dumps(body), max(upto, self._row.position))
            try:
                await self._save(replace(self._row, number=pending.number, pending=pending), told)
            except BaseException:
                self._beside.give_back(told)
                raise
            self._outside.forget(upto)
            return True

    async def _next_events(self) -> tuple[list[StoredEvent], int]:
        """The events of interest after what was told, in order, and the position up to which there are no others."""
        found, upto = await self._tools.event_log.after(self._row.position, EVENTS_MAX)
        nids = self._outside.upto(upto, EVENTS_MAX)
        if len(nids) == EVENTS_MAX:
            upto = nids[-1]
            found = [stored for stored in found if _place(stored) <= upto]
        events = await self._interest.of_interest(found) if found else []
        if nids:
            outside = await self._tools.event_log.events(nids)
            events = sorted([*events, *outside.values()], key=_place)
        return events, upto

    async def _rendered(self, events: Sequence[StoredEvent]) -> list[Any]:
        """As the service is told of them. spec: client-server-api/#mroommember, for `invite_room_state`"""
        shown = await self._tools.client_events.render(events, Viewer(self.service.sender), with_room_id=True)
        invites = [one.nid for one in events if one.ordering is None and one.event.membership == "invite"]
        told = await self._outside.stripped(invites)
        return [
            _with_state(one, told[stored.nid]) if stored.nid in told else one
            for one, stored in zip(shown, events, strict=True)
        ]

    async def _gather(self) -> None:
        loop = asyncio.get_running_loop()
        if loop.time() < self._due_s:
            is_due = asyncio.Event()
            loop.call_at(self._due_s, is_due.set)
            await is_due.wait()

    async def _wait(self) -> None:
        waiting = self._tools.event_log.wait_beyond(self._row.position)
        if self._is_saved:
            await waiting
            return
        try:
            async with asyncio.timeout(IDLE_S):
                await waiting
        except TimeoutError:
            await self._save(self._row)

    async def _save(self, row: QueueRow, told: Told | None = None) -> None:
        if told is not None and told.taken:
            async with self._tools.db.transaction() as tx:
                await appservices.put_queue(tx, self.service.id, row)
                await appservices.take(tx, told.taken)
        else:
            await appservices.put_queue(self._tools.db, self.service.id, row)
        self._row, self._is_saved = row, True

    # --- delivering

    async def _deliver(self) -> None:
        """Until it is acknowledged."""
        while (pending := self._row.pending) is not None:
            await self._rest()
            answer = await self._tools.client.send_transaction(self.service, pending.number, pending.body)
            if answer.is_good:
                # Crossed out with the next transaction, or when there is none for a while.
                self._row = replace(self._row, position=pending.upto, pending=None, failures=0, retry_ts=0)
                self._is_saved = False
                return
            failures = self._row.failures + 1
            wait_ms = BACKOFF.wait_ms(failures)
            log.info(
                "appservice_failed",
                appservice=self.service.id,
                transaction=pending.number,
                status=answer.status,
                reason=answer.reason,
                failures=failures,
                retry_in_ms=wait_ms,
            )
            self._is_alive = False
            async with self._changing:
                await self._save(replace(self._row, failures=failures, retry_ts=self._tools.clock.now_ms() + wait_ms))

    async def _rest(self) -> None:
        while not self._is_alive and (left := left_ms(self._row.retry_ts, self._tools.clock.now_ms(), BACKOFF.most_ms)):
            await self._tools.clock.sleep(min(left / 1000, _TICK_S))

    async def stop(self) -> None:
        """Keeps what was acknowledged, so that a restart repeats nothing."""
        if not self._is_saved:
            with contextlib.suppress(Exception):
                await self._save(self._row)


def _place(stored: StoredEvent) -> int:
    return stored.ordering or stored.nid


def _with_state(rendered: Any, state: Sequence[Any]) -> dict[str, Any]:
    event: dict[str, Any] = orjson.loads(orjson.dumps(rendered))
    event["unsigned"]["invite_room_state"] = state
    return event


def without_events_of(body: bytes, user_id: UserId) -> tuple[bytes, int]:
    """A transaction without what a user sent, and how much that was."""
    told: dict[str, Any] = orjson.loads(body)
    count = 0
    for part, items in told.items():
        if isinstance(items, list):
            kept = [item for item in items if not (isinstance(item, dict) and _is_of(item, user_id))]
            count += len(items) - len(kept)
            told[part] = kept
    return (orjson.dumps(told) if count else body), count


def _is_of(item: dict[str, Any], user_id: UserId) -> bool:
    return item.get("sender") == user_id or (item.get("type") == "m.room.member" and item.get("state_key") == user_id)
