"""Users' push rules: stored as their difference from the defaults, compiled once, told to clients as account data.

A user whose rules were never changed has no row and costs nothing; from the first change on they are *custom*. So is
who ignores somebody: ignored users notify nobody. spec: client-server-api/#ignoring-users
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson

from homeserver.core.errors import InvalidParam
from homeserver.core.identifiers import RoomId, UserId
from homeserver.core.push_rules import (
    NO_EDITS,
    Compiled,
    PushEdits,
    compile_ruleset,
    edits_from_json,
    edits_to_json,
    effective,
    ruleset_json,
)
from homeserver.core.successor_rules import with_rules_of_room
from homeserver.journal.journal import Entry, Journal
from homeserver.storage import push_rules as table
from homeserver.storage.database import Database
from homeserver.storage.push_rules import PushRulesRow

CHANGES_BYTES_MAX = 512 * 1024
COMPILED_MAX = 20_000
IGNORE_LIST = "m.ignored_user_list"
_PAGE = 1_000


@dataclass(frozen=True, slots=True)
class RulesChanged:
    """What the journal's entry of a change carries."""

    user_id: UserId
    edits: PushEdits
    compiled: Compiled


class PushRulesets:
    """Reads and changes push rules. Give it the journal's entries by `hear` before those who count unread events."""

    def __init__(self, db: Database, journal: Journal) -> None:
        self._db = db
        self._journal = journal
        self.default = compile_ruleset(effective(NO_EDITS))
        # Raised when a user becomes custom.
        self.generation = 0
        self._since: dict[UserId, int] = {}
        self._ignored: dict[UserId, frozenset[str]] = {}
        self._unsaved: dict[UserId, int] = {}
        self._compiled: OrderedDict[UserId, Compiled] = OrderedDict()

    async def start(self) -> None:
        """Reads which users are custom, and compiles the rules of as many as are kept in memory."""
        after = ""
        while rows := await table.page(self._db, after, _PAGE):
            for row in rows:
                self._since[row.user_id] = row.since
                if len(self._compiled) < COMPILED_MAX:
                    self._compiled[row.user_id] = compile_ruleset(effective(_edits(row)))
            after = rows[-1].user_id
        after = ""
        while lists := await table.ignore_lists(self._db, after, _PAGE):
            for user_id, content, position in lists:
                self._ignore(user_id, orjson.loads(content), position)
            after = lists[-1][0]
        self.generation += 1

    # --- what counts unread events asks

    @property
    def custom(self) -> dict[UserId, int]:
        """Each custom user, and the position of their first change."""
        return self._since

    def compiled(self, user_id: UserId) -> Compiled | None:
        """The user's rules ready to be asked, if they are in memory. Those of users who aren't custom always are."""
        if user_id not in self._since:
            return self.default
        compiled = self._compiled.get(user_id)
        if compiled is not None:
            self._compiled.move_to_end(user_id)
        return compiled

    def ignores(self, user_id: UserId, sender: UserId) -> bool:
        """Whether the user has this sender on their ignore list."""
        ignored = self._ignored.get(user_id)
        return ignored is not None and sender in ignored

    @property
    def unsaved(self) -> dict[UserId, int]:
        """Those who became custom by ignoring somebody, which no row says yet, and since when."""
        return dict(self._unsaved)

    def saved(self, user_ids: Collection[UserId]) -> None:
        """Told when rows say it."""
        for user_id in user_ids:
            self._unsaved.pop(user_id, None)

    async def compile_many(self, user_ids: Sequence[UserId]) -> dict[UserId, Compiled]:
        """The same for many, from the database where needed. One query at most."""
        found = {user_id: compiled for user_id in user_ids if (compiled := self.compiled(user_id)) is not None}
        missing = [user_id for user_id in user_ids if user_id not in found]
        for row in await table.by_users(self._db, missing) if missing else []:
            found[row.user_id] = compile_ruleset(effective(_edits(row)))
            self._keep(row.user_id, found[row.user_id])
        return {**dict.fromkeys(user_ids, self.default), **found}

    # --- what users ask

    async def edits(self, user_id: UserId) -> PushEdits:
        """What the user changed about the defaults. No query for who changed nothing."""
        if user_id not in self._since:
            return NO_EDITS
        rows = await table.by_users(self._db, [user_id])
        return _edits(rows[0]) if rows else NO_EDITS

    async def ruleset(self, user_id: UserId) -> dict[str, list[dict[str, Any]]]:
        """All rules in force, by kind, as clients see them."""
        return ruleset_json(await self.edits(user_id), user_id)

    async def change(self, user_id: UserId, edit: Callable[[PushEdits], PushEdits]) -> None:
        """Applies `edit`, one at a time for each user, and tells the user's clients. What changes nothing is not told.

        Raises what `edit` raises; InvalidParam when all rules together are too large.
        """
        async with self._journal.write() as write:
            await table.lock(write.tx, user_id)
            rows = await table.by_users(write.tx, [user_id])
            before = _edits(rows[0]) if rows else NO_EDITS
            edits = edit(before)
            if edits == before:
                return
            changes = orjson.dumps(edits_to_json(edits))
            if len(changes) > CHANGES_BYTES_MAX:
                raise InvalidParam(f"all push rules together may have {CHANGES_BYTES_MAX} bytes")
            await table.upsert(write.tx, user_id, changes, write.position)
            changed = RulesChanged(user_id, edits, compile_ruleset(effective(edits)))
            write.publish("account_data", user_ids=[user_id], payload=changed)

    async def follow_threads(self, user_id: UserId) -> None:
        """From now on the rules about followed threads are this user's. Nothing where they are already."""
        compiled = self.compiled(user_id)
        if compiled is None or not compiled.has_thread_rules:
            await self.change(user_id, lambda edits: replace(edits, follows_threads=True))

    async def copy_room_rules(self, user_id: UserId, old: RoomId, new: RoomId) -> None:
        """Gives a room the rules that the user has for another. Raises InvalidParam at the caps."""
        if user_id in self._since:
            await self.change(user_id, lambda edits: with_rules_of_room(edits, old, new))

    async def as_account_data(self, user_id: UserId) -> tuple[dict[str, Any], int]:
        """The content of m.push_rules, and the position of its newest change: 0 where there was none."""
        rows = await table.by_users(self._db, [user_id]) if user_id in self._since else []
        edits = _edits(rows[0]) if rows else NO_EDITS
        return {"global": ruleset_json(edits, user_id)}, rows[0].position if rows else 0

    def hear(self, entries: Sequence[Entry]) -> None:
        """A journal listener: takes in changes at their place in the order of events."""
        for entry in entries:
            if isinstance(entry.payload, RulesChanged):
                user_id = entry.payload.user_id
                self._become_custom(user_id, entry.position)
                self._keep(user_id, entry.payload.compiled)
            elif entry.kind == "account_data" and getattr(entry.payload, "type", None) == IGNORE_LIST:
                for user_id in entry.user_ids:
                    self._ignore(user_id, entry.payload.content, entry.position)

    def _become_custom(self, user_id: UserId, position: int) -> bool:
        if user_id in self._since:
            return False
        self._since[user_id] = position
        self.generation += 1
        return True

    def _ignore(self, user_id: UserId, content: object, position: int) -> None:
        """Takes in an ignore list, whatever its form is."""
        users = content.get("ignored_users") if isinstance(content, dict) else None
        ignored = frozenset(users) if isinstance(users, dict) else frozenset()
        if not ignored:
            self._ignored.pop(user_id, None)
            return
        self._ignored[user_id] = ignored
        if self._become_custom(user_id, position):
            self._keep(user_id, self.default)
            self._unsaved[user_id] = position

    def _keep(self, user_id: UserId, compiled: Compiled) -> None:
        self._compiled[user_id] = compiled
        self._compiled.move_to_end(user_id)
        if len(self._compiled) > COMPILED_MAX:
            self._compiled.popitem(last=False)


def _edits(row: PushRulesRow) -> PushEdits:
    return edits_from_json(orjson.loads(row.changes))
