"""What a server claims that its users may do: by a past that it chose, by others' words, by a promise."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import pytest

from homeserver.core.events import Event, sign_event
from homeserver.core.identifiers import EventId, ServerName
from homeserver.core.signing import Signer, encode_base64
from tests.federation.test_hostile_peers import joined, name_of, texts
from tests.federation.test_odd_events import heard, state
from tests.kit.authority import Authority
from tests.kit.peer import Peer, running_peer
from tests.kit.peer_room import V1, V2, PeerRoom
from tests.kit.server import Client, RunningServer
from tests.kit.until import until

Json = dict[str, Any]


@pytest.fixture
async def peer(authority: Authority) -> AsyncIterator[Peer]:
    async with running_peer(authority) as running:
        yield running


async def membership_of(alice: Client, room_id: str, user_id: str) -> str | None:
    found = await alice.get("/rooms/{}/state/m.room.member/{}", room_id, user_id)
    return str(found.ok()["membership"]) if found.status == 200 else None


async def said(room: PeerRoom, here: RunningServer, alice: Client, **made: Any) -> None:
    """Waits until what was sent before has been judged: by a word of somebody who may speak."""
    last = room.make("m.room.message", {"msgtype": "m.text", "body": "the last word"}, **made)
    await room.send(name_of(here), last)

    async def is_said() -> bool:
        return "the last word" in await texts(alice, room.room_id)

    await until(is_said)


# --- a past of one's own


@pytest.mark.parametrize("version", ["6", "11", "12"])
async def test_who_is_banned_says_nothing_from_before_it(here: RunningServer, peer: Peer, version: str) -> None:
    """T-C19, T-C18: events that come after what the ban came after are allowed there, and not in the room as it is."""
    alice = await here.user("alice")
    levels = {"users_default": 50} if version == "12" else {"users_default": 50, "users": {alice.user_id: 100}}
    room_id = await alice.create_room(
        preset="public_chat", room_version=version, topic="true", power_level_content_override=levels
    )
    room = await PeerRoom.visited(peer, name_of(here), room_id, version)
    bob = f"@bob:{peer.name}"
    join = room.add("m.room.member", {"membership": "join"}, bob, sender=bob)
    await room.send(name_of(here), join, room.text("before"))
    before, depth = list(room.heads), room.depth

    async def is_heard() -> bool:
        return "before" in await texts(alice, room_id)

    await until(is_heard)
    (await alice.post("/rooms/{}/ban", room_id, body={"user_id": room.eve})).ok()
    await peer.until(lambda: any(pdu["content"].get("membership") == "ban" for pdu in peer.pdus))
    since = (await alice.sync())["next_batch"]
    evil = [
        room.make("m.room.message", {"msgtype": "m.text", "body": "evil"}, prev=before, depth=depth + 9),
        room.make("m.room.topic", {"topic": "evil"}, "", prev=before, depth=depth + 9),
        room.make("m.room.member", {"membership": "join", "displayname": "evil"}, room.eve, prev=before),
        room.make("m.room.member", {"membership": "invite"}, f"@mallory:{peer.name}", prev=before),
        room.make("m.room.member", {"membership": "leave"}, room.eve, prev=before),
        room.make("m.room.member", {"membership": "ban"}, bob, prev=before),
    ]
    await room.send(name_of(here), *evil)
    await said(room, here, alice, sender=bob, prev=before)
    assert await texts(alice, room_id) == ["before", "the last word"]
    assert (await state(alice, room_id, "m.room.topic"))["topic"] == "true"
    assert await membership_of(alice, room_id, room.eve) == "ban"
    assert await membership_of(alice, room_id, bob) == "join"
    assert await membership_of(alice, room_id, f"@mallory:{peer.name}") is None
    told = (await alice.sync(since=since))["rooms"]["join"][room_id]["timeline"]["events"]
    assert [event["content"].get("body") for event in told] == ["the last word"]
    for event in evil:
        (await alice.get("/rooms/{}/event/{}", room_id, event.event_id)).refused(404, "M_NOT_FOUND")
    mine = await alice.send(room_id, "mine")
    await peer.until(lambda: any(pdu["content"].get("body") == "mine" for pdu in peer.pdus))
    sent = next(pdu for pdu in peer.pdus if pdu["content"].get("body") == "mine")
    assert mine and not {event.event_id for event in evil} & set(str(sent["prev_events"]).split("'"))


# --- what an event cites


@pytest.mark.parametrize("version", ["6", "11", "12"])
async def test_an_event_cites_what_allows_it_and_no_more(here: RunningServer, peer: Peer, version: str) -> None:
    """T-C29, T-C16, T-C5, T-A11: surplus, doubled, missing, another room's, refused: nothing that it says counts."""
    alice, room = await joined(here, peer, version)
    older = room.state["m.room.member", room.eve]
    named = room.add("m.room.member", {"membership": "join", "displayname": "Eve"}, room.eve)
    await room.send(name_of(here), named, room.add("m.room.topic", {"topic": "true"}, ""))
    others = (await alice.get("/rooms/{}/state", await alice.create_room(room_version=version))).ok()
    other = next(one["event_id"] for one in others if one["type"] == "m.room.power_levels")
    power, mine = [room.state[key].event_id for key in (("m.room.power_levels", ""), ("m.room.member", room.eve))]
    create = room.state["m.room.create", ""].event_id
    right = [power, mine] if version == "12" else [create, power, mine]
    refused = room.make("m.room.power_levels", {"users": {f"@x:{peer.name}": 100}}, "", sender=f"@x:{peer.name}")
    wrong: dict[str, list[EventId]] = {
        "surplus": [*right, room.state["m.room.topic", ""].event_id],
        "join rules": [*right, room.state["m.room.join_rules", ""].event_id],
        "twice": [*right, mine],
        "doubled": [*right, older.event_id],
        "no member": [name for name in right if name != mine],
        "nothing": [],
        "another room's": [*right[:-2], other, mine],
        "refused": [*right[:-2], refused.event_id, mine],
        "create": [create, *right] if version == "12" else right[1:],
    }
    evil = [room.make("m.room.topic", {"topic": name}, "", auth=cited) for name, cited in wrong.items()]
    await room.send(name_of(here), refused, *evil)
    await heard(here, alice, room)
    for name, event in zip(wrong, evil, strict=True):
        assert (await alice.get("/rooms/{}/event/{}", room.room_id, event.event_id)).status == 404, name
    assert (await state(alice, room.room_id, "m.room.topic"))["topic"] == "true"
    good = room.make("m.room.topic", {"topic": "truer"}, "", auth=right)
    await room.send(name_of(here), good)

    async def is_set() -> bool:
        return (await state(alice, room.room_id, "m.room.topic"))["topic"] == "truer"

    await until(is_set)


