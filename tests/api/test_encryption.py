"""Who hears of signatures, whom messages to devices reach, and dehydrated devices that are replaced, over HTTP."""

from __future__ import annotations

import asyncio
from typing import Any

from nacl.signing import SigningKey

from tests.api.test_keys import base64_of, claim, cross_key, device_keys, one_time, query, sign, upload
from tests.kit.server import Client, RunningServer

DEHYDRATED = "/_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device"


def asleep(server: RunningServer, owner: Client, device_id: str) -> dict[str, Any]:
    sleeper = server.anonymous()
    sleeper.user_id, sleeper.device_id = owner.user_id, device_id
    return {
        "device_id": device_id,
        "device_data": {"algorithm": "x"},
        "device_keys": device_keys(sleeper, SigningKey.generate()),
        "one_time_keys": {f"signed_curve25519:{device_id}": one_time("x")},
    }


async def test_whom_one_has_verified_is_told_to_oneself_alone(server: RunningServer) -> None:
    """T-F7, T-F8: foreign signatures are private, and so is that they were made."""
    alice, bob = await server.user("alice"), await server.user("bob")
    tablet = await server.login("alice")
    await bob.join(await alice.create_room(preset="public_chat"))
    master, user_signing, bobs = (SigningKey.generate() for _ in range(3))
    own = {
        "master_key": cross_key(alice, "master", master),
        "user_signing_key": cross_key(alice, "user_signing", user_signing, master),
    }
    (await alice.post("/keys/device_signing/upload", body=own)).ok()
    theirs = cross_key(bob, "master", bobs)
    (await bob.post("/keys/device_signing/upload", body={"master_key": theirs})).ok()
    before, bob_before = (await tablet.sync())["next_batch"], (await bob.sync())["next_batch"]
    signed = sign(theirs, alice.user_id, base64_of(bytes(user_signing.verify_key)), user_signing)
    body = {bob.user_id: {base64_of(bytes(bobs.verify_key)): signed}}
    assert (await alice.post("/keys/signatures/upload", body=body)).ok() == {"failures": {}}
    assert (await tablet.sync(since=before))["device_lists"]["changed"] == [bob.user_id]
    assert "device_lists" not in await bob.sync(since=bob_before)
    assert (await query(tablet, bob.user_id))["master_keys"][bob.user_id] == signed
    assert (await query(bob, bob.user_id))["master_keys"][bob.user_id] == theirs


async def test_messages_reach_known_devices_alone(server: RunningServer) -> None:
    """T-F2: nothing is kept for users and devices that aren't there, or are elsewhere."""
    alice, bob = await server.user("alice"), await server.user("bob")
    users = {bob.user_id: "NOWHERE", "@nobody:hansa.test": "*", "@far:elsewhere.test": "*"}
    messages = {user: {device: {"n": 1}} for user, device in users.items()}
    (await alice.put("/sendToDevice/{}/{}", "org.x", "1", body={"messages": messages})).ok()
    assert await server.db.fetchval("SELECT count(*) FROM to_device_messages") == 0


async def test_transaction_ids_belong_to_a_type_and_a_device(server: RunningServer) -> None:
    """T-F5: neither the same id elsewhere nor one that looks alike is taken for a repetition."""
    alice, bob = await server.user("alice"), await server.user("bob")
    tablet = await server.login("alice")
    body: dict[str, Any] = {"messages": {bob.user_id: {"*": {}}}}
    for device, kind, txn_id in ((alice, "a b", "c"), (alice, "a", "b c"), (tablet, "a", "b c"), (alice, "a", "b c")):
        (await device.put("/sendToDevice/{}/{}", kind, txn_id, body=body)).ok()
    assert [event["type"] for event in (await bob.sync())["to_device"]["events"]] == ["a b", "a", "a"]


async def test_backups_begun_at_once_are_different_versions(server: RunningServer) -> None:
    """T-F18: none overwrites another, and none fails."""
    alice = await server.user("alice")
    body = {"algorithm": "a", "auth_data": {}}
    made = await asyncio.gather(*(alice.post("/room_keys/version", body=body) for _ in range(8)))
    assert sorted(int(answer.ok()["version"]) for answer in made) == list(range(1, 9))
    unknown = await alice.request("PUT", "/room_keys/keys?version=99", body={"rooms": {}})
    unknown.refused(404, "M_NOT_FOUND")


async def test_a_new_dehydrated_device_takes_the_place_of_the_old(server: RunningServer) -> None:
    """T-F20: with all that belonged to it, and with keys that are checked as any device's."""
    alice, bob = await server.user("alice"), await server.user("bob")
    for name in ("ONE", "TWO"):
        (await alice.put(DEHYDRATED, body=asleep(server, alice, name))).ok()
    assert set((await query(bob, alice.user_id))["device_keys"][alice.user_id]) == {"TWO"}
    assert await claim(bob, alice.user_id, "ONE") == {}
    (await alice.post(DEHYDRATED + "/ONE/events")).refused(403, "M_FORBIDDEN")
    foreign = {**asleep(server, alice, "THREE"), "device_keys": device_keys(bob, SigningKey.generate())}
    (await alice.put(DEHYDRATED, body=foreign)).refused(400, "M_INVALID_PARAM")
    assert (await alice.get(DEHYDRATED)).ok()["device_id"] == "TWO"
    (await alice.post(DEHYDRATED + "/TWO/events", body={"next_batch": "s1"})).refused(400, "M_INVALID_PARAM")


async def test_other_keys_of_a_device_lose_the_signatures_on_the_old(server: RunningServer) -> None:
    """T-F6: a signature is never shown on what it wasn't made for."""
    alice = await server.user("alice")
    master, self_signing = SigningKey.generate(), SigningKey.generate()
    keys = device_keys(alice, SigningKey.generate())
    (await upload(alice, device_keys=keys)).ok()
    own = {
        "master_key": cross_key(alice, "master", master),
        "self_signing_key": cross_key(alice, "self_signing", self_signing, master),
    }
    (await alice.post("/keys/device_signing/upload", body=own)).ok()
    signed = sign({**keys, "signatures": {}}, alice.user_id, base64_of(bytes(self_signing.verify_key)), self_signing)
    (await alice.post("/keys/signatures/upload", body={alice.user_id: {alice.device_id: signed}})).ok()
    (await upload(alice, device_keys=device_keys(alice, SigningKey.generate()))).ok()
    shown = (await query(alice, alice.user_id))["device_keys"][alice.user_id][alice.device_id]
    assert set(shown["signatures"][alice.user_id]) == {f"ed25519:{alice.device_id}"}
