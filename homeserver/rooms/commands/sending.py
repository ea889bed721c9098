"""Messages, state and redactions. spec: client-server-api/#sending-events-to-a-room"""

from __future__ import annotations

from typing import Any

from homeserver.core.auth_rules import CREATE, POWER_LEVELS, creators, owner_of
from homeserver.core.errors import BadJson, Forbidden, InvalidParam, MatrixError, NotFound
from homeserver.core.events import Event
from homeserver.core.identifiers import RoomId, UserId, is_user_id, parse_event_id
from homeserver.core.relations import ANNOTATION, THREAD, Relation, relation_in, relation_of
from homeserver.rooms.commands.directory import CANONICAL_ALIAS, Aliases
from homeserver.rooms.commands.membership import check_reason
from homeserver.rooms.commands.submission import Submission
from homeserver.rooms.event_store import EventStore
from homeserver.rooms.residents import Room, Rooms
from homeserver.rooms.writer import Transaction
from homeserver.storage import events, relations
from homeserver.storage.database import Database
from homeserver.storage.events import StoredEvent

# Who is in a call, and with which device.
_CALL_MEMBERS = frozenset(
    f"{prefix}.member" for prefix in ("m.call", "org.matrix.msc3401.call", "m.rtc", "org.matrix.msc4143.rtc")
)
_ONLY_STATE = frozenset({"m.room.create", "m.room.member", "m.room.power_levels"})


