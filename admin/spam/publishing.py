"""Policy lists of one's own: made, added to and taken from, so that others who follow them do as we do.

The events are those that Draupnir and Mjolnir write and read: other servers' bots can use the lists as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import orjson
import re2

from admin.room_hand import RoomHand
from admin.spam import storage
from admin.spam.book import Recorded
from admin.spam.list_rules import (
    BAN,
    ENTITY_CHARS_MAX,
    HASHES,
    KINDS,
    REASON_CHARS_MAX,
    TAKEDOWN,
    TYPE,
    ListRule,
    digest,
    rule_of,
    state_key_of,
)
from admin.spam.policy_lists import PolicyLists
from admin.spam.rules import glob
from homeserver.core.errors import InvalidParam, NotFound
from homeserver.core.identifiers import RoomId, UserId
from homeserver.rooms.commands.create import InitialState, RoomRequest
from homeserver.storage.database import Database

ROOM_TYPE = "m.policy"
# By this name bots speak of a list.
SHORTCODE = "org.matrix.mjolnir.shortcode"
NAME_CHARS_MAX = 100
_RECOMMENDATIONS = {"ban": BAN, "takedown": TAKEDOWN}
_SIGILS = {"user": "@", "room": "!#"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is to be kept out: a user, room or server, by name or glob; `is_hashed` hides the name."""

    kind: str
    entity: str
    reason: str = ""
    recommendation: str = "ban"
    is_hashed: bool = False


@dataclass(frozen=True, slots=True)
class Entry:
    """A rule of a list as it stands there."""

    rule: ListRule
    type: str
    state_key: str
    event_id: str
    sender: str

    def shown(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "kind": self.rule.kind,
            "entity": self.rule.entity or None,
            "sha256": self.rule.sha256 or None,
            "reason": self.rule.reason,
            "recommendation": self.rule.recommendation,
            "event_id": self.event_id,
            "sender": self.sender,
        }


class Creation(Protocol):
    """Implemented by rooms.commands.create."""

    async def create(self, creator: UserId, request: RoomRequest) -> RoomId: ...


class PolicyPublishing:
    """Makes lists, and writes what stands in them, as the operator who asks or the strongest of ours who is there."""

    def __init__(self, db: Database, lists: PolicyLists, hand: RoomHand, creation: Creation) -> None:
        self._db = db
        self._lists = lists
        self._hand = hand
        self._creation = creation

    async def create(
        self, name: str, *, by: UserId, recorded: Recorded, alias: str | None = None, is_public: bool = True
    ) -> RoomId:
        """A new list, followed from now on. Raises InvalidParam, and what making a room raises."""
        if not 0 < len(name) <= NAME_CHARS_MAX or "\x00" in name:
            raise InvalidParam(f"a list's name has 1 to {NAME_CHARS_MAX} characters")
        request = RoomRequest(
            name=name,
            topic="A policy list: who reads it can follow it.",
            room_alias_name=alias,
            preset="public_chat" if is_public else "private_chat",
            creation_content={"type": ROOM_TYPE},
            power_level_content_override={"events_default": 50, "invite": 50},
            initial_state=[InitialState(type=SHORTCODE, content={"shortcode": name})],
        )
        room_id = await self._creation.create(by, request)
        await self._lists.follow(room_id, by=by, recorded=recorded, is_own=True)
        return room_id

    async def entries(self, room_id: RoomId) -> list[Entry]:
        """What stands in a list that is followed, by kind and name. Raises NotFound."""
        self._check_followed(room_id)
        return await self._entries(room_id)

    async def add(self, room_id: RoomId, wish: Wish, *, by: UserId, recorded: Recorded) -> str:
        """The id of the event that says so; one about the same name is replaced.

        Raises InvalidParam for what isn't a name of its kind, or would keep this server or the operator out; NotFound
        for a list that isn't followed; Forbidden where nobody of ours may write to it.
        """
        self._check_followed(room_id)
        recommendation = self._checked(wish, by)
        entity = {HASHES: {"sha256": digest(wish.entity)}} if wish.is_hashed else {"entity": wish.entity}
        content = {**entity, "recommendation": recommendation, "reason": wish.reason}
        _, sender = await self._hand.acting(room_id, rather=by)
        event = await self._hand.send(
            room_id, sender, TYPE + wish.kind, content, state_key_of(wish.entity, recommendation)
        )
        shown = {"kind": wish.kind, "entity": None if wish.is_hashed else wish.entity, "event_id": event.event_id}
        async with self._db.transaction() as tx:
            await recorded(tx, None, shown)
        await self._lists.load()
        return event.event_id

    async def remove(self, room_id: RoomId, kind: str, entity: str, *, by: UserId, recorded: Recorded) -> int:
        """How many events said so, of all types that bots ever used; none does any more. Raises NotFound, Forbidden.

        `entity` is as it stands in the list; for a hashed one the name, or the hash itself.
        """
        self._check_followed(room_id)
        named = [
            one
            for one in await self._entries(room_id)
            if one.rule.names(kind, entity) or (one.rule.kind == kind and entity and one.rule.sha256 == entity)
        ]
        if not named:
            raise NotFound("this list says nothing of that")
        _, sender = await self._hand.acting(room_id, rather=by)
        for one in named:
            await self._hand.send(room_id, sender, one.type, {}, one.state_key)
        async with self._db.transaction() as tx:
            await recorded(tx, {"rules": [one.shown() for one in named[:20]]}, None)
        await self._lists.load()
        return len(named)

    async def _entries(self, room_id: RoomId) -> list[Entry]:
        found = []
        for row in await storage.policy_rules(self._db, [room_id]):
            event = orjson.loads(row["json"])
            rule = rule_of(event["type"], event["content"]) if not row["is_redacted"] else None
            if rule is not None:
                found.append(Entry(rule, event["type"], event["state_key"], row["event_id"], event["sender"]))
        return sorted(found, key=lambda one: (one.rule.kind, one.rule.entity, one.rule.sha256))

    def _check_followed(self, room_id: RoomId) -> None:
        if room_id not in {row.room_id for row in self._lists.followed}:
            raise NotFound("this list isn't followed")

    def _checked(self, wish: Wish, by: UserId) -> str:
        """The recommendation in the words of events."""
        recommendation = _RECOMMENDATIONS.get(wish.recommendation)
        if wish.kind not in KINDS or recommendation is None:
            raise InvalidParam(f"kind is one of {', '.join(KINDS)}; recommendation is ban or takedown")
        entity = wish.entity
        sigils = _SIGILS.get(wish.kind, "")
        is_name = 0 < len(entity) <= ENTITY_CHARS_MAX and entity.isprintable() and " " not in entity
        if not is_name or (sigils and entity[0] not in sigils + "*") or len(wish.reason) > REASON_CHARS_MAX:
            raise InvalidParam(f"entity must name a {wish.kind}; a reason may have {REASON_CHARS_MAX} characters")
        if wish.is_hashed and ("*" in entity or "?" in entity):
            raise InvalidParam("a glob can't be hashed: it would match nothing")
        if any(char in entity for char in ("*", "?")) or wish.kind == "server":
            pattern = re2.compile(glob(entity))
            protected = {"user": by, "server": self._hand.server_name}.get(wish.kind)
            if protected is not None and pattern.fullmatch(protected):
                raise InvalidParam(f"this would keep {protected} out")
        if not entity.strip("*?@!#:."):
            raise InvalidParam("this matches everything")
        return recommendation
