"""What one server still has to get: a value that the sender changes, without any IO."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from homeserver.core.identifiers import ServerName, UserId

PDUS_PER_TRANSACTION = 50
EDUS_PER_TRANSACTION = 100
TRANSACTION_BYTES_MAX = 2 * 1024 * 1024
# Past this it is cheaper to read what was missed from the database, by room, once the server can take it.
QUEUE_MAX = 200
EDUS_MAX = 500
CHANGES_MAX = 1_000


@dataclass(frozen=True, slots=True)
class QueuedPdu:
    """An event at its position in the journal, in the bytes that are sent (shared by all destinations)."""

    position: int
    pdu: bytes


@dataclass(frozen=True, slots=True)
class Transaction:
    """What is sent under one id until it is known to have arrived."""

    txn_id: str
    pdus: tuple[QueuedPdu, ...]
    edus: tuple[dict[str, Any], ...]

    def halves(self) -> tuple[Transaction, ...]:
        """The same in two, under ids of their own; nothing where there is but one thing in it."""
        items: list[QueuedPdu | dict[str, Any]] = [*self.pdus, *self.edus]
        if len(items) < 2:
            return ()
        parts = items[: len(items) // 2], items[len(items) // 2 :]
        return tuple(
            Transaction(
                f"{self.txn_id}{suffix}",
                tuple(item for item in part if isinstance(item, QueuedPdu)),
                tuple(item for item in part if not isinstance(item, QueuedPdu)),
            )
            for suffix, part in zip("ab", parts, strict=True)
        )


@dataclass(slots=True)
class Destination:
    """`sent`: all that is meant for it up to this position has arrived; told while it lags.

    `is_behind`: something after `sent` isn't in the queue and must be read from the database.
    """

    name: ServerName
    sent: int = 0
    is_behind: bool = False
    is_catching_up: bool = False
    # While it catches up: it has missed more than what is being told.
    is_rewound: bool = False
    is_busy: bool = False
    is_parked: bool = False
    queue: deque[QueuedPdu] = field(default_factory=deque)
    edus: OrderedDict[object, dict[str, Any]] = field(default_factory=OrderedDict)
    in_flight: Transaction | None = None
    # Users of ours whose devices changed, and where in the journal.
    changes: dict[UserId, int] = field(default_factory=dict)
    # Messages to devices wait for it in the database.
    has_messages: bool = False

    @property
    def has_work(self) -> bool:
        return bool(self.is_behind or self.queue or self.edus or self.in_flight or self.has_messages or self.changes)

    @property
    def lags_at(self) -> int | None:
        """The position up to which it has all events; None where it has all there are."""
        if self.is_behind or self.is_catching_up:
            return self.sent
        waiting = list(self.changes.values())
        if self.in_flight is not None and self.in_flight.pdus:
            waiting.append(self.in_flight.pdus[0].position)
        if self.queue:
            waiting.append(self.queue[0].position)
        return min(waiting) - 1 if waiting else None

    def add(self, item: QueuedPdu, *, is_down: bool) -> None:
        """Takes an event up. A server that is down, or slow, is left to catch up later."""
        if self.is_behind:
            return
        if is_down or len(self.queue) >= QUEUE_MAX:
            self._fall_behind_at(item.position)
        else:
            self.queue.append(item)

    def add_change(self, user_id: UserId, position: int, *, is_down: bool) -> None:
        """Takes up that a user's devices changed."""
        if self.is_behind:
            return
        if is_down or len(self.changes) >= CHANGES_MAX:
            self._fall_behind_at(position)
        else:
            self.changes[user_id] = position

    def told(self, changes: Mapping[UserId, int]) -> None:
        """These changes have arrived; others may have come since."""
        for user_id, position in changes.items():
            if self.changes.get(user_id) == position:
                del self.changes[user_id]

    def _fall_behind_at(self, position: int) -> None:
        lags_at = self.lags_at
        self.sent = position - 1 if lags_at is None else lags_at
        self.fall_behind()

    def fall_behind(self) -> None:
        """Gives up the queue: what is in it is read from the database later."""
        lags_at = self.lags_at
        if lags_at is not None:
            self.sent = lags_at
        self.is_behind = True
        self.queue.clear()
        self.changes.clear()
        if self.in_flight is not None and self.in_flight.pdus:
            self.in_flight = None

    def rewind(self, position: int) -> None:
        """What came after this position wasn't meant for it as far as was known, and is now."""
        lags_at = self.lags_at
        self.fall_behind()
        self.sent = position if lags_at is None else min(lags_at, position)
        self.is_rewound = self.is_catching_up

    def add_edu(self, key: object, edu: dict[str, Any]) -> None:
        """Takes an EDU up in the place of an older one with the same key."""
        self.edus[key] = edu
        self.edus.move_to_end(key)
        if len(self.edus) > EDUS_MAX:
            self.edus.popitem(last=False)

    def forget_passing(self) -> None:
        """Lets go of EDUs that say only how it was a moment ago. A key that is a tuple is of one that lasts."""
        for key in [key for key in self.edus if not isinstance(key, tuple)]:
            del self.edus[key]

    def next_transaction(self, txn_id: str) -> Transaction:
        """What is sent next: from the queue and the EDUs, within the limits. The same until `arrived`."""
        if self.in_flight is None:
            pdus: list[QueuedPdu] = []
            size = 0
            while self.queue and len(pdus) < PDUS_PER_TRANSACTION and size < TRANSACTION_BYTES_MAX:
                item = self.queue.popleft()
                size += len(item.pdu)
                pdus.append(item)
            edus = [self.edus.popitem(last=False)[1] for _ in range(min(EDUS_PER_TRANSACTION, len(self.edus)))]
            self.in_flight = Transaction(txn_id, tuple(pdus), tuple(edus))
        return self.in_flight

    def arrived(self) -> None:
        """The transaction that was under way is done with."""
        self.in_flight = None
