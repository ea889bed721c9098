"""A room that lives on a thin peer: every event signed as it should be, unless a test has the peer lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from homeserver.core.auth_rules import auth_keys
from homeserver.core.events import Event, StateKey, parse_pdu, references, sign_event
from homeserver.core.identifiers import EventId
from homeserver.core.room_versions import ROOM_VERSIONS, EventIdFormat
from homeserver.runtime.clock import SystemClock
from tests.kit.peer import Peer

Json = dict[str, Any]
V1, V2 = "/_matrix/federation/v1", "/_matrix/federation/v2"


class PeerRoom:
    """A public room of Eve's. `state` is the current one; `events` has all that was made, by id.

    `answer_join` makes the peer let others in; what `told` is given there may be changed before it is sent.
    """

    def __init__(self, peer: Peer, version: str = "11") -> None:
        self.peer = peer
        self.version = ROOM_VERSIONS[version]
        self.eve = f"@eve:{peer.name}"
        self.room_id = f"!room:{peer.name}"
        self.state: dict[StateKey, Event] = {}
        self.events: dict[EventId, Event] = {}
        self.heads: list[EventId] = []
        self.depth = 0
        self._ts = SystemClock().now_ms() - 1_000_000
        create: Json = {"room_version": version}
        if self.version.creator_in_create_content:
            create["creator"] = self.eve
        self.add("m.room.create", create, "")
        self.add("m.room.member", {"membership": "join"}, self.eve)
        users = {} if self.version.creators_have_infinite_power else {self.eve: 100}
        self.add("m.room.power_levels", {"users": users}, "")
        self.add("m.room.join_rules", {"join_rule": "public"}, "")

    def make(
        self,
        type: str,
        content: Mapping[str, Any],
        state_key: str | None = None,
        *,
        sender: str | None = None,
        prev: Sequence[EventId] | None = None,
        auth: Sequence[EventId] | None = None,
        depth: int | None = None,
        ts: int | None = None,
        **changes: Any,
    ) -> Event:
        """An event on top of the room as it is, signed by the peer; nothing of the room changes."""
        sender = sender or self.eve
        self._ts += 1
        if auth is None:
            keys = auth_keys(self.version, type=type, sender=sender, state_key=state_key, content=content)
            auth = [self.state[key].event_id for key in keys if key in self.state]
        pdu: Json = {
            "type": type,
            "sender": sender,
            "content": dict(content),
            "depth": self.depth + 1 if depth is None else depth,
            "origin_server_ts": self._ts if ts is None else ts,
            "prev_events": references(self.version, [(name, "") for name in (self.heads if prev is None else prev)]),
            "auth_events": references(self.version, [(name, "") for name in auth]),
            "room_id": self.room_id,
        }
        if state_key is not None:
            pdu["state_key"] = state_key
        if type == "m.room.create" and self.version.room_id_from_create_event:
            del pdu["room_id"]
        if self.version.event_id_format is EventIdFormat.IN_EVENT:
            pdu["event_id"] = f"${self._ts}:{self.peer.name}"
        return sign_event(self.version, {**pdu, **changes}, self.peer.signer)

    def add(self, type: str, content: Mapping[str, Any], state_key: str | None = None, **made: Any) -> Event:
        """The same, as what the room goes on from."""
        event = self.make(type, content, state_key, **made)
        if type == "m.room.create":
            self.room_id = event.room_id
        self.take(event)
        return event

    def take(self, event: Event) -> None:
        """Goes on from an event, ours or that of another server."""
        self.events[event.event_id] = event
        if event.is_state:
            self.state[event.key] = event
        self.heads = [event.event_id]
        self.depth = max(self.depth, event.depth)

    def text(self, body: str, **made: Any) -> Event:
        return self.add("m.room.message", {"msgtype": "m.text", "body": body}, **made)

    # --- what the peer answers

    def template(self, user_id: str) -> Json:
        """What make_join gives for a user of another server."""
        event = self.make("m.room.member", {"membership": "join"}, user_id, sender=user_id)
        return {key: value for key, value in event.pdu.items() if key not in ("hashes", "signatures")}

    def told(self) -> Json:
        """What send_join gives."""
        state = [event.pdu for event in self.state.values()]
        return {"origin": self.peer.name, "state": state, "auth_chain": state, "members_omitted": False}

    def answer_joins(self, user_id: str, template: Json | None = None, told: Json | None = None) -> None:
        """Lets this user in. `template` and `told` are laid over what is right."""
        whole = {"room_version": self.version.id, "event": {**self.template(user_id), **(template or {})}}
        self.peer.answers[V1 + "/make_join"] = lambda sent: whole
        self.peer.answers[V2 + "/send_join"] = lambda sent: {**self.told(), "event": sent, **(told or {})}

    @classmethod
    async def visited(cls, peer: Peer, server: str, room_id: str, version: str = "11") -> PeerRoom:
        """A public room of another server, which Eve has joined."""
        room = cls(peer, version)
        room.room_id, room.state, room.events, room.heads, room.depth = room_id, {}, {}, [], 0
        query = f"?ver={version}"
        path = f"{V1}/make_join/{quote(room_id)}/{quote(room.eve)}{query}"
        template = (await peer.ask_json("GET", server, path))["event"]
        join = sign_event(room.version, {**template, "origin_server_ts": room._ts}, peer.signer)
        path = f"{V2}/send_join/{quote(room_id)}/{quote(join.event_id, safe='')}"
        told = await peer.ask_json("PUT", server, path, join.pdu)
        for pdu in told["state"]:
            event = parse_pdu(room.version, pdu)
            room.state[event.key] = event
        room.take(parse_pdu(room.version, told["event"]))
        return room

    async def send(self, server: str, *events: Event, txn_id: str | None = None, edus: Sequence[Json] = ()) -> Json:
        """Brings these to a server in one transaction; its answer's `pdus`."""
        self._ts += 1
        body = {
            "origin": self.peer.name,
            "origin_server_ts": self._ts,
            "pdus": [event.pdu for event in events],
            "edus": list(edus),
        }
        answer = await self.peer.ask_json("PUT", server, V1 + f"/send/{txn_id or self._ts}", body)
        found: Json = answer["pdus"]
        return found
