"""Bringing to each server what waits for it: one transaction at a time, again and again until it has arrived.

Nothing runs for a server that has everything, and nothing but an entry in a heap waits for one that is down.
"""

from __future__ import annotations

import contextlib
import heapq
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
import structlog

from federation.client import FederationClient, FederationError, Unreachable, path_of
from federation.outbound.catch_up import CatchUp
from federation.outbound.destination import EDUS_PER_TRANSACTION, Destination, QueuedPdu, Transaction
from federation.outbound.device_messages import DeviceMessages
from federation.outbound.device_updates import DeviceUpdates
from federation.outbound.pacing import Pacing
from federation.reachability import Reachability
from federation.storage.unreachable_servers import Outage
from homeserver.core.identifiers import ServerName, UserId
from homeserver.runtime.clock import Clock
from homeserver.runtime.tasks import Tasks

log = structlog.get_logger()

TRANSACTION_TIMEOUT_S = 60.0
LIMITED_WAIT_S = 5.0
LIMITED_WAIT_S_MAX = 120.0
# What lasts (receipts) waits in memory for who is down no longer than that; whoever comes back later hears of the next.
EDUS_KEPT_S = 3_600
_TICK_S = 0.5
# Two EDUs each.
_CHANGES_AT_ONCE = EDUS_PER_TRANSACTION // 2
# After a first failure the same transaction is tried once more; then the server has to catch up.
_SAME_AGAIN = 1
# The other side won't take this one, whenever it comes: waiting would hold up all that follows.
_WONT_TAKE = (400, 413)
# So often a refused transaction is halved: enough to find one thing among all that a transaction may have.
_REFUSALS_MAX = 8


class Stopped(Exception):
    """The server can't be given anything now; it was parked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Where deliveries read what isn't in memory."""

    missed: CatchUp
    messages: DeviceMessages
    updates: DeviceUpdates


