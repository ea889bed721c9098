"""Policy lists: rooms whose `m.policy.rule.*` events say whom to keep out, followed and applied on this server.

Whole names, globs (`*` and `?`), and hashed entities; everywhere, or in the rooms of some groups.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import re2

from admin.spam import storage
from admin.spam.book import Recorded
from admin.spam.engine import SpamEngine
from admin.spam.facts import Happening
from admin.spam.list_rules import KINDS, PREFIXES, ListRule, digest, rule_of
from admin.spam.rules import glob
from admin.storage import spam_policy_lists as policy_rows
from admin.storage.spam_policy_lists import FollowedRow, GroupRow
from homeserver.core.errors import InvalidParam, NotFound
from homeserver.core.globs import fold
from homeserver.core.identifiers import RoomId, ServerName, domain_of
from homeserver.core.server_acl import host_of
from homeserver.journal.journal import Entry
from homeserver.rooms.building import Written
from homeserver.runtime.clock import Clock
from homeserver.storage.database import Database, Row

FOLLOWED_MAX = 50
ENTITIES_MAX = 200_000
_SETTLE_S = 0.1
GLOBS_MAX = 2_000
_ROOM_HOOKS = ("join", "invite", "remote_invite", "knock")


class Bans:
    """Who is kept out, ready to be asked: about 3 µs, and more only for globs.

    `own` is this server, which no list keeps out of itself.
    """

    def __init__(self, rules: Iterable[ListRule] = (), *, own: str = "") -> None:
        self._own = own
        self._exact: dict[str, dict[str, str]] = {kind: {} for kind in KINDS}
        self._hashed: dict[str, dict[str, str]] = {kind: {} for kind in KINDS}
        self._globs: dict[str, list[tuple[Any, str, str]]] = {kind: [] for kind in KINDS}
        self.size = 0
        for rule in rules:
            self._add(rule)

    @property
    def has_hashed_servers(self) -> bool:
        """Whether servers are kept out whose names aren't told."""
        return bool(self._hashed["server"])

    def why(self, what: Happening) -> str | None:
        """The reason for which a list keeps this out."""
        if not self.size:
            return None
        names = [("user", what.sender), ("server", domain_of(what.sender))]
        if what.hook in ("invite", "remote_invite") and what.state_key:
            names += [("user", what.state_key), ("server", domain_of(what.state_key))]
        if what.hook in _ROOM_HOOKS and what.room_id:
            names.append(("room", what.room_id))
        return next((found for kind, name in names if (found := self.match(kind, name)) is not None), None)

    def match(self, kind: str, name: str) -> str | None:
        """The reason for which one user, server or room is kept out."""
        if kind != "server":
            return self._match(kind, name)
        if name == self._own:
            return None
        # As ACLs read names: a server that comes from another port, or spells itself otherwise, is still the same.
        spellings = dict.fromkeys((fold(host_of(name)), fold(name), name))
        return next((found for one in spellings if (found := self._match(kind, one)) is not None), None)

    def servers(self, present: Iterable[str] = ()) -> list[str]:
        """Names and globs of servers, as ACLs have them; without those that would keep this server out.

        An ACL holds no hashes: of `present`, servers that may be meant by one, those that are get their names told.
        """
        own = fold(host_of(self._own))
        globs = [entity for pattern, _, entity in self._globs["server"] if not pattern.fullmatch(own)]
        told = {host_of(name) for name in present if self._is_hashed(name)} if self._hashed["server"] else set()
        return sorted({*(name for name in self._exact["server"] if fold(host_of(name)) != own), *globs, *told})

    def met(self, user_id: str) -> str | None:
        """The host of this user's server, where it is kept out by a hash: by now its name is known."""
        name = domain_of(user_id)
        return fold(host_of(name)) if self._hashed["server"] and self._is_hashed(name) else None

    def _is_hashed(self, name: str) -> bool:
        known, host = self._hashed["server"], host_of(name)
        return fold(host) != fold(host_of(self._own)) and any(digest(one) in known for one in {host, fold(host), name})

    def _match(self, kind: str, name: str) -> str | None:
        found = self._exact[kind].get(name)
        if found is None and self._hashed[kind]:
            found = self._hashed[kind].get(digest(name))
        if found is None:
            found = next((why for pattern, why, _ in self._globs[kind] if pattern.fullmatch(name)), None)
        return found

    def _add(self, rule: ListRule) -> None:
        if self.size >= ENTITIES_MAX:
            return
        why = rule.reason or "on a policy list"
        entity = fold(rule.entity) if rule.kind == "server" else rule.entity
        if entity and not rule.is_glob:
            self._exact[rule.kind][entity] = why
        elif entity and len(self._globs[rule.kind]) < GLOBS_MAX:
            self._globs[rule.kind].append((re2.compile(glob(entity)), why, entity))
        if rule.sha256:
            self._hashed[rule.kind][rule.sha256] = why
        self.size += 1


