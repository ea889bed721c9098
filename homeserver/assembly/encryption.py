"""Keys, cross-signing, messages to devices and key backups."""

from __future__ import annotations

from dataclasses import dataclass

from homeserver.assembly.accounts import AccountParts
from homeserver.assembly.base import Base
from homeserver.assembly.rooms import RoomParts
from homeserver.client_api.dehydrated_device import DehydratedDeviceEndpoints
from homeserver.client_api.key_backup import KeyBackupEndpoints
from homeserver.client_api.keys import KeyEndpoints, ResetPage, ToDeviceEndpoint
from homeserver.encryption.cross_signing import CrossSigning
from homeserver.encryption.dehydrated_devices import DehydratedDevices
from homeserver.encryption.device_lists import DeviceLists
from homeserver.encryption.key_backups import KeyBackups
from homeserver.encryption.keys import Keys, OneTimeKeys
from homeserver.encryption.to_device import ToDevice
from homeserver.ports import RemoteKeys


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

    def endpoints(self, accounts: AccountParts, base_url: str) -> list[object]:
        url = f"{base_url}/_hansa/account?action=org.matrix.cross_signing_reset"
        elsewhere = accounts.delegated.service.reset_url if accounts.delegated is not None else None
        page = ResetPage(accounts.resets, url, elsewhere)
        return [
            KeyEndpoints(self.keys, self.cross_signing, self.device_lists, accounts.uia, page),
            ToDeviceEndpoint(self.to_device),
            KeyBackupEndpoints(self.backups),
            DehydratedDeviceEndpoints(self.dehydrated),
        ]


def build_encryption(base: Base, accounts: AccountParts, parts: RoomParts, remote: RemoteKeys) -> EncryptionParts:
    db, journal, server_name = base.world.db, parts.journal, base.server_name
    lists = DeviceLists(db, parts.rooms, parts.store, parts.numbers)
    one_time_keys = OneTimeKeys(db)
    keys = Keys(db, journal, lists, one_time_keys, remote, server_name)
    to_device = ToDevice(db, journal, base.world.clock, server_name)
    to_device.abuse = parts.policy
    dehydrated = DehydratedDevices(db, journal, keys, to_device)
    accounts.sessions.observers.append(keys)
    accounts.sessions.followers.append(lists.record)
    base.tasks.forever(to_device.forget_transactions, name="to_device_transactions")
    return EncryptionParts(
        device_lists=lists,
        one_time_keys=one_time_keys,
        keys=keys,
        cross_signing=CrossSigning(db, journal, lists, remote),
        to_device=to_device,
        backups=KeyBackups(db),
        dehydrated=dehydrated,
    )
