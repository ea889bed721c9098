"""Whom users ignore. spec: client-server-api/#ignoring-users"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

from homeserver.core import canonical_json
from homeserver.core.identifiers import UserId
from homeserver.journal.journal import Entry, Journal
from homeserver.storage import account_data
from homeserver.storage.database import Database

KIND = "m.ignored_user_list"
IGNORED_MAX = 10_000
USERS_MAX = 50_000


class IgnoreLists:
    """Asks the account data once for each user, and again when it changed."""

    def __init__(self, db: Database, journal: Journal) -> None:
        self._db = db
        self._known: OrderedDict[UserId, frozenset[str]] = OrderedDict()
        self._changes = 0
        journal.listen(self._hear)

    async def ignored_by(self, user_id: UserId) -> frozenset[str]:
        """The users whom this one ignores, who is never one of them. At most one query."""
        known = self._known.get(user_id)
        if known is not None:
            return known
        before = self._changes
        content = await account_data.one(self._db, user_id, "", KIND)
        ignored = _users(canonical_json.decode(content) if content is not None else {}) - {user_id}
        if before == self._changes:
            self._known[user_id] = ignored
            if len(self._known) > USERS_MAX:
                self._known.popitem(last=False)
        return ignored

    def _hear(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            if entry.kind == "account_data":
                self._changes += 1
                for user_id in entry.user_ids:
                    self._known.pop(user_id, None)


def _users(content: Mapping[str, Any]) -> frozenset[str]:
    named = content.get("ignored_users")
    if not isinstance(named, dict):
        return frozenset()
    # No user id has a NUL, and no statement takes one.
    return frozenset(user_id for user_id in list(named)[:IGNORED_MAX] if "\x00" not in user_id)
