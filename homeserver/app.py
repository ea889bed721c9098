"""The composition root: builds every object, plugs them together, starts and stops."""

from __future__ import annotations

import asyncio
import signal
import ssl
from collections.abc import Callable

import structlog

from homeserver.accounts.passwords import Passwords
from homeserver.accounts.sessions import Sessions
from homeserver.accounts.users import Users
from homeserver.assembly.accounts import account_endpoints, build_accounts
from homeserver.assembly.base import Base, World
from homeserver.assembly.commands import build_commands, command_endpoints
from homeserver.assembly.encryption import build_encryption
from homeserver.assembly.federation import FederationParts, build_federation, federation_endpoints
from homeserver.assembly.live import build_live
from homeserver.assembly.media import media_endpoints
from homeserver.assembly.network import build_outgoing
from homeserver.assembly.people import people_endpoints
from homeserver.assembly.rooms import build_rooms
from homeserver.assembly.sync import build_sync
from homeserver.client_api.sync import SyncEndpoint
from homeserver.config import Config, Listener
from homeserver.core.identifiers import ServerName
from homeserver.core.signing import Signer
from homeserver.journal.journal import Journal
from homeserver.media.thumbnails import Thumbnailer
from homeserver.rooms.remote import NoRemoteRooms
from homeserver.runtime.clock import SystemClock
from homeserver.runtime.ids import SystemRandomness
from homeserver.runtime.metrics import Metrics
from homeserver.runtime.signing_key import load_signer
from homeserver.runtime.tasks import Tasks
from homeserver.storage.database import Database
from homeserver.storage.embedded import EmbeddedPostgres
from homeserver.storage.migrate import migrate
from homeserver.web.dns import SystemDns
from homeserver.web.endpoint import Endpoint
from homeserver.web.monitoring import HealthEndpoints, MetricsEndpoint
from homeserver.web.rate_limits import RateLimit, RateLimiter
from homeserver.web.server import WebLimits, WebServer

log = structlog.get_logger()

STOP_WITHIN_S = 25.0


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
        self.federation: FederationParts | None = None
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
        await migrate(db)
        journal = Journal(db)
        await journal.start()
        users = Users(db, self.world.clock, self.passwords, journal, base.server_name)
        rooms = build_rooms(base, journal, users)
        accounts = build_accounts(base, rooms, users, self.passwords)
        commands = build_commands(base, accounts.profiles, rooms, NoRemoteRooms())
        # Before sync, so that these hear of an event before sync wakes its clients.
        live = build_live(base, rooms)
        accounts.account_data.provide("m.push_rules", live.rulesets)
        accounts.account_data.provide_in_rooms("m.fully_read", live.receipts)
        accounts.sessions.observers.append(live.pushers)
        await live.start(self.tasks)
        encryption = build_encryption(base, accounts, rooms)
        self.sync = build_sync(base, accounts, rooms, live, encryption)
        self.tasks.forever(accounts.sessions.write_sightings, name="device_sightings")
        parts = [
            *account_endpoints(base, accounts, rooms),
            *command_endpoints(base, rooms, commands),
            *live.endpoints(rooms.client_events),
            *encryption.endpoints(accounts.uia),
            *media_endpoints(base, self.thumbnailer),
            *await people_endpoints(base, rooms),
            SyncEndpoint(self.sync.service),
        ]
        if self.config.federation.enabled:
            self.federation = build_federation(base)
            await self.federation.start(base)
        between_servers = (
            federation_endpoints(base, self.federation, accounts, commands) if self.federation is not None else []
        )
        for listener in self.config.listeners:
            served = [
                *(parts if "client" in listener.apis else []),
                *(between_servers if "federation" in listener.apis else []),
                *self._monitoring(listener),
            ]
            await self._listen(listener, served, accounts.sessions)
        self.metrics.watch_database(lambda: db.size)
        self.tasks.start(self.metrics.measure_loop(self.world.clock), name="loop_lag")

    async def stop(self) -> None:
        """Lets open requests end, then the background tasks."""
        await asyncio.gather(*(server.stop() for server in self._servers))
        await self.tasks.stop()
        await self.outgoing.close()
        self.passwords.close()
        self.thumbnailer.close()

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
            servers=self.federation.authentication if self.federation else None,
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
