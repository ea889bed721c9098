"""The composition root: builds every object, plugs them together, starts and stops."""

from __future__ import annotations

import asyncio
import signal
import ssl
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from homeserver.accounts.account_data import AccountData
from homeserver.accounts.deactivation import Deactivation
from homeserver.accounts.devices import Devices
from homeserver.accounts.filters import Filters
from homeserver.accounts.login import Login
from homeserver.accounts.passwords import Passwords
from homeserver.accounts.profiles import Profiles
from homeserver.accounts.registration import Registration, RegistrationTools, SharedSecretRegistration
from homeserver.accounts.sessions import Sessions, SessionTimes
from homeserver.accounts.uia import Uia
from homeserver.accounts.users import Users
from homeserver.client_api.account import AccountEndpoints
from homeserver.client_api.account_data import AccountDataEndpoints
from homeserver.client_api.banning import Banning
from homeserver.client_api.create_room import CreateRoom
from homeserver.client_api.dehydrated_device import DehydratedDeviceEndpoints
from homeserver.client_api.devices import DeviceEndpoints
from homeserver.client_api.directory import Directory
from homeserver.client_api.filters import FilterEndpoints
from homeserver.client_api.inviting import Inviting
from homeserver.client_api.joining import Joining
from homeserver.client_api.key_backup import KeyBackupEndpoints
from homeserver.client_api.keys import KeyEndpoints, ToDeviceEndpoint
from homeserver.client_api.kicking import Kicking
from homeserver.client_api.knocking import Knocking
from homeserver.client_api.leaving import Leaving
from homeserver.client_api.list_joined_rooms import ListJoinedRooms
from homeserver.client_api.list_public_rooms import ListPublicRooms
from homeserver.client_api.login import LoginEndpoints
from homeserver.client_api.media import LegacyMediaEndpoints, MediaEndpoints
from homeserver.client_api.notifications import NotificationEndpoints
from homeserver.client_api.presence import PresenceEndpoints
from homeserver.client_api.profile import ProfileEndpoints
from homeserver.client_api.push_rules import PushRuleEndpoints
from homeserver.client_api.pushers import PusherEndpoints
from homeserver.client_api.read_markers import ReadMarkerEndpoints
from homeserver.client_api.receipts import ReceiptEndpoints
from homeserver.client_api.redaction import Redaction
from homeserver.client_api.registration import RegistrationEndpoints
from homeserver.client_api.room_events import RoomEvents
from homeserver.client_api.room_members import RoomMembers
from homeserver.client_api.room_messages import RoomMessages
from homeserver.client_api.room_send import RoomSend
from homeserver.client_api.room_state import RoomState
from homeserver.client_api.room_upgrades import RoomUpgrades
from homeserver.client_api.server_info import ServerInfo
from homeserver.client_api.sync import SyncEndpoint
from homeserver.client_api.typing import TypingEndpoints
from homeserver.config import Config, Listener
from homeserver.core.identifiers import ServerName
from homeserver.core.signing import Signer
from homeserver.encryption.cross_signing import CrossSigning
from homeserver.encryption.dehydrated_devices import DehydratedDevices
from homeserver.encryption.device_lists import DeviceLists
from homeserver.encryption.key_backups import KeyBackups
from homeserver.encryption.keys import Keys, OneTimeKeys
from homeserver.encryption.to_device import ToDevice
from homeserver.ephemeral.presence import Presence, PresenceTimes
from homeserver.ephemeral.readable import Readable
from homeserver.ephemeral.receipts import Receipts
from homeserver.ephemeral.typing import Typing
from homeserver.journal.journal import Journal
from homeserver.media.repository import MediaLimits, MediaRepository, MediaTools
from homeserver.media.thumbnails import Size, Thumbnailer
from homeserver.objects.local import LocalObjects
from homeserver.push.notified import Notified
from homeserver.push.pushers import Pushers
from homeserver.push.rulesets import PushRulesets
from homeserver.push.unread import Unread
from homeserver.rooms.building import WriteSteps
from homeserver.rooms.client_events import ClientEvents
from homeserver.rooms.commands.create import CreationSettings, RoomCreation
from homeserver.rooms.commands.directory import Aliases, Publication
from homeserver.rooms.commands.finding import RoomFinder
from homeserver.rooms.commands.forgetting import Forgetting
from homeserver.rooms.commands.guests import GuestDoor
from homeserver.rooms.commands.membership import Membership
from homeserver.rooms.commands.sending import Sending
from homeserver.rooms.commands.submission import Submission
from homeserver.rooms.commands.upgrade import RoomUpgrade
from homeserver.rooms.committer import Committer
from homeserver.rooms.event_store import EventStore
from homeserver.rooms.history import History
from homeserver.rooms.policy import InvitePermission, PolicyChain
from homeserver.rooms.public_rooms import PublicRooms
from homeserver.rooms.read_gate import ReadGate
from homeserver.rooms.remote import NoRemoteRooms
from homeserver.rooms.residents import Rooms
from homeserver.rooms.state_numbers import StateNumbers
from homeserver.rooms.views import RoomViews
from homeserver.rooms.writer import RoomWriter
from homeserver.runtime.clock import Clock, SystemClock
from homeserver.runtime.ids import Randomness, SystemRandomness
from homeserver.runtime.metrics import Metrics
from homeserver.runtime.signing_key import load_signer
from homeserver.runtime.tasks import Tasks
from homeserver.storage.database import Database
from homeserver.storage.embedded import EmbeddedPostgres
from homeserver.storage.migrate import migrate
from homeserver.sync.hub import SyncHub
from homeserver.sync.lazy_members import LazyMembers
from homeserver.sync.room_sections import RoomSections
from homeserver.sync.service import SyncParts, SyncService
from homeserver.sync.sources import Sources
from homeserver.sync.timelines import RoomReads, Timelines
from homeserver.sync.user_rooms import UserRooms
from homeserver.web.endpoint import Endpoint
from homeserver.web.monitoring import HealthEndpoints, MetricsEndpoint
from homeserver.web.rate_limits import RateLimit, RateLimiter
from homeserver.web.server import WebLimits, WebServer

