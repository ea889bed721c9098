"""Whom a user doesn't want to hear from."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Container
from typing import Any

from homeserver.core.identifiers import UserId
from homeserver.core.invite_permission import KINDS, InvitePermissions, InviteVerdict
from homeserver.storage.events import SOFT_FAILED, StoredEvent
from homeserver.sync.hub import SyncHub
from homeserver.sync.sources import AccountDataSource

IGNORED_MAX = 10_000
USERS_MAX = 50_000


class Unwanted(frozenset[str]):
    """The users who are ignored; `inviters` are those whose invites aren't shown, of an earlier time too.

    spec: client-server-api/#ignoring-users, client-server-api/#invite-permission
    """

    inviters: Container[object]


class _Inviters:
    """Whose invites a user isn't shown. Their own knocks are none."""

    def __init__(self, user_id: UserId, ignored: frozenset[str], permissions: InvitePermissions) -> None:
        self._user_id = user_id
        self._ignored = ignored
        self._permissions = permissions

    def __contains__(self, sender: object) -> bool:
        if not isinstance(sender, str) or sender == self._user_id:
            return False
        return sender in self._ignored or self._permissions.verdict(sender) is not InviteVerdict.TAKE


class KeptOut:
    """Asks the account data once, and again when it changed."""

    def __init__(self, hub: SyncHub, account_data: AccountDataSource) -> None:
        self._hub = hub
        self._account_data = account_data
        self._known: OrderedDict[UserId, tuple[int, Unwanted]] = OrderedDict()

    async def by(self, user_id: UserId) -> Unwanted:
        """Whom this user ignores, and whose invites they don't want."""
        position = self._hub.user_last(user_id, "account_data")
        known = self._known.get(user_id)
        if known is not None and known[0] == position:
            return known[1]
        content = await self._account_data.content(user_id, "m.ignored_user_list")
        named = content.get("ignored_users")
        ignored = list(named)[:IGNORED_MAX] if isinstance(named, dict) else []
        # Nobody means to lose sight of what they say themselves.
        unwanted = Unwanted(name for name in ignored if name != user_id)
        permissions = InvitePermissions({kind: await self._account_data.content(user_id, kind) for kind in KINDS})
        unwanted.inviters = unwanted if permissions.is_plain else _Inviters(user_id, unwanted, permissions)
        self._known[user_id] = (position, unwanted)
        if len(self._known) > USERS_MAX:
            self._known.popitem(last=False)
        return unwanted


def is_kept_back(member: StoredEvent, inviters: Container[object]) -> bool:
    """Whether an invite isn't shown: its sender is one of these, or it was soft-failed; also once what cites it has
    brought it into the room's state."""
    return bool(member.flags & SOFT_FAILED) or member.event.sender in inviters


def heard(ignored: Unwanted, passes: Callable[[str], bool] | None = None) -> Callable[[str], bool] | None:
    """Whose typing and receipts are told: of those who pass a filter, who isn't ignored; None for everybody.

    spec: client-server-api/#ignoring-users
    """
    if not ignored:
        return passes
    return lambda user: user not in ignored and (passes is None or passes(user))


def receipts_of(receipts: dict[str, Any], passes: Callable[[str], bool] | None) -> dict[str, Any]:
    """The receipts of users who pass; they are their senders, though the event as a whole names none."""
    if passes is None:
        return receipts
    found: dict[str, Any] = {}
    for event_id, kinds in receipts.items():
        for kind, users in kinds.items():
            passing = {user: receipt for user, receipt in users.items() if passes(user)}
            if passing:
                found.setdefault(event_id, {})[kind] = passing
    return found
