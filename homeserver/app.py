"""The composition root: builds every object, plugs them together, starts and stops."""

from __future__ import annotations

import asyncio
import signal
import ssl
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import structlog

from federation.inbound.media import MediaForServers
from federation.inbound.openid import OpenIdUserInfo
from federation.outbound.openid import RemoteOpenId
from federation.remote_profiles import FederatedProfiles
from homeserver.accounts.calls import NoOtherServers
from homeserver.accounts.passwords import passwords_of
from homeserver.accounts.users import Users
from homeserver.assembly.account_endpoints import account_endpoints
from homeserver.assembly.accounts import AccountParts, build_accounts, follow_successors
from homeserver.assembly.admin import build_admin
from homeserver.assembly.appservices import build_appservices, build_bridges
from homeserver.assembly.archive import open_archive
from homeserver.assembly.base import Base, World
from homeserver.assembly.calls import CallParts
from homeserver.assembly.commands import CommandParts, build_commands, command_endpoints, start_upkeep
from homeserver.assembly.console_cases import case_pages, search_pages
from homeserver.assembly.console_evidence import evidence_pages
from homeserver.assembly.contacts import build_contacts
from homeserver.assembly.encryption import build_encryption
from homeserver.assembly.federated_rooms import (
    FederatedRoomParts,
    build_edus,
    build_federated_rooms,
    federated_room_endpoints,
)
from homeserver.assembly.federation import (
    FederationParts,
    OutboundParts,
    build_federation,
    build_outbound,
    federation_endpoints,
)
from homeserver.assembly.live import build_live
from homeserver.assembly.media import MediaParts
from homeserver.assembly.network import build_outgoing
from homeserver.assembly.people import build_people
from homeserver.assembly.relations import build_relations, threads_of
from homeserver.assembly.remote_media import build_remote_media
from homeserver.assembly.rooms import RoomParts, build_rooms
from homeserver.assembly.sign_in import profile_pages
from homeserver.assembly.sliding_sync import build_sliding_sync
from homeserver.assembly.spam import ask_policy_servers, build_spam, hear_appeals, policy_endpoint, spam_endpoints
from homeserver.assembly.sync import build_sync
from homeserver.assembly.webhooks import build_webhooks
from homeserver.client_api.delegated import HIDDEN
from homeserver.client_api.sliding_sync import SlidingSyncEndpoint
from homeserver.client_api.sync import SyncEndpoint
from homeserver.client_api.thread_subscriptions import ThreadSubscriptionEndpoints
from homeserver.config import Config, Listener
from homeserver.config.options import is_secret
from homeserver.core.identifiers import ServerName
from homeserver.core.signing import Signer
from homeserver.encryption.keys import NoRemoteKeys
from homeserver.journal.journal import Journal
from homeserver.ports import RemoteRooms
from homeserver.rooms.remote import NoRemoteRooms
from homeserver.rooms.thread_subscriptions import ThreadSubscriptions
from homeserver.runtime.clock import SystemClock
from homeserver.runtime.disk import DiskGuard
from homeserver.runtime.ids import SystemRandomness
from homeserver.runtime.metrics import Metrics
from homeserver.runtime.progress import Progress, unseen
from homeserver.runtime.signing_key import load_signer
from homeserver.runtime.tasks import Tasks
from homeserver.storage.database import Database
from homeserver.storage.embedded import EmbeddedPostgres
from homeserver.storage.migrate import migrate
from homeserver.storage.only_server import OnlyServer
from homeserver.web.compression import PADDING_MAX
from homeserver.web.connections import Connections
from homeserver.web.dns import SystemDns
from homeserver.web.endpoint import Endpoint
from homeserver.web.monitoring import HealthEndpoints, MetricsEndpoint
from homeserver.web.rate_limits import RateLimit, RateLimiter
from homeserver.web.server import Authenticator, Door, WebLimits, WebServer

log = structlog.get_logger()

# What comes after the requests have ended: background tasks, connections to the database.
_ENDING_S = 5.0


