"""Aliases, and the rooms that are published. spec: client-server-api/#room-aliases, #published-room-directory"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from homeserver.core.errors import Forbidden, InvalidParam, MatrixError, NotFound, RoomInUse
from homeserver.core.identifiers import RoomAlias, RoomId, ServerName, UserId, parse_room_alias
from homeserver.journal.journal import Journal
from homeserver.ports import AbuseCheck, Bridges, RemoteRooms
from homeserver.rooms.commands.submission import Submission
from homeserver.rooms.residents import Room, Rooms
from homeserver.storage import room_aliases, room_directory, rooms
from homeserver.storage.database import Database
from homeserver.storage.room_aliases import AliasRow

ALIASES_PER_ROOM_MAX = 500
SERVERS_MAX = 50
CANONICAL_ALIAS = "m.room.canonical_alias"


class Aliases:
    """The aliases of this server, and those of others by asking."""

    def __init__(
        self, db: Database, rooms: Rooms, submission: Submission, remote: RemoteRooms, bridges: Bridges
    ) -> None:
        self._db = db
        self._rooms = rooms
        self._submission = submission
        self._remote = remote
        self._bridges = bridges
        self._reserved: set[RoomAlias] = set()

    def new_alias(self, localpart: str) -> RoomAlias:
        """The alias of this server with this localpart. Raises InvalidParam."""
        if any(char.isspace() or char in ":\x00" for char in localpart):
            raise InvalidParam("an alias must hold neither colons nor white space")
        return parse_room_alias(f"#{localpart}:{self._submission.server_name}")

    @contextlib.contextmanager
    def reserved(self, alias: RoomAlias) -> Iterator[None]:
        """Keeps others from taking an alias while something is made with it. Raises RoomInUse."""
        if alias in self._reserved:
            raise RoomInUse(f"{alias} is taken")
        self._reserved.add(alias)
        try:
            yield
        finally:
            self._reserved.discard(alias)

    async def check_free(self, alias: RoomAlias, creator: UserId) -> None:
        """Raises RoomInUse; MatrixError (M_EXCLUSIVE) for an alias that is a bridge's."""
        self._bridges.check_alias(alias, creator)
        await self._submission.check("alias", creator, {"name": alias})
        if await room_aliases.by_aliases(self._db, [alias]):
            raise RoomInUse(f"{alias} is taken")

    async def resolve(self, alias: RoomAlias) -> tuple[RoomId, list[ServerName]]:
        """The room, and servers to reach it through. Raises NotFound."""
        if not self._submission.is_local(alias):
            room_id, servers = await self._remote.resolve_alias(alias)
            return room_id, list(servers)[:SERVERS_MAX]
        found = (await room_aliases.by_aliases(self._db, [alias])).get(alias)
        if found is None and await self._bridges.find_alias(alias):
            found = (await room_aliases.by_aliases(self._db, [alias])).get(alias)
        if found is None:
            raise NotFound(f"there is no room alias {alias}")
        own = self._submission.server_name
        others: Sequence[ServerName] = await room_directory.servers_in(self._db, found.room_id, SERVERS_MAX)
        room = await self._rooms.get(found.room_id)
        if room is not None and room.partial is not None:
            others = list(dict.fromkeys([*room.partial.servers, *others]))[:SERVERS_MAX]
        return found.room_id, [own, *(server for server in others if server != own)]

    async def of_room(self, room_id: RoomId, viewer: UserId, *, is_admin: bool = False) -> list[RoomAlias]:
        """This server's aliases of a room. Raises Forbidden for those who are neither in it nor may read it.

        Administrators may: the aliases are the server's.
        """
        room = await self._rooms.get(room_id)
        if not is_admin and (room is None or (room.membership(viewer) != "join" and not _is_world_readable(room))):
            raise Forbidden("you are not in this room")
        return await room_aliases.of_room(self._db, room_id)

    async def add(self, alias: RoomAlias, room_id: RoomId, creator: UserId) -> None:
        """Raises Forbidden for a room that the user isn't in; MatrixError (409) for an alias that is taken."""
        if not self._submission.is_local(alias):
            raise InvalidParam(f"an alias of this server ends in :{self._submission.server_name}")
        if any(char.isspace() for char in alias):
            raise InvalidParam("an alias must not hold white space")
        self._bridges.check_alias(alias, creator)
        await self._rooms.joined_room(room_id, creator)
        await self._submission.check("alias", creator, {"name": alias})
        try:
            with self.reserved(alias):
                await self._insert(AliasRow(alias, room_id, creator))
        except RoomInUse as taken:
            raise MatrixError(taken.message, status=409) from None

    async def _insert(self, row: AliasRow) -> None:
        async with self._db.transaction() as tx:
            if await room_aliases.count(tx, row.room_id) >= ALIASES_PER_ROOM_MAX:
                raise InvalidParam(f"a room may have {ALIASES_PER_ROOM_MAX} aliases here")
            if not await room_aliases.insert(tx, row):
                raise RoomInUse(f"{row.alias} is taken")

    async def remove(self, alias: RoomAlias, user_id: UserId, *, is_admin: bool = False) -> None:
        """Only for who made it, moderators of its room and administrators. Raises Forbidden, NotFound.

        Where the room names the alias as its own and the user may change that, it stops doing so.
        """
        found = (await room_aliases.by_aliases(self._db, [alias])).get(alias)
        if found is None:
            raise NotFound(f"there is no room alias {alias}")
        room = await self._rooms.get(found.room_id)
        is_moderator = room is not None and may_set_alias(room, user_id)
        if not (is_admin or is_moderator or found.creator == user_id or self._bridges.owns_alias(alias, user_id)):
            raise Forbidden("only its creator and moderators of its room may delete an alias")
        async with self._db.transaction() as tx:
            if not await room_aliases.delete(tx, alias, found.room_id):
                raise NotFound(f"there is no room alias {alias}")
        if room is not None and is_moderator:
            await self._disown(room, alias, user_id)

    async def check_canonical(self, room_id: RoomId, content: dict[str, object]) -> None:
        """Whether the aliases that a canonical alias event adds are aliases, and of this room.

        Raises InvalidParam for the first, MatrixError (M_BAD_ALIAS) for the second. One query.
        """
        before = await self._rooms.state_event(room_id, CANONICAL_ALIAS)
        known = set(_named(before.content)) if before is not None else set()
        new = [parse_room_alias(alias) for alias in _named(content) if alias not in known]
        if len(new) > ALIASES_PER_ROOM_MAX:
            raise InvalidParam(f"a room may have {ALIASES_PER_ROOM_MAX} aliases here")
        own = await room_aliases.by_aliases(self._db, [alias for alias in new if self._submission.is_local(alias)])
        for alias in new:
            if not await self._points_to(alias, room_id, own.get(alias)):
                raise MatrixError(f"{alias} is no alias of this room", errcode="M_BAD_ALIAS")

    async def _points_to(self, alias: RoomAlias, room_id: RoomId, own: AliasRow | None) -> bool:
        if self._submission.is_local(alias):
            return own is not None and own.room_id == room_id
        try:
            return (await self._remote.resolve_alias(alias))[0] == room_id
        except MatrixError:
            return False

    async def _disown(self, room: Room, alias: RoomAlias, user_id: UserId) -> None:
        event = room.known_state(CANONICAL_ALIAS)
        if event is None or alias not in _named(event.content):
            return
        content = {key: value for key, value in event.content.items() if not (key == "alias" and value == alias)}
        others = content.get("alt_aliases")
        if isinstance(others, list):
            content["alt_aliases"] = [other for other in others if other != alias]
        draft = self._submission.draft(CANONICAL_ALIAS, user_id, content, "")
        with contextlib.suppress(Forbidden):  # the power was lost meanwhile: the alias is gone all the same
            await self._submission.send(room.room_id, draft)


