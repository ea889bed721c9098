"""Accounts and devices that another service's access tokens name."""

from __future__ import annotations

from dataclasses import dataclass

from homeserver.core.identifiers import DeviceId, UserId
from homeserver.core.operators import Bounds, Role
from homeserver.storage.database import Reader
from homeserver.storage.tokens import with_role


@dataclass(frozen=True, slots=True, kw_only=True)
class DelegatedHolder:
    """What authentication must know of an account. `has_device` is false where no device was asked for."""

    is_guest: bool
    is_deactivated: bool
    is_locked: bool
    is_suspended: bool
    operator_role: Role | None
    has_device: bool
    bounds: Bounds


_HOLDER = """
    SELECT u.is_guest, u.is_deactivated, u.is_locked, u.is_suspended, r.role, r.rooms, r.actions,
           d.device_id IS NOT NULL AS has_device
    FROM users u
    LEFT JOIN operator_roles r ON r.user_id = u.user_id AND r.role <> 'owner'
    LEFT JOIN devices d ON d.user_id = u.user_id AND d.device_id = $2
    WHERE u.user_id = $1
"""


async def holder(db: Reader, user_id: UserId, device_id: DeviceId | None) -> DelegatedHolder | None:
    """The account of this name, if there is one. Three index look-ups."""
    row = await db.fetchrow(_HOLDER, user_id, device_id)
    if row is None:
        return None
    return DelegatedHolder(**with_role(row))
