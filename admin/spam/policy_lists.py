"""Policy lists: rooms whose `m.policy.rule.*` events say whom to keep out, followed and applied on this server.

Whole names, globs (`*` and `?`), and hashed entities. spec: client-server-api/#moderation-policy-lists
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson
import re2

from admin.spam import storage
from admin.spam.book import Recorded
from admin.spam.engine import SpamEngine
from admin.spam.facts import Happening
from admin.spam.rules import glob
from homeserver.core.errors import InvalidParam, NotFound
from homeserver.core.identifiers import RoomId, domain_of
from homeserver.journal.journal import Entry
from homeserver.rooms.building import Written
from homeserver.runtime.clock import Clock
from homeserver.runtime.tasks import Tasks
from homeserver.storage.database import Database

FOLLOWED_MAX = 50
ENTITIES_MAX = 200_000
GLOBS_MAX = 2_000
ENTITY_CHARS_MAX = 512
KINDS = ("user", "room", "server")
_PREFIXES = ("m.policy.rule.", "org.matrix.mjolnir.rule.")
_BANNING = ("m.ban", "org.matrix.mjolnir.ban", "m.takedown", "org.matrix.msc4204.takedown")
_HASHES = ("hashes", "org.matrix.msc4205.hashes")
_ROOM_HOOKS = ("join", "invite", "remote_invite", "knock")


class Bans:
    """Who is kept out, ready to be asked: about 3 µs, and more only for globs."""

    def __init__(self, rules: Iterable[Mapping[str, Any]] = ()) -> None:
        """Each rule is an event's `type` and `content`; what isn't one is left out."""
        self._exact: dict[str, dict[str, str]] = {kind: {} for kind in KINDS}
        self._hashed: dict[str, dict[str, str]] = {kind: {} for kind in KINDS}
        self._globs: dict[str, list[tuple[Any, str]]] = {kind: [] for kind in KINDS}
        self.size = 0
        for rule in rules:
            self._add(str(rule["type"]).rsplit(".", 1)[-1], rule["content"])

    def why(self, what: Happening) -> str | None:
        """The reason for which a list keeps this out."""
        if not self.size:
            return None
        names = [("user", what.sender), ("server", domain_of(what.sender))]
        if what.hook in ("invite", "remote_invite") and what.state_key:
            names += [("user", what.state_key), ("server", domain_of(what.state_key))]
        if what.hook in _ROOM_HOOKS and what.room_id:
            names.append(("room", what.room_id))
        return next((found for kind, name in names if (found := self._match(kind, name)) is not None), None)

    def _match(self, kind: str, name: str) -> str | None:
        found = self._exact[kind].get(name)
        if found is None and self._hashed[kind]:
            digest = base64.b64encode(hashlib.sha256(name.encode("utf-8", "replace")).digest()).decode().rstrip("=")
            found = self._hashed[kind].get(digest)
        if found is None:
            found = next((why for pattern, why in self._globs[kind] if pattern.fullmatch(name)), None)
        return found

    def _add(self, kind: str, content: Mapping[str, Any]) -> None:
        if kind not in KINDS or content.get("recommendation") not in _BANNING or self.size >= ENTITIES_MAX:
            return
        reason = content.get("reason")
        why = reason[:200] if isinstance(reason, str) and reason else "on a policy list"
        entity = content.get("entity")
        if isinstance(entity, str) and 0 < len(entity) <= ENTITY_CHARS_MAX:
            if "*" not in entity and "?" not in entity:
                self._exact[kind][entity] = why
            elif len(self._globs[kind]) < GLOBS_MAX:
                self._globs[kind].append((re2.compile(glob(entity)), why))
            self.size += 1
        for key in _HASHES:
            hashes = content.get(key)
            digest = hashes.get("sha256") if isinstance(hashes, dict) else None
            if isinstance(digest, str) and len(digest) < 64:
                self._hashed[kind][digest.rstrip("=").replace("-", "+").replace("_", "/")] = why
                self.size += 1


class PolicyLists:
    """Follows rooms, and keeps what they say in force."""

    def __init__(self, db: Database, engine: SpamEngine, clock: Clock, tasks: Tasks) -> None:
        self._db = db
        self._engine = engine
        self._clock = clock
        self._tasks = tasks
        self.followed: list[RoomId] = []

    async def load(self) -> None:
        """Reads the lists that are followed. One query each kind of thing."""
        self.followed = await storage.policy_lists(self._db)
        rows = await storage.policy_rules(self._db, self.followed) if self.followed else []
        self._engine.bans = await asyncio.to_thread(_bans_of, [row["json"] for row in rows])

    def hear(self, entries: Sequence[Entry]) -> None:
        """A listener of the journal: a list that is followed has changed."""
        if not self.followed:
            return
        for entry in entries:
            if entry.room_id not in self.followed or not isinstance(entry.payload, Written):
                continue
            if entry.payload.event.type.startswith(_PREFIXES) or entry.payload.redacts is not None:
                self._tasks.start(self.load(), name="policy_lists")
                return

    async def follow(self, room_id: RoomId, *, by: str, recorded: Recorded) -> None:
        """Raises NotFound for a room that nobody of this server is in, InvalidParam for one too many."""
        if await self._engine.around.room(room_id) is None:
            raise NotFound("nobody of this server is in that room: join it first")
        async with self._db.transaction() as tx:
            if len(await storage.policy_lists(tx)) >= FOLLOWED_MAX:
                raise InvalidParam(f"{FOLLOWED_MAX} lists may be followed")
            await storage.follow(tx, room_id, by=by, now_ms=self._clock.now_ms())
            await recorded(tx, None, {"room_id": room_id})
        await self.load()

    async def unfollow(self, room_id: RoomId, *, recorded: Recorded) -> None:
        """Raises NotFound."""
        async with self._db.transaction() as tx:
            if not await storage.unfollow(tx, room_id):
                raise NotFound("this list isn't followed")
            await recorded(tx, {"room_id": room_id}, None)
        await self.load()


def _bans_of(events: Sequence[str]) -> Bans:
    return Bans(orjson.loads(event) for event in events)
