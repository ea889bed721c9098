"""Keys that devices have signed, queues that stay bounded, and who hears of a device that is renamed or ends."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from nacl.signing import SigningKey

from homeserver.encryption import to_device
from tests.api.test_keys import cross_key, device_keys, query, sign, upload
from tests.kit.server import Client, RunningServer

DEHYDRATED = "/_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device"


async def together(server: RunningServer) -> tuple[Client, Client]:
    """Two users who share a room."""
    alice, bob = await server.user("alice"), await server.user("bob")
    await bob.join(await alice.create_room(preset="public_chat"))
    return alice, bob


async def changed(client: Client, since: str) -> list[str]:
    found: list[str] = (await client.sync(since=since)).get("device_lists", {}).get("changed", [])
    return found


async def test_device_keys_carry_the_devices_own_signature(server: RunningServer) -> None:
    """T-F6, T-F20, T-P7: keys that another key has signed are refused; right ones are kept as signed."""
    alice = await server.user("alice")
    key, other = SigningKey.generate(), SigningKey.generate()
    right = device_keys(alice, key)
    unsigned = {**right, "signatures": {}}
    wrong = [
        sign(unsigned, alice.user_id, alice.device_id, other),
        {**right, "algorithms": ["changed.after.signing"]},
        {**right, "keys": {f"curve25519:{alice.device_id}": "x"}},
    ]
    for keys in wrong:
        (await upload(alice, device_keys=keys)).refused(400, "M_INVALID_SIGNATURE")
    (await upload(alice, device_keys={**right, "unsigned": {"device_display_name": "x"}})).ok()
    shown = (await query(alice, alice.user_id))["device_keys"][alice.user_id][alice.device_id]
    assert {name: value for name, value in shown.items() if name != "unsigned"} == right
    asleep = {"device_id": "SLEEPER", "device_data": {"algorithm": "x"}}
    (await alice.put(DEHYDRATED, body={**asleep, "device_keys": {**unsigned, "device_id": "SLEEPER"}})).refused(
        400, "M_INVALID_PARAM"
    )


async def test_a_master_key_carries_no_forged_signatures(server: RunningServer) -> None:
    """T-F6: neither in the name of one's own device nor in that of others."""
    alice = await server.user("alice")
    key, master = SigningKey.generate(), SigningKey.generate()
    (await upload(alice, device_keys=device_keys(alice, key))).ok()
    bare = cross_key(alice, "master", master)
    forged = sign(bare, alice.user_id, alice.device_id, master)
    (await alice.post("/keys/device_signing/upload", body={"master_key": forged})).refused(400, "M_INVALID_SIGNATURE")
    signed = sign(bare, alice.user_id, alice.device_id, key)
    body = {"master_key": sign(signed, "@bob:hansa.test", "BOBS", master)}
    (await alice.post("/keys/device_signing/upload", body=body)).ok()
    assert (await query(alice, alice.user_id))["master_keys"][alice.user_id] == signed


async def test_device_keys_carry_nobody_elses_signatures(server: RunningServer) -> None:
    """T-F6, T-F7: whoever uploads them doesn't speak for others."""
    alice, bob = await server.user("alice"), await server.user("bob")
    own = device_keys(alice, SigningKey.generate())
    (await upload(alice, device_keys=sign(own, bob.user_id, "BOBS", SigningKey.generate()))).ok()
    for viewer in (alice, bob):
        keys = (await query(viewer, alice.user_id))["device_keys"][alice.user_id][alice.device_id]
        assert keys["signatures"] == own["signatures"]


async def test_keys_that_cannot_be_read_are_not_replaced(server: RunningServer) -> None:
    """T-F12: a damaged master key is an error of ours, no reason to take another without a password."""
    alice = await server.user("alice")
    first, second = (cross_key(alice, "master", SigningKey.generate()) for _ in range(2))
    (await alice.post("/keys/device_signing/upload", body={"master_key": first})).ok()
    await server.db.execute("UPDATE cross_signing_keys SET key = $1", b"damaged")
    (await alice.post("/keys/device_signing/upload", body={"master_key": second})).refused(500, "M_UNKNOWN")
    assert await server.db.fetchval("SELECT key FROM cross_signing_keys") == b"damaged"


async def test_one_time_keys_are_capped_by_algorithm(server: RunningServer) -> None:
    """T-F10: 500 of each, also when uploads come at once; and never two keys under one name."""
    alice = await server.user("alice")

    async def put(algorithm: str, first: int, count: int, key: str = "x") -> int:
        keys = {f"{algorithm}:{number}": {"key": key, "signatures": {}} for number in range(first, first + count)}
        status: int = (await upload(alice, one_time_keys=keys)).status
        return status

    statuses = await asyncio.gather(*(put("signed_curve25519", first, 100) for first in range(0, 600, 100)))
    assert sorted(statuses) == [200] * 5 + [429]
    counts = (await upload(alice)).ok()["one_time_key_counts"]
    assert counts == {"signed_curve25519": 500}
    assert await put("signed_curve25519", 1000, 1) == 429
    assert await put("other", 0, 500) == 200
    tablet = await server.login("alice")
    same = {"signed_curve25519:same": {"key": "x", "signatures": {}}}
    other = {"signed_curve25519:same": {"key": "y", "signatures": {}}}
    answers = await asyncio.gather(*(upload(tablet, one_time_keys=keys) for keys in (same, other)))
    assert sorted(answer.status for answer in answers) == [200, 400]


