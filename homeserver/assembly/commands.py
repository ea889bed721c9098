"""The commands of the rooms package, and the endpoints over them."""

from __future__ import annotations

from dataclasses import dataclass

from homeserver.accounts.identity_servers import IdentityServers
from homeserver.accounts.profiles import Profiles
from homeserver.accounts.third_party_invites import ThirdPartyInvites
from homeserver.assembly.base import Base
from homeserver.assembly.rooms import RoomParts
from homeserver.client_api.banning import Banning
from homeserver.client_api.create_room import CreateRoom
from homeserver.client_api.delayed_events import DelayedEventEndpoints
from homeserver.client_api.directory import Directory
from homeserver.client_api.inviting import Inviting
from homeserver.client_api.joining import Joining
from homeserver.client_api.kicking import Kicking
from homeserver.client_api.knocking import Knocking
from homeserver.client_api.leaving import Leaving
from homeserver.client_api.list_joined_rooms import ListJoinedRooms
from homeserver.client_api.list_public_rooms import ListPublicRooms
from homeserver.client_api.redaction import Redaction
from homeserver.client_api.report_content import ReportContent
from homeserver.client_api.room_events import RoomEvents
from homeserver.client_api.room_members import RoomMembers
from homeserver.client_api.room_messages import RoomMessages
from homeserver.client_api.room_send import RoomSend
from homeserver.client_api.room_state import RoomState
from homeserver.client_api.room_upgrades import RoomUpgrades
from homeserver.config.schema import Rooms as RoomsConfig
from homeserver.ports import Bridges, RemoteRooms
from homeserver.rooms.ban_redactions import BanReads, BanRedactions
from homeserver.rooms.commands.auto_join import AutoJoin
from homeserver.rooms.commands.create import CreationSettings, RoomCreation
from homeserver.rooms.commands.delaying import DelayedEvents, DelayTools
from homeserver.rooms.commands.directory import Aliases, Publication
from homeserver.rooms.commands.finding import RoomFinder
from homeserver.rooms.commands.forgetting import Forgetting
from homeserver.rooms.commands.guests import GuestDoor
from homeserver.rooms.commands.membership import Membership
from homeserver.rooms.commands.reporting import Reporting
from homeserver.rooms.commands.sending import Sending
from homeserver.rooms.commands.upgrade import RoomUpgrade
from homeserver.rooms.member_rations import MemberRations
from homeserver.rooms.public_rooms import PublicRooms
from homeserver.rooms.retention import Retention, RetentionTimes
from homeserver.rooms.ties import Ties
from homeserver.rooms.unredacted import Unredacted


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandParts:
    """What users mean, as commands over the write path, and the endpoints over those."""

    remote: RemoteRooms
    aliases: Aliases
    membership: Membership
    creation: RoomCreation
    by_address: ThirdPartyInvites
    sending: Sending
    delayed: DelayedEvents
    upgrade: RoomUpgrade
    public_rooms: PublicRooms
    publication: Publication
    auto_join: AutoJoin


def build_commands(
    base: Base, profiles: Profiles, parts: RoomParts, remote: RemoteRooms, bridges: Bridges
) -> CommandParts:
    db, submission = base.world.db, parts.submission
    aliases = Aliases(db, parts.rooms, submission, remote, bridges)
    membership = Membership(submission, parts.rooms, profiles, remote, base.limiter)
    membership.find_user = bridges.find_user
    settings = CreationSettings(
        randomness=base.world.randomness,
        default_version=base.config.rooms.default_version,
        encrypt_by_default=base.config.rooms.encrypt_by_default,
        invites_max=base.config.rooms.invites_per_creation_max,
    )
    door = GuestDoor(db, parts.rooms, submission, base.tasks)
    parts.journal.listen(door.hear)
    base.tasks.start(door.resume(), name="guests")
    sending = Sending(submission, parts.rooms, parts.store, aliases, db)
    publication = Publication(db, parts.rooms, parts.journal)
    publication.abuse = parts.policy
    return CommandParts(
        remote=remote,
        aliases=aliases,
        membership=membership,
        creation=RoomCreation(submission, membership, aliases, remote, settings),
        by_address=ThirdPartyInvites(
            submission, membership, parts.rooms, IdentityServers(base.outgoing, base.signer), remote
        ),
        sending=sending,
        delayed=_delayed(base, parts, sending, membership),
        upgrade=RoomUpgrade(submission, membership, parts.rooms, publication, base.world.randomness),
        public_rooms=PublicRooms(db, parts.rooms, parts.journal),
        auto_join=AutoJoin(membership, RoomFinder(aliases), base.tasks, base.config.registration.auto_join_rooms),
        publication=publication,
    )


