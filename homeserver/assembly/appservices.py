"""Application services: first what the other areas ask of them, then what they are told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from homeserver.accounts.users import NewUser, Users
from homeserver.appservices.beside_events import BesideSources
from homeserver.appservices.client import AppserviceClient
from homeserver.appservices.masquerading import Masquerading
from homeserver.appservices.queries import Bridges
from homeserver.appservices.queue import QueueTools
from homeserver.appservices.queues import Queues
from homeserver.appservices.registration import BadRegistration, Registration
from homeserver.appservices.registry import Registry, read_all
from homeserver.appservices.room_lists import RoomLists
from homeserver.assembly.accounts import AccountParts
from homeserver.assembly.base import Base
from homeserver.assembly.encryption import EncryptionParts
from homeserver.assembly.live import LiveParts
from homeserver.assembly.rooms import RoomParts
from homeserver.client_api.appservices import AppserviceEndpoints
from homeserver.config import Config
from homeserver.journal.event_log import EventLog
from homeserver.storage import to_device
from homeserver.web.addresses import AddressFilter
from homeserver.web.outgoing import Outgoing, OutgoingClient

log = structlog.get_logger()


def _outgoing(config: Config) -> Outgoing:
    """The operator names the addresses of bridges, which usually run on this machine: none is denied."""
    return OutgoingClient(AddressFilter(deny=()), ca_path=config.federation.ca_path)


@dataclass(slots=True, kw_only=True)
class BridgeParts:
    """What other areas ask."""

    registry: Registry
    client: AppserviceClient
    bridges: Bridges
    outgoing: Outgoing


@dataclass(slots=True, kw_only=True)
class AppserviceParts:
    """All of it. `reload` reads the registration files again."""

    base: Base
    users: Users
    registry: Registry
    queues: Queues
    masquerading: Masquerading
    endpoints: Sequence[object]
    outgoing: Outgoing

    async def start(self) -> None:
        """Raises BadRegistration."""
        await self._take(await read_all(self.base.config.appservices.registration_paths, self.base.server_name))

    async def reload(self) -> None:
        """Takes the files as they are now; where one can't be used, all stays as it was."""
        try:
            await self.start()
        except BadRegistration as error:
            log.error("appservices_not_reloaded", problem=str(error))
            return
        log.info("appservices_reloaded", appservices=[one.id for one in self.registry.services])

    async def stop(self) -> None:
        await self.queues.stop()
        await self.outgoing.close()

    async def _take(self, registrations: Sequence[Registration]) -> None:
        self.registry.replace(registrations)
        senders = [one.sender for one in registrations]
        missing = set(senders) - await self.users.existing(senders) if senders else set()
        async with self.base.world.db.transaction() as tx:
            for sender in sorted(missing):
                await self.users.ensure(tx, NewUser(user_id=sender))
        await self.queues.replace(registrations)


def build_bridges(base: Base) -> BridgeParts:
    registry = Registry(base.server_name)
    base.limiter.is_exempt = registry.is_unlimited
    outgoing = base.world.outgoing or _outgoing(base.config)
    client = AppserviceClient(outgoing)
    return BridgeParts(registry=registry, client=client, bridges=Bridges(registry, client), outgoing=outgoing)


def build_appservices(
    base: Base,
    bridges: BridgeParts,
    accounts: AccountParts,
    parts: RoomParts,
    live: LiveParts,
    encryption: EncryptionParts,
) -> AppserviceParts:
    """`start` must follow, before anybody can write."""
    db, clock = base.world.db, base.world.clock
    event_log = EventLog(db, parts.journal, parts.store.by_nids)
    tools = QueueTools(
        db=db, clock=clock, event_log=event_log, client_events=parts.client_events, client=bridges.client
    )
    sources = BesideSources(
        db=db,
        typing=live.typing,
        presence=live.presence,
        key_counts=encryption.one_time_keys,
        devices_of=to_device.devices_of,
    )
    queues = Queues(parts.journal, parts.rooms, sources, tools, base.tasks, base.server_name)
    parts.journal.listen(queues.hear)
    base.keepers["appservice_queues"] = queues
    lists = RoomLists(db, parts.rooms)
    return AppserviceParts(
        base=base,
        users=accounts.users,
        registry=bridges.registry,
        queues=queues,
        masquerading=Masquerading(bridges.registry, accounts.delegated or accounts.sessions, db, clock),
        endpoints=[AppserviceEndpoints(bridges.registry, bridges.client, queues, lists, clock)],
        outgoing=bridges.outgoing,
    )
