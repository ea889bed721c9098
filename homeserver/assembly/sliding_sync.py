"""Sliding sync over what /sync reads."""

from __future__ import annotations

from homeserver.assembly.accounts import AccountParts
from homeserver.assembly.base import Base
from homeserver.assembly.rooms import RoomParts
from homeserver.assembly.sync import SyncSide
from homeserver.sync.kept_out import KeptOut
from homeserver.sync.room_facts import RoomFacts
from homeserver.sync.sliding.connections import Connections
from homeserver.sync.sliding.extensions import SlidingExtensions, ThreadSubscriptions
from homeserver.sync.sliding.room_lists import RoomLists, RoomTraits
from homeserver.sync.sliding.rooms import SlidingRooms
from homeserver.sync.sliding.service import SlidingParts, SlidingSync


async def build_sliding_sync(
    base: Base,
    accounts: AccountParts,
    parts: RoomParts,
    side: SyncSide,
    threads: ThreadSubscriptions | None = None,
) -> SlidingSync:
    """The service, once what lists of rooms are sorted by is up to date."""
    db, clock = base.world.db, base.world.clock
    facts = RoomFacts(db, parts.journal, parts.rooms, parts.store, clock)
    await facts.start()
    base.tasks.forever(facts.run, name="room_facts")
    connections = Connections(db, clock)
    accounts.sessions.observers.append(connections)
    base.tasks.forever(connections.forget_unused, name="sliding_connections")
    kept_out = KeptOut(side.hub, accounts.account_data)
    traits = RoomTraits(accounts.account_data, parts.rooms, parts.store, parts.numbers, side.hub)
    return SlidingSync(
        SlidingParts(
            hub=side.hub,
            journal=parts.journal,
            clock=clock,
            rooms=parts.rooms,
            gate=parts.gate,
            facts=facts,
            lists=RoomLists(facts, side.user_rooms, side.hub, traits),
            traits=traits,
            connections=connections,
            answers=SlidingRooms(side.reads, side.hub, side.sources),
            extensions=SlidingExtensions(side.sources, side.hub, parts.client_events, kept_out, threads),
            kept_out=kept_out,
            sources=side.sources,
        ),
        timeout_s_max=base.config.limits.sync_timeout_s,
    )
