"""What other servers tell of rooms that we are not in, as clients get it. spec: client-server-api/#stripped-state"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

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