log = structlog.get_logger()

STOP_WITHIN_S = 25.0


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """All that a simulation replaces."""

    clock: Clock
    randomness: Randomness
    db: Database


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
    views: RoomViews


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveParts:
    """Receipts, typing, presence, push rules and unread counts, plugged together."""

    receipts: Receipts
    typing: Typing
    presence: Presence
    rulesets: PushRulesets
    unread: Unread
    pushers: Pushers
    notified: Notified

    def endpoints(self, client_events: ClientEvents) -> list[object]:
        return [
            ReceiptEndpoints(self.receipts),
            ReadMarkerEndpoints(self.receipts),
            TypingEndpoints(self.typing, self.presence),
            PresenceEndpoints(self.presence),
            PushRuleEndpoints(self.rulesets),
            PusherEndpoints(self.pushers),
            NotificationEndpoints(self.notified, client_events),
        ]

    async def start(self, tasks: Tasks) -> None:
        """Catches up, before anybody can write, and begins what runs beside the requests."""
        await self.rulesets.start()
        await self.unread.start()
        tasks.forever(self.typing.run, name="typing")
        tasks.forever(self.presence.run, name="presence")
        tasks.forever(self.unread.run, name="unread")


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountParts:
    """Accounts, sessions, profiles and account data, plugged together."""

    users: Users
    passwords: Passwords
    sessions: Sessions
    uia: Uia
    profiles: Profiles
    account_data: AccountData
    filters: Filters


@dataclass(frozen=True, slots=True, kw_only=True)
class EncryptionParts:
    """Keys, cross-signing, messages to devices and key backups, plugged together."""

    device_lists: DeviceLists
    one_time_keys: OneTimeKeys
    keys: Keys
    cross_signing: CrossSigning
    to_device: ToDevice
    backups: KeyBackups
    dehydrated: DehydratedDevices

    def endpoints(self, uia: Uia) -> list[object]:
        return [
            KeyEndpoints(self.keys, self.cross_signing, self.device_lists, uia),
            ToDeviceEndpoint(self.to_device),
            KeyBackupEndpoints(self.backups),
            DehydratedDeviceEndpoints(self.dehydrated),
        ]


