"""What another server may read of rooms: those it is in, their own events, and as its users may see them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest

from federation.client import FederationError, path_of
from tests.api.test_account_end import password_of
from tests.federation.test_hostile_peers import joined
from tests.federation.test_rooms import join, members, name_of
from tests.kit.authority import Authority
from tests.kit.federation import federated_server
from tests.kit.peer import running_peer
from tests.kit.postgres import PostgresForTests
from tests.kit.server import Client, RunningServer
from tests.kit.until import until

V1 = "/_matrix/federation/v1"
Json = dict[str, Any]


class Asker:
    """The other server's questions, signed with its key."""

    def __init__(self, here: RunningServer, there: RunningServer) -> None:
        assert there.hansa.federation is not None
        self._client = there.hansa.federation.client
        self._to = here.hansa.signer.server_name

    async def get(self, template: str, *segments: str, **query: str) -> Json:
        return await self._client.get(self._to, path_of(V1 + template, *segments), query=query)

    async def missing(self, room_id: str, latest: list[str]) -> Json:
        body: Json = {"latest_events": latest, "earliest_events": [], "limit": 20}
        return await self._client.post(self._to, path_of(V1 + "/get_missing_events/{}", room_id), body)

    def questions(self, room_id: str, event_id: str) -> dict[str, Callable[[], Awaitable[Json]]]:
        """Every question that names a room, about an event."""
        return {
            "state": lambda: self.get("/state/{}", room_id, event_id=event_id),
            "state_ids": lambda: self.get("/state_ids/{}", room_id, event_id=event_id),
            "event_auth": lambda: self.get("/event_auth/{}/{}", room_id, event_id),
            "backfill": lambda: self.get("/backfill/{}", room_id, v=event_id, limit="10"),
            "get_missing_events": lambda: self.missing(room_id, [event_id]),
            "timestamp_to_event": lambda: self.get("/timestamp_to_event/{}", room_id, ts="0", dir="f"),
        }


async def refusal(question: Awaitable[Json]) -> int:
    with pytest.raises(FederationError) as refused:
        await question
    return refused.value.status


async def two_rooms(here: RunningServer, there: RunningServer) -> tuple[Client, Client, str, str]:
    """A private room of Alice's, and one that both servers are in."""
    alice, eve = await here.user("alice"), await there.user("eve")
    private = await alice.create_room(preset="private_chat", name="Cellar")
    shared = await alice.create_room(preset="public_chat", name="Town")
    await join(eve, shared, here)
    return alice, eve, private, shared


async def test_rooms_that_a_server_isnt_in_are_closed_to_it(here: RunningServer, there: RunningServer) -> None:
    """T-D2, T-D4, T-D5, T-D7: each question is asked whether the server is in the room, its users being elsewhere."""
    alice, _, private, _ = await two_rooms(here, there)
    secret = await alice.send(private, "secret")
    asker = Asker(here, there)
    for name, ask in asker.questions(private, secret).items():
        assert await refusal(ask()) in (403, 404), name
    assert await refusal(asker.get("/event/{}", secret)) in (403, 404)


async def test_an_invite_opens_nothing_yet(here: RunningServer, there: RunningServer) -> None:
    """T-D7: a server with an invited user alone reads no state, no members and no messages."""
    alice, eve = await here.user("alice"), await there.user("eve")
    private = await alice.create_room(preset="private_chat")
    secret = await alice.send(private, "secret")
    (await alice.post("/rooms/{}/invite", private, body={"user_id": eve.user_id})).ok()
    asker = Asker(here, there)
    for name, ask in asker.questions(private, secret).items():
        assert await refusal(ask()) == 403, name
    (await eve.post("/join/{}", private)).ok()
    assert (await asker.get("/event/{}", secret))["pdus"]


async def test_events_of_other_rooms_are_no_way_in(here: RunningServer, there: RunningServer) -> None:
    """T-D1, T-D2, T-D3: the id of a private event, asked for in a room that the server is in, gives nothing."""
    alice, _, private, shared = await two_rooms(here, there)
    secret = await alice.send(private, "secret")
    asker = Asker(here, there)
    questions = asker.questions(shared, secret)
    for name in ("state", "state_ids", "event_auth"):
        assert await refusal(questions[name]()) == 404, name
    assert (await questions["backfill"]())["pdus"] == []
    assert (await questions["get_missing_events"]())["events"] == []