async def test_a_room_is_the_one_that_its_create_event_makes(here: RunningServer, peer: Peer) -> None:
    """T-C2: in version 12 the create event that a join is answered with must be the one that the room's id names."""
    alice, room = await here.user("alice"), PeerRoom(peer, "12")
    other = room.make("m.room.create", {"room_version": "12", "m.federate": True}, "", prev=[], auth=[], depth=1)
    told = [event.pdu for event in room.state.values() if event.type != "m.room.create"]
    right = [event.pdu for event in room.state.values()]
    path = f"/join/{{}}?via={peer.name}&server_name={peer.name}"
    for false in ([other.pdu, *told], told):
        room.answer_joins(alice.user_id, told={"state": false, "auth_chain": false})
        assert (await alice.post(path, room.room_id)).status in (403, 502)
        assert (await alice.get("/joined_rooms")).ok()["joined_rooms"] == []
    room.answer_joins(alice.user_id, told={"state": right, "auth_chain": right})
    (await alice.post(path, room.room_id)).ok()


# --- who lets whom in


@pytest.mark.parametrize("version", ["8", "10", "12"])
async def test_nobody_is_let_in_by_who_may_not(here: RunningServer, peer: Peer, version: str) -> None:
    """T-C21: into a restricted room: by us, who didn't vouch, by who isn't there, by who may not invite."""
    alice, bob, carol = [await here.user(name) for name in ("alice", "bob", "carol")]
    space = await alice.create_room(preset="public_chat", room_version=version)
    levels = {carol.user_id: 50} if version == "12" else {alice.user_id: 100, carol.user_id: 50}
    rule = {"join_rule": "restricted", "allow": [{"type": "m.room_membership", "room_id": space}]}
    room_id = await alice.create_room(
        preset="public_chat",
        room_version=version,
        initial_state=[{"type": "m.room.join_rules", "state_key": "", "content": rule}],
        power_level_content_override={"invite": 50, "users": levels},
    )
    await bob.join(space)
    await bob.join(room_id)
    await carol.join(space)
    await carol.join(room_id)
    (await carol.post("/rooms/{}/leave", room_id)).ok()
    room = await PeerRoom.visited(peer, name_of(here), space, version)
    eve, mallory = room.eve, f"@mallory:{peer.name}"
    make = f"{V1}/make_join/{quote(room_id)}/{{}}?ver={version}"
    assert (await peer.ask("GET", name_of(here), make.format(quote(mallory)))).status == 403
    template = (await peer.ask_json("GET", name_of(here), make.format(quote(eve))))["event"]
    assert template["content"]["join_authorised_via_users_server"] == alice.user_id

    inside = (await alice.get("/rooms/{}/state", room_id)).ok()
    members = {one["state_key"]: one["event_id"] for one in inside if one["type"] == "m.room.member"}

    def made(user_id: str, authoriser: Any) -> Event:
        content = {"membership": "join", "join_authorised_via_users_server": authoriser}
        cited = [name for name in template["auth_events"] if name != members[alice.user_id]]
        cited += [members[authoriser]] if authoriser in members else []
        changed = {**template, "sender": user_id, "state_key": user_id, "content": content, "auth_events": cited}
        changed["origin_server_ts"] = 1
        return sign_event(room.version, changed, peer.signer)

    async def put(event: Event) -> int:
        path = f"{V2}/send_join/{quote(room_id)}/{quote(event.event_id)}"
        return (await peer.ask("PUT", name_of(here), path, event.pdu)).status

    for user_id, authoriser in (
        (mallory, alice.user_id), (eve, bob.user_id), (eve, carol.user_id), (eve, eve), (eve, 5), (eve, ""),
        (eve, "@x:elsewhere.test"), (mallory, mallory),
    ):  # fmt: skip
        assert await put(made(user_id, authoriser)) in (400, 403), (user_id, authoriser)
    plain = sign_event(
        room.version, {**template, "content": {"membership": "join"}, "origin_server_ts": 1}, peer.signer
    )
    assert await put(plain) == 403
    pushed = [made(user_id, alice.user_id) for user_id in (eve, mallory)]
    body = {"origin": peer.name, "origin_server_ts": 1, "pdus": [event.pdu for event in pushed], "edus": []}
    answer = await peer.ask_json("PUT", name_of(here), V1 + "/send/pushed", body)
    assert all("error" in one for one in answer["pdus"].values()) and len(answer["pdus"]) == 2
    for user_id in (eve, mallory):
        assert await membership_of(alice, room_id, user_id) is None
    assert await put(pushed[0]) == 200
    assert await membership_of(alice, room_id, eve) == "join"