class Hansa:
    """One server: `start` until it answers, `stop` until it has let go of everything."""

    def __init__(self, config: Config, world: World, signer: Signer) -> None:
        self.config = config
        self.world = world
        self.signer = signer
        self.metrics = Metrics()
        self.tasks = Tasks(world.clock)
        self.limiter = RateLimiter(_rate_limits(config), world.clock)
        self.passwords = Passwords(
            time_cost=config.password.time_cost,
            memory_kib=config.password.memory_kib,
            parallelism=config.password.parallelism,
            length_min=config.password.length_min,
        )
        self.thumbnailer = Thumbnailer(config.media.image_pixels_max)
        self.addresses: list[tuple[str, int]] = []
        self._servers: list[WebServer] = []
        self.endpoints: list[Endpoint] = []

    async def start(self) -> None:
        """Brings the schema up to date, loads what must be in memory, listens."""
        await migrate(self.world.db)
        journal = Journal(self.world.db)
        await journal.start()
        users = Users(self.world.db, self.world.clock, self.passwords, journal, ServerName(self.config.server_name))
        rooms = self._rooms(journal, users)
        accounts = self._accounts(rooms, users)
        live = self._live(rooms)
        accounts.account_data.provide("m.push_rules", live.rulesets)
        accounts.account_data.provide_in_rooms("m.fully_read", live.receipts)
        accounts.sessions.observers.append(live.pushers)
        await live.start(self.tasks)
        encryption = self._encryption(accounts, rooms)
        sync = self._sync(accounts, rooms, live, encryption)
        self.tasks.forever(accounts.sessions.write_sightings, name="device_sightings")
        parts = [
            *self._account_endpoints(accounts, rooms),
            *self._room_endpoints(accounts, rooms),
            RoomEvents(rooms.history, rooms.views),
            RoomMessages(rooms.history, rooms.views),
            RoomMembers(rooms.history, rooms.views, rooms.rooms),
            *live.endpoints(rooms.client_events),
            *encryption.endpoints(accounts.uia),
            *self._media(),
            SyncEndpoint(sync),
        ]
        for listener in self.config.listeners:
            served = [*(parts if "client" in listener.apis else []), *self._monitoring(listener)]
            await self._listen(listener, served, accounts.sessions)
        self.metrics.watch_database(lambda: self.world.db.size)
        self.tasks.start(self.metrics.measure_loop(self.world.clock), name="loop_lag")

    async def stop(self) -> None:
        """Lets open requests end, then the background tasks."""
        await asyncio.gather(*(server.stop() for server in self._servers))
        await self.tasks.stop()
        self.passwords.close()
        self.thumbnailer.close()

    def _accounts(self, parts: RoomParts, users: Users) -> AccountParts:
        world, db, chosen = self.world, self.world.db, self.config.sessions
        times = SessionTimes(
            access_s=chosen.access_token_lifetime_s,
            refreshable_s=chosen.refreshable_token_lifetime_s,
            refresh_s=chosen.refresh_token_lifetime_s,
            devices_max=chosen.devices_per_user_max,
        )
        uia_s = chosen.user_interactive_auth_lifetime_s
        return AccountParts(
            users=users,
            passwords=self.passwords,
            sessions=Sessions(db, world.clock, world.randomness, times),
            uia=Uia(users, world.clock, world.randomness, lifetime_s=uia_s),
            profiles=Profiles(db, parts.rooms, parts.writer, world.clock, self.tasks),
            account_data=AccountData(db, parts.journal),
            filters=Filters(db),
        )

    def _account_endpoints(self, accounts: AccountParts, parts: RoomParts) -> list[object]:
        db, clock = self.world.db, self.world.clock
        users, sessions, passwords = accounts.users, accounts.sessions, accounts.passwords
        tools = RegistrationTools(self.config.registration, accounts.uia, clock, self.world.randomness)
        registration = Registration(db, users, sessions, passwords, tools)
        by_secret = SharedSecretRegistration(db, users, sessions, passwords, tools)
        login = Login(db, users, sessions, self.limiter)
        deactivation = Deactivation(users, sessions, parts.rooms, parts.writer, clock)
        return [
            ServerInfo(self.config),
            RegistrationEndpoints(registration, by_secret, users, self.limiter),
            LoginEndpoints(login, sessions, is_password_login=self.config.password.login),
            AccountEndpoints(users, passwords, sessions, accounts.uia, deactivation),
            DeviceEndpoints(Devices(db, parts.journal), sessions, accounts.uia),
            ProfileEndpoints(accounts.profiles),
            AccountDataEndpoints(accounts.account_data),
            FilterEndpoints(accounts.filters),
        ]

    def _room_endpoints(self, accounts: AccountParts, parts: RoomParts) -> list[object]:
        db, clock, server_name = self.world.db, self.world.clock, ServerName(self.config.server_name)
        remote = NoRemoteRooms()
        policy = PolicyChain([InvitePermission(db, server_name)])
        submission = Submission(parts.writer, policy, clock, server_name)
        aliases = Aliases(db, parts.rooms, submission, remote)
        membership = Membership(submission, parts.rooms, accounts.profiles, remote, self.limiter)
        settings = CreationSettings(
            randomness=self.world.randomness,
            default_version=self.config.rooms.default_version,
            encrypt_by_default=self.config.rooms.encrypt_by_default,
            invites_max=self.config.rooms.invites_per_creation_max,
        )
        creation = RoomCreation(submission, membership, aliases, remote, settings)
        parts.journal.listen(GuestDoor(db, submission, self.tasks).hear)
        sending = Sending(submission, parts.rooms, parts.store, aliases, db)
        finder = RoomFinder(aliases)
        return [
            CreateRoom(creation),
            Joining(membership, finder),
            Knocking(membership, finder),
            Inviting(membership),
            Leaving(membership, Forgetting(parts.journal, parts.rooms)),
            Kicking(membership),
            Banning(membership),
            RoomSend(sending),
            RoomState(sending, membership, parts.history, parts.views),
            Redaction(sending),
            ListJoinedRooms(parts.rooms),
            Directory(aliases),
            ListPublicRooms(
                PublicRooms(db, parts.rooms, parts.journal),
                Publication(db, parts.rooms),
                remote,
                server_name,
                needs_login=self.config.rooms.public_list_needs_login,
            ),
            RoomUpgrades(RoomUpgrade(submission, membership, parts.rooms, db, self.world.randomness)),
        ]

    def _encryption(self, accounts: AccountParts, parts: RoomParts) -> EncryptionParts:
        db, journal, server_name = self.world.db, parts.journal, ServerName(self.config.server_name)
        lists = DeviceLists(db, parts.rooms, parts.store, parts.numbers)
        one_time_keys = OneTimeKeys(db)
        keys = Keys(db, journal, lists, one_time_keys, server_name)
        to_device = ToDevice(db, journal, self.world.clock, server_name)
        dehydrated = DehydratedDevices(db, journal, keys, to_device)
        accounts.sessions.observers.append(keys)
        accounts.sessions.followers.append(keys.after_devices_deleted)
        self.tasks.forever(to_device.forget_transactions, name="to_device_transactions")
        return EncryptionParts(
            device_lists=lists,
            one_time_keys=one_time_keys,
            keys=keys,
            cross_signing=CrossSigning(db, journal, lists),
            to_device=to_device,
            backups=KeyBackups(db),
            dehydrated=dehydrated,
        )

    def _media(self) -> list[object]:
        chosen = self.config.media
        tools = MediaTools(
            clock=self.world.clock,
            randomness=self.world.randomness,
            thumbnailer=self.thumbnailer,
            server_name=ServerName(self.config.server_name),
        )
        limits = MediaLimits(
            upload_bytes_max=chosen.upload_bytes_max,
            user_bytes_max=chosen.user_bytes_max,
            pending_max=chosen.pending_uploads_max,
            pending_lifetime_s=chosen.pending_upload_lifetime_s,
            sizes=tuple(Size(size.width, size.height, size.method) for size in chosen.thumbnail_sizes),
        )
        objects = LocalObjects(chosen.store_path, self.world.randomness)
        repository = MediaRepository(self.world.db, objects, tools, limits)
        return [MediaEndpoints(repository), LegacyMediaEndpoints(repository, is_open=chosen.legacy_access == "open")]

    def _sync(
        self, accounts: AccountParts, parts: RoomParts, live: LiveParts, encryption: EncryptionParts
    ) -> SyncService:
        user_rooms = UserRooms(parts.rooms)
        hub = SyncHub(parts.journal, parts.rooms, user_rooms)
        sources = Sources(
            account_data=accounts.account_data,
            filters=accounts.filters,
            receipts=live.receipts,
            typing=live.typing,
            presence=live.presence,
            unread=live.unread,
            to_device=encryption.to_device,
            device_lists=encryption.device_lists,
            one_time_keys=encryption.one_time_keys,
        )
        reads = RoomReads(
            db=self.world.db,
            rooms=parts.rooms,
            store=parts.store,
            numbers=parts.numbers,
            gate=parts.gate,
            client_events=parts.client_events,
        )
        timelines = Timelines(reads, hub, LazyMembers(parts.rooms, parts.numbers))
        sections = RoomSections(reads, hub, timelines, sources)
        self.sync_hub = hub
        service = SyncParts(
            hub=hub, user_rooms=user_rooms, sections=sections, journal=parts.journal, clock=self.world.clock
        )
        self.sync_service = SyncService(service, sources, timeout_s_max=self.config.limits.sync_timeout_s)
        return self.sync_service

    def _rooms(self, journal: Journal, users: Users) -> RoomParts:
        world, db = self.world, self.world.db
        store, numbers = EventStore(db), StateNumbers(db)
        rooms = Rooms(db, store, numbers)
        steps = WriteSteps(rooms, store, numbers, self.signer, world.randomness)
        writer = RoomWriter(rooms, steps, Committer(db, self.tasks, world.clock), journal, self.tasks)
        gate = ReadGate(db, store, numbers, users, journal)
        history = History(db, rooms, store, gate)
        client_events = ClientEvents(store, world.clock)
        return RoomParts(
            journal=journal,
            store=store,
            numbers=numbers,
            rooms=rooms,
            writer=writer,
            gate=gate,
            history=history,
            client_events=client_events,
            views=RoomViews(client_events, store, numbers, history),
        )

    def _live(self, parts: RoomParts) -> LiveParts:
        """Made before sync, so that these hear of an event before sync wakes its clients."""
        db, clock, journal = self.world.db, self.world.clock, parts.journal
        times = PresenceTimes(
            enabled=self.config.presence.enabled,
            idle_after_s=self.config.presence.idle_after_s,
            offline_after_s=self.config.presence.offline_after_s,
        )
        receipts = Receipts(db, journal, Readable(parts.rooms, parts.store, parts.gate), clock)
        presence = Presence(db, journal, parts.rooms, clock, times)
        rulesets = PushRulesets(db, journal)
        unread = Unread(db, journal, parts.rooms, rulesets, clock, ServerName(self.config.server_name))
        for listener in (presence.hear, rulesets.hear, unread.hear):
            journal.listen(listener)
        return LiveParts(
            receipts=receipts,
            typing=Typing(journal, parts.rooms, clock),
            presence=presence,
            rulesets=rulesets,
            unread=unread,
            pushers=Pushers(db, journal),
            notified=Notified(parts.rooms, parts.store, parts.gate, unread, rulesets),
        )

    def _monitoring(self, listener: Listener) -> list[object]:
        """Metrics and health, where the listener serves them."""
        db = self.world.db
        health = [HealthEndpoints(lambda: db.fetchval("SELECT 1"))] if "health" in listener.apis else []
        return [*health, *([MetricsEndpoint(self.metrics)] if "metrics" in listener.apis else [])]

    async def _listen(self, listener: Listener, parts: list[object], sessions: Sessions) -> None:
        limits = self.config.limits
        server = WebServer(
            self.limiter,
            self.world.clock,
            self.metrics,
            authenticator=sessions,
            limits=WebLimits(
                body_bytes_max=limits.body_bytes_max,
                body_seconds_max=limits.body_read_time_s,
                header_bytes_max=limits.header_bytes_max,
                open_requests_per_user_max=limits.open_requests_per_user_max,
            ),
            trusted_proxies=listener.trusted_proxies,
        )
        server.add(*parts)
        self._servers.append(server)
        self.endpoints += server.endpoints
        self.addresses += await server.start([(listener.bind, listener.port, _tls(listener))])


