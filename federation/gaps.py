"""What an event cites and isn't here: asked of the server that sent it, in bounded amounts.

spec: server-server-api/#backfilling-and-retrieving-missing-events, #room-state-resolution
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import structlog
from immutables import Map

from federation.budgets import Budget, NoPatience, Patience
from federation.client import FederationError, Unreachable
from federation.pdu_checks import Checked, PduChecks, Uncheckable
from federation.peers import Peers
from federation.room_access import joined_servers
from homeserver.core.events import Event
from homeserver.core.identifiers import EventId, ServerName
from homeserver.rooms.event_store import EventStore
from homeserver.rooms.incoming import Incoming
from homeserver.rooms.residents import Room
from homeserver.rooms.state_numbers import StateNumbers
from homeserver.runtime.clock import Clock
from homeserver.storage.events import REJECTED, StoredEvent
from homeserver.storage.states import StateMap

log = structlog.get_logger()

T = TypeVar("T")
MISSING_EVENTS_MAX = 20
OTHERS_ASKED_MAX = 3
# Fewer missing events than this are fetched one by one, more as a whole state.
SINGLE_MAX = 50
AT_ONCE = 8
STATE_EVENTS_MAX = 200_000


class NotAllHad(Exception):
    """A state was told whose events can't all be had, or not be checked just now."""


@dataclass(frozen=True, slots=True)
class Left:
    """What of the events that were told isn't kept: how many can't be believed, with those that rest on such; how many
    of these only because a key can't be had just now."""

    refused: int = 0
    uncheckable: int = 0


@dataclass(frozen=True, slots=True)
class Tools:
    """What gaps are filled with."""

    peers: Peers
    checks: PduChecks
    incoming: Incoming
    event_store: EventStore
    numbers: StateNumbers


def leading_to(event: Event, found: Collection[Event], placed: Collection[EventId]) -> list[Event]:
    """Those of the events found by which what is placed leads to this event, each after what it follows.

    What lies behind what is placed is the past: taken in as if it were new, everybody would see it once more.
    """
    by_id = {one.event_id: one for one in found if one.event_id not in placed}
    order: list[Event] = []
    seen: set[EventId] = set()
    waiting: list[tuple[Event, bool]] = [(event, False)]
    while waiting:
        one, is_followed = waiting.pop()
        if is_followed:
            order.append(one)
        elif one.event_id not in seen:
            seen.add(one.event_id)
            waiting.append((one, True))
            waiting += [(by_id[name], False) for name in one.prev_event_ids if name in by_id and name not in seen]
    return order[:-1]


