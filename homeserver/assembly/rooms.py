"""The rooms package: the write path and the reads."""

from __future__ import annotations

from dataclasses import dataclass

from homeserver.accounts.ignore_lists import IgnoreLists
from homeserver.accounts.users import Users
from homeserver.assembly.base import Base
from homeserver.core.identifiers import UserId
from homeserver.journal.journal import Journal
from homeserver.rooms.aggregations import Aggregations, RelationReads
from homeserver.rooms.arrivals import ArrivalReads, Arrivals
from homeserver.rooms.auth_graph import AuthGraphs
from homeserver.rooms.building import WriteSteps
from homeserver.rooms.client_events import ClientEvents
from homeserver.rooms.commands.submission import Submission
from homeserver.rooms.committer import Committer
from homeserver.rooms.completing import Completing
from homeserver.rooms.erasure import Erasure
from homeserver.rooms.event_store import EventStore
from homeserver.rooms.expiry import Expiry, ExpiryTools
from homeserver.rooms.forks import Forks
from homeserver.rooms.graph_reads import GraphReads
from homeserver.rooms.history import History
from homeserver.rooms.incoming import Incoming, WriteParts
from homeserver.rooms.member_rations import MemberRations
from homeserver.rooms.policy import (
    InvitePermission,
    KnownContent,
    NoticeRoomsStay,
    PicturesAreFiles,
    PolicyChain,
    RoomsBlocked,
)
from homeserver.rooms.read_gate import ReadGate
from homeserver.rooms.residents import Rooms
from homeserver.rooms.shadow_bans import ShadowBans
from homeserver.rooms.shown_with import ShownWith
from homeserver.rooms.state_numbers import StateNumbers
from homeserver.rooms.sticky import StickyEvents
from homeserver.rooms.views import RoomViews
from homeserver.rooms.writer import RoomWriter


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomParts:
    """The rooms package, plugged together."""

    journal: Journal
    store: EventStore
    numbers: StateNumbers
    rooms: Rooms
    writer: RoomWriter
    gate: ReadGate
    history: History
    client_events: ClientEvents
    submission: Submission
    policy: PolicyChain
    blocked: RoomsBlocked
    views: RoomViews
    incoming: Incoming
    completing: Completing
    graph_reads: GraphReads
    relation_reads: RelationReads
    ignore_lists: IgnoreLists
    shadow_bans: ShadowBans
    expiry: Expiry
    sticky: StickyEvents


def build_rooms(base: Base, journal: Journal, users: Users) -> RoomParts:
    world, db = base.world, base.world.db
    store, numbers = EventStore(db), StateNumbers(db)
    rooms = Rooms(db, store, numbers)
    steps = WriteSteps(rooms, store, numbers, base.signer, world.randomness)
    committer = Committer(db, base.tasks, world.clock)
    committer.refused = base.complaints
    writer = RoomWriter(rooms, steps, committer, journal, base.tasks)
    graphs = AuthGraphs(db)
    arrivals = Arrivals(ArrivalReads(db, rooms, store, numbers, Forks(store, numbers, graphs)))
    writes = WriteParts(db=db, journal=journal, writer=writer, committer=committer, arrivals=arrivals)
    gate = ReadGate(db, store, numbers, users, journal)
    history = History(db, rooms, store, gate)
    reads = RelationReads(db=db, store=store, rooms=rooms, gate=gate)
    ignore_lists = IgnoreLists(db, journal)
    aggregations = Aggregations(reads, ignore_lists, journal, base.server_name)
    client_events = ClientEvents(ShownWith(reads, users), world.clock, aggregations)
    erasure = Erasure(db, journal, store, world.clock, retention_s=base.config.rooms.redacted_retention_s)
    journal.listen(erasure.hear)
    base.tasks.forever(erasure.run, name="erasure")
    expiry = Expiry(
        ExpiryTools(
            db=db,
            journal=journal,
            events=store,
            writer=writer,
            erasure=erasure,
            clock=world.clock,
            server_name=base.server_name,
        ),
        by_wish=base.config.rooms.expiring_messages,
    )
    notices = UserId(f"@{base.config.server_notices.localpart}:{base.server_name}")
    invites = InvitePermission(db, base.server_name, exempt=frozenset({notices}))
    blocked = RoomsBlocked(db)
    policy = PolicyChain([blocked, invites, NoticeRoomsStay(db, rooms), PicturesAreFiles()])
    if base.config.rooms.check_content:
        policy.add(KnownContent())
    shadow_bans = ShadowBans(db, rooms)
    sticky = StickyEvents(db, journal, rooms, store, world.clock)
    journal.listen(sticky.hear)
    incoming = Incoming(writes, rooms, store, numbers)
    lost = base.metrics.counter("hansa_power_levels_lost_total", "Rooms whose power levels state resolution took away.")
    incoming.power_lost = lost.inc
    graph_reads = GraphReads(db, rooms, store, numbers, graphs)
    graph_reads.erased = users
    return RoomParts(
        journal=journal,
        store=store,
        numbers=numbers,
        rooms=rooms,
        writer=writer,
        gate=gate,
        history=history,
        client_events=client_events,
        submission=Submission(writer, policy, world.clock, base.server_name, shadow_bans),
        policy=policy,
        blocked=blocked,
        views=RoomViews(client_events, store, numbers, history, MemberRations(base.limiter)),
        incoming=incoming,
        completing=Completing(writes, incoming, rooms, store, numbers),
        relation_reads=reads,
        ignore_lists=ignore_lists,
        shadow_bans=shadow_bans,
        expiry=expiry,
        sticky=sticky,
        graph_reads=graph_reads,
    )
