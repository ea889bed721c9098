"""Spam rules, plugged into everything that they look at."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from admin.audit import AuditLog
from admin.room_hand import RoomHand
from admin.spam.api import AppealEndpoint, DecisionEndpoints, PluginEndpoint, RuleEndpoints, TrialEndpoints
from admin.spam.appeals import AppealsInRooms, AppealTools
from admin.spam.book import RuleBook
from admin.spam.conditions import warm_up
from admin.spam.engine import SpamEngine
from admin.spam.engine import World as SpamWorld
from admin.spam.gate import SpamGate
from admin.spam.history import HistoryTrials
from admin.spam.list_acls import ListAcls
from admin.spam.list_bans import ListBans
from admin.spam.mutes import Mutes
from admin.spam.plugins import Plugins, load_plugins
from admin.spam.policy_lists import PolicyLists
from admin.spam.publishing import PolicyPublishing
from admin.spam.raids import RaidMode
from admin.spam.reviewing import Reviewing
from admin.spam.room_api import LockedRoomEndpoints, PolicyListEndpoints, RoomGroupEndpoints
from admin.spam.room_groups import InRooms, RoomGroups
from admin.spam.sanctions import Reach, Sanctions
from admin.spam.surroundings import Surroundings
from admin.spam.webhooks import Webhooks
from federation.inbound.policy import PolicyServerEndpoint
from federation.policy_servers import PolicyServers
from homeserver.accounts.moderation import AccountModeration
from homeserver.assembly.accounts import AccountParts
from homeserver.assembly.admin import AdminParts
from homeserver.assembly.base import Base
from homeserver.assembly.commands import CommandParts
from homeserver.assembly.console_spam import SpamFaces, spam_pages
from homeserver.assembly.federated_rooms import FederatedRoomParts
from homeserver.assembly.federation import FederationParts
from homeserver.assembly.media import MediaParts
from homeserver.assembly.people import PeopleParts
from homeserver.assembly.rooms import RoomParts
from homeserver.core.events import Event
from homeserver.core.identifiers import RoomId, UserId
from homeserver.core.policy_server import KEY_ID
from homeserver.core.signing import Signer
from homeserver.media.looks import Looks
from homeserver.rooms.arrivals import Arrival, Fate
from homeserver.runtime.signing_key import load_signer


@dataclass(frozen=True, slots=True, kw_only=True)
class SpamParts:
    """The rules in force, who asks them, and what they can do."""

    book: RuleBook
    engine: SpamEngine
    gate: SpamGate
    sanctions: Sanctions
    reviewing: Reviewing
    lists: PolicyLists
    groups: RoomGroups
    raids: RaidMode
    hand: RoomHand
    plugins: Plugins


async def build_spam(base: Base, parts: RoomParts) -> SpamParts:
    """Before anybody can write, so that nothing passes unseen."""
    world = base.world
    book = RuleBook(world.db, world.clock)
    await book.start()
    around = Surroundings(world.db, parts.rooms, world.clock, base.server_name)
    engine = SpamEngine(SpamWorld(world.db, world.clock, world.randomness), book, around)
    engine.plugins = plugins = Plugins(load_plugins(base.config.admin.spam_plugins), world.clock)
    engine.decided = base.complaints
    hand = RoomHand(parts.rooms, parts.writer, world.clock, base.server_name)
    audit = AuditLog(world.clock)
    raids = RaidMode(world.db, hand, audit, world.clock)
    webhooks = Webhooks(world.db, base.outgoing, world.clock)
    mutes = Mutes(world.db, hand, audit, world.clock)
    reach = Reach(
        server_name=base.server_name, webhooks=webhooks, raids=raids, mutes=mutes, expiry=parts.expiry, audit=audit
    )
    sanctions = Sanctions(world.db, hand, world.clock, reach)
    gate = SpamGate(world.db, engine, sanctions, world.clock, base.tasks)
    parts.journal.listen(around.hear)
    parts.journal.listen(gate.hear)
    parts.policy.add(gate)
    parts.policy.abuse = gate
    parts.incoming.screen = gate
    lists = PolicyLists(world.db, engine, world.clock, base.server_name)
    in_rooms = InRooms(ListAcls(world.db, hand, audit), ListBans(world.db, hand, audit, world.clock))
    groups = RoomGroups(world.db, lists, hand, world.clock, in_rooms)
    await lists.load()
    parts.journal.listen(lists.hear)
    base.tasks.forever(lists.run, name="policy_lists")
    await raids.start()
    await mutes.start()
    base.tasks.start(asyncio.to_thread(warm_up), name="spam_language")
    base.tasks.forever(engine.run, name="spam_decisions")
    reviewing = Reviewing(world.db, engine, sanctions, world.clock)
    base.tasks.forever(reviewing.run, name="spam_decisions_kept")
    return SpamParts(
        book=book,
        engine=engine,
        gate=gate,
        sanctions=sanctions,
        reviewing=reviewing,
        lists=lists,
        groups=groups,
        plugins=plugins,
        raids=raids,
        hand=hand,
    )


def spam_endpoints(
    base: Base, spam: SpamParts, accounts: AccountParts, media: MediaParts, admin: AdminParts
) -> list[object]:
    """What operators may ask; what clients may is added to theirs."""
    world = base.world
    spam.sanctions.reach.accounts = AccountModeration(world.db, accounts.users, accounts.sessions)
    spam.sanctions.reach.sessions = accounts.sessions
    spam.sanctions.reach.media = media.repository
    media.repository.abuse = accounts.profiles.abuse = spam.gate
    media.repository.look = Looks(media.sandbox, media.files, lambda: spam.book.force.lists.has_looks).of
    admin.for_clients.append(AppealEndpoint(spam.reviewing))
    # These write to rooms: not before everybody is there who is to hear of it.
    base.tasks.forever(spam.groups.run, name="policy_lists_applied")
    base.tasks.forever(spam.raids.run, name="spam_raids")
    base.tasks.forever(spam.sanctions.reach.mutes.run, name="spam_mutes")
    base.tasks.forever(spam.sanctions.reach.webhooks.run, name="spam_webhooks")
    publishing = PolicyPublishing(world.db, spam.lists, spam.hand, admin.rooms.creation)
    trials = HistoryTrials(world.db, spam.book, spam.engine.around, admin.rooms.jobs, world.clock)
    faces = SpamFaces(
        rules=RuleEndpoints(spam.book, admin.audit),
        trials=TrialEndpoints(spam.book, trials),
        lists=PolicyListEndpoints(spam.lists, publishing, admin.audit),
        decisions=DecisionEndpoints(spam.reviewing, admin.audit),
    )
    pages = spam_pages(base, admin, faces, spam.book, spam.reviewing, spam.lists)
    return [
        faces.rules,
        faces.trials,
        faces.lists,
        faces.decisions,
        RoomGroupEndpoints(spam.groups, admin.audit),
        LockedRoomEndpoints(spam.raids, admin.audit),
        PluginEndpoint(spam.plugins),
        *pages,
    ]


def hear_appeals(base: Base, parts: RoomParts, commands: CommandParts, people: PeopleParts, spam: SpamParts) -> None:
    """Of users who write to the account that notices come from; they are told there what became of it."""
    notices = people.notices
    tools = AppealTools(
        me=notices.sender,
        make=notices.make_account,
        submission=parts.submission,
        membership=commands.membership,
        limits=base.limiter,
    )

    async def tell(user_id: UserId, words: str) -> None:
        await notices.send(user_id, {"msgtype": "m.notice", "body": words})

    spam.reviewing.tell = tell
    parts.journal.listen(AppealsInRooms(spam.reviewing, tools, base.tasks).hear)


def ask_policy_servers(base: Base, parts: RoomParts, transport: FederationParts, spam: SpamParts) -> None:
    """Rooms whose policy server is another one: it is asked; after our own rules, for what comes to us."""
    key = load_signer(base.config.data_dir / "policy_server.key", base.server_name, base.world.randomness)
    base.signer.policy = key.named(KEY_ID)
    servers = PolicyServers(transport.client, parts.rooms, base.server_name, spam.gate, spam.gate)
    parts.incoming.screen = servers
    parts.submission.signatures = servers

    async def take(room_id: RoomId, event: Event) -> Fate:
        return (await parts.incoming.take(room_id, [Arrival(event=event)]))[0]

    parts.submission.take = take


def policy_endpoint(
    parts: RoomParts, federated: FederatedRoomParts, spam: SpamParts, signer: Signer
) -> PolicyServerEndpoint:
    """What rooms that name this server as their policy server ask."""
    assert signer.policy is not None
    return PolicyServerEndpoint(federated.access, parts.rooms, federated.checks, spam.gate, signer.policy)