@pytest.mark.parametrize(("messages", "size"), [(5, 10_000_000), (1_000, 700)])
async def test_a_queue_that_nobody_reads_stays_bounded(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch, messages: int, size: int
) -> None:
    """T-F3: by number and by bytes; the newest stay."""
    monkeypatch.setattr(to_device, "PENDING_PER_DEVICE_MAX", messages)
    monkeypatch.setattr(to_device, "PENDING_BYTES_MAX", size)
    monkeypatch.setattr(to_device, "_LOOK_AFTER_MESSAGES", 2)
    alice, bob = await server.user("alice"), await server.user("bob")
    for number in range(20):
        body = {"messages": {bob.user_id: {"*": {"n": number, "pad": "x" * 50}}}}
        (await alice.put("/sendToDevice/{}/{}", "org.x", str(number), body=body)).ok()
    found = [message["content"]["n"] for message in (await bob.sync())["to_device"]["events"]]
    assert found == list(range(20 - len(found), 20)) and 3 <= len(found) <= 8


async def test_a_request_stays_bounded_once_spread_over_devices(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """T-F3: `*` doesn't make megabytes into gigabytes; nor is a message too large."""
    monkeypatch.setattr(to_device, "REQUEST_BYTES_MAX", 3_000)
    alice = await server.user("alice")
    await server.login("alice")

    async def send(txn_id: str, size: int) -> Any:
        body = {"messages": {alice.user_id: {"*": {"pad": "x" * size}}}}
        return await alice.put("/sendToDevice/{}/{}", "org.x", txn_id, body=body)

    (await send("a", 1_000)).ok()
    (await send("b", 1_800)).refused(413, "M_TOO_LARGE")
    (await send("c", 66_000)).refused(413, "M_TOO_LARGE")


async def test_the_sender_of_a_message_is_its_sender(server: RunningServer) -> None:
    """T-F1: whatever the content says."""
    alice, bob = await server.user("alice"), await server.user("bob")
    content = {"sender": bob.user_id, "type": "m.room_key"}
    body = {"messages": {bob.user_id: {"*": content}}, "sender": bob.user_id}
    (await alice.put("/sendToDevice/{}/{}", "org.x", "1", body=body)).ok()
    expected = {"sender": alice.user_id, "type": "org.x", "content": content}
    assert (await bob.sync())["to_device"]["events"] == [expected]


async def test_a_renamed_device_is_told(server: RunningServer) -> None:
    """T-F9: its name is shown beside its keys."""
    alice, bob = await together(server)
    since = (await bob.sync())["next_batch"]
    (await alice.put("/devices/{}", alice.device_id, body={"display_name": "phone"})).ok()
    assert await changed(bob, since) == [alice.user_id]
    (await alice.put("/devices/{}", "NOTHING", body={"display_name": "phone"})).refused(404, "M_NOT_FOUND")


@pytest.mark.parametrize("end", ["/logout", "/logout/all", "/account/deactivate"])
async def test_the_end_of_a_device_is_told_with_it(server: RunningServer, end: str) -> None:
    """T-F9, T-H7: the keys are gone and who shares a room hears of it, in one transaction or not at all."""
    alice, bob = await together(server)
    (await upload(alice, device_keys=device_keys(alice, SigningKey.generate()))).ok()
    since = (await bob.sync())["next_batch"]
    auth = {"type": "m.login.password", "identifier": {"type": "m.id.user", "user": "alice"}}
    body = {"auth": {**auth, "password": "correct horse battery"}} if "deactivate" in end else {}
    await server.db.execute("ALTER TABLE device_list_changes ADD CONSTRAINT broken CHECK (position < 0) NOT VALID")
    assert (await alice.post(end, body=body)).status == 500
    assert alice.device_id in (await query(bob, alice.user_id))["device_keys"][alice.user_id]
    (await alice.get("/account/whoami")).ok()
    await server.db.execute("ALTER TABLE device_list_changes DROP CONSTRAINT broken")
    (await alice.post(end, body=body)).ok()
    told = (await bob.sync(since=since))["device_lists"]
    assert alice.user_id in [*told.get("changed", []), *told.get("left", [])]
    assert (await query(bob, alice.user_id))["device_keys"][alice.user_id] == {}


async def test_deactivation_ends_a_dehydrated_device(server: RunningServer) -> None:
    alice = await server.user("alice")
    bob = await server.user("bob")
    sleeper = server.anonymous()
    sleeper.user_id, sleeper.device_id = alice.user_id, "SLEEPER"
    keys = device_keys(sleeper, SigningKey.generate())
    body = {"device_id": "SLEEPER", "device_data": {"algorithm": "x"}, "device_keys": keys}
    (await alice.put(DEHYDRATED, body=body)).ok()
    auth = {"type": "m.login.password", "identifier": {"type": "m.id.user", "user": "alice"}}
    (await alice.post("/account/deactivate", body={"auth": {**auth, "password": "correct horse battery"}})).ok()
    assert (await query(bob, alice.user_id))["device_keys"][alice.user_id] == {}
    assert await server.db.fetchval("SELECT count(*) FROM dehydrated_devices") == 0


async def test_encryption_is_not_redacted_away(server: RunningServer) -> None:
    """T-F19: the event that says that a room is encrypted stays as it is."""
    alice = await server.user("alice")
    room_id = await alice.create_room(preset="private_chat")
    content = {"algorithm": "m.megolm.v1.aes-sha2"}
    path = "/rooms/{}/state/m.room.encryption"
    event_id = (await alice.put(path, room_id, body=content)).ok()["event_id"]
    (await alice.put("/rooms/{}/redact/{}/1", room_id, event_id)).refused(403, "M_FORBIDDEN")
    for other in ({}, {"algorithm": ""}, {"algorithm": 1}, {"algorithm": ["m.megolm.v1.aes-sha2"]}):
        (await alice.put(path, room_id, body=other)).refused(403, "M_FORBIDDEN")
    assert (await alice.get(path, room_id)).ok() == content