async def test_who_was_erased_is_read_by_those_who_heard_them(here: RunningServer, there: RunningServer) -> None:
    """T-I24, T-D14: a server that comes after an account was erased gets none of its words; one that was there does."""
    alice, bob, eve = await here.user("alice"), await here.user("bob"), await there.user("eve")
    room_id, heard_in = await alice.create_room(preset="public_chat"), await alice.create_room(preset="public_chat")
    await join(eve, heard_in, here)
    await bob.join(heard_in)
    heard = await bob.send(heard_in, "heard")
    await bob.join(room_id)
    before, others = await bob.send(room_id, "before"), await alice.send(room_id, "of another")
    (await bob.post("/account/deactivate", body={"auth": password_of(bob), "erase": True})).ok()
    await join(eve, room_id, here)
    last = await alice.send(room_id, "last")
    asker = Asker(here, there)
    for event_id, words in ((before, None), (others, "of another"), (heard, "heard")):
        assert (await asker.get("/event/{}", event_id))["pdus"][0]["content"].get("body") == words
    for pdus in (
        (await asker.get("/backfill/{}", room_id, v=last, limit="20"))["pdus"],
        (await asker.missing(room_id, [last]))["events"],
    ):
        said = [pdu["content"].get("body") for pdu in pdus if pdu["type"] == "m.room.message"]
        assert None in said and "before" not in said and "of another" in said


async def test_each_event_is_shown_as_its_users_may_see_it(here: RunningServer, there: RunningServer) -> None:
    """T-D6, T-D14: what was said before the server came is redacted for it where newcomers don't see the past, and
    only for it: an answer for one server isn't kept for another."""
    alice, eve = await here.user("alice"), await there.user("eve")
    state = [{"type": "m.room.history_visibility", "state_key": "", "content": {"history_visibility": "joined"}}]
    room_id = await alice.create_room(preset="public_chat", initial_state=state)
    before = await alice.send(room_id, "before")
    await join(eve, room_id, here)
    after = await alice.send(room_id, "after")
    asker = Asker(here, there)

    async def content(event_id: str) -> Json:
        found: Json = (await asker.get("/event/{}", event_id))["pdus"][0]["content"]
        return found

    assert await content(before) == {}
    assert (await content(after))["body"] == "after"
    for answer in (
        (await asker.get("/backfill/{}", room_id, v=after, limit="50"))["pdus"],
        (await asker.missing(room_id, [after]))["events"],
    ):
        bodies = [event["content"].get("body") for event in answer if event["type"] == "m.room.message"]
        assert bodies and "before" not in bodies
    shown = (await alice.get("/rooms/{}/event/{}", room_id, before)).ok()
    assert shown["content"]["body"] == "before"


async def test_who_left_reads_no_more(here: RunningServer, there: RunningServer) -> None:
    """T-D15, T-D7: a server whose last user left is asked nothing and told nothing."""
    alice, eve, _, shared = await two_rooms(here, there)
    (await eve.post("/rooms/{}/leave", shared)).ok()

    async def eve_is_gone() -> bool:
        return await members(alice, shared) == {alice.user_id}

    await until(eve_is_gone)
    secret = await alice.send(shared, "later")
    asker = Asker(here, there)
    for name, ask in asker.questions(shared, secret).items():
        assert await refusal(ask()) == 403, name
    assert await refusal(asker.get("/event/{}", secret)) == 403


async def test_who_is_shut_out_is_refused_everywhere(here: RunningServer, there: RunningServer) -> None:
    """T-C24: by the room's ACL, at each endpoint that names the room; and its events and EDUs in transactions."""
    alice, eve, _, shared = await two_rooms(here, there)
    last = await alice.send(shared, "before")
    acl = {"allow": ["*"], "deny": ["localhost"]}
    (await alice.put("/rooms/{}/state/m.room.server_acl", shared, body=acl)).ok()
    asker = Asker(here, there)
    for name, ask in asker.questions(shared, last).items():
        assert await refusal(ask()) == 403, name
    for verb in ("join", "leave", "knock"):
        assert await refusal(asker.get(f"/make_{verb}/{{}}/{{}}", shared, eve.user_id, ver="12")) == 403, verb
    assert there.hansa.federation is not None
    put, to = there.hansa.federation.client.put, here.hansa.signer.server_name
    pdu = {"room_id": shared, "type": "m.room.member", "sender": eve.user_id, "state_key": eve.user_id, "content": {}}
    for verb in ("join", "leave", "knock"):
        version = "v1" if verb == "knock" else "v2"
        path = path_of(f"/_matrix/federation/{version}/send_{verb}/{{}}/{{}}", shared, last)
        assert await refusal(put(to, path, pdu)) in (400, 403), verb
    (await eve.put("/rooms/{}/typing/{}", shared, eve.user_id, body={"typing": True, "timeout": 60_000})).ok()
    typing = {"room_id": shared, "user_id": eve.user_id, "typing": True}
    body: Json = {"origin_server_ts": 1, "pdus": [], "edus": [{"edu_type": "m.typing", "content": typing}]}
    assert await put(to, V1 + "/send/shut_out", body) == {"pdus": {}}
    told = (await alice.sync())["rooms"]["join"][shared]["ephemeral"]["events"]
    assert [event for event in told if event["type"] == "m.typing" and event["content"]["user_ids"]] == []


