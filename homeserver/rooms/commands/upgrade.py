"""Replacing a room by one of another version. spec: client-server-api/#room-upgrades

The power is checked first and the tombstone decides: aliases and the place in the directory move only after the old
room has said, by a user with the power for it, which room replaces it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

from homeserver.core.auth_rules import CREATE, POWER_LEVELS
from homeserver.core.errors import Forbidden, InvalidParam, LimitExceeded, MatrixError
from homeserver.core.events import Draft, Event, StateKey
from homeserver.core.identifiers import RoomId, UserId, parse_user_id
from homeserver.core.room_versions import RoomVersion, room_version
from homeserver.rooms.commands import replacement
from homeserver.rooms.commands.directory import CANONICAL_ALIAS, Publication
from homeserver.rooms.commands.membership import Membership
from homeserver.rooms.commands.submission import Submission
from homeserver.rooms.residents import Room, Rooms
from homeserver.runtime.ids import Randomness

ADDITIONAL_CREATORS_MAX = 100
BANS_MAX = 5_000
CHILDREN_MAX = 1_000
PACKS_MAX = 100
BATCH = 100
TOMBSTONE = "m.room.tombstone"
CHILD = "m.space.child"


class RoomUpgrade:
    """Upgrades rooms."""

    def __init__(
        self,
        submission: Submission,
        membership: Membership,
        rooms: Rooms,
        publication: Publication,
        randomness: Randomness,
    ) -> None:
        self._submission = submission
        self._membership = membership
        self._rooms = rooms
        self._publication = publication
        self._randomness = randomness
        self._upgrading: set[RoomId] = set()

    async def upgrade(
        self, room_id: RoomId, user_id: UserId, new_version: str, additional_creators: Sequence[str]
    ) -> RoomId:
        """The room that replaces this one. Raises UnsupportedRoomVersion, Forbidden.

        Asked again by the same user for the same version, it is the same room.
        """
        version = room_version(new_version)
        if len(additional_creators) > ADDITIONAL_CREATORS_MAX:
            raise InvalidParam(f"additional_creators may have {ADDITIONAL_CREATORS_MAX} users")
        additional: list[UserId] = []
        if version.creators_have_infinite_power:
            additional = [parse_user_id(creator) for creator in additional_creators]
        old = await self._checked(room_id, user_id)
        before = await self._replaced_before(old, user_id, version)
        if before is not None:
            return before
        if room_id in self._upgrading:
            raise LimitExceeded("this room is being upgraded", retry_after_ms=1_000)
        self._upgrading.add(room_id)
        try:
            return await self._replace(old, user_id, version, additional)
        finally:
            self._upgrading.discard(room_id)

    async def _checked(self, room_id: RoomId, user_id: UserId) -> Room:
        """The room, for who may send its tombstone."""
        room = await self._rooms.joined_room(room_id, user_id)
        levels = room.power_levels()
        if levels is None:
            raise Forbidden("you are not in this room")
        if not levels.may_send(user_id, TOMBSTONE, is_state=True):
            raise Forbidden("you don't have the power to replace this room")
        return room

    async def _replaced_before(self, old: Room, user_id: UserId, version: RoomVersion) -> RoomId | None:
        """The replacement that this user made, if both rooms say so."""
        tombstone = old.known_state(TOMBSTONE)
        named = tombstone.content.get("replacement_room") if tombstone is not None else None
        if tombstone is None or tombstone.sender != user_id or not isinstance(named, str):
            return None
        new = await self._rooms.get(RoomId(named))
        create = new.known_state(*CREATE) if new is not None else None
        predecessor = create.content.get("predecessor") if create is not None else None
        is_ours = isinstance(predecessor, dict) and predecessor.get("room_id") == old.room_id
        return RoomId(named) if new is not None and is_ours and new.version is version else None

    async def _replace(self, old: Room, user_id: UserId, version: RoomVersion, additional: Sequence[UserId]) -> RoomId:
        state = await self._state_to_copy(old)
        new = await self._make(old, state, user_id, version, additional)
        body = {"body": "This room has been replaced", "replacement_room": new}
        await self._submission.send(old.room_id, self._submission.draft(TOMBSTONE, user_id, body, ""))
        await self._publication.move(old.room_id, new)
        await self._copy_bans(new, state, user_id)
        await self._move_canonical_alias(old.room_id, new, state, user_id)
        await self._restrict(old, user_id)
        return new

    async def _state_to_copy(self, old: Room) -> dict[StateKey, Event]:
        """What the new room is made from: never all members of a big room, only those who are banned."""
        banned = [user_id for user_id, membership in old.members.items() if membership == "ban"]
        keys: list[StateKey] = [CREATE, POWER_LEVELS, (CANONICAL_ALIAS, "")]
        keys += [(kind, "") for kind in replacement.COPIED]
        keys += [("m.room.member", user_id) for user_id in banned[:BANS_MAX]]
        keys += sorted(await self._rooms.keys_of_types(old, replacement.COPIED_ALL))[:PACKS_MAX]
        if old.known_text(CREATE[0], "type") == "m.space":
            keys += await self._rooms.keys_of_types(old, {CHILD})
        known = (await self._rooms.with_known(old, keys)).head.known
        return {key: event for key in keys if (event := known[key]) is not None}

    async def _make(
        self,
        old: Room,
        state: dict[StateKey, Event],
        user_id: UserId,
        version: RoomVersion,
        additional: Sequence[UserId],
    ) -> RoomId:
        create = state[CREATE]
        predecessor: dict[str, Any] = {"room_id": old.room_id}
        if not version.creators_have_infinite_power:
            predecessor["event_id"] = old.head.heads[0].event_id
        content = replacement.create_content(version, create, predecessor, user_id, additional)
        levels = replacement.power_levels(version, create, state.get(POWER_LEVELS), user_id, additional)
        raised = replacement.raised_for(version, levels, user_id)
        member = (await self._membership.contents("join", [user_id]))[user_id]
        drafts = [
            self._submission.draft(CREATE[0], user_id, content, ""),
            self._submission.draft("m.room.member", user_id, member, user_id),
            self._submission.draft(POWER_LEVELS[0], user_id, raised, ""),
            *self._copies(state, user_id, version),
        ]
        if raised != levels:
            drafts.append(self._submission.draft(POWER_LEVELS[0], user_id, levels, ""))
        room_id = None
        if not version.room_id_from_create_event:
            room_id = RoomId(f"!{self._randomness.letters(18)}:{self._submission.server_name}")
        return (await self._submission.create(version, room_id, drafts)).room_id

    def _copies(self, state: dict[StateKey, Event], user_id: UserId, version: RoomVersion) -> list[Draft]:
        """The state that goes over. Spaces keep their rooms."""
        events = [state[kind, ""] for kind in replacement.COPIED if (kind, "") in state]
        events += [event for event in state.values() if event.type in replacement.COPIED_ALL]
        children = [event for event in state.values() if event.type == CHILD and event.content.get("via")]
        events += children[:CHILDREN_MAX]
        return [
            self._submission.draft(event.type, user_id, event.content, event.state_key)
            for event in events
            if event.content and replacement.is_possible(version, event.type, event.content)
        ]

    async def _copy_bans(self, new: RoomId, state: dict[StateKey, Event], user_id: UserId) -> None:
        """In batches; where the upgrader may not ban in the new room, nobody is banned there."""
        banned = [event for event in state.values() if event.type == "m.room.member" and event.membership == "ban"]
        drafts = [self._submission.draft("m.room.member", user_id, _ban(event), event.state_key) for event in banned]
        with contextlib.suppress(MatrixError):
            for start in range(0, len(drafts), BATCH):
                await self._submission.send_all(new, drafts[start : start + BATCH])

    async def _move_canonical_alias(
        self, old: RoomId, new: RoomId, state: dict[StateKey, Event], user_id: UserId
    ) -> None:
        event = state.get((CANONICAL_ALIAS, ""))
        if event is None or not event.content:
            return
        for room_id, content in ((old, dict[str, Any]()), (new, event.content)):
            with contextlib.suppress(MatrixError):  # not allowed to: the aliases themselves have moved all the same
                draft = self._submission.draft(CANONICAL_ALIAS, user_id, content, "")
                await self._submission.send(room_id, draft)

    async def _restrict(self, old: Room, user_id: UserId) -> None:
        """As the spec says, if possible: without the power for it, the old room stays as open as it was."""
        create = old.known_state(*CREATE)
        assert create is not None
        content = replacement.restricted(create, old.known_state(*POWER_LEVELS))
        if content is not None:
            with contextlib.suppress(MatrixError):
                draft = self._submission.draft(POWER_LEVELS[0], user_id, content, "")
                await self._submission.send(old.room_id, draft)


def _ban(event: Event) -> dict[str, Any]:
    reason = event.content.get("reason")
    return {"membership": "ban", **({"reason": reason} if isinstance(reason, str) else {})}
