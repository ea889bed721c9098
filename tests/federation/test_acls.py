"""Servers that a room's ACL shuts out: of every question about it, and of its events alone in a transaction."""

from __future__ import annotations

import json
from typing import Any

import pytest

from federation.client import FederationError, path_of
from homeserver.core.events import event_id_of
from homeserver.core.server_acl import ServerAcl
from tests.federation.test_hostile_peers import joined
from tests.federation.test_read_access import V1, Asker, Json, refusal
from tests.federation.test_rooms import bodies, has, join, name_of
from tests.kit.authority import Authority
from tests.kit.peer import running_peer
from tests.kit.server import Client, RunningServer
from tests.kit.until import until

V2 = "/_matrix/federation/v2"
# Both servers are called localhost here; nothing keeps a server from its own rooms.
SHUT: Json = {"allow": ["*"], "deny": ["localhost"], "allow_ip_literals": True}


async def shut_out(here: RunningServer, there: RunningServer) -> tuple[Client, Client, str]:
    """Alice's room, that Eve of the other server was in before its ACL shut that server out."""
    alice, eve = await here.user("alice"), await there.user("eve")
    room_id = await alice.create_room(preset="public_chat", room_version="11")
    await join(eve, room_id, here)
    (await alice.put("/rooms/{}/state/m.room.server_acl", room_id, body=SHUT)).ok()
    return alice, eve, room_id


async def pdu_of(user: Client, room_id: str, event_id: str) -> Json:
    """An event as servers exchange it."""
    answer = await user.sync(filter=json.dumps({"event_format": "federation"}))
    await user.get("/rooms/{}/event/{}", room_id, event_id)
    timeline = answer["rooms"]["join"][room_id]["timeline"]["events"]
    (newest,) = [event for event in timeline if event["type"] == "m.room.message"][-1:]
    return {key: value for key, value in newest.items() if key != "unsigned"}


async def test_every_question_about_the_room_is_refused(here: RunningServer, there: RunningServer) -> None:
    """T-C24: reading it, and all that leads into or out of it."""
    alice, eve, room_id = await shut_out(here, there)
    said = await alice.send(room_id, "hello")
    asker = Asker(here, there)
    questions = asker.questions(room_id, said)
    questions["event"] = lambda: asker.get("/event/{}", said)
    questions["hierarchy"] = lambda: asker.get("/hierarchy/{}", room_id)
    for what in ("join", "leave", "knock"):
        query = {"ver": "11"} if what != "leave" else {}
        questions["make_" + what] = lambda what=what, query=query: asker.get(  # type: ignore[misc]
            f"/make_{what}/{{}}/{{}}", room_id, eve.user_id, **query
        )
    for name, ask in questions.items():
        assert await refusal(ask()) == 403, name


async def put(here: RunningServer, there: RunningServer, template: str, *segments: str, body: Json) -> int:
    assert there.hansa.federation is not None
    try:
        await there.hansa.federation.client.put(name_of(here), path_of(template, *segments), body)  # type: ignore[arg-type]
    except FederationError as error:
        return error.status
    return 200


async def test_nothing_is_sent_into_the_room(here: RunningServer, there: RunningServer) -> None:
    """T-C24: by whichever endpoint."""
    alice, eve, room_id = await shut_out(here, there)
    for path in ("/send_join", "/send_leave"):
        for version in (V1, V2):
            assert await put(here, there, version + path + "/{}/{}", room_id, "$x", body={}) == 403, (version, path)
    assert await put(here, there, V1 + "/send_knock/{}/{}", room_id, "$x", body={}) == 403
    signed = {"mxid": eve.user_id, "token": "x", "signatures": {}}
    exchange: Json = {
        "sender": alice.user_id,
        "state_key": eve.user_id,
        "content": {"membership": "invite", "third_party_invite": {"display_name": "x", "signed": signed}},
    }
    assert await put(here, there, V1 + "/exchange_third_party_invite/{}", room_id, body=exchange) == 403


