"""Whom a user doesn't want to hear from."""

from __future__ import annotations

from collections import OrderedDict

from homeserver.core.identifiers import UserId
from homeserver.sync.hub import SyncHub
from homeserver.sync.sources import AccountDataSource

IGNORED_MAX = 10_000
USERS_MAX = 50_000


class KeptOut:
    """Asks the account data once, and again when it changed."""

    def __init__(self, hub: SyncHub, account_data: AccountDataSource) -> None:
        self._hub = hub
        self._account_data = account_data
        self._known: OrderedDict[UserId, tuple[int, frozenset[str], bool]] = OrderedDict()

    async def by(self, user_id: UserId) -> tuple[frozenset[str], bool]:
        """Whom this user ignores, and whether they take no invites: of an earlier time, or by federation.

        spec: client-server-api/#ignoring-users, client-server-api/#invite-permission
        """
        position = self._hub.user_last(user_id, "account_data")
        known = self._known.get(user_id)
        if known is not None and known[0] == position:
            return known[1], known[2]
        content = await self._account_data.content(user_id, "m.ignored_user_list")
        named = content.get("ignored_users")
        ignored = frozenset(list(named)[:IGNORED_MAX]) if isinstance(named, dict) else frozenset()
        permission = await self._account_data.content(user_id, "m.invite_permission_config")
        blocks_invites = permission.get("default_action") == "block"
        self._known[user_id] = (position, ignored, blocks_invites)
        if len(self._known) > USERS_MAX:
            self._known.popitem(last=False)
        return ignored, blocks_invites