@dataclass(frozen=True, slots=True)
class Applied:
    """Lists in force: everywhere, and in the rooms of groups. Made anew when one changes."""

    everywhere: Bans
    of_rooms: Mapping[str, Bans]
    of_groups: Mapping[str, Bans]

    @property
    def size(self) -> int:
        return self.everywhere.size + sum(bans.size for bans in self.of_groups.values())

    def why(self, what: Happening) -> str | None:
        """The reason for which a list keeps this out."""
        found = self.everywhere.why(what)
        if found is None and what.room_id in self.of_rooms:
            found = self.of_rooms[what.room_id].why(what)
        return found


class PolicyLists:
    """Follows rooms, and keeps what they say in force."""

    def __init__(self, db: Database, engine: SpamEngine, clock: Clock, server_name: ServerName) -> None:
        self._db = db
        self._engine = engine
        self._clock = clock
        self._me = server_name
        self._stale = asyncio.Event()
        self.followed: list[FollowedRow] = []
        self.groups: list[GroupRow] = []
        self.applied = Applied(Bans(), {}, {})
        # Told when what is in force has changed, and when a server comes to a room whose lists keep it out by a hash.
        self.on_change: Callable[[], None] = lambda: None
        self.on_met: Callable[[RoomId, str], None] = lambda room_id, host: None

    @property
    def size(self) -> int:
        """How many entries are in force."""
        return self.applied.size

    def why(self, what: Happening) -> str | None:
        """The reason for which a list keeps this out. Implements engine.BannedBy."""
        inside = self.applied.of_rooms.get(what.room_id)
        if inside is not None and (host := inside.met(what.sender)) is not None:
            self.on_met(RoomId(what.room_id), host)
        return self.applied.why(what)

    async def load(self) -> None:
        """Reads the lists that are followed. One query each kind of thing."""
        self._stale.clear()
        self.followed = await policy_rows.followed(self._db)
        self.groups = await policy_rows.groups(self._db)
        rows = await storage.policy_rules(self._db, [row.room_id for row in self.followed]) if self.followed else []
        self.applied = await asyncio.to_thread(_applied, rows, self.followed, self.groups, self._me)
        self._engine.bans = self
        self.on_change()

    async def run(self) -> None:
        """One round of a background task: many changes in a row are one reading."""
        await self._stale.wait()
        await self._clock.sleep(_SETTLE_S)
        await self.load()

    def hear(self, entries: Sequence[Entry]) -> None:
        """A listener of the journal: a list that is followed has changed."""
        if not self.followed or self._stale.is_set():
            return
        rooms = {row.room_id for row in self.followed}
        for entry in entries:
            if entry.room_id not in rooms or not isinstance(entry.payload, Written):
                continue
            if entry.payload.event.type.startswith(PREFIXES) or entry.payload.redacts is not None:
                self._stale.set()
                return

    async def follow(
        self, room_id: RoomId, *, by: str, recorded: Recorded, is_own: bool = False, is_everywhere: bool = True
    ) -> None:
        """A list that is followed already changes where it applies.

        Raises NotFound for a room that nobody of this server is in, InvalidParam for one too many.
        """
        if await self._engine.around.room(room_id) is None:
            raise NotFound("nobody of this server is in that room: join it first")
        async with self._db.transaction() as tx:
            known = {row.room_id: row for row in await policy_rows.followed(tx)}
            if room_id not in known and len(known) >= FOLLOWED_MAX:
                raise InvalidParam(f"{FOLLOWED_MAX} lists may be followed")
            row = FollowedRow(room_id, is_own or (room_id in known and known[room_id].is_own), is_everywhere)
            await policy_rows.follow(tx, row, by=by, now_ms=self._clock.now_ms())
            before = {"everywhere": known[room_id].is_everywhere} if room_id in known else None
            await recorded(tx, before, {"room_id": room_id, "everywhere": is_everywhere})
        await self.load()

    async def unfollow(self, room_id: RoomId, *, recorded: Recorded) -> None:
        """Raises NotFound; InvalidParam while a room group applies it."""
        async with self._db.transaction() as tx:
            using = [group.name for group in await policy_rows.groups(tx) if room_id in group.lists]
            if using:
                raise InvalidParam(f"the room group {using[0]} applies this list")
            if not await policy_rows.unfollow(tx, room_id):
                raise NotFound("this list isn't followed")
            await recorded(tx, {"room_id": room_id}, None)
        await self.load()


def _applied(rows: Sequence[Row], followed: Sequence[FollowedRow], groups: Sequence[GroupRow], own: str) -> Applied:
    rules: dict[str, list[ListRule]] = {row.room_id: [] for row in followed}
    for row in rows:
        event = orjson.loads(row["json"])
        rule = rule_of(event["type"], event["content"]) if not row["is_redacted"] else None
        if rule is not None and row["room_id"] in rules:
            rules[row["room_id"]].append(rule)
    everywhere = Bans((rule for row in followed if row.is_everywhere for rule in rules[row.room_id]), own=own)
    of_groups = {
        group.name: Bans((rule for room_id in group.lists for rule in rules.get(room_id, ())), own=own)
        for group in groups
    }
    of_rooms: dict[str, Bans] = {}
    for group in groups:
        # A room is in one group at most.
        of_rooms.update(dict.fromkeys(group.rooms, of_groups[group.name]))
    return Applied(everywhere, of_rooms, of_groups)
