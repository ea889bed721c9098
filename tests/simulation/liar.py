"""A server that lies: it is in the room by right, signs what it likes, and tells each what suits it.

Classes of threats.md: T-B (malformed), T-C (forged authorisation, backdating), T-D (equivocation), T-E (floods, forks,
withholding, replays).
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote

from federation.keys.documents import own_document
from federation.request_signing import authorization_header
from homeserver.core import canonical_json
from homeserver.core.auth_rules import auth_keys
from homeserver.core.errors import InvalidEvent
from homeserver.core.events import Event, StateKey, parse_pdu, references, sign_event
from homeserver.core.identifiers import EventId, ServerName
from homeserver.core.room_versions import EventIdFormat, RoomVersion
from homeserver.web.outgoing import OutgoingError
from tests.kit.federation import signer_of
from tests.simulation.virtual_network import Reply, VirtualNetwork
from tests.simulation.virtual_servers import EPOCH_MS

V1, V2 = "/_matrix/federation/v1", "/_matrix/federation/v2"
FORK_EVENTS = 40
LIES = (
    "equivocate",
    "withhold",
    "backdate",
    "forge_auth",
    "forge_rights",
    "replay",
    "huge_fork",
    "malformed",
    "garbled",
)


class Liar:
    """`name` is a server that nothing listens for: the network brings it what is meant for it."""

    def __init__(self, network: VirtualNetwork, seed: str, version: RoomVersion) -> None:
        self.name = ServerName("liar.test:1")
        self.user_id = f"@liar:{self.name}"
        self.signer = signer_of(self.name)
        self._network = network
        self._version = version
        self._chance = random.Random(f"liar {seed}")
        self._known: dict[EventId, Event] = {}
        self._state: dict[StateKey, Event] = {}
        self._heads: list[EventId] = []
        self._sent: list[Event] = []
        self._secret: set[EventId] = set()
        self._count = 0
        self._names = 0
        self.room_id = ""
        network.strangers[self.name] = self.asked

    # --- in

    async def join(self, through: str, room_id: str) -> None:
        self.room_id = room_id
        path = f"{V1}/make_join/{room_id}/{self.user_id}?ver={self._version.id}"
        template = (await self._ask(through, "GET", path))["event"]
        pdu = {**template, "content": {"membership": "join"}, "origin_server_ts": self._now_ms()}
        event = self._signed(pdu)
        answer = await self._ask(through, "PUT", f"{V2}/send_join/{room_id}/{event.event_id}", event.pdu)
        for told in [*answer["auth_chain"], *answer["state"]]:
            self._learn(told)
        for told in answer["state"]:
            one = parse_pdu(self._version, told)
            self._state[one.key] = one
        self._state[event.key] = event
        self._known[event.event_id] = event
        self._heads = [event.event_id]

    def _now_ms(self) -> int:
        return EPOCH_MS + int(self._network.loop.time() * 1000)

    async def _ask(self, server: str, method: str, target: str, body: Any = None) -> Any:
        encoded = canonical_json.encode(body) if body is not None else None
        headers = {
            "Authorization": authorization_header(self.signer, server, method, target, encoded),
            "Content-Type": "application/json",
        }
        reply = await self._network.carry(self.name, server, method, target, headers, encoded)
        if reply.status != 200:
            raise OutgoingError("unreachable", f"{reply.status} {reply.body[:200]!r}")
        return json.loads(reply.body)

    def _learn(self, pdu: Any) -> None:
        try:
            event = parse_pdu(self._version, pdu)
        except InvalidEvent:
            return
        self._known.setdefault(event.event_id, event)

    # --- what it says

    def _make(
        self,
        type: str,
        content: dict[str, Any],
        state_key: str | None = None,
        *,
        prev: Sequence[EventId] | None = None,
        auth: Sequence[EventId] | None = None,
        ts_ms: int | None = None,
    ) -> Event:
        if auth is None:
            keys = auth_keys(self._version, type=type, sender=self.user_id, state_key=state_key, content=content)
            auth = [self._state[key].event_id for key in keys if key in self._state]
        after = list(self._heads if prev is None else prev)
        depth = max((self._known[name].depth for name in after if name in self._known), default=0) + 1
        pdu: dict[str, Any] = {
            "type": type,
            "room_id": self.room_id,
            "sender": self.user_id,
            "content": content,
            "depth": depth,
            "origin_server_ts": self._now_ms() if ts_ms is None else ts_ms,
            "prev_events": references(self._version, [(name, "") for name in after]),
            "auth_events": references(self._version, [(name, "") for name in auth]),
        }
        if state_key is not None:
            pdu["state_key"] = state_key
        event = self._signed(pdu)
        self._known[event.event_id] = event
        return event

    def _signed(self, pdu: dict[str, Any]) -> Event:
        if self._version.event_id_format is EventIdFormat.IN_EVENT:
            self._names += 1
            pdu["event_id"] = f"$lie{self._names}:{self.name}"
        return sign_event(self._version, pdu, self.signer)

    def _text(self, **made: Any) -> Event:
        self._count += 1
        return self._make("m.room.message", {"msgtype": "m.text", "body": f"lie {self._count}"}, **made)

    async def _send(self, servers: Sequence[str], pdus: Sequence[Any]) -> None:
        for server in servers:
            for at in range(0, len(pdus), 50):
                self._count += 1
                body = {
                    "origin": self.name,
                    "origin_server_ts": self._now_ms(),
                    "pdus": list(pdus[at : at + 50]),
                    "edus": [],
                }
                try:
                    await self._ask(server, "PUT", f"{V1}/send/lie{self._count}", body)
                except OutgoingError:
                    continue

    async def lie(self, kind: str, servers: Sequence[str]) -> None:
        """Tells these honest servers a lie of this kind (`LIES`)."""
        await getattr(self, "_" + kind)(list(servers))

    async def _equivocate(self, servers: list[str]) -> None:
        """Each hears of another event in the same place; of state too, where it may set it."""
        before = list(self._heads)
        for server in servers:
            event = self._text(prev=before)
            topic = self._make("m.room.topic", {"topic": f"for {server}"}, "", prev=before)
            await self._send([server], [event.pdu, topic.pdu])

    async def _withhold(self, servers: list[str]) -> None:
        """An event after one that nobody is ever given."""
        hidden = self._text()
        self._secret.add(hidden.event_id)
        await self._send(servers, [self._text(prev=[hidden.event_id]).pdu])

    async def _backdate(self, servers: list[str]) -> None:
        """An event that claims to be from the beginning of the room."""
        create = self._state["m.room.create", ""]
        own = self._state["m.room.member", self.user_id]
        old = self._text(prev=[create.event_id], ts_ms=1)
        topic = self._make("m.room.topic", {"topic": "always so"}, "", prev=[own.event_id], ts_ms=1)
        await self._send(servers, [old.pdu, topic.pdu])

    async def _forge_auth(self, servers: list[str]) -> None:
        """Power by an event that gives itself power, and one that cites what authorises somebody else."""
        levels = {"users": {self.user_id: 100}, "users_default": 0, "ban": 0, "state_default": 0}
        power = self._make("m.room.power_levels", levels, "")
        keys = [("m.room.create", ""), ("m.room.member", self.user_id)]
        cited = [self._state[key].event_id for key in keys]
        if self._version.room_id_from_create_event:
            cited = cited[1:]
        topic = self._make("m.room.topic", {"topic": "mine"}, "", auth=[*cited, power.event_id], prev=[power.event_id])
        await self._send(servers, [power.pdu, topic.pdu])

    async def _forge_rights(self, servers: list[str]) -> None:
        """State that only others may set, a ban of somebody, and a member event for somebody else."""
        victims = sorted(key[1] for key in self._state if key[0] == "m.room.member" and key[1] != self.user_id)
        pdus = [self._make("m.room.join_rules", {"join_rule": "invite"}, "").pdu]
        pdus += [self._make("m.room.member", {"membership": "ban"}, victim).pdu for victim in victims]
        pdus += [self._make("m.room.create", {"room_version": self._version.id, "creator": self.user_id}, "").pdu]
        await self._send(servers, pdus)

    async def _replay(self, servers: list[str]) -> None:
        """What was said before, again and again."""
        if not self._sent:
            self._sent.append(self._text())
        for _ in range(3):
            await self._send(servers, [event.pdu for event in self._sent[-20:]])

    async def _huge_fork(self, servers: list[str]) -> None:
        """Many branches from one place, each told to all."""
        before = list(self._heads)
        await self._send(servers, [self._text(prev=before).pdu for _ in range(FORK_EVENTS)])

    async def _malformed(self, servers: list[str]) -> None:
        """PDUs that are none."""
        good = self._text().pdu
        changes: list[dict[str, Any]] = [
            {"depth": -1}, {"depth": 2**60}, {"content": []}, {"sender": 5}, {"prev_events": "x"}, {"type": None},
            {"origin_server_ts": 1.5}, {"auth_events": [1] * 100}, {"signatures": {}}, {"hashes": {}}, {"room_id": "x"},
            {"prev_events": ["$" + "a" * 43] * 30}, {"content": {"deep": json.loads("[" * 90 + "]" * 90)}},
        ]  # fmt: skip
        await self._send(servers, [None, 5, [], *({**good, **change} for change in changes)])

    async def _garbled(self, servers: list[str]) -> None:
        """Right but for a few bytes of signature, hash or text."""
        event = self._text().pdu
        other = {**event, "content": {**event["content"], "body": "another text"}}
        wrong = {**event, "signatures": {self.name: {self.signer.key_id: "A" * 86}}}
        await self._send(servers, [other, wrong])

    # --- what it answers

    async def asked(self, method: str, target: str, body: bytes | None) -> Reply:
        path = unquote(target.partition("?")[0])
        answer, status = self._answer(path, json.loads(body) if body else None)
        return Reply(status, {"Content-Type": "application/json"}, json.dumps(answer).encode())

    def _answer(self, path: str, sent: Any) -> tuple[Any, int]:
        if path == "/_matrix/key/v2/server":
            return own_document(self.signer, [], self._now_ms() + 86_400_000), 200
        if path.startswith(V1 + "/send/"):
            for pdu in sent["pdus"]:
                self._take(pdu)
            return {"pdus": {}}, 200
        if path.startswith(V1 + "/event/"):
            event = self._known.get(EventId(path.rpartition("/")[2]))
            if event is not None and event.event_id not in self._secret:
                return {"origin": self.name, "origin_server_ts": 1, "pdus": [event.pdu]}, 200
        if path.startswith(V1 + "/get_missing_events/"):
            return {"events": self._between(sent)}, 200
        return {"errcode": "M_NOT_FOUND", "error": "who knows"}, 404

    def _between(self, sent: Any) -> list[Any]:
        """Sometimes what was asked for, sometimes what nobody wanted."""
        if self._chance.random() < 0.3:
            return [event.pdu for event in list(self._known.values())[-5:]]
        latest = [event for name in sent["latest_events"] if (event := self._known.get(name))]
        wanted = [name for event in latest for name in event.prev_event_ids]
        return [self._known[name].pdu for name in wanted if name in self._known and name not in self._secret]

    def _take(self, pdu: Any) -> None:
        try:
            event = parse_pdu(self._version, pdu)
        except InvalidEvent:
            return
        self._known[event.event_id] = event
        self._heads = [name for name in self._heads if name not in event.prev_event_ids][-5:]
        self._heads.append(event.event_id)
        if event.is_state:
            self._state[event.key] = event
