"""Federation: what moves between servers, plugged together."""

from __future__ import annotations

from dataclasses import dataclass

from federation.client import ClientSettings, FederationClient
from federation.discovery import Discovery
from federation.inbound.authentication import RequestAuthentication
from federation.inbound.queries import QueryEndpoints
from federation.inbound.server_info import FederationServerInfo
from federation.inbound.signing_keys import SigningKeyEndpoints
from federation.inbound.third_party_invites import ThirdPartyInviteEndpoints
from federation.inbound.user_devices import UserDeviceEndpoints
from federation.keys.fetching import KeyFetcher, Notary
from federation.keys.own import OwnKeys
from federation.keys.ring import Keys
from federation.outbound.catch_up import CatchUp
from federation.outbound.deliveries import Deliveries, Sources
from federation.outbound.device_messages import DeviceMessages
from federation.outbound.device_updates import DeviceUpdates
from federation.outbound.edus import EduFeed
from federation.outbound.sender import Sender
from federation.reachability import Reachability
from federation.remote_keys import RemoteKeys
from federation.room_access import RoomAccess
from federation.server_access import ServerAccess
from homeserver.accounts.profile_access import ProfileAccess
from homeserver.assembly.accounts import AccountParts
from homeserver.assembly.base import Base
from homeserver.assembly.commands import CommandParts
from homeserver.assembly.encryption import EncryptionParts
from homeserver.assembly.live import LiveParts
from homeserver.assembly.rooms import RoomParts
from homeserver.core.identifiers import ServerName
from homeserver.core.signing import decode_base64
from homeserver.journal.journal import Journal


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboundParts:
    """What brings our events to others."""

    sender: Sender
    deliveries: Deliveries
    edus: EduFeed

    async def start(self, base: Base, journal: Journal) -> None:
        """Takes up what was not sent; before anybody can write."""
        await self.sender.start()
        journal.listen(self.sender.hear)
        journal.listen(self.edus.hear)
        base.tasks.forever(self.edus.run, name="federation_edus")
        base.tasks.forever(self.sender.run, name="federation_cursor")
        base.tasks.forever(self.deliveries.run, name="federation_retries")


@dataclass(frozen=True, slots=True, kw_only=True)
class FederationParts:
    """The transport half: who talks with whom, found and signed."""

    access: ServerAccess
    reachability: Reachability
    discovery: Discovery
    client: FederationClient
    remote_keys: RemoteKeys
    own_keys: OwnKeys
    keys: Keys
    authentication: RequestAuthentication

    async def start(self, base: Base, journal: Journal) -> None:
        """Loads our keys and the outages; begins what runs beside the requests."""
        await self.own_keys.start()
        await self.reachability.start()
        journal.listen(self.remote_keys.hear)
        base.tasks.forever(self.remote_keys.run, name="remote_keys")
        base.tasks.forever(self.reachability.run, name="reachability")


def build_federation(base: Base) -> FederationParts:
    world, chosen = base.world, base.config.federation
    access = ServerAccess(base.server_name, allow=chosen.allow_servers, deny=chosen.deny_servers)
    reachability = Reachability(world.db, world.clock, world.randomness)
    discovery = Discovery(base.outgoing, base.dns, world.clock, world.randomness)
    settings = ClientSettings(timeout_s=chosen.request_timeout_s)
    client = FederationClient(base.outgoing, discovery, reachability, access, base.signer, settings)
    own_keys = OwnKeys(world.db, base.signer, world.clock)
    notaries = [
        Notary(
            ServerName(trusted.server_name), {key_id: decode_base64(key) for key_id, key in trusted.verify_keys.items()}
        )
        for trusted in chosen.trusted_key_servers
    ]
    keys = Keys(world.db, KeyFetcher(client, world.clock, notaries), own_keys, world.clock, base.server_name)
    return FederationParts(
        access=access,
        reachability=reachability,
        discovery=discovery,
        client=client,
        remote_keys=RemoteKeys(world.db, client, world.clock),
        own_keys=own_keys,
        keys=keys,
        authentication=RequestAuthentication(keys, access, reachability, world.clock, base.server_name),
    )


def build_outbound(base: Base, parts: FederationParts, rooms: RoomParts, live: LiveParts) -> OutboundParts:
    world, name = base.world, base.server_name
    sources = Sources(
        missed=CatchUp(world.db, rooms.store, name, rooms.sticky),
        messages=DeviceMessages(world.db),
        updates=DeviceUpdates(world.db, name),
    )
    deliveries = Deliveries(parts.client, parts.reachability, sources, world.clock, base.tasks)
    sender = Sender(world.db, rooms.journal, rooms.rooms, deliveries, parts.access)
    sender.sticky = rooms.sticky
    base.metrics.watch_federation(
        lambda: {
            "lagging": len(deliveries.lagging()),
            "waited_for": deliveries.waiting(),
            "failing": parts.reachability.failing(),
        }
    )
    edus = EduFeed(sender, deliveries, live.typing, live.presence, name)
    return OutboundParts(sender=sender, deliveries=deliveries, edus=edus)


def federation_endpoints(
    base: Base,
    parts: FederationParts,
    accounts: AccountParts,
    commands: CommandParts,
    encryption: EncryptionParts,
    rooms: RoomAccess,
) -> list[object]:
    """What other servers may ask of us."""
    return [
        FederationServerInfo(),
        SigningKeyEndpoints(parts.own_keys, parts.keys, parts.access, base.signer, base.world.clock),
        QueryEndpoints(
            accounts.profiles,
            ProfileAccess(base.world.db, base.config.profiles.lookups),
            commands.aliases,
            base.server_name,
        ),
        ThirdPartyInviteEndpoints(commands.by_address, parts.client, rooms),
        UserDeviceEndpoints(encryption.keys, base.server_name, shows_names=base.config.federation.device_names),
    ]