@pytest.mark.parametrize(("deny", "status"), [([], 200), (["localhost"], 403)])
async def test_invites_of_a_shut_server_are_not_signed(
    here: RunningServer, authority: Authority, deny: list[str], status: int
) -> None:
    """T-C24: to users of a server that is in the room itself and so knows the ACL."""
    await here.user("bob")
    async with running_peer(authority) as peer:
        acl = {"allow": ["*"], "deny": deny}
        _, room = await joined(here, peer, filled=lambda room: room.add("m.room.server_acl", acl, ""))
        invite = room.make("m.room.member", {"membership": "invite"}, f"@bob:{name_of(here)}")
        body = {"room_version": "11", "event": invite.pdu}
        answer = await peer.ask("PUT", name_of(here), f"{V2}/invite/{room.room_id}/{invite.event_id}", body)
        assert (answer.status, b"signatures" in answer.body) == (status, status == 200)


@pytest.mark.slow
async def test_events_of_other_rooms_come_in(here: RunningServer, there: RunningServer) -> None:
    """T-C24: of a transaction's events those of the shut room are refused one by one."""
    alice, eve, shut = await shut_out(here, there)
    opened = await alice.create_room(preset="public_chat", room_version="11")
    await join(eve, opened, here)
    sent = {room_id: await eve.send(room_id, "hello") for room_id in (shut, opened)}
    pdus: list[Any] = [await pdu_of(eve, room_id, sent[room_id]) for room_id in (shut, opened)]
    assert there.hansa.federation is not None
    body = {"origin": name_of(there), "origin_server_ts": 1, "pdus": pdus, "edus": []}
    client = there.hansa.federation.client
    answer = await client.put(here.hansa.signer.server_name, V1 + "/send/both", body)
    assert answer["pdus"] == {sent[opened]: {}, sent[shut]: {"error": "your server may not take part in this room"}}
    await until(lambda: has(alice, opened, {"hello"}))
    assert await bodies(alice, shut) == []


@pytest.mark.parametrize("version", ["1", "11"])
async def test_an_event_that_is_refused_is_named(here: RunningServer, authority: Authority, version: str) -> None:
    """With the reason, though its sender's server alone knows its id where that is a hash."""
    async with running_peer(authority) as peer:
        _, room = await joined(here, peer, version)
        good = room.text("good")
        forged = {**good.pdu, "content": {"body": "forged"}, "signatures": {peer.name: {"ed25519:1": "A" * 86}}}
        event_id = event_id_of(room.version, forged)
        body = {"origin": peer.name, "origin_server_ts": 1, "pdus": [forged], "edus": []}
        answer = await peer.ask_json("PUT", name_of(here), V1 + "/send/forged", body)
        assert list(answer["pdus"]) == [event_id] and "signature" in answer["pdus"][event_id]["error"]
        assert await room.send(name_of(here), good) == {good.event_id: {}}


async def test_a_list_is_read_once_however_much_is_sent(
    here: RunningServer, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """T-C23: a room's huge list isn't made ready anew for each of the hundred things that a transaction brings."""
    read: list[int] = []
    make = ServerAcl.__init__

    def counted(self: ServerAcl, content: dict[str, Any]) -> None:
        read.append(len(content["deny"]))
        make(self, content)

    async with running_peer(authority) as peer:
        acl = {"allow": ["*"], "deny": [f"*.{number}.evil.example" for number in range(1_500)]}
        _, room = await joined(here, peer, filled=lambda room: room.add("m.room.server_acl", acl, ""))
        monkeypatch.setattr(ServerAcl, "__init__", counted)
        typing = {"edu_type": "m.typing", "content": {"room_id": room.room_id, "user_id": room.eve, "typing": True}}
        await room.send(name_of(here), room.text("hello"), edus=[typing] * 100)
        await room.send(name_of(here), edus=[typing] * 100)
        assert read == [1_500]
        read.clear()
        for name in ("bob", "carol", "dave"):
            invited = await here.user(name)
            invite = room.make("m.room.member", {"membership": "invite"}, invited.user_id)
            body = {"room_version": "11", "event": invite.pdu}
            path = f"{V2}/invite/{room.room_id}/{invite.event_id}"
            assert (await peer.ask("PUT", name_of(here), path, body)).status == 200
        assert read == [1_500]
