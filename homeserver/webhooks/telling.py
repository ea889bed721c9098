"""What rooms tell other programs: in order, signed, again until acknowledged, and no more than its owner may read.

Each webhook is a cursor on its room's timeline, not a row for each event: what it missed while its receiver was away
is read when it is back. A delivery that is sent again has the same number and ends at the same event.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson
import structlog

from homeserver.core.identifiers import RoomId, UserId
from homeserver.journal.journal import Entry
from homeserver.rooms.client_events import ClientEvents, Viewer
from homeserver.rooms.history import History, Wanted
from homeserver.rooms.residents import Room, Rooms
from homeserver.runtime.backoff import Backoff, left_ms
from homeserver.runtime.clock import Clock
from homeserver.runtime.tasks import Tasks
from homeserver.storage import event_webhooks
from homeserver.storage.database import Database
from homeserver.storage.event_webhooks import EventWebhookRow
from homeserver.storage.events import StoredEvent
from homeserver.web.outgoing import Outgoing, OutgoingError

log = structlog.get_logger()

EVENTS_MAX = 50
AT_ONCE = 32
TIMEOUT_S = 15.0
ANSWER_BYTES_MAX = 65_536
BACKOFF = Backoff(first_ms=1_000, most_ms=3_600_000)
# A receiver that fails for so long is given up, and its owner is told.
GIVEN_UP_MS = 5 * 86_400_000
_TICK_S = 1.0
_LOOK_S = 30.0
_GONE = 410


@dataclass(frozen=True, slots=True, kw_only=True)
class TellingTools:
    """What deliveries are made with. `tell` says something to the owner of a webhook; `me` speaks for webhooks."""

    db: Database
    rooms: Rooms
    history: History
    client_events: ClientEvents
    outgoing: Outgoing
    tell: Callable[[UserId, str], Awaitable[None]]
    me: UserId


class Telling:
    """Runs a delivery for each webhook that has something to tell."""

    def __init__(self, tools: TellingTools, clock: Clock, tasks: Tasks) -> None:
        self._tools = tools
        self._clock = clock
        self._tasks = tasks
        self._known: dict[str, EventWebhookRow] = {}
        self._by_room: dict[RoomId, list[str]] = {}
        self._running: set[str] = set()
        self._again: set[str] = set()
        self._slots = asyncio.Semaphore(AT_ONCE)

    async def load(self) -> None:
        """Reads them anew, and wakes all: at the start, and when some were made or removed."""
        self._take(await self._enabled())

    async def look(self) -> None:
        """One round of a background task: finds what a command made or removed beside this process."""
        await self._clock.sleep(_LOOK_S)
        rows = await self._enabled()
        if rows.keys() != self._known.keys():
            self._take(rows)

    async def _enabled(self) -> dict[str, EventWebhookRow]:
        return {row.webhook_id: row for row in await event_webhooks.all_of_them(self._tools.db) if row.is_enabled}

    def _take(self, rows: Mapping[str, EventWebhookRow]) -> None:
        # What is under way knows better how far it has come.
        self._known = {key: self._known.get(key, row) if key in self._running else row for key, row in rows.items()}
        self._by_room = {}
        for row in rows.values():
            self._by_room.setdefault(row.room_id, []).append(row.webhook_id)
        for webhook_id in rows:
            self._wake(webhook_id)

    def hear(self, entries: Sequence[Entry]) -> None:
        """A journal listener."""
        if not self._by_room:
            return
        for entry in entries:
            if entry.kind == "event" and entry.room_id is not None:
                for webhook_id in self._by_room.get(entry.room_id, ()):
                    self._wake(webhook_id)

    def _wake(self, webhook_id: str) -> None:
        if webhook_id in self._running:
            self._again.add(webhook_id)
            return
        self._running.add(webhook_id)
        self._tasks.start(self._work(webhook_id), name="event_webhook")

    async def _work(self, webhook_id: str) -> None:
        try:
            while True:
                self._again.discard(webhook_id)
                while (row := self._known.get(webhook_id)) is not None and await self._next(row):
                    pass
                if webhook_id not in self._again:
                    return
        finally:
            self._running.discard(webhook_id)

    async def _next(self, row: EventWebhookRow) -> bool:
        """Makes and brings the next delivery; whether there may be another."""
        room = await self._tools.rooms.get(row.room_id)
        if room is None:
            return False
        await self._rest(row)
        async with self._slots:
            events, upto, is_end = await self._events(row, room)
            if not events:
                self._put(replace(row, position=upto, pending_upto=None))
                return not is_end
            if row.pending_upto is None:
                row = replace(row, delivery=row.delivery + 1, pending_upto=upto)
                await self._save(row)
            status = await self._post(row, events)
        if 200 <= status < 300:
            await self._save(
                replace(row, position=upto, pending_upto=None, failures=0, failing_since_ts=None, retry_ts=0)
            )
        else:
            await self._failed(row, status)
        return True

    async def _events(self, row: EventWebhookRow, room: Room) -> tuple[list[StoredEvent], int, bool]:
        """What to tell, the place up to which that is all, and whether nothing comes after it now."""
        newest = room.newest
        types = frozenset(row.types)

        def wanted(stored: StoredEvent) -> bool:
            # Not what webhooks say: two of them would talk to each other for ever.
            return stored.event.sender != self._tools.me and (not types or stored.event.type in types)

        page = await self._tools.history.page(
            row.owner,
            room,
            start=row.position + 1,
            stop=row.pending_upto + 1 if row.pending_upto is not None else None,
            backwards=False,
            limit=EVENTS_MAX,
            wanted=Wanted(wanted),
        )
        if row.pending_upto is not None:
            return page.events, row.pending_upto, False
        if page.end is not None:
            return page.events, page.end - 1, False
        last = page.events[-1].ordering or 0 if page.events else 0
        return page.events, max(newest, last, row.position), True

    async def _post(self, row: EventWebhookRow, events: Sequence[StoredEvent]) -> int:
        """The status; 0 where no answer came."""
        rendered = await self._tools.client_events.render(events, Viewer(row.owner), with_room_id=True)
        body = orjson.dumps({"webhook_id": row.webhook_id, "delivery": row.delivery, "events": rendered})
        try:
            number, now_s = f"{row.webhook_id}-{row.delivery}", self._clock.now_ms() // 1000
            return await post_signed(self._tools.outgoing, row.url, row.signing_secret, number, body, now_s)
        except OutgoingError as error:
            log.info("webhook_not_delivered", webhook_id=row.webhook_id, reason=error.reason)
            return 0

    async def _failed(self, row: EventWebhookRow, status: int) -> None:
        now, failures = self._clock.now_ms(), row.failures + 1
        since = row.failing_since_ts if row.failing_since_ts is not None else now
        is_over = status == _GONE or now - since > GIVEN_UP_MS
        wait_ms = BACKOFF.wait_ms(failures)
        log.info("webhook_failed", webhook_id=row.webhook_id, status=status, failures=failures, given_up=is_over)
        row = replace(row, failures=failures, failing_since_ts=since, retry_ts=now + wait_ms, is_enabled=not is_over)
        await self._save(row)
        if is_over:
            self._known.pop(row.webhook_id, None)
            await self._tools.tell(
                row.owner, f"The webhook “{row.name}” of {row.room_id} is switched off: its receiver doesn't take it."
            )

    async def _rest(self, row: EventWebhookRow) -> None:
        while row.webhook_id in self._known and (left := left_ms(row.retry_ts, self._clock.now_ms(), BACKOFF.most_ms)):
            await self._clock.sleep(min(left / 1000, _TICK_S))

    async def _save(self, row: EventWebhookRow) -> None:
        async with self._tools.db.transaction() as tx:
            await event_webhooks.set_progress(tx, row)
        self._put(row)

    def _put(self, row: EventWebhookRow) -> None:
        # One that was removed meanwhile stays so.
        if row.webhook_id in self._known:
            self._known[row.webhook_id] = row


async def post_signed(outgoing: Outgoing, url: str, secret: str, delivery: str, body: bytes, now_s: int) -> int:
    """The status that the receiver answers a delivery with. Raises OutgoingError where no answer came."""
    answer = await outgoing.request(
        "POST",
        url,
        headers=_signed_headers(secret, delivery, body, now_s),
        body=body,
        timeout_s=TIMEOUT_S,
        response_bytes_max=ANSWER_BYTES_MAX,
    )
    return answer.status


def _signed_headers(secret: str, delivery: str, body: bytes, now_s: int) -> Mapping[str, Any]:
    """The signature is HMAC-SHA256 of the time, a dot and the body, so that an old delivery can be told from a new."""
    signed = f"{now_s}.".encode() + body
    return {
        "Content-Type": "application/json",
        "X-Hansa-Delivery": delivery,
        "X-Hansa-Timestamp": str(now_s),
        "X-Hansa-Signature": "sha256=" + hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest(),
    }
