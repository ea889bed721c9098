"""Guests: what they may reach, and how they become users."""

from __future__ import annotations

from homeserver.web.endpoint import Access
from tests.kit.server import Client, RunningServer

# spec: client-server-api/#client-behaviour-5, with what those need (filters, account data, logging out…)
_FOR_GUESTS = """
    rooms/{room_id}/state rooms/{room_id}/state/{event_type} rooms/{room_id}/state/{event_type}/{state_key}
    rooms/{room_id}/context/{event_id} rooms/{room_id}/event/{event_id} rooms/{room_id}/messages
    rooms/{room_id}/members rooms/{room_id}/timestamp_to_event rooms/{room_id}/initialSync sync events events/{event_id}
    media/config media/download/{server_name}/{media_id} media/download/{server_name}/{media_id}/{file_name}
    media/thumbnail/{server_name}/{media_id}
    rooms/{room_id}/join join/{room_id_or_alias} rooms/{room_id}/leave rooms/{room_id}/forget
    rooms/{room_id}/send/{event_type}/{txn_id} rooms/{room_id}/redact/{event_id}/{txn_id}
    sendToDevice/{event_type}/{txn_id} profile/{user_id}/{field} devices devices/{device_id} account/whoami
    logout logout/all keys/upload keys/query keys/claim capabilities joined_rooms publicRooms voip/turnServer
    user/{user_id}/filter user/{user_id}/filter/{filter_id} user/{user_id}/account_data/{kind}
    user/{user_id}/rooms/{room_id}/account_data/{kind} org.matrix.simplified_msc3575/sync
    rooms/{room_id}/relations/{event_id} rooms/{room_id}/relations/{event_id}/{rel_type}
    rooms/{room_id}/relations/{event_id}/{rel_type}/{event_type} rooms/{room_id}/threads rooms/{room_id}/hierarchy
    org.matrix.msc4140/delayed_events org.matrix.msc4140/delayed_events/{delay_id}
    org.matrix.msc3391/user/{user_id}/account_data/{kind}
    org.matrix.msc3391/user/{user_id}/rooms/{room_id}/account_data/{kind}
"""


async def guest(server: RunningServer) -> Client:
    registered = await server.anonymous().request("POST", "/register", query={"kind": "guest"}, body={})
    account = registered.ok()
    client = server.anonymous()
    client.token, client.user_id = account["access_token"], account["user_id"]
    return client


async def test_guests_reach_what_is_meant_for_them(server: RunningServer) -> None:
    """T-G21: a list of what they may, not of what they mayn't."""
    allowed = set(_FOR_GUESTS.split())
    reached = {
        declared.paths[0].removeprefix("/_matrix/client/").partition("/")[2]
        for declared in server.hansa.endpoints
        if declared.access is Access.GUEST
    }
    assert reached - allowed == set()
    client = await guest(server)
    for method, path in (
        ("POST", "/createRoom"),
        ("GET", "/account/3pid"),
        ("GET", "/pushrules/"),
        ("POST", "/rooms/!x:hansa.test/invite"),
        ("PUT", f"/presence/{client.user_id}/status"),
        ("POST", "/user_directory/search"),
        ("POST", "/account/password"),
    ):
        body = {"new_password": "long enough"} if "password" in path else {}
        refused = await client.request(method, path, body=body)
        refused.refused(403, "M_GUEST_ACCESS_FORBIDDEN")


async def test_a_guest_becomes_a_user(server: RunningServer) -> None:
    client, alice = await guest(server), await server.user("alice")
    name = client.user_id[1:].partition(":")[0]
    body = {"username": name, "password": "correct horse battery", "auth": {"type": "m.login.dummy"}}
    anonymous = server.anonymous()
    (await anonymous.post("/register", body=body)).refused(400, "M_USER_IN_USE")
    for token in (alice.token, "x", "y" * 1000):
        (await anonymous.post("/register", body={**body, "guest_access_token": token})).refused(403, "M_FORBIDDEN")
    taken = {**body, "username": "other", "guest_access_token": client.token}
    (await anonymous.post("/register", body=taken)).refused(403, "M_FORBIDDEN")
    made = (await anonymous.post("/register", body={**body, "guest_access_token": client.token})).ok()
    assert made["user_id"] == client.user_id
    assert (await client.get("/account/whoami")).ok()["is_guest"] is False
    await client.create_room()
    again = await anonymous.post("/register", body={**body, "guest_access_token": client.token})
    again.refused(403, "M_FORBIDDEN")


async def test_a_guest_only_comes_and_goes(server: RunningServer) -> None:
    """T-G21: what guests don't reach by an endpoint of its own, they don't reach as a state event either."""
    alice, bob = await server.user("alice"), await server.user("bob")
    opened = {"type": "m.room.guest_access", "content": {"guest_access": "can_join"}}
    room = await alice.create_room(
        preset="public_chat", initial_state=[opened], power_level_content_override={"users_default": 90}
    )
    client, other = await guest(server), await guest(server)
    await client.join(room)
    path = "/rooms/{}/state/m.room.member/{}"
    for target, membership in ((bob, "invite"), (other, "invite"), (bob, "ban"), (alice, "leave"), (client, "knock")):
        body = {"membership": membership}
        refused = await client.put(path, room, target.user_id, body=body)
        refused.refused(403, "M_GUEST_ACCESS_FORBIDDEN")
    (await client.put(path, room, client.user_id, body={"membership": "join", "displayname": "G"})).ok()
    (await client.put(path, room, client.user_id, body={"membership": "leave"})).ok()
    (await client.put(path, room, client.user_id, body={"membership": "join"})).ok()