async def test_times_that_are_none(here: RunningServer, authority: Authority) -> None:
    """T-E18: asked for, they are refused; told by another server, our user is told that there is no such event."""
    async with running_peer(authority) as peer:
        alice, room = await joined(here, peer)
        path = f"{V1}/timestamp_to_event/{room.room_id}?dir=b&ts="
        for ts, status in ((2**53 - 1, 200), (2**53, 400), (2**63, 400), (-(2**63) - 1, 400), (10**40, 400)):
            assert (await peer.ask("GET", name_of(here), f"{path}{ts}")).status == status, ts
        for event_id in ("$\x00" + "A" * 42, "x", 5, "$" + "x" * 300):
            answer = {"event_id": event_id, "origin_server_ts": 2**60}
            peer.answers[V1 + "/timestamp_to_event"] = partial(_same, answer)
            path = "/_matrix/client/v1/rooms/{}/timestamp_to_event?ts=1&dir=b"
            (await alice.get(path, room.room_id)).refused(404, "M_NOT_FOUND")


def _same(answer: Json, sent: Any) -> Json:
    return answer


async def test_only_who_may_join_is_told_how(here: RunningServer, there: RunningServer) -> None:
    """T-D16: make_join looks at the join rules first; nothing of a private room goes out by it."""
    _, eve, private, shared = await two_rooms(here, there)
    asker = Asker(here, there)
    assert await refusal(asker.get("/make_join/{}/{}", private, eve.user_id, ver="12")) == 403
    other = f"@other:{name_of(there)}"
    template = await asker.get("/make_join/{}/{}", shared, other, ver="12")
    assert template["event"]["state_key"] == other


async def test_users_of_others_are_none_of_ours(here: RunningServer, there: RunningServer) -> None:
    """T-D12: what this server knows of other servers' users is for its own users alone."""
    _, eve, _, _ = await two_rooms(here, there)
    asker = Asker(here, there)
    assert await refusal(asker.get("/user/devices/{}", eve.user_id)) in (400, 403, 404)
    assert await refusal(asker.get("/query/profile", user_id=eve.user_id)) in (400, 403, 404)
    alice = await here.user("amy")
    assert (await asker.get("/user/devices/{}", alice.user_id))["user_id"] == alice.user_id


async def test_the_directory_is_closed_unless_opened(here: RunningServer, there: RunningServer) -> None:
    """T-D17: the list of public rooms isn't told to servers by default."""
    alice = await here.user("alice")
    await alice.create_room(preset="public_chat", visibility="public", name="Market")
    assert await refusal(Asker(here, there).get("/publicRooms")) == 403


async def test_profiles_may_be_for_servers_that_share_a_room(
    there: RunningServer, postgres: PostgresForTests, authority: Authority
) -> None:
    """T-G15: a refusal tells of no account."""
    toml = '[profiles]\nlookups = "sharing"'
    async with postgres.fresh() as dsn, federated_server(dsn, authority, toml=toml) as here:
        alice, eve = await here.user("alice"), await there.user("eve")
        asker, shared = Asker(here, there), await alice.create_room(preset="public_chat")
        for user_id in (alice.user_id, "@nobody:" + alice.user_id.partition(":")[2]):
            assert await refusal(asker.get("/query/profile", user_id=user_id)) == 403
        await join(eve, shared, here)
        assert await asker.get("/query/profile", user_id=alice.user_id) == {"displayname": "alice"}
