"""What was sent on each connection: kept in memory while it is in use, in the database beyond a restart.

A position is a state's number and a place in the journal. The state says of each room up to where it was sent, where
that isn't simply "up to the position": so an answer that only tells of rooms the client already has changes no state,
and costs no write. A client that asks again with an older position of the same state is told again what it may have
missed. spec: MSC4186, connections
"""

from __future__ import annotations

import asyncio
import re
import zlib
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
from immutables import Map

from homeserver.core.errors import MatrixError
from homeserver.core.identifiers import DeviceId, UserId
from homeserver.runtime.clock import Clock
from homeserver.storage import sliding_connections
from homeserver.storage.database import Database, Tx
from homeserver.storage.sliding_connections import StateRow
from homeserver.sync.sliding.request import WantedState

CONNECTIONS_PER_DEVICE_MAX = 16
CONNECTIONS_HELD_MAX = 20_000
ROOMS_HELD_MAX = 4_000_000
# After so many changes the whole is written again.
CHAIN_MAX = 32
# Answers to one position that the client may still choose from.
CHILDREN_MAX = 4
# More rooms than this are packed in a thread: about 2 ms of work.
INLINE_ROOMS_MAX = 2_000
UNUSED_MS = 30 * 24 * 3600 * 1000
_POSITION = re.compile(r"(\d{1,9})_(\d{1,18})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Sent:
    """What a client has of a room. `upto` 0: all up to its position; else the place that it lacks what came after."""

    upto: int
    timeline_limit: int
    wanted: int  # which of the connection's wanted states it has
    is_direct: bool = False
    membership: str = "join"


@dataclass(frozen=True, slots=True)
class SentState:
    """All that was sent, once an answer has arrived."""

    number: int
    since: int  # the place in the journal of the answer that made it
    rooms: Map[int, Sent] = field(default_factory=Map)
    wanted: tuple[WantedState, ...] = ()


NOTHING = SentState(0, 0)


class _Delta(msgspec.Struct, array_like=True):
    since: int
    rooms: dict[int, tuple[int, int, int, bool, str] | None]
    wanted: list[tuple[list[tuple[str, str]], list[tuple[str, str]], bool]]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Delta).decode


@dataclass(slots=True)
class Connection:
    """One connection in memory: the state that the client has, and those it may have after the answers under way."""

    nid: int
    states: OrderedDict[int, SentState] = field(default_factory=OrderedDict)
    next_number: int = 1
    chained: int = 0
    whole: int = 0  # the newest state that is written as a whole
    # Lists whose rooms were all sent, by name: as of which state, and what the list was then.
    complete: dict[str, tuple[int, object]] = field(default_factory=dict)


class UnknownPosition(MatrixError):
    """The client must begin anew."""

    errcode, status = "M_UNKNOWN_POS", 400


def parse_position(text: str) -> tuple[int, int]:
    """(state's number, place in the journal). Raises UnknownPosition."""
    match = _POSITION.fullmatch(text)
    if match is None:
        raise UnknownPosition("this position is none of ours: begin without one")
    return int(match[1]), int(match[2])


