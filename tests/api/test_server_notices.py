"""What the server says to its users."""

from __future__ import annotations

from tests.api.test_account_moderation import administrator
from tests.kit.server import RunningServer

_PATH = "/_synapse/admin/v1/send_server_notice"


async def test_notices_come_in_one_room(server: RunningServer) -> None:
    boss, alice = await administrator(server), await server.user("alice")
    # Nobody blocks the server's own voice.
    path = "/user/{}/account_data/m.invite_permission_config"
    body = {"user_id": alice.user_id, "content": {"msgtype": "m.server_notice", "body": "Moin"}}
    (await alice.post(_PATH, body=body)).refused(403, "M_FORBIDDEN")
    event_id = (await boss.post(_PATH, body=body)).ok()["event_id"]
    invited = (await alice.sync())["rooms"]["invite"]
    [room] = invited
    assert invited[room]["invite_state"]["events"][0]["sender"] == "@_server:hansa.test"
    (await alice.post("/rooms/{}/leave", room)).refused(403, "M_CANNOT_LEAVE_SERVER_NOTICE_ROOM")
    content = {"membership": "leave"}
    refused = await alice.put("/rooms/{}/state/m.room.member/{}", room, alice.user_id, body=content)
    refused.refused(403, "M_CANNOT_LEAVE_SERVER_NOTICE_ROOM")
    await alice.join(room)
    joined = (await alice.sync())["rooms"]["join"][room]
    assert event_id in [event["event_id"] for event in joined["timeline"]["events"]]
    assert {"type": "m.tag", "content": {"tags": {"m.server_notice": {}}}} in joined["account_data"]["events"]
    (await alice.put("/rooms/{}/send/m.room.message/1", room, body={"body": "hi"})).refused(403, "M_FORBIDDEN")
    (await alice.post("/rooms/{}/leave", room)).ok()
    (await alice.put(path, alice.user_id, body={"default_action": "block"})).ok()
    (await boss.post(_PATH, body=body)).ok()
    (await alice.put(path, alice.user_id, body={})).ok()
    assert list((await alice.sync())["rooms"]["invite"]) == [room]
    once = [(await boss.put(_PATH + "/1", body=body)).ok() for _ in range(2)]
    assert once[0] == once[1]
    (await boss.post(_PATH, body={**body, "user_id": "@nobody:hansa.test"})).refused(404, "M_NOT_FOUND")
    (await boss.post(_PATH, body={**body, "user_id": "@x:elsewhere"})).refused(400, "M_INVALID_PARAM")


async def test_other_invites_can_be_declined(server: RunningServer) -> None:
    alice, bob = await server.user("alice"), await server.user("bob")
    room = await bob.create_room(invite=[alice.user_id])
    (await alice.post("/rooms/{}/leave", room)).ok()
