"""Account data that goes: deleted by its user, or with the device that it is about."""

from __future__ import annotations

import pytest

from tests.kit.server import RunningServer

UNSTABLE = "/_matrix/client/unstable/org.matrix.msc3391/user/{}"


async def test_entries_are_deleted(server: RunningServer) -> None:
    """By DELETE (MSC3391) as by setting {}: told once to syncs that go on, to no first one; nobody else's."""
    alice, eve = await server.user("alice"), await server.user("eve")
    room_id = await alice.create_room()
    account, room = "/user/{}/account_data/org.example", "/user/{}/rooms/{}/account_data/org.example"
    (await alice.put(account, alice.user_id, body={"a": 1})).ok()
    (await alice.put(room, alice.user_id, room_id, body={"b": 1})).ok()
    since = (await alice.sync())["next_batch"]
    (await eve.delete(UNSTABLE + "/account_data/org.example", alice.user_id)).refused(403, "M_FORBIDDEN")
    (await alice.delete(UNSTABLE + "/account_data/org.example", alice.user_id)).ok()
    (await alice.delete(UNSTABLE + "/rooms/{}/account_data/org.example", alice.user_id, room_id)).ok()
    (await alice.get(account, alice.user_id)).refused(404, "M_NOT_FOUND")
    (await alice.get(room, alice.user_id, room_id)).refused(404, "M_NOT_FOUND")
    gone = {"type": "org.example", "content": {}}
    answer = await alice.sync(since=since)
    assert gone in answer["account_data"]["events"]
    assert gone in answer["rooms"]["join"][room_id]["account_data"]["events"]
    assert gone not in (await alice.sync())["account_data"]["events"]
    refused = await alice.delete(UNSTABLE + "/account_data/m.push_rules", alice.user_id)
    assert refused.status == 405


@pytest.mark.parametrize("prefix", ["m.", "org.matrix.msc3890."])
async def test_what_is_kept_about_a_device_goes_with_it(server: RunningServer, prefix: str) -> None:
    """MSC3890: whether a device is silent. That of another device stays."""
    alice = await server.user("alice")
    other = await server.login("alice")
    kinds = [f"{prefix}local_notification_settings.{device.device_id}" for device in (alice, other)]
    for kind in kinds:
        (await alice.put("/user/{}/account_data/{}", alice.user_id, kind, body={"is_silenced": True})).ok()
    since = (await alice.sync())["next_batch"]
    (await other.post("/logout")).ok()
    (await alice.get("/user/{}/account_data/{}", alice.user_id, kinds[1])).refused(404, "M_NOT_FOUND")
    assert (await alice.get("/user/{}/account_data/{}", alice.user_id, kinds[0])).ok() == {"is_silenced": True}
    told = (await alice.sync(since=since))["account_data"]["events"]
    assert told == [{"type": kinds[1], "content": {}}]