class Sending:
    """Sends what users of this server write."""

    def __init__(
        self, submission: Submission, rooms: Rooms, event_store: EventStore, aliases: Aliases, db: Database
    ) -> None:
        self._submission = submission
        self._rooms = rooms
        self._events = event_store
        self._aliases = aliases
        self._db = db

    async def message(
        self,
        room_id: RoomId,
        type: str,
        content: dict[str, Any],
        transaction: Transaction,
        timestamp_ms: int | None = None,
        sticky_ms: int | None = None,
    ) -> Event:
        """`sticky_ms`: it is told for sure for so long.

        Raises as `RoomWriter.send`; M_DUPLICATE_ANNOTATION for a reaction that is there.
        """
        if type in _ONLY_STATE:
            raise InvalidParam(f"{type} must be sent as a state event")
        room = await self._rooms.joined_room(room_id, transaction.user_id)
        draft = self._submission.draft(
            type, transaction.user_id, content, timestamp_ms=timestamp_ms, sticky_ms=sticky_ms
        )
        relation = relation_in(content)
        if relation is not None:
            await self._check_relation(room, type, relation, transaction)
        return await self._submission.send(room_id, draft, transaction)

    async def state(
        self,
        room_id: RoomId,
        sender: UserId,
        type: str,
        state_key: str,
        content: dict[str, Any],
        timestamp_ms: int | None = None,
        sticky_ms: int | None = None,
    ) -> Event:
        """Any state but memberships and redactions.

        Raises as `RoomWriter.send`; M_BAD_ALIAS for a foreign canonical alias.
        """
        if type == CREATE[0]:
            raise MatrixError("a room is created once", errcode="M_BAD_STATE")
        if type == "m.room.redaction":
            # Other servers would apply it to what any user of ours said.
            raise InvalidParam("a redaction can't be a state event")
        room = await self._rooms.joined_room(room_id, sender)
        if type == POWER_LEVELS[0] and state_key == "":
            _check_names_no_creator(room, content)
        if type == CANONICAL_ALIAS and state_key == "":
            await self._aliases.check_canonical(room_id, content)
        if type == "m.room.encryption" and state_key == "":
            _check_stays_encrypted(room, content)
        if type in _CALL_MEMBERS:
            _check_own_call(room, sender, state_key)
        draft = self._submission.draft(type, sender, content, state_key, timestamp_ms=timestamp_ms, sticky_ms=sticky_ms)
        return await self._submission.send(room_id, draft)

    async def redact(
        self,
        room_id: RoomId,
        target: object,
        content: dict[str, Any],
        transaction: Transaction,
        *,
        only_own: bool = False,
    ) -> Event:
        """One's own events, or those of others with the power for it; `only_own` forbids the latter.

        Raises NotFound for events that aren't in the room, Forbidden.
        """
        event_id = parse_event_id(target)
        check_reason(content.get("reason"))
        user_id = transaction.user_id
        room = await self._rooms.joined_room(room_id, user_id)
        stored = await self._events.by_id(event_id)
        if stored is not None:
            if stored.room_nid != room.nid:
                raise NotFound("there is no such event in this room")
            self._check_redaction(room, user_id, stored, only_own=only_own)
        elif only_own or not self._is_shared(room):
            raise NotFound("there is no such event in this room")
        own = {key: value for key, value in content.items() if key != "redacts"}
        draft = self._submission.draft("m.room.redaction", user_id, own, redacts=event_id)
        return await self._submission.send(room_id, draft, transaction)

    def _is_shared(self, room: Room) -> bool:
        """Whether there are servers that may have events of this room that we lack."""
        return any(value == "join" and not self._submission.is_local(name) for name, value in room.members.items())

    def _check_redaction(self, room: Room, user_id: UserId, stored: StoredEvent, *, only_own: bool) -> None:
        if stored.event.type == CREATE[0]:
            raise Forbidden("a room's create event can't be redacted")
        if stored.event.type == "m.room.encryption" and stored.event.state_key == "":
            raise Forbidden("encryption can't be switched off: its event can't be redacted")
        if stored.event.sender == user_id:
            return
        levels = room.power_levels()
        if only_own or levels is None:
            raise Forbidden("you may redact your own events only")
        if not levels.may_request_redaction(user_id, stored.event):
            raise Forbidden("you don't have the power to redact events of others")

    async def _check_relation(self, room: Room, type: str, relation: Relation, transaction: Transaction) -> None:
        """spec: client-server-api/#avoiding-duplicate-annotations, #server-behaviour-of-threads"""
        kind, target, key = relation.rel_type, relation.event_id, relation.key
        if kind == ANNOTATION and key is not None:
            sender = transaction.user_id
            if not await relations.is_annotated(self._db, room.nid, target, type, sender, key):
                return
            if not await events.by_txn_keys(self._db, [transaction.key]):  # a repeated request gets its event again
                raise MatrixError("you have annotated this event so before", errcode="M_DUPLICATE_ANNOTATION")
        elif kind == THREAD:
            root = await self._events.by_id(target)
            if root is not None and root.room_nid == room.nid and relation_of(root.event) is not None:
                raise MatrixError("a thread can't begin at an event that relates to another")


def _check_names_no_creator(room: Room, content: dict[str, Any]) -> None:
    """Creators' power is not a level. spec: rooms/v12/#authorisation-rules"""
    create, users = room.known_state(*CREATE), content.get("users")
    if not room.version.creators_have_infinite_power or create is None or not isinstance(users, dict):
        return
    if any(creator in users for creator in creators(create)):
        raise BadJson("users must not name a creator of the room")


def _check_own_call(room: Room, sender: UserId, state_key: str) -> None:
    """Clients write `_` before the user's id, so that they may have a key for each device: the auth rules let that
    pass, and only MSC3757's room versions have a rule instead."""
    owner, levels = owner_of(state_key.removeprefix("_")), room.power_levels()
    if not state_key.startswith("_@") or owner == sender or levels is None or not is_user_id(owner):
        return
    if levels.user(sender) <= levels.user(owner):
        raise Forbidden("whether others are in a call is theirs to say")


def _check_stays_encrypted(room: Room, content: dict[str, Any]) -> None:
    """Encryption can't be switched off again. spec: client-server-api/#mroomencryption"""
    before, algorithm = room.known_state("m.room.encryption"), content.get("algorithm")
    if before is not None and before.content.get("algorithm") and not (isinstance(algorithm, str) and algorithm):
        raise Forbidden("encryption can't be switched off")
