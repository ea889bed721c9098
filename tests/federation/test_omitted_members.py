"""Joins through us by servers that want the members later: what they are told at once, and what they ask for then."""

from __future__ import annotations

from typing import Any

import pytest

from federation.client import path_of
from federation.templates import filled
from homeserver.core.identifiers import RoomId, UserId
from homeserver.core.room_versions import ROOM_VERSIONS
from homeserver.rooms.auth_graph import AuthGraphs
from homeserver.rooms.graph_reads import NEAR_STEPS_MAX, GraphReads
from homeserver.runtime.clock import SystemClock
from tests.federation.test_rooms import join, name_of
from tests.kit.server import Client, RunningServer

Json = dict[str, Any]
V1, V2 = "/_matrix/federation/v1", "/_matrix/federation/v2"


async def join_by_hand(here: RunningServer, there: RunningServer, user: Client, room_id: str, **query: str) -> Json:
    """The answer to a send_join that the other server signed."""
    assert there.hansa.federation is not None
    client, server = there.hansa.federation.client, here.hansa.signer.server_name
    user_id = UserId(str(user.user_id))
    template = await client.get(server, path_of(V1 + "/make_join/{}/{}", room_id, user_id), query={"ver": "12"})
    event = filled(
        ROOM_VERSIONS["12"],
        template["event"],
        room_id=RoomId(room_id),
        user_id=user_id,
        content={"membership": "join"},
        now_ms=SystemClock().now_ms(),
        signer=there.hansa.signer,
        event_id="",
    )
    return await client.put(server, path_of(V2 + "/send_join/{}/{}", room_id, event.event_id), event.pdu, query=query)


def members_of(answer: Json) -> set[str]:
    return {event["state_key"] for event in answer["state"] if event["type"] == "m.room.member"}


async def a_room(here: RunningServer, **body: Any) -> tuple[Client, str]:
    """A room with three local members."""
    alice = await here.user("alice")
    room_id = await alice.create_room(preset="public_chat", room_version="12", **body)
    for name in ("bob", "carol"):
        await (await here.user(name)).join(room_id)
    return alice, room_id


@pytest.mark.parametrize("query", [{}, {"omit_members": "false"}, {"omit_members": "1"}])
async def test_all_members_are_told_unless_they_are_not_wanted(
    here: RunningServer, there: RunningServer, query: dict[str, str]
) -> None:
    _, room_id = await a_room(here, name="Town")
    answer = await join_by_hand(here, there, await there.user("eve"), room_id, **query)
    assert answer["members_omitted"] is False
    assert len(members_of(answer)) == 3


async def test_members_are_left_out_where_they_are_not_wanted(here: RunningServer, there: RunningServer) -> None:
    """All else is there; what authorises the join and the state is in the chain, and nothing twice."""
    alice, room_id = await a_room(here, name="Town")
    whole = (await alice.get("/rooms/{}/state", room_id)).ok()
    answer = await join_by_hand(here, there, await there.user("eve"), room_id, omit_members="true")
    assert answer["members_omitted"] is True
    assert answer["servers_in_room"] == [name_of(here)]
    told = {(event["type"], event["state_key"]) for event in answer["state"]}
    assert told == {(e["type"], e["state_key"]) for e in whole if e["type"] != "m.room.member"}
    assert "m.room.member" in {event["type"] for event in answer["auth_chain"]}
    hashes = [event["hashes"]["sha256"] for event in (*answer["state"], *answer["auth_chain"])]
    assert len(set(hashes)) == len(hashes)


async def test_those_who_name_a_room_are_told(here: RunningServer, there: RunningServer) -> None:
    """A room without name and alias is called by its heroes."""
    _, room_id = await a_room(here)
    answer = await join_by_hand(here, there, await there.user("eve"), room_id, omit_members="true")
    assert {user.split(":")[0] for user in members_of(answer)} == {"@alice", "@bob", "@carol"}
    assert answer["members_omitted"] is False  # nobody but them is there


async def test_the_members_are_had_afterwards(here: RunningServer, there: RunningServer) -> None:
    """T-D16: the whole state before the join is told to the server that is in now, and to no other."""
    _, room_id = await a_room(here, name="Town")
    answer = await join_by_hand(here, there, await there.user("eve"), room_id, omit_members="true")
    assert there.hansa.federation is not None
    client, server = there.hansa.federation.client, here.hansa.signer.server_name
    prev = answer["event"]["prev_events"][0]
    ids = await client.get(server, path_of(V1 + "/state_ids/{}", room_id), query={"event_id": prev})
    state = await client.get(server, path_of(V1 + "/state/{}", room_id), query={"event_id": prev})
    named = {event["state_key"] for event in state["pdus"] if event["type"] == "m.room.member"}
    assert len(ids["pdu_ids"]) == len(state["pdus"]) > len(answer["state"])
    assert len(named) >= 2  # the state before an event that is a join itself lacks that one


async def test_servers_before_the_join_are_named(here: RunningServer, there: RunningServer) -> None:
    """One that is in already counts, as it was there before."""
    _, room_id = await a_room(here, name="Town")
    await join(await there.user("dan"), room_id, here)
    answer = await join_by_hand(here, there, await there.user("eve"), room_id, omit_members="true")
    assert answer["servers_in_room"] == [name_of(here), name_of(there)]


async def test_a_short_auth_chain_is_that_of_the_graph(here: RunningServer) -> None:
    """Read step by step where it is short, from the room's graph where it isn't: the same events."""
    alice, bob = await here.user("alice"), await here.user("bob")
    room_id = await alice.create_room(preset="public_chat")
    parts = here.hansa.rooms
    chains = []
    for is_long in (False, True):
        for _ in range(NEAR_STEPS_MAX if is_long else 1):
            await bob.join(room_id)
            (await bob.post("/rooms/{}/leave", room_id)).ok()
        room = await parts.rooms.get(RoomId(room_id))
        member = await parts.rooms.state_event(RoomId(room_id), "m.room.member", bob.user_id)
        assert room is not None and member is not None
        reads = GraphReads(here.db, parts.rooms, parts.store, parts.numbers, AuthGraphs(here.db))
        graphs = AuthGraphs(here.db)
        whole = GraphReads(here.db, parts.rooms, parts.store, parts.numbers, graphs)
        await graphs.of(room.nid, room.version)
        found = [one.event.event_id for one in await reads.chain_behind(room, [member])]
        assert found == [one.event.event_id for one in await whole.chain_behind(room, [member])]
        chains.append(len(found))
    assert 3 < chains[0] <= NEAR_STEPS_MAX < chains[1]
