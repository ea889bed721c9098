"""Joins to rooms that let the members of other rooms in. spec: client-server-api/#restricted-rooms"""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from homeserver.core.errors import Forbidden, MatrixError
from homeserver.core.identifiers import RoomId, ServerName, UserId, domain_of
from homeserver.rooms.residents import Room, is_in

ALLOWED_ROOMS_MAX = 1_000


class JoinedRooms(Protocol):
    """Implemented by rooms.residents."""

    async def joined_rooms(self, user_id: UserId) -> frozenset[RoomId]: ...

    async def get_many(self, room_ids: Collection[RoomId]) -> dict[RoomId, Room]: ...


def needs_authorisation(room: Room, user_id: UserId) -> bool:
    """Whether this user's join must name a member who may invite."""
    rules = room.known_state("m.room.join_rules")
    join_rule = rules.content.get("join_rule") if rules else None
    if not room.version.restricted_joins or room.membership(user_id) in ("invite", "join"):
        return False
    return join_rule == "restricted" or (join_rule == "knock_restricted" and room.version.knock_restricted)


async def authorising_user(rooms: JoinedRooms, room: Room, user_id: UserId, server_name: ServerName) -> UserId:
    """The member of ours in whose name this user may join. One query.

    Raises Forbidden for who is in none of the allowed rooms, M_UNABLE_TO_GRANT_JOIN where nobody here may invite.
    """
    allowed = allowed_rooms(room)
    shared = await rooms.joined_rooms(user_id) & allowed if allowed else frozenset()
    if shared and domain_of(user_id) != server_name:
        # Of a room that we have left we know only who was in it then.
        followed = await rooms.get_many(shared)
        shared = frozenset(name for name, other in followed.items() if is_in(other, server_name))
    if not shared:
        raise Forbidden("you are in none of the rooms whose members may join this one")
    authoriser = _member_who_may_invite(room, server_name)
    if authoriser is None:
        raise MatrixError("no user of this server may let you in", errcode="M_UNABLE_TO_GRANT_JOIN")
    return authoriser


def allowed_rooms(room: Room) -> set[str]:
    """The rooms whose members may join, as the join rules name them."""
    rules = room.known_state("m.room.join_rules")
    allow = rules.content.get("allow") if rules else None
    if not isinstance(allow, list):
        return set()
    return {
        entry["room_id"]
        for entry in allow[:ALLOWED_ROOMS_MAX]
        if isinstance(entry, dict)
        and entry.get("type") == "m.room_membership"
        and isinstance(entry.get("room_id"), str)
    }


def _member_who_may_invite(room: Room, server_name: ServerName) -> UserId | None:
    """One of the most powerful, so that it stays one who may; else anybody, where all may invite."""
    levels = room.power_levels()
    if levels is None:
        return None
    suffix = ":" + server_name
    named = sorted(levels.users().items(), key=lambda entry: (-entry[1], entry[0]))
    for user_id, level in named:
        if level >= levels.invite and user_id.endswith(suffix) and room.membership(UserId(user_id)) == "join":
            return UserId(user_id)
    for member, membership in room.members.items():
        if membership == "join" and member.endswith(suffix) and levels.user(member) >= levels.invite:
            return member
    return None