# --- a promise to an address

IDENTITY = Signer(ServerName("identity.test"), "ed25519:0", b"\x05" * 32)


def signed(mxid: str, token: str = "promise", by: Signer = IDENTITY) -> Json:
    return by.sign_json({"mxid": mxid, "token": token})


async def promise(alice: Client, room_id: str, token: str = "promise") -> None:
    key = {"public_key": encode_base64(IDENTITY.verify_key)}
    content = {"display_name": "c...@h...", "public_keys": [key], **key}
    (await alice.put("/rooms/{}/state/m.room.third_party_invite/{}", room_id, token, body=content)).ok()


async def exchanged(peer: Peer, here: RunningServer, room_id: str, state_key: str, words: Any, **other: Any) -> int:
    content = {"membership": "invite", "third_party_invite": {"display_name": "x", "signed": words}, "reason": "forged"}
    body = {"type": "m.room.member", "sender": f"@mallory:{peer.name}", "state_key": state_key, "room_id": room_id}
    path = f"{V1}/exchange_third_party_invite/{quote(room_id)}"
    return (await peer.ask("PUT", name_of(here), path, {**body, "content": content, **other})).status


def takes_invites(peer: Peer, version: str = "11") -> None:
    def sign(sent: Any) -> Json:
        event = sent["event"]
        name, key = peer.signer.server_name, peer.signer.key_id
        kept = {one: value for one, value in event.items() if one not in ("signatures", "unsigned")}
        resigned = sign_event(PeerRoom(peer, version).version, dict(kept), peer.signer)
        own = resigned.pdu["signatures"][name]
        return {"event": {**event, "signatures": {**event["signatures"], name: {key: own[key]}}}}

    peer.answers[V2 + "/invite"] = sign