class Deliveries:
    """The servers that something waits for. Each event goes to them in the order of their names, in every run."""

    def __init__(
        self, client: FederationClient, reachability: Reachability, sources: Sources, clock: Clock, tasks: Tasks
    ) -> None:
        self._client = client
        self._reachability = reachability
        self._sources = sources
        self._clock = clock
        self._tasks = tasks
        self._pacing = Pacing(clock)
        self._servers: dict[ServerName, Destination] = {}
        self._parked: list[tuple[float, ServerName]] = []
        self._made = 0
        self._visible = 0
        reachability.listen(self._wake_if_waiting)

    # --- what others put in

    def restore(self, lagging: Mapping[ServerName, int]) -> None:
        """The servers that lagged when the process ended."""
        for name, sent in lagging.items():
            self._servers[name] = Destination(name, sent, is_behind=True)

    async def start(self) -> None:
        """Begins with whoever something waits for."""
        for waiting in await self._sources.messages.servers():
            self._destination(waiting).has_messages = True
        for name in sorted(self._servers):
            self._wake(self._servers[name])

    def seen(self, position: int) -> None:
        """All up to this position of the journal has been enqueued."""
        self._visible = position

    def enqueue(self, servers: Iterable[ServerName], item: QueuedPdu) -> None:
        for name in sorted(servers):
            destination = self._destination(name)
            outage = self._reachability.outage(name)
            destination.add(item, is_down=outage is not None and outage.failures > _SAME_AGAIN)
            self._wake(destination)

    def missed(self, servers: Iterable[ServerName], position: int) -> None:
        """These should have had all that is theirs since this position: they are told again, from the database."""
        for name in sorted(servers):
            destination = self._destination(name)
            destination.rewind(position)
            self._wake(destination)

    def add_edu(self, servers: Iterable[ServerName], key: object, edu: dict[str, Any], *, lasting: bool) -> None:
        """`key`: an EDU takes the place of an older one with it. Who is down gets `lasting` ones alone, for an hour."""
        for name in sorted(servers):
            outage = self._reachability.outage(name)
            if outage is not None and (not lasting or self._is_long(outage)):
                continue
            destination = self._destination(name)
            destination.add_edu(key, edu)
            self._wake(destination)

    def devices_changed(self, servers: Iterable[ServerName], user_id: UserId, position: int) -> None:
        """A user of ours has other devices or keys since this position. Who is down learns it when catching up."""
        for name in sorted(servers):
            destination = self._destination(name)
            outage = self._reachability.outage(name)
            destination.add_change(user_id, position, is_down=outage is not None and outage.failures > _SAME_AGAIN)
            self._wake(destination)

    def messages_wait(self, servers: Iterable[ServerName]) -> None:
        """There are messages to devices of these servers in the database."""
        for name in sorted(servers):
            destination = self._destination(name)
            destination.has_messages = True
            self._wake(destination)

    # --- what others ask

    def lagging(self) -> dict[ServerName, int]:
        """Who doesn't have all events that are meant for it, and up to where it has them."""
        found = ((name, destination.lags_at) for name, destination in self._servers.items())
        return {name: position for name, position in found if position is not None}

    def queued(self) -> int:
        """Events in memory that wait for a server, each counted for each server."""
        return sum(len(destination.queue) for destination in self._servers.values())

    def waiting(self) -> int:
        """How many servers something waits for."""
        return len(self._servers)

    # --- life

    async def rest(self, seconds: float) -> None:
        """Waits, by the clock that deliveries go by."""
        await self._clock.sleep(seconds)

    async def run(self) -> None:
        """One round of a background task: wakes those whose time has come."""
        await self._clock.sleep(_TICK_S)
        now_s = self._clock.monotonic_s()
        while self._parked and self._parked[0][0] <= now_s:
            _, name = heapq.heappop(self._parked)
            if (destination := self._servers.get(name)) is not None:
                destination.is_parked = False
                self._wake(destination)

    def _destination(self, name: ServerName) -> Destination:
        destination = self._servers.get(name)
        if destination is None:
            destination = self._servers[name] = Destination(name)
        return destination

    def _wake_if_waiting(self, name: ServerName) -> None:
        destination = self._servers.get(name)
        if destination is not None:
            self._wake(destination)

    def _wake(self, destination: Destination) -> None:
        if destination.is_busy or not destination.has_work:
            return
        rest_s = self._reachability.rest_s(destination.name)
        if rest_s:
            if not destination.is_parked:
                self._park(destination, rest_s)
            return
        destination.is_busy = True
        destination.is_parked = False
        self._tasks.start(self._deliver(destination), name="federation_delivery")

    def _park(self, destination: Destination, seconds: float) -> None:
        destination.is_parked = True
        heapq.heappush(self._parked, (self._clock.monotonic_s() + seconds, destination.name))

    async def _deliver(self, destination: Destination) -> None:
        try:
            with contextlib.suppress(Stopped):
                while destination.has_work:
                    if self._reachability.is_proven(destination.name):
                        await self._step(destination)
                    else:
                        async with self._pacing.slot():
                            await self._step(destination)
        finally:
            destination.is_busy = False
            if not destination.has_work:
                self._servers.pop(destination.name, None)
            else:
                failing = self._reachability.outage(destination.name) is not None
                self._park(destination, self._reachability.rest_s(destination.name) if failing else 1.0)

    async def _step(self, destination: Destination) -> None:
        if destination.is_behind:
            await self._catch_up(destination)
        elif destination.in_flight is not None or destination.queue or destination.edus:
            await self._transmit(destination, destination.next_transaction(self._next_id()))
            destination.arrived()
        elif destination.has_messages:
            await self._send_messages(destination)
        else:
            await self._send_changes(destination)

    async def _catch_up(self, destination: Destination) -> None:
        name, upto = destination.name, self._visible
        destination.is_behind, destination.is_catching_up, destination.is_rewound = False, True, False
        try:
            async for pdus in self._sources.missed.batches(name, destination.sent, upto):
                await self._transmit(destination, Transaction(self._next_id(), tuple(pdus), ()))
            changes = await self._sources.updates.missed(name, destination.sent, upto)
            await self._tell_changes(destination, changes)
        except BaseException:
            destination.fall_behind()
            raise
        else:
            if destination.is_behind and not destination.is_rewound:
                destination.sent = max(destination.sent, upto)
        finally:
            destination.is_catching_up = False

    async def _send_messages(self, destination: Destination) -> None:
        """Once more after the last: it is over when none are left."""
        destination.has_messages = False
        try:
            edus, upto = await self._sources.messages.pending(destination.name, EDUS_PER_TRANSACTION)
            if upto is None:
                return
            await self._transmit(destination, Transaction(f"d{upto[0]}_{upto[1]}", (), tuple(edus)))
            await self._sources.messages.delivered(destination.name, upto)
        except BaseException:
            destination.has_messages = True
            raise
        destination.has_messages = True

    async def _send_changes(self, destination: Destination) -> None:
        changes = dict(destination.changes)
        await self._tell_changes(destination, changes)
        destination.told(changes)

    async def _tell_changes(self, destination: Destination, changes: Mapping[UserId, int]) -> None:
        users = list(changes)
        for at in range(0, len(users), _CHANGES_AT_ONCE):
            edus = await self._sources.updates.edus({user: changes[user] for user in users[at : at + _CHANGES_AT_ONCE]})
            if edus:
                await self._transmit(destination, Transaction(self._next_id(), (), tuple(edus)))

    async def _transmit_parts(self, destination: Destination, refused: Transaction, refusals: int) -> None:
        """What is left of a refused transaction without the one thing in it that won't be taken. Raises Stopped."""
        parts = refused.halves() if refusals < _REFUSALS_MAX else ()
        if not parts:
            names = {"pdus": len(refused.pdus), "edus": len(refused.edus)}
            log.warning("left_out_of_transaction", destination=destination.name, **names)
        for part in parts:
            await self._transmit(destination, part, refusals=refusals + 1)

    async def _transmit(self, destination: Destination, transaction: Transaction, *, refusals: int = 0) -> None:
        """Returns once it has arrived, or will never be taken. Raises Stopped."""
        name = destination.name
        body = {
            "origin": self._client.server_name,
            "origin_server_ts": self._clock.now_ms(),
            "pdus": [orjson.Fragment(item.pdu) for item in transaction.pdus],
            "edus": list(transaction.edus),
        }
        path = path_of("/_matrix/federation/v1/send/{}", transaction.txn_id)
        while True:
            try:
                await self._client.put(name, path, body, timeout_s=TRANSACTION_TIMEOUT_S)
            except Unreachable as error:
                log.info("transaction_not_delivered", destination=name, error=error.reason)
            except FederationError as error:
                if error.status == 429:
                    wait_s = (error.retry_after_ms or LIMITED_WAIT_S * 1000) / 1000
                    await self._clock.sleep(min(max(wait_s, 0.1), LIMITED_WAIT_S_MAX))
                    continue
                log.warning("transaction_refused", destination=name, status=error.status, errcode=error.errcode)
                if error.status in _WONT_TAKE:
                    await self._transmit_parts(destination, transaction, refusals)
                    return
                if error.status == 200:
                    return
                self._reachability.failed(name, f"it answers {error.status} {error.errcode}")
            else:
                return
            self._gave_up(destination)
            raise Stopped

    def _gave_up(self, destination: Destination) -> None:
        outage = self._reachability.outage(destination.name)
        if outage is None or outage.failures <= _SAME_AGAIN:
            return
        if destination.lags_at is not None and not destination.is_catching_up:
            destination.fall_behind()
        destination.in_flight = None
        if self._is_long(outage):
            destination.edus.clear()
        else:
            destination.forget_passing()

    def _is_long(self, outage: Outage) -> bool:
        return self._clock.now_ms() - outage.failing_since_ms > EDUS_KEPT_S * 1000

    def _next_id(self) -> str:
        """Never used before for any server: the time, and a count."""
        self._made += 1
        return f"{self._clock.now_ms()}_{self._made}"