def _rate_limits(config: Config) -> dict[str, RateLimit]:
    return {name: RateLimit(limit.per_second, limit.burst) for name, limit in config.rate_limits.in_force().items()}


def _tls(listener: Listener) -> ssl.SSLContext | None:
    if listener.tls_certificate_path is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(listener.tls_certificate_path, listener.tls_private_key_path)
    return context


async def run(config: Config, *, ready: Callable[[bool], None] = lambda first_start: None) -> None:
    """Runs the server until SIGTERM or SIGINT. `ready` is told, once it answers, whether this was the first start.

    Raises WrongDatabase, Unavailable, WrongSigningKey and OSError (a port that is taken).
    """
    clock, randomness = SystemClock(), SystemRandomness()
    own = EmbeddedPostgres(config.database.embedded_path, clock) if config.database.dsn is None else None
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    first_start = not config.signing_key_path.exists()
    signer = load_signer(config.signing_key_path, ServerName(config.server_name), randomness)
    dsn = await own.start() if own is not None else config.database.dsn.reveal() if config.database.dsn else ""
    try:
        db = await Database.connect(dsn, size_min=config.database.pool_size_min, size_max=config.database.pool_size_max)
        hansa = Hansa(config, World(clock=clock, randomness=randomness, db=db), signer)
        try:
            await hansa.start()
            ready(first_start)
            await stopped.wait()
        finally:
            async with asyncio.timeout(STOP_WITHIN_S):
                await hansa.stop()
                await db.close()
    finally:
        if own is not None:
            await own.stop()
