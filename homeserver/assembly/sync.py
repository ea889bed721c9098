"""/sync over all that it reads."""

from __future__ import annotations

from dataclasses import dataclass

from homeserver.assembly.accounts import AccountParts
from homeserver.assembly.base import Base
from homeserver.assembly.encryption import EncryptionParts
from homeserver.assembly.live import LiveParts
from homeserver.assembly.rooms import RoomParts
from homeserver.sync.hub import SyncHub
from homeserver.sync.lazy_members import LazyMembers
from homeserver.sync.room_sections import RoomSections
from homeserver.sync.service import SyncParts, SyncService
from homeserver.sync.sources import Sources
from homeserver.sync.sticky import StickySections
from homeserver.sync.timelines import RoomReads, Timelines
from homeserver.sync.user_rooms import UserRooms


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncSide:
    """What a client's synchronisation is made of, plugged together."""

    hub: SyncHub
    user_rooms: UserRooms
    sources: Sources
    reads: RoomReads
    timelines: Timelines
    sections: RoomSections
    service: SyncService


def build_sync(
    base: Base, accounts: AccountParts, parts: RoomParts, live: LiveParts, encryption: EncryptionParts
) -> SyncSide:
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
        sticky=parts.sticky,
    )
    reads = RoomReads(
        db=base.world.db,
        rooms=parts.rooms,
        store=parts.store,
        numbers=parts.numbers,
        gate=parts.gate,
        client_events=parts.client_events,
    )
    timelines = Timelines(reads, hub, LazyMembers(parts.rooms, parts.numbers))
    sections = RoomSections(reads, hub, timelines, sources)
    service = SyncParts(
        hub=hub,
        user_rooms=user_rooms,
        sections=sections,
        sticky=StickySections(parts.sticky, parts.client_events),
        journal=parts.journal,
        clock=base.world.clock,
    )
    return SyncSide(
        hub=hub,
        user_rooms=user_rooms,
        sources=sources,
        reads=reads,
        timelines=timelines,
        sections=sections,
        service=SyncService(service, sources, timeout_s_max=base.config.limits.sync_timeout_s),
    )
