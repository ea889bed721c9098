"""Receipts that came before what they rest on: their event, or their user's join, whose past may have to be fetched.

They are tried again when it has come, and after waits that grow, for some minutes. All in memory and bounded: a server
fills its own share only.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from homeserver.core.errors import MatrixError
from homeserver.core.identifiers import EventId, RoomId, ServerName, UserId, domain_of
from homeserver.ephemeral.receipts import READ, Receipts
from homeserver.journal.journal import Entry
from homeserver.rooms.building import PAST
from homeserver.runtime.clock import Clock

WAITS_MS = (300, 1_000, 3_000, 10_000, 60_000, 600_000)
WAITING_MAX = 2_000
WAITING_OF_SERVER_MAX = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class ToldReceipt:
    """A public receipt as its user's server tells it. `ts` is when the user read, where it says so."""

    room_id: RoomId
    user_id: UserId
    event_id: EventId
    thread_id: str | None
    ts: int | None


@dataclass(frozen=True, slots=True)
class _Waiting:
    receipt: ToldReceipt
    due_ms: int
    tries: int


class EarlyReceipts:
    """Takes receipts; those that can't be taken yet wait."""

    def __init__(self, receipts: Receipts, clock: Clock) -> None:
        self._receipts = receipts
        self._clock = clock
        self._waiting: dict[ToldReceipt, _Waiting] = {}
        self._by_server: Counter[ServerName] = Counter()
        self._has_waiting = asyncio.Event()
        self._come: list[_Waiting] = []
        self._has_come = asyncio.Event()

    async def take(self, receipt: ToldReceipt) -> None:
        """Sets it, or keeps it for a while. Raises Unavailable only."""
        await self._try(_Waiting(receipt, 0, 0))

    def hear(self, entries: Sequence[Entry]) -> None:
        """A journal listener: what came may be what some wait for."""
        if not self._waiting:
            return
        for entry in entries:
            if entry.kind == "event":
                event = entry.payload.event
                self._wake({event.event_id}, event.state_key if event.type == "m.room.member" else None)
            elif entry.kind == PAST:
                self._wake({past.event.event_id for past in entry.payload}, None)

    async def arrivals(self) -> None:
        """One round of a background task: tries those again whose event, or user, has come."""
        await self._has_come.wait()
        self._has_come.clear()
        come, self._come = self._come, []
        for one in come:
            await self._try(one)

    async def retry(self) -> None:
        """One round of a background task: tries those again whose time has come."""
        await self._has_waiting.wait()
        if not self._waiting:
            self._has_waiting.clear()
            return
        wait_ms = min(one.due_ms for one in self._waiting.values()) - self._now_ms()
        await self._clock.sleep(min(max(wait_ms, 0), 1_000) / 1_000)
        now_ms = self._now_ms()
        for one in [one for one in self._waiting.values() if one.due_ms <= now_ms]:
            self._leave(one)
            await self._try(one)

    async def _try(self, one: _Waiting) -> None:
        receipt = one.receipt
        try:
            wanted = {READ: receipt.event_id}
            await self._receipts.set(receipt.user_id, receipt.room_id, wanted, receipt.thread_id, ts=receipt.ts)
        except MatrixError as error:
            if error.http_status >= 500:
                raise
            if one.tries == 0:
                await self._receipts.foretell(
                    receipt.user_id, receipt.room_id, receipt.event_id, receipt.thread_id, ts=receipt.ts
                )
            if one.tries < len(WAITS_MS):
                self._wait(replace(one, due_ms=self._now_ms() + WAITS_MS[one.tries], tries=one.tries + 1))

    def _now_ms(self) -> int:
        """Since the start: a clock on the wall that is put back would make all wait longer."""
        return int(self._clock.monotonic_s() * 1000)

    def _wait(self, one: _Waiting) -> None:
        server = domain_of(one.receipt.user_id)
        if one.receipt in self._waiting:
            return
        if len(self._waiting) < WAITING_MAX and self._by_server[server] < WAITING_OF_SERVER_MAX:
            self._waiting[one.receipt] = one
            self._by_server[server] += 1
            self._has_waiting.set()

    def _leave(self, one: _Waiting) -> None:
        if self._waiting.pop(one.receipt, None) is not None:
            server = domain_of(one.receipt.user_id)
            self._by_server[server] -= 1
            if self._by_server[server] <= 0:
                del self._by_server[server]

    def _wake(self, event_ids: set[EventId], user_id: str | None) -> None:
        for one in list(self._waiting.values()):
            if one.receipt.event_id in event_ids or one.receipt.user_id == user_id:
                self._leave(one)
                self._come.append(one)
                self._has_come.set()