class Gaps:
    """Fetches what is missing. Everything kept was checked; what can't be had is left out."""

    def __init__(self, tools: Tools, server_name: ServerName, clock: Clock) -> None:
        self.tools = tools
        self._budget = Budget(clock)
        self._patience = Patience(clock)
        self._server_name = server_name

    async def events_between(self, room: Room, event: Event, origin: ServerName) -> list[Event]:
        """Events that others say lead from what is here to this event, in no order. Empty where there are none.

        There may be more: whoever doesn't know our newest events goes on to the room's beginning (`leading_to`).
        """
        pdus: list[object] = []
        for server in self._askable(room, origin):
            try:
                self._spend(room, server)
                question = partial(
                    self.tools.peers.missing_events,
                    server,
                    room.room_id,
                    earliest=[head.event_id for head in room.head.heads][-20:],
                    latest=[event.event_id],
                    limit=MISSING_EVENTS_MAX,
                    min_depth=0,
                )
                pdus = await self._waited(room, origin, question)
            except (Unreachable, FederationError) as fault:
                log.info("missing_events_not_had", server=server, reason=str(fault))
            if pdus:
                break
        try:
            checked = await self._checked(room, origin, pdus[:MISSING_EVENTS_MAX])
        except Unreachable:
            return []
        found = {one.event_id: one for one in checked if isinstance(one, Event) and one.room_id == room.room_id}
        found.pop(event.event_id, None)
        return list(found.values())

    async def states_after(
        self, room: Room, prev_ids: Sequence[EventId], origin: ServerName, *, is_patient: bool
    ) -> list[StateMap]:
        """The states after events that aren't here, as their server tells them: key number → event number each.

        Each is asked for, of at most twenty that an event may name: any of them may hold what the others lack.
        What can't be believed is left out of them; what can't be checked just now only where nobody `is_patient`.

        What they name and isn't here is fetched and kept outside of the timeline. Empty where nobody tells one; raises
        NotAllHad where one is told, but not all that it consists of.
        """
        states = []
        for prev_id in prev_ids:
            is_told = False
            for server in self._askable(room, origin):
                try:
                    state = await self._state_after(room, prev_id, server, origin, is_patient=is_patient)
                except NotAllHad:
                    is_told = True
                    continue
                if state is not None:
                    states.append(state)
                    break
            else:
                if is_told:
                    raise NotAllHad
                return []
        return states

    def _askable(self, room: Room, origin: ServerName) -> list[ServerName]:
        """Who may know what is missing: whoever sent the event that cites it, then others in the room."""
        others = [server for server in joined_servers(room) if server not in (origin, self._server_name)]
        return [origin, *self.tools.peers.by_hope(others)[:OTHERS_ASKED_MAX]]

    async def _state_after(
        self, room: Room, prev_id: EventId, server: ServerName, origin: ServerName, *, is_patient: bool
    ) -> StateMap | None:
        """As one server tells it, for an event that came from the origin."""
        try:
            self._spend(room, server)
            question = partial(self.tools.peers.state_ids, server, room.room_id, prev_id)
            state_ids, chain_ids = await self._waited(room, origin, question)
            if len(state_ids) + len(chain_ids) > STATE_EVENTS_MAX:
                return None
        except (Unreachable, FederationError) as fault:
            log.info("state_not_had", server=server, reason=str(fault))
            return None
        try:
            left = await self._obtain(room, prev_id, [*chain_ids, *state_ids], server, origin)
            if not await self._has_come(room, prev_id, server, origin):
                return None
        except (Unreachable, FederationError) as fault:
            log.info("state_not_all_had", server=server, reason=str(fault))
            raise NotAllHad from fault
        # What can't be believed is left out, with what rests on it. What wasn't told others may tell.
        missing = await self._missing(state_ids)
        if len(missing) > left.refused or (missing and left.uncheckable and is_patient):
            log.info("state_not_all_told", server=server, room_id=room.room_id)
            raise NotAllHad
        stored = await self.tools.event_store.by_ids({*state_ids, prev_id})
        if not any(one.event.type == "m.room.create" for one in stored.values()):
            return None
        prev = stored.pop(prev_id, None)
        state = await self._numbered(room, stored)
        if prev is not None and prev.event.is_state:
            state = state.update(await self._numbered(room, {prev_id: prev}))
        return state

    async def _has_come(self, room: Room, event_id: EventId, server: ServerName, origin: ServerName) -> bool:
        """Fetches an event. Whether it changes the state is known then, and not before: False where it can't be had."""
        if not await self._missing([event_id]):
            return True
        self._spend(room, server)
        pdu = await self._waited(room, origin, partial(self.tools.peers.event, server, event_id))
        (checked,) = await self._checked(room, origin, [pdu])
        if not isinstance(checked, Event) or checked.event_id != event_id or checked.room_id != room.room_id:
            return False
        if checked.is_state:
            await self.tools.incoming.keep(room.room_id, [checked])
        return True

    async def auth_events(self, room: Room, events: Sequence[Event], origin: ServerName) -> None:
        """Fetches the auth events of these that aren't here, with what those cite."""
        for event in events:
            if not await self._missing(event.auth_event_ids):
                continue
            try:
                self._spend(room, origin)
                question = partial(self.tools.peers.event_auth, origin, room.room_id, event.event_id)
                pdus = await self._waited(room, origin, question)
                await self._keep(room, pdus[:STATE_EVENTS_MAX], origin)
            except (Unreachable, FederationError) as fault:
                log.info("auth_events_not_had", server=origin, reason=str(fault))
            missing = await self._missing(event.auth_event_ids)
            if missing:
                await self._one_by_one(room, sorted(missing), origin, origin)

    async def _obtain(
        self, room: Room, event_id: EventId, wanted: Sequence[EventId], server: ServerName, origin: ServerName
    ) -> Left:
        """Fetches those of a state and its auth chain that aren't here: singly where they are few and it works.

        What isn't kept of what was told last.
        """
        left = Left()
        missing = await self._missing(wanted)
        if 0 < len(missing) <= SINGLE_MAX:
            left = await self._one_by_one(room, sorted(missing), server, origin)
            missing = await self._missing(wanted)
        if missing:
            self._spend(room, server)
            told = await self._waited(room, origin, partial(self.tools.peers.state, server, room.room_id, event_id))
            left = await self._keep(room, told, origin)
        return left

    def _spend(self, room: Room, server: ServerName) -> None:
        """Raises Unreachable for a server that was asked about a room too often just now."""
        if not self._budget.spend(server, room.room_id):
            raise Unreachable(server, "it was asked enough about this room for now")

    async def _missing(self, event_ids: Collection[EventId]) -> set[EventId]:
        return set(event_ids) - (await self.tools.event_store.by_ids(set(event_ids))).keys()

    async def _waited(self, room: Room, origin: ServerName, question: Callable[[], Awaitable[T]]) -> T:
        """What is waited for, for an event of the origin. Raises Unreachable where that has taken too long by now."""
        try:
            async with self._patience.waiting(origin, room.room_id):
                return await question()
        except NoPatience:
            log.info("gap_left_for_later", server=origin, room_id=room.room_id)
            raise Unreachable(origin, "what its events lack was waited for long enough in this room") from None

    async def _checked(self, room: Room, origin: ServerName, pdus: Sequence[object]) -> list[Checked]:
        """The keys are waited for as well, of servers that anybody can name. Raises Unreachable."""
        return await self._waited(room, origin, partial(self.tools.checks.check, room.version, pdus))

    async def _one_by_one(
        self, room: Room, event_ids: Sequence[EventId], server: ServerName, origin: ServerName
    ) -> Left:
        gate = asyncio.Semaphore(AT_ONCE)

        async def one(event_id: EventId) -> object:
            async with gate:
                try:
                    self._spend(room, server)
                    return await self.tools.peers.event(server, event_id)
                except (Unreachable, FederationError):
                    return None

        try:
            pdus = await self._waited(room, origin, lambda: asyncio.gather(*map(one, event_ids)))
            return await self._keep(room, [pdu for pdu in pdus if pdu is not None], origin)
        except Unreachable:
            return Left()

    async def _keep(self, room: Room, pdus: Sequence[object], origin: ServerName) -> Left:
        """Keeps those that are events of the room. Raises Unreachable where their checks take too long."""
        checked = await self._checked(room, origin, pdus)
        events = {one.event_id: one for one in checked if isinstance(one, Event)}
        mine = [one for one in events.values() if one.room_id == room.room_id and one.is_state]
        unknown = await self.tools.incoming.keep(room.room_id, mine)
        refused = sum(1 for one in checked if not isinstance(one, Event))
        uncheckable = sum(1 for one in checked if isinstance(one, Uncheckable))
        return Left(refused + unknown if refused else 0, uncheckable)

    async def _numbered(self, room: Room, stored: Mapping[EventId, StoredEvent]) -> StateMap:
        state = {
            one.event.key: one.nid
            for one in stored.values()
            if one.event.is_state and one.room_nid == room.nid and not one.flags & REJECTED
        }
        numbers = await self.tools.numbers.find(list(state))
        return Map({numbers[key]: nid for key, nid in state.items() if key in numbers})
