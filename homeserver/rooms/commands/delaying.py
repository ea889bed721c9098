"""Events that are sent later, unless their sender goes on saying that they are there (MSC4140).

Calls need it: a client that vanishes can't say that it has left, so it says so beforehand, again and again.
What is delayed is kept in the database: a crash loses none, and sends none twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import structlog

from homeserver.core import canonical_json
from homeserver.core.errors import Forbidden, InvalidParam, LimitExceeded, MatrixError, NotFound, TooLarge, Unavailable
from homeserver.core.events import EVENT_BYTES_MAX
from homeserver.core.identifiers import DeviceId, RoomId, UserId
from homeserver.journal.journal import Entry
from homeserver.rooms.building import Written
from homeserver.rooms.commands.membership import Membership
from homeserver.rooms.commands.sending import Sending
from homeserver.rooms.residents import Rooms
from homeserver.rooms.writer import Transaction
from homeserver.runtime.clock import Clock
from homeserver.runtime.ids import Randomness
from homeserver.storage import delayed_events
from homeserver.storage.database import Database
from homeserver.storage.delayed_events import DelayedRow

log = structlog.get_logger()

PER_USER_MAX = 100
SENT_AT_ONCE = 50
LOOK_AGAIN_S = 0.5
MEMBER = "m.room.member"

# Room, type and state key.
Place = tuple[RoomId, str, str]


@dataclass(frozen=True, slots=True)
class DelayTools:
    """What makes delayed events durable and nameable. `delay_ms_max` is the longest delay, 0: none at all."""

    db: Database
    clock: Clock
    randomness: Randomness
    delay_ms_max: int


class DelayedEvents:
    """Keeps events until they are due, sends them then, and does what their senders say meanwhile."""

    def __init__(self, sending: Sending, membership: Membership, rooms: Rooms, tools: DelayTools) -> None:
        self._sending = sending
        self._membership = membership
        self._rooms = rooms
        self._db = tools.db
        self._clock = tools.clock
        self._randomness = tools.randomness
        self._delay_ms_max = tools.delay_ms_max
        self._next_ts: int | None = None
        self._has_next = asyncio.Event()
        # Events that are being sent: nobody can call them back any more.
        self._leaving: set[str] = set()
        self._places: dict[Place, dict[str, UserId]] = {}
        self._overtaken: list[str] = []

    @property
    def places(self) -> int:
        """For how many pieces of state something waits."""
        return len(self._places)

    async def start(self) -> None:
        """Takes up what was delayed before."""
        for delay_id, user_id, place in await delayed_events.state_keys(self._db):
            self._places.setdefault(place, {})[delay_id] = user_id
        self._wake_at(await delayed_events.next_due(self._db))

    async def delay(
        self,
        place: tuple[RoomId, str, str | None],
        sender: UserId,
        device_id: DeviceId | None,
        content: dict[str, Any],
        delay_ms: int,
        transaction: Transaction | None = None,
        sticky_ms: int | None = None,
    ) -> str:
        """Keeps an event for (room, type, state key) until its time; its `delay_id`.

        Raises Forbidden for who isn't in the room, LimitExceeded, TooLarge, InvalidParam for no delay,
        MatrixError for too long a one.
        """
        room_id, kind, state_key = place
        if delay_ms < 1 and self._delay_ms_max:
            raise InvalidParam("a delay must be 1 ms or more")
        if not 0 < delay_ms <= self._delay_ms_max:
            raise _delay_refused(self._delay_ms_max)
        canonical_json.check_values(content)
        data = orjson.dumps(content)
        if len(data) + len(kind) + len(state_key or "") > EVENT_BYTES_MAX:
            raise TooLarge(f"an event may have {EVENT_BYTES_MAX} bytes")
        await self._rooms.joined_room(room_id, sender)
        row = DelayedRow(
            delay_id=f"hsd_{self._randomness.token(24)}",
            user_id=sender,
            device_id=device_id,
            room_id=room_id,
            type=kind,
            state_key=state_key,
            content=data,
            delay_ms=delay_ms,
            since_ts=self._clock.now_ms(),
            txn_key=transaction.key if transaction is not None else None,
            sticky_ms=sticky_ms,
        )
        delay_id = await delayed_events.insert(self._db, row, PER_USER_MAX)
        if delay_id is None:
            raise LimitExceeded("too many delayed events: send or cancel some", retry_after_ms=10_000)
        if state_key is not None:
            self._places.setdefault((room_id, kind, state_key), {})[delay_id] = sender
        self._wake_at(row.due_ts)
        return delay_id

    async def of_user(self, user_id: UserId) -> list[dict[str, Any]]:
        """Those that wait: what was sent, or is about to be, isn't among them."""
        leaving = set(self._leaving)
        found = await delayed_events.of_user(self._db, user_id)
        return [_shown(row) for row in found if row.delay_id not in leaving | self._leaving]

    async def of_user_by_id(self, user_id: UserId, delay_id: str) -> dict[str, Any]:
        """Raises NotFound, also for an event of somebody else."""
        is_leaving = delay_id in self._leaving
        row = await delayed_events.one(self._db, delay_id)
        if row is None or row.user_id != user_id or is_leaving or delay_id in self._leaving:
            raise _not_there()
        return _shown(row)

    async def restart(self, delay_id: str) -> None:
        """Lets the delay run anew. Who knows the id may. Raises NotFound."""
        if delay_id in self._leaving:
            raise _not_there()
        if await delayed_events.restart(self._db, delay_id, self._clock.now_ms()) is None:
            raise _not_there()

    async def cancel(self, delay_id: str) -> None:
        """Raises NotFound."""
        if delay_id in self._leaving or not await self._forget(delay_id):
            raise _not_there()

    async def send(self, delay_id: str) -> None:
        """Sends it at once. Raises NotFound, and what sending raises: then it is tried again when it is due."""
        row = await delayed_events.one(self._db, delay_id)
        if row is None or delay_id in self._leaving:
            raise _not_there()
        await self._send(row)

    def hear(self, entries: Sequence[Entry]) -> None:
        """A journal listener: state that somebody else sets overtakes what was delayed for its place."""
        for entry in entries:
            written = entry.payload
            if isinstance(written, Written) and written.event.state_key is not None and self._places:
                place = (written.event.room_id, written.event.type, written.event.state_key)
                for delay_id, user_id in self._places.get(place, {}).items():
                    if user_id != written.event.sender:
                        self._overtaken.append(delay_id)
                        self._has_next.set()

    async def run(self) -> None:
        """One round of a background task: waits until something is due, then sends it."""
        if self._next_ts is None and not self._overtaken:
            self._has_next.clear()
            await self._has_next.wait()
        overtaken, self._overtaken = self._overtaken, []
        for delay_id in overtaken:
            await self._forget(delay_id)
        if self._next_ts is None:
            return
        left_s = (self._next_ts - self._clock.now_ms()) / 1000
        if left_s > 0:
            await self._clock.sleep(min(left_s, LOOK_AGAIN_S))
            return
        for row in await delayed_events.due(self._db, self._clock.now_ms(), SENT_AT_ONCE):
            if row.delay_id not in self._leaving and row.delay_id not in self._overtaken:
                await self._send_due(row)
        self._next_ts = None
        self._wake_at(await delayed_events.next_due(self._db))

    def _wake_at(self, due_ts: int | None) -> None:
        if due_ts is not None and (self._next_ts is None or due_ts < self._next_ts):
            self._next_ts = due_ts
            self._has_next.set()

    async def _send_due(self, row: DelayedRow) -> None:
        try:
            await self._send(row)
        except Unavailable:
            raise
        except MatrixError as error:
            await self._forget(row.delay_id)
            log.info("delayed_event_refused", room_id=row.room_id, type=row.type, errcode=error.code)

    async def _send(self, row: DelayedRow) -> None:
        """Sends and forgets; after a crash between the two, the transaction id keeps it from being sent twice."""
        self._leaving.add(row.delay_id)
        try:
            may_send, is_guest = await delayed_events.sender(self._db, row.user_id)
            if not may_send:
                raise Forbidden("this account can't send any more")
            await self._write(row, is_guest=is_guest)
            await self._forget(row.delay_id)
        finally:
            self._leaving.discard(row.delay_id)

    async def _write(self, row: DelayedRow, *, is_guest: bool) -> None:
        content: dict[str, Any] = orjson.loads(row.content)
        if row.state_key is not None:
            if row.type == MEMBER:
                await self._membership.set(row.room_id, row.user_id, row.state_key, content, is_guest=is_guest)
            else:
                await self._sending.state(
                    row.room_id, row.user_id, row.type, row.state_key, content, sticky_ms=row.sticky_ms
                )
            return
        transaction = Transaction(row.user_id, row.device_id, row.delay_id, f"{row.room_id}/delayed")
        if row.type == "m.room.redaction":
            await self._sending.redact(row.room_id, content.get("redacts"), content, transaction)
        else:
            await self._sending.message(row.room_id, row.type, content, transaction, sticky_ms=row.sticky_ms)

    async def _forget(self, delay_id: str) -> bool:
        """Whether there was such an event."""
        found = await delayed_events.delete(self._db, delay_id)
        if found is None:
            return False
        room_id, kind, state_key = found
        if state_key is not None:
            waiting = self._places.get((room_id, kind, state_key), {})
            waiting.pop(delay_id, None)
            if not waiting:
                self._places.pop((room_id, kind, state_key), None)
        return True


def _not_there() -> NotFound:
    return NotFound("there is no such delayed event: it was sent or cancelled, or never was")


def _delay_refused(delay_ms_max: int) -> MatrixError:
    if delay_ms_max == 0:
        return Forbidden("this server delays no events")
    return MatrixError(
        f"a delay must be 1 to {delay_ms_max} ms",
        extra={
            "org.matrix.msc4140.errcode": "M_MAX_DELAY_EXCEEDED",
            "org.matrix.msc4140.max_delay": delay_ms_max,
        },
    )


def _shown(row: DelayedRow) -> dict[str, Any]:
    """In the words of the proposal, and of its earlier forms that clients still read."""
    shown: dict[str, Any] = {
        "delay_id": row.delay_id,
        "room_id": row.room_id,
        "type": row.type,
        "content": orjson.loads(row.content),
        "delay_ms": row.delay_ms,
        "scheduled_at": row.since_ts,
        "delayed_since_ts": row.since_ts,
        "delay": row.delay_ms,
        "running_since": row.since_ts,
    }
    if row.state_key is not None:
        shown["state_key"] = row.state_key
    return shown
