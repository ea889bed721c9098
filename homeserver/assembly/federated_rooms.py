"""Rooms shared with other servers: what comes in, what they ask, and where we go."""

from __future__ import annotations

from dataclasses import dataclass

from federation.awaited_keys import AwaitedKeys
from federation.backfill import Backfill
from federation.gaps import Gaps, Tools
from federation.inbound.directory import FederatedDirectory
from federation.inbound.early_receipts import EarlyReceipts
from federation.inbound.edus import DeviceSide, Edus, Ephemeral
from federation.inbound.events import FederatedEvents
from federation.inbound.invites import FederatedInvites, Invitees, InvitesInRooms
from federation.inbound.memberships import FederatedMemberships
from federation.inbound.transactions import EduIntake, PduSide, Transactions
from federation.intake import RoomIntake
from federation.intake_figures import IntakeFigures
from federation.outside import OutsideRooms
from federation.pdu_checks import PduChecks
from federation.peers import Peers
from federation.remote_rooms import FederatedRooms, OwnSide, RoomSide
from federation.resync import Resync
from federation.room_access import RoomAccess
from homeserver.accounts.users import Users
from homeserver.assembly.base import Base
from homeserver.assembly.commands import CommandParts
from homeserver.assembly.encryption import EncryptionParts
from homeserver.assembly.federation import FederationParts
from homeserver.assembly.live import LiveParts
from homeserver.assembly.rooms import RoomParts
from homeserver.rooms.commands.remote_members import RemoteMembers
from homeserver.rooms.remote_trees import RemoteTrees
from homeserver.rooms.space_tree import SpaceTree


@dataclass(frozen=True, slots=True, kw_only=True)
class FederatedRoomParts:
    """`remote` is for our users' commands, the rest for other servers."""

    peers: Peers
    checks: PduChecks
    access: RoomAccess
    intake: RoomIntake
    remote: FederatedRooms
    backfill: Backfill
    resync: Resync
    awaited_keys: AwaitedKeys

    async def start(self, base: Base) -> None:
        """Takes up what was staged, or begun, before a stop."""
        await self.intake.start(base.tasks)
        await self.resync.start(base.tasks, base.server_name)
        self.awaited_keys.start(base.tasks, base.world.clock)


def build_federated_rooms(base: Base, parts: RoomParts, transport: FederationParts) -> FederatedRoomParts:
    peers, checks = Peers(transport.client), PduChecks(transport.keys)
    tools = Tools(peers, checks, parts.incoming, parts.store, parts.numbers)
    gaps = Gaps(tools, base.server_name, base.world.clock)
    own = OwnSide(signer=base.signer, clock=base.world.clock, randomness=base.world.randomness)
    intake = RoomIntake(base.world.db, parts.rooms, parts.store, gaps, base.world.clock)
    intake.figures = IntakeFigures(base.metrics, base.world.clock)
    resync = Resync(base.world.db, parts.rooms, parts.completing, tools, base.world.clock)
    awaited = AwaitedKeys(base.world.db, parts.rooms, resync, checks, parts.completing)
    transport.reachability.listen(awaited.heard_from)
    side = RoomSide(rooms=parts.rooms, writer=parts.writer, incoming=parts.incoming, intake=intake, resync=resync)
    return FederatedRoomParts(
        peers=peers,
        checks=checks,
        access=RoomAccess(parts.rooms, base.server_name),
        intake=intake,
        remote=FederatedRooms(peers, checks, own, side),
        backfill=Backfill(tools, gaps, parts.graph_reads, base.world.clock, base.server_name),
        resync=resync,
        awaited_keys=awaited,
    )


def build_edus(
    base: Base, federated: FederatedRoomParts, parts: RoomParts, live: LiveParts, encryption: EncryptionParts
) -> Edus:
    receipts = EarlyReceipts(live.receipts, base.world.clock)
    parts.journal.listen(receipts.hear)
    ephemeral = Ephemeral(typing=live.typing, receipts=receipts, presence=live.presence)
    devices = DeviceSide(to_device=encryption.to_device, device_lists=encryption.device_lists)
    edus = Edus(federated.access, ephemeral, devices, parts.journal, base.world.clock)
    base.tasks.forever(edus.forget, name="edus_forget")
    base.tasks.forever(receipts.retry, name="early_receipts_retry")
    base.tasks.forever(receipts.arrivals, name="early_receipts")
    return edus


def federated_room_endpoints(
    base: Base,
    parts: RoomParts,
    commands: CommandParts,
    federated: FederatedRoomParts,
    users: Users,
    edus: EduIntake,
) -> list[object]:
    """What other servers send us of rooms, and ask of them."""
    members = RemoteMembers(parts.submission, parts.writer, parts.rooms, base.signer)
    outside = OutsideRooms(federated.checks, parts.rooms, parts.incoming, base.server_name)
    access, checks, intake = federated.access, federated.checks, federated.intake
    invitees = Invitees(users, base.limiter)
    parts.incoming.screen = InvitesInRooms(invitees, base.signer, parts.incoming.screen)
    return [
        Transactions(PduSide(access=access, checks=checks, intake=intake, outside=outside), edus, base.world.clock),
        FederatedEvents(access, parts.graph_reads, base.world.clock),
        FederatedMemberships(access, checks, intake, members, parts.graph_reads),
        FederatedDirectory(
            access,
            parts.rooms,
            commands.public_rooms,
            SpaceTree(parts.rooms, RemoteTrees(commands.remote, base.world.clock), base.server_name),
            shows_list=base.config.rooms.public_list_over_federation,
        ),
        FederatedInvites(checks, invitees, parts.submission, parts.incoming, base.signer),
    ]