def _delayed(base: Base, parts: RoomParts, sending: Sending, membership: Membership) -> DelayedEvents:
    delay_ms_max = base.config.rooms.event_delay_max_s * 1000
    tools = DelayTools(base.world.db, base.world.clock, base.world.randomness, delay_ms_max)
    delayed = DelayedEvents(sending, membership, parts.rooms, tools)
    parts.journal.listen(delayed.hear)
    return delayed


def _unredacted(base: Base, parts: RoomParts) -> Unredacted:
    retention_s = base.config.rooms.redacted_retention_s
    return Unredacted(base.world.db, parts.rooms, parts.history, base.world.clock, retention_s=retention_s)


async def start_upkeep(base: Base, parts: RoomParts, commands: CommandParts) -> None:
    """What goes on in rooms without anybody asking: before anybody can write."""
    reads = BanReads(base.world.db, parts.store, parts.gate)
    bans = BanRedactions(reads, parts.journal, parts.rooms, base.world.clock)
    await bans.start()
    base.tasks.forever(bans.run, name="ban_redactions")
    ties = Ties(parts.rooms, parts.writer, base.world.clock, base.server_name)
    parts.journal.listen(ties.hear)
    base.metrics.watch(
        "hansa_room_ends", "Rooms whose graphs end in too many places; the most of one.", "figure", ties.figures
    )
    base.tasks.forever(ties.run, name="room_ends")
    await commands.delayed.start()
    base.tasks.forever(commands.delayed.run, name="delayed_events")
    await parts.expiry.start()
    base.tasks.forever(parts.expiry.run, name="expiry")
    await parts.sticky.start()
    base.tasks.forever(parts.sticky.run, name="sticky_events")
    chosen = base.config.rooms
    if chosen.retention:
        retention = Retention(base.world.db, parts.journal, parts.store, base.world.clock, retention_times(chosen))
        base.tasks.forever(retention.run, name="retention")


def retention_times(chosen: RoomsConfig) -> RetentionTimes:
    """How long messages are kept, as configured."""
    return RetentionTimes(
        default=chosen.retention_default_s * 1000,
        least=chosen.retention_least_s * 1000,
        most=chosen.retention_most_s * 1000,
    )


def command_endpoints(base: Base, parts: RoomParts, commands: CommandParts) -> list[object]:
    membership, finder = commands.membership, RoomFinder(commands.aliases)
    reporting = Reporting(base.world.db, parts.rooms, parts.history, base.world.clock, parts.policy)
    reporting.reported = base.complaints
    return [
        CreateRoom(commands.creation, commands.by_address),
        Joining(membership, finder, commands.by_address),
        Knocking(membership, finder),
        Inviting(membership, commands.by_address),
        Leaving(membership, Forgetting(parts.journal, parts.rooms)),
        Kicking(membership),
        Banning(membership),
        RoomSend(commands.sending, commands.delayed),
        RoomState(commands.sending, commands.delayed, membership, parts.history, parts.views),
        DelayedEventEndpoints(commands.delayed),
        Redaction(commands.sending),
        ListJoinedRooms(parts.rooms),
        Directory(commands.aliases),
        ListPublicRooms(
            commands.public_rooms,
            commands.publication,
            commands.remote,
            base.server_name,
            needs_login=base.config.rooms.public_list_needs_login,
        ),
        RoomUpgrades(commands.upgrade),
        RoomEvents(parts.history, parts.views, _unredacted(base, parts), parts.ignore_lists),
        RoomMessages(parts.history, parts.views, parts.ignore_lists),
        RoomMembers(parts.history, parts.views, parts.rooms, MemberRations(base.limiter)),
        ReportContent(reporting),
    ]
