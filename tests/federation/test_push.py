"""Users are notified of what other servers say."""

from __future__ import annotations

from tests.kit.authority import Authority
from tests.kit.push_gateway import push_gateway
from tests.kit.server import RunningServer


async def test_invites_and_messages_of_others_are_pushed(
    here: RunningServer, there: RunningServer, authority: Authority
) -> None:
    async with push_gateway(authority) as gateway:
        alice, bob = await here.user("alice"), await there.user("bob")
        (await bob.post("/pushers/set", body=gateway.pusher())).ok()
        room_id = await alice.create_room(preset="private_chat", name="Parlour")
        (await alice.post("/rooms/{}/invite", room_id, body={"user_id": bob.user_id})).ok()
        invite = await gateway.next()
        assert (invite["room_id"], invite["user_is_target"], invite["room_name"]) == (room_id, True, "Parlour")
        assert invite["sender_display_name"] == "alice"
        (await bob.post("/join/{}", room_id)).ok()
        event_id = await alice.send(room_id, "welcome")
        told = await gateway.next()
        while told.get("event_id") != event_id:  # a badge may come between
            told = await gateway.next()
        assert told["counts"] == {"unread": 1}
