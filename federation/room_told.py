"""What other servers tell of rooms that we are not in, as clients get it.

spec: client-server-api/#stripped-state, #post_matrixclientv3publicrooms
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from homeserver.core.identifiers import is_room_id

STRIPPED_MAX = 100
STRIPPED_BYTES_MAX = 256 * 1024


def shown_state(told: Sequence[Any]) -> list[dict[str, Any]]:
    """What a client may be told of it: strings where strings are, bounded."""
    kept, size = [], 0
    for entry in [entry for entry in told if isinstance(entry, dict)][:STRIPPED_MAX]:
        event = {key: entry.get(key) for key in ("type", "state_key", "sender", "content")}
        if event["type"] == "m.room.create" and type(entry.get("origin_server_ts")) is int:
            event["origin_server_ts"] = entry["origin_server_ts"]
        strings = (event["type"], event["state_key"], event["sender"])
        if not all(isinstance(value, str) for value in strings) or not isinstance(event["content"], dict):
            continue
        size += len(orjson.dumps(event))
        if size > STRIPPED_BYTES_MAX:
            break
        kept.append(event)
    return kept


_LISTED_MAX = 1_000
_TEXTS = ("name", "topic", "canonical_alias", "avatar_url", "join_rule", "room_type")
_PAGE_TEXTS = ("next_batch", "prev_batch")


def public_rooms_told(answer: Mapping[str, Any]) -> dict[str, Any]:
    """A page of another server's directory: what the specification names, of the types that it names, bounded."""
    listed = answer.get("chunk")
    rooms = (
        [_listed(entry) for entry in listed[:_LISTED_MAX] if isinstance(entry, dict)]
        if isinstance(listed, list)
        else []
    )
    page: dict[str, Any] = {"chunk": [room for room in rooms if room is not None]}
    page.update((key, answer[key]) for key in _PAGE_TEXTS if isinstance(answer.get(key), str))
    total = answer.get("total_room_count_estimate")
    return {**page, "total_room_count_estimate": total} if _is_count(total) else page


def _listed(entry: Mapping[str, Any]) -> dict[str, Any] | None:
    room_id, joined = entry.get("room_id"), entry.get("num_joined_members")
    if not is_room_id(room_id):
        return None
    return {
        "room_id": room_id,
        "num_joined_members": joined if _is_count(joined) else 0,
        "world_readable": entry.get("world_readable") is True,
        "guest_can_join": entry.get("guest_can_join") is True,
        **{key: entry[key] for key in _TEXTS if isinstance(entry.get(key), str)},
    }


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < 2**53