async def test_a_promise_is_for_whom_the_identity_server_names(here: RunningServer, peer: Peer) -> None:
    """T-C20: forged words, another's, those of another promise or key get nobody invited; right ones get an event of
    ours, whatever stands beside them."""
    alice, bob = await here.user("alice"), await here.user("bob")
    room_id = await alice.create_room(room_version="11")
    await promise(alice, room_id)
    takes_invites(peer)
    eve = f"@eve:{peer.name}"
    right = signed(eve)
    other_key = Signer(ServerName("identity.test"), "ed25519:0", b"\x06" * 32)
    for state_key, words in (
        (eve, signed(eve, by=other_key)), (eve, signed(eve, by=peer.signer)), (eve, {**right, "signatures": {}}),
        (eve, {"mxid": eve, "token": "promise"}), (eve, signed(eve, "no such")),
        (eve, {**signed(bob.user_id), "mxid": eve}),
        (f"@x:{peer.name}", right), (bob.user_id, signed(bob.user_id)), ("@x:elsewhere", signed("@x:elsewhere")),
        (eve, {**right, "token": 5}), (eve, None), (eve, []), (eve, {**right, "signatures": 5}),
        (eve, {**right, "signatures": {"identity.test": {"ed25519:0": "A" * 86}}}),
    ):  # fmt: skip
        assert await exchanged(peer, here, room_id, state_key, words) in (400, 403), words
    assert await exchanged(peer, here, "!nowhere:" + name_of(here), eve, right) in (403, 404)
    for user_id in (eve, bob.user_id, f"@x:{peer.name}"):
        assert await membership_of(alice, room_id, user_id) is None
    assert await exchanged(peer, here, room_id, eve, right) == 200
    event = next(one for one in (await alice.get("/rooms/{}/state", room_id)).ok() if one["state_key"] == eve)
    assert (event["sender"], event["content"]["membership"]) == (alice.user_id, "invite")
    assert "reason" not in event["content"]


async def test_a_promise_is_kept_once(here: RunningServer, peer: Peer) -> None:
    """T-C20: the words that were signed stand in the invite for all to read. They take nobody's seat, and bring nobody
    back who was removed."""
    alice, bob = await here.user("alice"), await here.user("bob")
    room_id = await alice.create_room(room_version="11", preset="public_chat")
    for token in ("promise", "other"):
        await promise(alice, room_id, token)
    room = await PeerRoom.visited(peer, name_of(here), room_id)
    assert await exchanged(peer, here, room_id, room.eve, signed(room.eve)) == 200
    assert await membership_of(alice, room_id, room.eve) == "join"
    onbind, words = "/_matrix/federation/v1/3pid/onbind", signed(bob.user_id, "other")
    waiting = {"mxid": bob.user_id, "invites": [{"room_id": room_id, "sender": alice.user_id, "signed": words}]}
    anyone = here.anonymous()
    (await anyone.put(onbind, body=waiting)).ok()
    assert await membership_of(alice, room_id, bob.user_id) == "invite"
    await bob.join(room_id)
    (await anyone.put(onbind, body=waiting)).ok()
    assert await membership_of(alice, room_id, bob.user_id) == "join"
    (await bob.post("/rooms/{}/join", room_id, body={"third_party_signed": words})).ok()
    (await alice.put("/rooms/{}/state/m.room.join_rules", room_id, body={"join_rule": "invite"})).ok()
    for user_id in (bob.user_id, room.eve):
        (await alice.post("/rooms/{}/kick", room_id, body={"user_id": user_id})).ok()
    (await anyone.put(onbind, body=waiting)).ok()
    (await bob.post("/rooms/{}/join", room_id, body={"third_party_signed": words})).refused(403, "M_FORBIDDEN")
    assert await exchanged(peer, here, room_id, room.eve, signed(room.eve)) == 403
    for user_id in (bob.user_id, room.eve):
        assert await membership_of(alice, room_id, user_id) == "leave"
    await promise(alice, room_id, "anew")
    takes_invites(peer)
    assert await exchanged(peer, here, room_id, room.eve, signed(room.eve, "anew")) == 200
    assert await membership_of(alice, room_id, room.eve) == "invite"