@dataclass(frozen=True, slots=True)
class Published:
    """The payload of the journal's entries of kind `directory`: rooms that may have come or gone."""

    room_ids: tuple[RoomId, ...]


class Publication:
    """Which rooms are in the directory."""

    abuse: AbuseCheck | None = None

    def __init__(self, db: Database, rooms: Rooms, journal: Journal) -> None:
        self._db = db
        self._rooms = rooms
        self._journal = journal

    async def visibility(self, room_id: RoomId) -> str:
        """Raises NotFound."""
        if await self._rooms.get(room_id) is None:
            raise NotFound("this server doesn't know the room")
        return "public" if await room_directory.is_published(self._db, room_id) else "private"

    async def set_visibility(self, room_id: RoomId, user_id: UserId, visibility: str, *, is_admin: bool) -> None:
        """Raises NotFound; Forbidden for who may not set the room's canonical alias."""
        room = await self._rooms.get(room_id)
        if room is None:
            raise NotFound("this server doesn't know the room")
        if not is_admin and not may_set_alias(room, user_id):
            raise Forbidden("only moderators of a room may publish it")
        if self.abuse is not None and visibility == "public":
            told = {
                key: text for key in ("name", "topic") if (text := room.known_text(f"m.room.{key}", key)) is not None
            }
            await self.abuse.check("publish", user_id, content=told)
        async with self._journal.write() as write:
            await rooms.set_published(write.tx, room_id, visibility == "public")
            write.publish("directory", payload=Published((room_id,)))

    async def move(self, old: RoomId, new: RoomId) -> None:
        """Gives a room's aliases, and its place in the directory, to the one that replaces it."""
        async with self._journal.write() as write:
            await room_aliases.move(write.tx, old, new)
            await room_directory.move(write.tx, old, new)
            write.publish("directory", payload=Published((old, new)))


def may_set_alias(room: Room, user_id: UserId) -> bool:
    """Whether the user is in the room and may set its canonical alias."""
    levels = room.power_levels()
    if levels is None or room.membership(user_id) != "join":
        return False
    return levels.may_send(user_id, CANONICAL_ALIAS, is_state=True)


def _named(content: object) -> list[str]:
    """All aliases that a canonical alias event names. Raises InvalidParam where something else stands there."""
    assert isinstance(content, dict)
    alias, others = content.get("alias"), content.get("alt_aliases")
    named = [alias] if alias else []
    named += others if isinstance(others, list) else []
    return [name if isinstance(name, str) else "" for name in named]


def _is_world_readable(room: Room) -> bool:
    return room.known_text("m.room.history_visibility", "history_visibility") == "world_readable"
