"""What other servers say of rooms of spaces, and of the rooms in those. It is kept for a while, so that a walk goes on
where its page before ended without asking all of them anew.

spec: server-server-api/#get_matrixfederationv1hierarchyroomid
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from homeserver.core.errors import MatrixError
from homeserver.core.identifiers import RoomId, ServerName, is_room_id
from homeserver.ports import RemoteRooms
from homeserver.runtime.clock import Clock

CHILD = "m.space.child"
SPACE = "m.space"
ENCRYPTION = "m.megolm.v1.aes-sha2"
# So many children of a space count.
CHILDREN_MAX = 500
KEPT_S = 60.0
# A longer answer counts as none; of all answers so much is kept, the newest.
ANSWER_BYTES_MAX = 1024 * 1024
KEPT_BYTES_MAX = 16 * 1024 * 1024

_TYPES: Mapping[str, type] = {
    "num_joined_members": int,
    "world_readable": bool,
    "guest_can_join": bool,
    "join_rule": str,
    "name": str,
    "topic": str,
    "canonical_alias": str,
    "avatar_url": str,
    "room_type": str,
    "room_version": str,
    "encryption": str,
}


@dataclass(frozen=True, slots=True)
class Told:
    """One answer: the room, those in it that are no spaces (these say themselves what is in them), and those that
    nobody of ours may see. All empty where nobody answered."""

    room: Mapping[str, Any] | None = None
    children: Mapping[RoomId, Mapping[str, Any]] | None = None
    shut: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class _Kept:
    told: Told
    until_s: float
    size: int


class RemoteTrees:
    """Asks other servers of rooms. What one is told is kept for those who would ask the same servers."""

    def __init__(self, remote: RemoteRooms, clock: Clock) -> None:
        self._remote = remote
        self._clock = clock
        self._known: OrderedDict[tuple[RoomId, tuple[ServerName, ...]], _Kept] = OrderedDict()
        self._bytes = 0

    def kept(self, room_id: RoomId, via: Sequence[ServerName]) -> Told | None:
        """What was told lately, without a question."""
        known = self._known.get((room_id, tuple(via)))
        return known.told if known is not None and known.until_s > self._clock.monotonic_s() else None

    async def ask(self, room_id: RoomId, via: Sequence[ServerName]) -> Told:
        """What the first of these servers says that answers."""
        try:
            told = _told(room_id, await self._remote.hierarchy(room_id, via))
        except MatrixError:
            told = Told()
        size = len(orjson.dumps([told.room, list((told.children or {}).values()), list(told.shut)]))
        if size > ANSWER_BYTES_MAX:
            told, size = Told(), 0
        self._keep((room_id, tuple(via)), _Kept(told, self._clock.monotonic_s() + KEPT_S, size + 512))
        return told

    def _keep(self, key: tuple[RoomId, tuple[ServerName, ...]], kept: _Kept) -> None:
        before = self._known.pop(key, None)
        self._known[key] = kept
        self._bytes += kept.size - (before.size if before is not None else 0)
        while self._bytes > KEPT_BYTES_MAX:
            self._bytes -= self._known.popitem(last=False)[1].size


def may_see(entry: Mapping[str, Any], joined: Collection[RoomId]) -> bool:
    """The same rules as for rooms of ours, by what the other server says: it knows who may see, but not who asks."""
    if entry.get("world_readable") or entry.get("join_rule") in ("public", "knock", "knock_restricted"):
        return True
    if entry.get("join_rule") == "restricted":
        return not set(joined).isdisjoint(entry.get("allowed_room_ids", ()))
    return False


def is_child(state_key: object, content: Mapping[str, Any]) -> bool:
    """Whether an m.space.child event of this content and state key counts."""
    via = content.get("via")
    return is_room_id(state_key) and isinstance(via, list) and any(isinstance(server, str) for server in via)


def _told(room_id: RoomId, answer: Mapping[str, Any]) -> Told:
    said = answer.get("room")
    if not isinstance(said, dict) or said.get("room_id") != room_id:
        return Told()
    children, shut = answer.get("children"), answer.get("inaccessible_children")
    known = [_entry(child) for child in (children[:CHILDREN_MAX] if isinstance(children, list) else ())]
    return Told(
        _entry(said),
        {child["room_id"]: child for child in known if child is not None and child.get("room_type") != SPACE},
        frozenset(name for name in (shut[:CHILDREN_MAX] if isinstance(shut, list) else ()) if is_room_id(name)),
    )


def _entry(said: object) -> dict[str, Any] | None:
    """A room of a tree as another server describes it; what isn't of the right form is left out."""
    if not isinstance(said, dict) or not is_room_id(said.get("room_id")):
        return None
    entry: dict[str, Any] = {key: said[key] for key, kind in _TYPES.items() if type(said.get(key)) is kind}
    entry = {"num_joined_members": 0, "world_readable": False, "guest_can_join": False, **entry}
    entry["room_id"] = said["room_id"]
    if entry.get("encryption") != ENCRYPTION:
        entry.pop("encryption", None)
    allowed = said.get("allowed_room_ids")
    if isinstance(allowed, list):
        entry["allowed_room_ids"] = [name for name in allowed[:CHILDREN_MAX] if is_room_id(name)]
    children = said.get("children_state")
    entry["children_state"] = [
        {key: child[key] for key in ("type", "state_key", "content", "sender", "origin_server_ts")}
        for child in (children[:CHILDREN_MAX] if isinstance(children, list) else ())
        if _is_remote_child(child)
    ]
    return entry


def _is_remote_child(child: object) -> bool:
    return (
        isinstance(child, dict)
        and child.get("type") == CHILD
        and isinstance(child.get("content"), dict)
        and isinstance(child.get("sender"), str)
        and type(child.get("origin_server_ts")) is int
        and is_child(child.get("state_key"), child["content"])
    )