class Connections:
    """Finds connections, and keeps what was sent on them."""

    def __init__(self, db: Database, clock: Clock) -> None:
        self._db = db
        self._clock = clock
        self._known: OrderedDict[tuple[UserId, str, str], Connection] = OrderedDict()
        self._rooms_held = 0

    async def begin(self, user_id: UserId, device_id: str, conn_id: str) -> Connection:
        """A connection that nothing was sent on; what was sent on one of this name counts no more once it goes on."""
        key = (user_id, device_id, conn_id)
        known = self._known.get(key)
        if known is None:
            others = CONNECTIONS_PER_DEVICE_MAX - 1
            now = self._clock.now_ms()
            nid = await sliding_connections.open_connection(self._db, user_id, device_id, conn_id, now, others)
            rows = await sliding_connections.states(self._db, nid)
            known = self._known.setdefault(key, Connection(nid))
            # Numbers go on, so that positions of before are known as such.
            known.next_number = max([known.next_number, *(row.number + 1 for row in rows)])
            self._trim()
        self._known.move_to_end(key)
        known.complete.clear()
        return known

    async def resume(self, user_id: UserId, device_id: str, conn_id: str, number: int) -> tuple[Connection, SentState]:
        """The connection and what its client has. Forgets what the client has shown it doesn't need.

        Raises UnknownPosition.
        """
        key = (user_id, device_id, conn_id)
        known = self._known.get(key)
        if known is None:
            known = await self._load(key)
        if known is None or number not in known.states:
            raise UnknownPosition("nothing is known of this position any more: begin without one")
        self._known.move_to_end(key)
        state = known.states[number]
        for other in list(known.states):
            # The client went on from this one: older ones, and other answers to those, are of no use.
            if other < number:
                self._rooms_held -= len(known.states.pop(other).rooms)
        if 0 < known.whole <= number and known.chained:
            whole, known.whole = known.whole, 0
            await sliding_connections.delete_states_before(self._db, known.nid, whole)
        return known, state

    async def keep(
        self,
        connection: Connection,
        before: SentState,
        changes: Mapping[int, Sent | None],
        wanted: tuple[WantedState, ...],
        since: int,
    ) -> SentState:
        """What will have been sent after an answer, written down; `before` itself if nothing changed.

        `wanted` begins with the wanted states of `before`.
        """
        changes = {nid: sent for nid, sent in changes.items() if before.rooms.get(nid) != sent}
        if not changes and wanted == before.wanted and before.number:
            return before
        number, connection.next_number = connection.next_number, connection.next_number + 1
        kept = SentState(number, since, _with(before.rooms, changes), wanted)
        is_whole = before is NOTHING or connection.chained >= CHAIN_MAX
        told: Mapping[int, Sent | None] = kept.rooms if is_whole else changes
        more = wanted if is_whole else wanted[len(before.wanted) :]
        if len(told) > INLINE_ROOMS_MAX:
            data = await asyncio.to_thread(_packed, told, more, since)
        else:
            data = _packed(told, more, since)
        row = StateRow(number, None if is_whole else before.number, data)
        connection.states[number] = kept
        self._rooms_held += len(kept.rooms)
        children = [other for other in connection.states if other > before.number]
        for other in children[:-CHILDREN_MAX]:
            self._rooms_held -= len(connection.states.pop(other).rooms)
        await sliding_connections.insert_state(self._db, connection.nid, row)
        if is_whole:
            connection.whole, connection.chained = number, 0
        connection.chained += 1
        return kept

    async def devices_deleted(self, tx: Tx, user_id: UserId, device_ids: Sequence[DeviceId]) -> None:
        """Ends the connections of devices that are no more, in the same transaction."""
        await sliding_connections.delete_of_devices(tx, user_id, device_ids)
        gone = set(device_ids)
        for key in [key for key in self._known if key[0] == user_id and key[1] in gone]:
            del self._known[key]

    async def forget_unused(self) -> None:
        """One round of a background task: drops what nobody has used for a month."""
        await self._clock.sleep(3600)
        async with self._db.transaction() as tx:
            await sliding_connections.delete_unused(tx, self._clock.now_ms() - UNUSED_MS)

    async def _load(self, key: tuple[UserId, str, str]) -> Connection | None:
        nid = await sliding_connections.find(self._db, *key, self._clock.now_ms())
        if nid is None:
            return None
        rows = {row.number: row for row in await sliding_connections.states(self._db, nid)}
        loaded = Connection(nid, next_number=max(rows, default=0) + 1, chained=len(rows))
        for number in sorted(rows):
            parent = rows[number].parent
            if parent is None or parent in loaded.states:
                base = loaded.states[parent] if parent is not None else NOTHING
                loaded.states[number] = _applied(base, rows[number])
        known = self._known.setdefault(key, loaded)
        if known is loaded:
            self._rooms_held += sum(len(state.rooms) for state in loaded.states.values())
            self._trim()
        return known

    def _trim(self) -> None:
        while len(self._known) > CONNECTIONS_HELD_MAX or (self._rooms_held > ROOMS_HELD_MAX and len(self._known) > 1):
            _, gone = self._known.popitem(last=False)
            self._rooms_held -= sum(len(state.rooms) for state in gone.states.values())


def _packed(rooms: Mapping[int, Sent | None], wanted: Iterable[WantedState], since: int) -> bytes:
    told = {
        nid: (sent.upto, sent.timeline_limit, sent.wanted, sent.is_direct, sent.membership) if sent else None
        for nid, sent in rooms.items()
    }
    named = [(sorted(state.pairs), sorted(state.excluded), state.is_lazy) for state in wanted]
    return zlib.compress(_encode(_Delta(since, told, named)), 1)


def _applied(before: SentState, row: StateRow) -> SentState:
    delta = _decode(zlib.decompress(row.data))
    changes = {nid: Sent(*sent) if sent is not None else None for nid, sent in delta.rooms.items()}
    wanted = [WantedState(frozenset(pairs), frozenset(excluded), lazy) for pairs, excluded, lazy in delta.wanted]
    return SentState(row.number, delta.since, _with(before.rooms, changes), (*before.wanted, *wanted))


def _with(rooms: Map[int, Sent], changes: Mapping[int, Sent | None]) -> Map[int, Sent]:
    """The rooms with these set, or dropped where there is None."""
    after = rooms.update({nid: sent for nid, sent in changes.items() if sent is not None})
    for nid, sent in changes.items():
        if sent is None and nid in after:
            after = after.delete(nid)
    return after
