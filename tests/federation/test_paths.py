"""Events that other servers bring to an endpoint whose path names another room, another event or another act."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from federation.client import path_of
from homeserver.core.events import Event, sign_event
from homeserver.core.identifiers import RoomId
from homeserver.core.room_versions import ROOM_VERSIONS, EventIdFormat
from tests.federation.test_rooms import name_of
from tests.kit.authority import Authority
from tests.kit.peer import Peer, running_peer
from tests.kit.peer_room import PeerRoom
from tests.kit.server import Client, RunningServer

Json = dict[str, Any]
V1, V2 = "/_matrix/federation/v1", "/_matrix/federation/v2"
SENT = {"join": V2 + "/send_join", "leave": V2 + "/send_leave", "knock": V1 + "/send_knock"}


class Eve:
    """A user of the peer's, and the events that she makes of our templates."""

    def __init__(self, peer: Peer, here: RunningServer, version: str) -> None:
        self.peer, self.server = peer, name_of(here)
        self.version = ROOM_VERSIONS[version]
        self.user_id = f"@eve:{peer.name}"

    async def make(self, membership: str, room_id: str, changes: Mapping[str, Any] | None = None) -> Event:
        path = path_of(V1 + f"/make_{membership}/{{}}/{{}}", room_id, self.user_id)
        query = f"?ver={self.version.id}" if membership != "leave" else ""
        template = (await self.peer.ask_json("GET", self.server, path + query))["event"]
        pdu = {**template, "origin_server_ts": template.get("origin_server_ts", 1), **(changes or {})}
        if self.version.event_id_format is EventIdFormat.IN_EVENT:
            pdu.setdefault("event_id", f"${membership}:{self.peer.name}")
        return sign_event(self.version, pdu, self.peer.signer)

    async def put(self, membership: str, room_id: str, event: Event, event_id: str | None = None) -> int:
        path = path_of(SENT[membership] + "/{}/{}", room_id, event_id or event.event_id)
        return (await self.peer.ask("PUT", self.server, path, event.pdu)).status


async def rooms(alice: Client, version: str, membership: str) -> tuple[str, str]:
    """Two rooms of hers that anyone may come into, or knock at."""
    rule = {"type": "m.room.join_rules", "state_key": "", "content": {"join_rule": "knock"}}
    body: Json = {"preset": "public_chat", "initial_state": [rule] if membership == "knock" else []}
    return (
        await alice.create_room(room_version=version, **body),
        await alice.create_room(room_version=version, **body),
    )


async def membership_of(alice: Client, room_id: str, user_id: str) -> str | None:
    found = await alice.get("/rooms/{}/state/m.room.member/{}", room_id, user_id)
    return str(found.ok()["membership"]) if found.status == 200 else None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("membership", "version"),
    [("join", "1"), ("join", "11"), ("join", "12"), ("leave", "1"), ("leave", "11"), ("knock", "11"), ("knock", "12")],
)
async def test_an_event_is_taken_where_its_path_names_it(
    here: RunningServer, authority: Authority, membership: str, version: str
) -> None:
    """T-B5: its room, its id, the act; and no event of another user, or of a server that speaks for ours."""
    alice = await here.user("alice")
    async with running_peer(authority) as peer:
        eve = Eve(peer, here, version)
        room_id, other = await rooms(alice, version, membership)
        before = None
        if membership == "leave":
            assert await eve.put("join", room_id, await eve.make("join", room_id)) == 200
            before = "join"
        event = await eve.make(membership, room_id)
        assert await eve.put(membership, other, event) == 400
        assert await eve.put(membership, room_id, event, "$another:" + peer.name) == 400
        for act in {"join", "leave"} - {membership}:
            assert await eve.put(act, room_id, event) == 400
        wrong: list[tuple[int, Json]] = [
            (400, {"room_id": other}),
            (400, {"content": {"membership": "ban"}}),
            (400, {"type": "m.room.message"}),
            (400, {"state_key": f"@mallory:{peer.name}"}),
            (403, {"sender": alice.user_id}),
            (403, {"sender": alice.user_id, "state_key": alice.user_id}),
        ]
        for status, changes in wrong:
            assert await eve.put(membership, room_id, await eve.make(membership, room_id, changes)) == status, changes
        for room in (room_id, other):
            assert await membership_of(alice, room, eve.user_id) == (before if room == room_id else None)
            assert await membership_of(alice, room, str(alice.user_id)) == "join"
        assert await eve.put(membership, room_id, event) == 200
        assert await membership_of(alice, room_id, eve.user_id) == membership


@pytest.mark.slow
async def test_an_invite_is_taken_where_its_path_names_it(here: RunningServer, authority: Authority) -> None:
    """T-B5."""
    bob = await here.user("bob")
    async with running_peer(authority) as peer:
        room = PeerRoom(peer)
        invite = room.make("m.room.member", {"membership": "invite"}, str(bob.user_id))
        body = {"room_version": "11", "event": invite.pdu}
        for room_id, event_id in ((f"!other:{peer.name}", invite.event_id), (room.room_id, "$another")):
            path = path_of(V2 + "/invite/{}/{}", room_id, event_id)
            assert (await peer.ask("PUT", name_of(here), path, body)).status == 400
        assert RoomId(room.room_id) not in (await bob.sync()).get("rooms", {}).get("invite", {})
        path = path_of(V2 + "/invite/{}/{}", room.room_id, invite.event_id)
        assert (await peer.ask("PUT", name_of(here), path, body)).status == 200
        assert room.room_id in (await bob.sync())["rooms"]["invite"]