class Hansa:
    """One server: `start` until it answers, `stop` until it has let go of everything."""

    def __init__(self, config: Config, world: World, signer: Signer) -> None:
        self.config = config
        self.world = world
        self.signer = signer
        self.metrics = Metrics()
        self.tasks = Tasks(world.clock, on_failure=self.metrics.task_failed)
        self.guard = DiskGuard(
            world.disk, world.clock, _folders(config), free_bytes_min=config.limits.free_disk_bytes_min
        )
        self.door = _door(config, world, self.guard)
        self.limiter = RateLimiter(_rate_limits(config), world.clock)
        self.passwords = passwords_of(config.password)
        self.addresses: list[tuple[str, int]] = []
        self._servers: list[WebServer] = []
        self._endings: list[Callable[[], None]] = []
        self.endpoints: list[Endpoint] = []
        self.federation: FederationParts | None = None
        self.outbound: OutboundParts | None = None
        self.outgoing = world.outgoing or build_outgoing(config)
        self.base = Base(
            config=config,
            world=world,
            signer=signer,
            tasks=self.tasks,
            metrics=self.metrics,
            limiter=self.limiter,
            outgoing=self.outgoing,
            dns=world.dns or SystemDns(),
        )

    async def start(self) -> None:
        """Brings the schema up to date, loads what must be in memory, listens."""
        db, base = self.world.db, self.base
        await self._open_stores()
        journal = Journal(db)
        await journal.start()
        users = Users(db, self.world.clock, self.passwords, journal, base.server_name)
        self.rooms = rooms = build_rooms(base, journal, users)
        self.spam = await build_spam(base, rooms)
        bridges = build_bridges(base)
        accounts = build_accounts(base, rooms, users, self.passwords, bridges.outgoing)
        federated = await self._begin_federation(rooms, accounts)
        remote: RemoteRooms = federated.remote if federated is not None else NoRemoteRooms()
        commands = build_commands(base, accounts.profiles, rooms, remote, bridges.bridges)
        # Before sync, so that these hear of an event before sync wakes its clients.
        self.live = live = build_live(base, rooms)
        accounts.account_data.provide("m.push_rules", live.rulesets)
        accounts.account_data.provide_in_rooms("m.fully_read", live.receipts)
        accounts.sessions.observers.append(live.pushers)
        await live.start(self.tasks)
        follow_successors(base, accounts, rooms, live.rulesets)
        remote_keys = self.federation.remote_keys if self.federation is not None else NoRemoteKeys()
        encryption = build_encryption(base, accounts, rooms, remote_keys)
        self.sync = build_sync(base, accounts, rooms, live, encryption)
        threads = threads_of(base, rooms, live)
        self.sliding_sync = await build_sliding_sync(base, accounts, rooms, self.sync, threads)
        contacts = build_contacts(base, accounts)
        live.send_mail(base, contacts.mails)
        self.people = await build_people(base, accounts, rooms, commands, bridges.bridges)
        self._endings.append(self.sync.hub.stop)
        self.tasks.forever(accounts.sessions.write_sightings, name="device_sightings")
        await start_upkeep(base, rooms, commands)
        self.calls = CallParts(base, rooms, self.people.openid, self._openid_of_others())
        media_of_others = build_remote_media(base, self.federation) if self.federation is not None else None
        self.media = MediaParts(base, journal, media_of_others, self.guard.check)
        await self.media.start()
        self.appservices = build_appservices(base, bridges, accounts, rooms, live, encryption)
        await self.appservices.start()
        self.relations = await build_relations(base, rooms, commands, accounts, self.people, contacts, self.sync)
        parts = [
            *self.appservices.endpoints,
            *account_endpoints(base, accounts, rooms, contacts, bridges.bridges, commands.auto_join),
            *profile_pages(base, accounts, contacts.pages, self.media.repository),
            *contacts.endpoints,
            *command_endpoints(base, rooms, commands),
            *live.endpoints(rooms.client_events, contacts.pages),
            *encryption.endpoints(accounts, self.config.base_url),
            *self.media.endpoints(),
            *self.people.endpoints,
            *self.calls.endpoints,
            *(await build_webhooks(base, accounts, rooms, commands, self.people)),
            *self.relations.endpoints,
            *self._sync_endpoints(threads),
        ]
        between_servers: list[object] = []
        if self.federation is not None and federated is not None:
            self.outbound = build_outbound(base, self.federation, rooms, live)
            edus = build_edus(base, federated, rooms, live, encryption)
            await self.outbound.start(base, journal)
            between_servers = [
                *federation_endpoints(base, self.federation, accounts, commands, encryption, federated.access),
                *self._told_to_servers(federated),
                *federated_room_endpoints(base, rooms, commands, federated, users, edus),
            ]
            federated.intake.relay = self.outbound.sender
            await federated.start(base)
        self.admin = await build_admin(base, accounts, rooms, commands, self.people, self.media, self.federation)
        for_operators = self._for_operators(accounts, commands)
        await self._serve([*parts, *self.admin.for_clients], between_servers, for_operators)
        self._watch(journal)

    def _sync_endpoints(self, threads: ThreadSubscriptions) -> list[object]:
        return [
            ThreadSubscriptionEndpoints(threads),
            SyncEndpoint(self.sync.service),
            SlidingSyncEndpoint(self.sliding_sync),
        ]

    def _for_operators(self, accounts: AccountParts, commands: CommandParts) -> list[object]:
        """The admin API and the console; what clients may ask of these parts is added to `admin.for_clients`."""
        hear_appeals(self.base, self.rooms, commands, self.people, self.spam)
        return [
            *self.admin.endpoints,
            *spam_endpoints(self.base, self.spam, accounts, self.media, self.admin),
            *case_pages(self.base, self.admin, self.people, self.spam),
            *search_pages(self.base, self.admin, self.rooms, self.relations),
            *evidence_pages(self.base, self.admin),
        ]

    def _openid_of_others(self) -> RemoteOpenId | NoOtherServers:
        return RemoteOpenId(self.federation.client) if self.federation is not None else NoOtherServers()

    def _told_to_servers(self, federated: FederatedRoomParts) -> list[object]:
        """What other servers may ask for beyond rooms and users."""
        return [
            OpenIdUserInfo(self.people.openid),
            MediaForServers(self.media.repository, self.world.randomness, self.base.server_name),
            policy_endpoint(self.rooms, federated, self.spam, self.signer),
        ]

    async def _open_stores(self) -> None:
        await self.guard.look()
        await migrate(self.world.db)
        await open_archive(self.base)

    async def _begin_federation(self, rooms: RoomParts, accounts: AccountParts) -> FederatedRoomParts | None:
        """The ways to other servers, where there are to be any."""
        if not self.config.federation.enabled:
            return None
        self.federation = build_federation(self.base)
        await self.federation.start(self.base, rooms.journal)
        federated = build_federated_rooms(self.base, rooms, self.federation)
        rooms.history.earlier = federated.backfill
        accounts.profiles.elsewhere = FederatedProfiles(federated.peers)
        ask_policy_servers(self.base, rooms, self.federation, self.spam)
        return federated

    async def _serve(self, parts: Sequence[object], between_servers: Sequence[object], admin: Sequence[object]) -> None:
        """Listens, each listener for the APIs that it names."""
        for listener in self.config.listeners:
            served = [
                *(parts if "client" in listener.apis else []),
                *(between_servers if "federation" in listener.apis else []),
                *(admin if "admin" in listener.apis else []),
                *self._monitoring(listener),
            ]
            await self._listen(listener, served, self.appservices.masquerading)

    def _watch(self, journal: Journal) -> None:
        """What metrics read when they are asked for, and what looks after the process."""
        self.tasks.forever(self.guard.watch, name="disk")
        self.tasks.start(self.metrics.measure_loop(self.world.clock), name="loop_lag")
        self.metrics.watch_consumers(journal.lags)
        self.metrics.watch_database(lambda: self.world.db.size)
        self.metrics.watch(
            "hansa_connections", "Connections of clients.", "state", lambda: {"open": self.door.connections.open}
        )
        self.metrics.watch(
            "hansa_disk_free_bytes", "Room where data lie.", "of", lambda: {"data": self.guard.free_bytes}
        )

    async def stop(self) -> None:
        """Answers who waits, lets open requests end, then the background tasks."""
        for end_waits in self._endings:
            end_waits()
        await asyncio.gather(*(server.stop() for server in self._servers))
        made = vars(self)  # a start that failed has made some of its parts, and what it failed of is to be told
        if "appservices" in made:
            await self.appservices.stop()
        await self.tasks.stop()
        await self.outgoing.close()
        if "calls" in made:
            await self.calls.close()
        self.passwords.close()
        if "media" in made:
            await self.media.close()

    def reload(self) -> None:
        """Reads the registrations of application services again."""
        self.tasks.start(self.appservices.reload(), name="reload")

    def _monitoring(self, listener: Listener) -> list[object]:
        """Metrics and health, where the listener serves them."""
        db = self.world.db
        health = [HealthEndpoints(lambda: db.fetchval("SELECT 1"))] if "health" in listener.apis else []
        return [*health, *([MetricsEndpoint(self.metrics)] if "metrics" in listener.apis else [])]

    async def _listen(self, listener: Listener, parts: list[object], authenticator: Authenticator) -> None:
        limits = self.config.limits
        server = WebServer(
            self.limiter,
            self.world.clock,
            self.metrics,
            authenticator=authenticator,
            servers=self.federation.authentication if self.federation else None,
            limits=WebLimits(
                body_bytes_max=limits.body_bytes_max,
                body_seconds_max=limits.body_read_time_s,
                header_bytes_max=limits.header_bytes_max,
                head_seconds_max=limits.header_time_s,
                request_seconds_max=limits.request_time_s,
                json_depth_max=limits.json_depth_max,
                open_requests_per_user_max=limits.open_requests_per_user_max,
                shutdown_seconds_max=limits.shutdown_time_s,
                stall_seconds_max=limits.answer_stall_s,
                compresses=listener.compress,
            ),
            trusted_proxies=listener.trusted_proxies,
            door=self.door,
        )
        server.hidden = HIDDEN if self.config.mas.endpoint is not None else ()
        server.spaces = self.admin.desk.spaces
        server.add(*parts)
        self._servers.append(server)
        self.endpoints += server.endpoints
        self.base.served.update(path for declared in server.endpoints for path in declared.paths)
        self.addresses += await server.start([(listener.bind, listener.port, _tls(listener))])