async def test_a_promise_is_no_leave_to_invite_in_anothers_name(here: RunningServer, peer: Peer) -> None:
    """T-C20: an invite by a promise may come from any server, so the promise's keys and its sender are all there is."""
    alice, bob = await here.user("alice"), await here.user("bob")
    room_id = await alice.create_room(room_version="11", preset="public_chat")
    await promise(alice, room_id)
    room = await PeerRoom.visited(peer, name_of(here), room_id)
    other_key = Signer(ServerName("identity.test"), "ed25519:0", b"\x06" * 32)

    def invite(sender: str, words: Any) -> Event:
        content = {"membership": "invite", "third_party_invite": {"display_name": "x", "signed": words}}
        return room.make("m.room.member", content, bob.user_id, sender=sender)

    await room.send(
        name_of(here),
        invite(room.eve, signed(bob.user_id)),
        invite(alice.user_id, signed(bob.user_id, by=other_key)),
        invite(alice.user_id, signed(room.eve)),
        invite(alice.user_id, signed(bob.user_id, "no such")),
        invite(alice.user_id, {"mxid": bob.user_id, "token": "promise"}),
    )
    await said(room, here, alice)
    assert await membership_of(alice, room_id, bob.user_id) is None


# --- a room that claims to come after another


async def test_a_room_of_others_inherits_nothing_of_ours_by_its_word(here: RunningServer, peer: Peer) -> None:
    """T-C26, T-C27: neither aliases nor what its members had set, unless our room says so too, by who may say it."""
    alice, bob = await here.user("alice"), await here.user("bob")
    old = await alice.create_room(preset="public_chat", room_version="11", room_alias_name="hof", visibility="public")
    honest = await alice.create_room(
        preset="public_chat", room_version="11", creation_content={"predecessor": {"room_id": old, "event_id": "$x"}}
    )
    await bob.join(old)
    (await bob.put("/pushrules/global/room/{}", old, body={"actions": []})).ok()
    (await bob.put("/user/{}/rooms/{}/tags/m.favourite", bob.user_id, old, body={"order": 0.5})).ok()
    inside = await PeerRoom.visited(peer, name_of(here), old)
    claims = PeerRoom(peer)
    create = {"room_version": "11", "predecessor": {"room_id": old, "event_id": "$x"}}
    claims.state.clear()
    claims.heads, claims.depth = [], 0
    claims.add("m.room.create", create, "", auth=[])
    claims.add("m.room.member", {"membership": "join"}, claims.eve)
    claims.add("m.room.power_levels", {"users": {claims.eve: 100}}, "")
    claims.add("m.room.join_rules", {"join_rule": "public"}, "")
    tombstone = inside.make("m.room.tombstone", {"replacement_room": claims.room_id, "body": "come"}, "")
    await inside.send(name_of(here), tombstone)
    await said(inside, here, alice)
    claims.answer_joins(bob.user_id)
    (await bob.post(f"/join/{{}}?via={peer.name}&server_name={peer.name}", claims.room_id)).ok()
    alias = claims.make("m.room.canonical_alias", {"alias": f"#hof:{name_of(here)}"}, "")
    await claims.send(name_of(here), alias)
    # They are looked after one by one, so what is done for a later one was left undone for the first.
    (await alice.put("/rooms/{}/state/m.room.tombstone", old, body={"replacement_room": honest})).ok()
    await bob.join(honest)

    async def is_copied() -> bool:
        return bool((await bob.get("/user/{}/rooms/{}/tags", bob.user_id, honest)).ok()["tags"])

    await until(is_copied)
    assert (await bob.get("/user/{}/rooms/{}/tags", bob.user_id, claims.room_id)).ok() == {"tags": {}}
    rules = {rule["rule_id"] for rule in (await bob.get("/pushrules/")).ok()["global"]["room"]}
    assert old in rules and claims.room_id not in rules
    found = (await alice.get("/directory/room/{}", f"#hof:{name_of(here)}")).ok()
    assert found["room_id"] == old
    listed = {room["room_id"] for room in (await alice.get("/publicRooms")).ok()["chunk"]}
    assert old in listed and claims.room_id not in listed
