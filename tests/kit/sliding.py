"""A client of sliding sync that makes a view of its rooms from the answers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tests.kit.server import Answered, Client

PATH = "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync"
WHOLE_STATE = [["*", "*"]]


def window(first: int = 0, last: int = 19, *, limit: int = 10, state: Any = None, **more: Any) -> dict[str, Any]:
    """One list of a request."""
    required = [["m.room.name", ""], ["m.room.topic", ""]] if state is None else state
    return {"ranges": [[first, last]], "timeline_limit": limit, "required_state": required, **more}


class SlidingClient:
    """One connection. `rooms` is what a client makes of all answers: state by key, the timeline by event ids."""

    def __init__(self, client: Client, conn_id: str = "main") -> None:
        self.client = client
        self.conn_id = conn_id
        self.pos: str | None = None
        self.rooms: dict[str, dict[str, Any]] = {}
        self.last: dict[str, Any] = {}

    async def ask(self, *, pos: str | None = None, timeout: int = 0, **body: Any) -> Answered:
        query: dict[str, Any] = {"timeout": timeout, "set_presence": "offline"}
        if pos is not None:
            query["pos"] = pos
        return await self.client.request("POST", PATH, body={"conn_id": self.conn_id, **body}, query=query)

    async def sync(self, *, timeout: int = 0, **body: Any) -> dict[str, Any]:
        """Asks from where it is, and takes the answer in."""
        answer: dict[str, Any] = (await self.ask(pos=self.pos, timeout=timeout, **body)).ok()
        self.take(answer)
        return answer

    def take(self, answer: dict[str, Any]) -> None:
        self.pos = answer["pos"]
        self.last = answer
        for room_id, room in answer["rooms"].items():
            if room.get("initial"):
                self.rooms[room_id] = {"state": {}, "events": []}
            known = self.rooms[room_id]
            self._take_timeline(known, room)
            for event in room.get("required_state", ()):
                known["state"][event["type"], event["state_key"]] = event["event_id"]
            for name in ("name", "avatar", "joined_count", "invited_count", "membership", "is_dm"):
                if name in room:
                    known[name] = room[name]
            for name in ("notification_count", "highlight_count", "bump_stamp", "invite_state"):
                if name in room:
                    known[name] = room[name]

    @staticmethod
    def _take_timeline(known: dict[str, Any], room: dict[str, Any]) -> None:
        events = [event["event_id"] for event in room.get("timeline", ())]
        if room.get("limited") or room.get("unstable_expanded_timeline"):
            known["events"] = []
        assert not set(events) & set(known["events"]), "an event came twice"
        known["events"] += events


def bodies(room: dict[str, Any]) -> list[str]:
    return [e["content"]["body"] for e in room.get("timeline", ()) if e["type"] == "m.room.message"]


def types(events: Iterable[dict[str, Any]]) -> list[str]:
    return sorted(event["type"] for event in events)