def _door(config: Config, world: World, guard: DiskGuard) -> Door:
    limits = config.limits
    return Door(
        connections=Connections(most=limits.open_connections_max, per_address=limits.connections_per_address_max),
        check_room=guard.check,
        name=world.randomness.letters(6),
        padding=lambda: int(world.randomness.fraction() * PADDING_MAX),
        is_service=partial(is_secret, config.mas.secret),
    )


def _folders(config: Config) -> list[Path]:
    """Where this process, or its own database, writes."""
    own = [config.database.embedded_path] if config.database.dsn is None else []
    return [config.data_dir, config.media.store_path, *own]


def _rate_limits(config: Config) -> dict[str, RateLimit]:
    return {name: RateLimit(limit.per_second, limit.burst) for name, limit in config.rate_limits.in_force().items()}


def _tls(listener: Listener) -> ssl.SSLContext | None:
    if listener.tls_certificate_path is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(listener.tls_certificate_path, listener.tls_private_key_path)
    return context


async def run(
    config: Config, *, ready: Callable[[bool], None] = lambda first_start: None, progress: Progress = unseen
) -> None:
    """Runs the server until SIGTERM or SIGINT. `ready` is told, once it answers, whether this was the first start.

    Raises WrongDatabase, Unavailable, WrongSigningKey and OSError (a port that is taken).
    """
    clock, randomness = SystemClock(), SystemRandomness()
    own = EmbeddedPostgres(config.database.embedded_path, clock, progress) if config.database.dsn is None else None
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    first_start = not config.signing_key_path.exists()
    signer = load_signer(config.signing_key_path, ServerName(config.server_name), randomness)
    dsn = await own.start() if own is not None else config.database.dsn.reveal() if config.database.dsn else ""
    alone = OnlyServer(dsn, clock, on_rival=stopped.set)
    try:
        await alone.take()
        db = await Database.connect(
            dsn,
            size_min=config.database.pool_size_min,
            size_max=config.database.pool_size_max,
            statement_timeout_s=config.database.statement_timeout_s,
        )
        hansa = Hansa(config, World(clock=clock, randomness=randomness, db=db), signer)
        if own is not None:
            hansa.tasks.forever(own.keep_up, name="own_database")
        hansa.tasks.forever(alone.keep, name="only_server")
        try:
            await migrate(db, progress)
            await hansa.start()
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, hansa.reload)
            ready(first_start)
            await stopped.wait()
            alone.check()
        finally:
            await _stop(hansa, db)
    finally:
        await alone.give_back()
        if own is not None:
            await own.stop()


async def _stop(hansa: Hansa, db: Database) -> None:
    log.info("stopping")
    try:
        async with asyncio.timeout(hansa.config.limits.shutdown_time_s + _ENDING_S):
            await hansa.stop()
            await db.close()
    except TimeoutError:
        log.warning("stopped_late", shutdown_time_s=hansa.config.limits.shutdown_time_s)
        db.terminate()
