"""Keys, cross-signing, messages to devices, device lists and backups over HTTP."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import pytest
from nacl.signing import SigningKey

from homeserver.core import canonical_json
from homeserver.encryption import dehydrated_devices
from tests.kit.loop_watch import loop_watched
from tests.kit.server import Client, RunningServer


def base64_of(data: bytes) -> str:
    return base64.b64encode(data).rstrip(b"=").decode()


def sign(value: dict[str, Any], user_id: str, key_id: str, key: SigningKey) -> dict[str, Any]:
    covered = {name: item for name, item in value.items() if name not in ("signatures", "unsigned")}
    signature = base64_of(key.sign(canonical_json.encode(covered)).signature)
    signatures = {**value.get("signatures", {}), user_id: {f"ed25519:{key_id}": signature}}
    return {**value, "signatures": signatures}


def device_keys(client: Client, key: SigningKey) -> dict[str, Any]:
    keys = {
        "user_id": client.user_id,
        "device_id": client.device_id,
        "algorithms": ["m.megolm.v1.aes-sha2"],
        "keys": {f"ed25519:{client.device_id}": base64_of(bytes(key.verify_key))},
    }
    return sign(keys, client.user_id, client.device_id, key)


def one_time(text: str) -> dict[str, Any]:
    """A signed key in form; nobody looks at the signature."""
    return {"key": text, "signatures": {"@somebody:hansa.test": {"ed25519:X": "signature"}}}


def cross_key(client: Client, usage: str, key: SigningKey, signer: SigningKey | None = None) -> dict[str, Any]:
    public = base64_of(bytes(key.verify_key))
    made = {"user_id": client.user_id, "usage": [usage], "keys": {f"ed25519:{public}": public}}
    if signer is None:
        return made
    return sign(made, client.user_id, base64_of(bytes(signer.verify_key)), signer)


async def upload(client: Client, **body: Any) -> Any:
    return await client.post("/keys/upload", body=body)


async def query(client: Client, *users: str) -> Any:
    return (await client.post("/keys/query", body={"device_keys": {user: [] for user in users}})).ok()


async def claim(client: Client, user: str, device: str) -> dict[str, Any]:
    wanted = {"one_time_keys": {user: {device: "signed_curve25519"}}}
    found = (await client.post("/keys/claim", body=wanted)).ok()["one_time_keys"]
    keys: dict[str, Any] = found.get(user, {}).get(device, {})
    return keys


async def test_device_keys_are_shown_with_the_devices_name(server: RunningServer) -> None:
    alice, bob = await server.user("alice"), await server.user("bob")
    keys = device_keys(alice, SigningKey.generate())
    assert (await upload(alice, device_keys=keys)).ok()["one_time_key_counts"] == {"signed_curve25519": 0}
    (await alice.put("/devices/{}", alice.device_id, body={"display_name": "phone"})).ok()
    shown = (await query(bob, alice.user_id))["device_keys"][alice.user_id][alice.device_id]
    assert shown == {**keys, "unsigned": {"device_display_name": "phone"}}


@pytest.mark.parametrize("change", [{"user_id": "@bob:hansa.test"}, {"device_id": "OTHER"}])
async def test_a_device_uploads_its_own_keys_alone(server: RunningServer, change: dict[str, str]) -> None:
    """T-E4, T-F12: nobody publishes keys for another's device."""
    alice = await server.user("alice")
    keys = {**device_keys(alice, SigningKey.generate()), **change}
    (await upload(alice, device_keys=keys)).refused(400, "M_INVALID_PARAM")


@pytest.mark.parametrize(
    "change", [{"signatures": {"@a:x": "oops"}}, {"algorithms": [5]}, {"keys": {"ed25519:OTHER": "x"}}, {"keys": []}]
)
async def test_device_keys_of_a_wrong_form_are_refused(server: RunningServer, change: dict[str, Any]) -> None:
    """T-E4, T-F20: nothing that would break the answers to those who ask for the keys."""
    alice = await server.user("alice")
    answer = await upload(alice, device_keys={**device_keys(alice, SigningKey.generate()), **change})
    assert answer.status == 400


async def test_a_one_time_key_is_handed_out_once(server: RunningServer) -> None:
    """T-F10, T-F11: also to many who ask at the same moment; then comes the fallback key."""
    alice, bob = await server.user("alice"), await server.user("bob")
    keys = {f"signed_curve25519:k{number}": one_time(f"key{number}") for number in range(10)}
    fallback = {"signed_curve25519:f": one_time("fallback") | {"fallback": True}}
    counts = (await upload(alice, one_time_keys=keys, fallback_keys=fallback)).ok()["one_time_key_counts"]
    assert counts == {"signed_curve25519": 10}
    assert (await alice.sync())["device_unused_fallback_key_types"] == ["signed_curve25519"]
    claimed = await asyncio.gather(*(claim(bob, alice.user_id, alice.device_id) for _ in range(14)))
    names = [name for found in claimed for name in found]
    assert sorted(name for name in names if not name.endswith(":f")) == sorted(keys)
    assert names.count("signed_curve25519:f") == 4
    answer = await alice.sync()
    assert answer["device_one_time_keys_count"] == {"signed_curve25519": 0}
    assert answer["device_unused_fallback_key_types"] == []
    (await upload(alice, fallback_keys=fallback)).ok()
    assert (await alice.sync())["device_unused_fallback_key_types"] == []
    (await upload(alice, fallback_keys={"signed_curve25519:g": one_time("another") | {"fallback": True}})).ok()
    assert (await alice.sync())["device_unused_fallback_key_types"] == ["signed_curve25519"]


@pytest.mark.parametrize("change", [{"key": 5}, {"signatures": None}, {"signatures": {"@a:x": "oops"}}])
async def test_one_time_keys_of_a_wrong_form_are_refused(server: RunningServer, change: dict[str, Any]) -> None:
    """T-F20: whoever claims a key gets one that can be read."""
    alice = await server.user("alice")
    answer = await upload(alice, one_time_keys={"signed_curve25519:a": one_time("x") | change})
    answer.refused(400, "M_BAD_JSON")


async def test_a_one_time_key_never_changes(server: RunningServer) -> None:
    """T-F10: the same name with another key is refused; with the same key it is no news."""
    alice = await server.user("alice")
    (await upload(alice, one_time_keys={"signed_curve25519:a": one_time("x")})).ok()
    again = (await upload(alice, one_time_keys={"signed_curve25519:a": one_time("x")})).ok()
    assert again["one_time_key_counts"] == {"signed_curve25519": 1}
    other = await upload(alice, one_time_keys={"signed_curve25519:a": one_time("y")})
    other.refused(400, "M_INVALID_PARAM")


async def test_cross_signing_keys_must_hang_together(server: RunningServer) -> None:
    alice, bob = await server.user("alice"), await server.user("bob")
    master, self_signing, user_signing = (SigningKey.generate() for _ in range(3))
    wrong = {
        "master_key": cross_key(alice, "master", master),
        "self_signing_key": cross_key(alice, "self_signing", self_signing, user_signing),
    }
    (await alice.post("/keys/device_signing/upload", body=wrong)).refused(400, "M_INVALID_SIGNATURE")
    right = {
        "master_key": cross_key(alice, "master", master),
        "self_signing_key": cross_key(alice, "self_signing", self_signing, master),
        "user_signing_key": cross_key(alice, "user_signing", user_signing, master),
    }
    (await alice.post("/keys/device_signing/upload", body=right)).ok()
    assert (await alice.post("/keys/device_signing/upload", body=right)).status == 200
    theirs, own = await query(bob, alice.user_id), await query(alice, alice.user_id)
    assert theirs["master_keys"][alice.user_id] == right["master_key"]
    assert theirs["user_signing_keys"] == {} and own["user_signing_keys"][alice.user_id] == right["user_signing_key"]


async def test_new_cross_signing_keys_need_the_password(server: RunningServer) -> None:
    """T-F7: a stolen token alone doesn't replace a user's identity."""
    alice = await server.user("alice")
    first = {"master_key": cross_key(alice, "master", SigningKey.generate())}
    (await alice.post("/keys/device_signing/upload", body=first)).ok()
    second = {"master_key": cross_key(alice, "master", SigningKey.generate())}
    challenge = await alice.post("/keys/device_signing/upload", body=second)
    assert challenge.status == 401
    auth = {
        "type": "m.login.password",
        "identifier": {"type": "m.id.user", "user": alice.user_id},
        "password": "correct horse battery",
        "session": challenge.json["session"],
    }
    (await alice.post("/keys/device_signing/upload", body={**second, "auth": auth})).ok()
    assert (await query(alice, alice.user_id))["master_keys"][alice.user_id] == second["master_key"]


async def test_only_right_signatures_are_kept(server: RunningServer) -> None:
    """T-F6: a signature that doesn't verify reaches nobody."""
    alice = await server.user("alice")
    key, master, self_signing = (SigningKey.generate() for _ in range(3))
    keys = device_keys(alice, key)
    (await upload(alice, device_keys=keys)).ok()
    body = {
        "master_key": cross_key(alice, "master", master),
        "self_signing_key": cross_key(alice, "self_signing", self_signing, master),
    }
    (await alice.post("/keys/device_signing/upload", body=body)).ok()
    public = base64_of(bytes(self_signing.verify_key))
    forged = sign({**keys, "signatures": {}}, alice.user_id, public, key)
    answer = (await alice.post("/keys/signatures/upload", body={alice.user_id: {alice.device_id: forged}})).ok()
    assert answer["failures"][alice.user_id][alice.device_id]["errcode"] == "M_INVALID_SIGNATURE"
    signed = sign({**keys, "signatures": {}}, alice.user_id, public, self_signing)
    answer = (await alice.post("/keys/signatures/upload", body={alice.user_id: {alice.device_id: signed}})).ok()
    assert answer["failures"] == {}
    shown = (await query(alice, alice.user_id))["device_keys"][alice.user_id][alice.device_id]
    assert set(shown["signatures"][alice.user_id]) == {f"ed25519:{alice.device_id}", f"ed25519:{public}"}


async def test_a_signature_is_checked_whichever_way_it_comes(server: RunningServer) -> None:
    """T-F6: with the keys of a device, or with those for cross-signing; what nobody knows the key of passes."""
    alice = await server.user("alice")
    device, master, self_signing, user_signing = (SigningKey.generate() for _ in range(4))
    by_master = cross_key(alice, "user_signing", user_signing, master)
    public = base64_of(bytes(self_signing.verify_key))
    body = {
        "master_key": cross_key(alice, "master", master),
        "self_signing_key": cross_key(alice, "self_signing", self_signing, master),
        "user_signing_key": by_master,
    }

    def signed_as(value: dict[str, Any], key: SigningKey, name: str = public) -> dict[str, Any]:
        more = sign(value, alice.user_id, name, key)["signatures"][alice.user_id]
        kept = value.get("signatures", {}).get(alice.user_id, {})
        return {**value, "signatures": {alice.user_id: {**kept, **more}}}

    own = device_keys(alice, device)
    forged = {**body, "user_signing_key": signed_as(by_master, device)}
    (await alice.post("/keys/device_signing/upload", body=forged)).refused(400, "M_INVALID_SIGNATURE")
    (await alice.post("/keys/device_signing/upload", body=body)).ok()
    (await upload(alice, device_keys=signed_as(own, device))).refused(400, "M_INVALID_SIGNATURE")
    path = "/_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device"
    dry = {**own, "device_id": "DRY", "keys": {"ed25519:DRY": own["keys"][f"ed25519:{alice.device_id}"]}}
    dry = signed_as(sign({**dry, "signatures": {}}, alice.user_id, "DRY", device), device)
    kept = {"device_id": "DRY", "device_data": {"algorithm": "x"}, "device_keys": dry}
    (await alice.request("PUT", path, body=kept)).refused(400, "M_INVALID_SIGNATURE")
    unknown = base64_of(bytes(SigningKey.generate().verify_key))
    (await upload(alice, device_keys=signed_as(own, device, unknown))).ok()
    right = signed_as(own, self_signing)
    (await upload(alice, device_keys=right)).ok()
    shown = (await query(alice, alice.user_id))["device_keys"][alice.user_id][alice.device_id]
    assert shown["signatures"] == right["signatures"]


@pytest.mark.slow
async def test_signatures_are_checked_beside_the_loop(server: RunningServer) -> None:
    """T-H16: those of many devices, or of keys that are large."""
    alice = await server.user("alice")
    key, master, self_signing = (SigningKey.generate() for _ in range(3))
    body = {
        "master_key": cross_key(alice, "master", master),
        "self_signing_key": cross_key(alice, "self_signing", self_signing, master),
    }
    (await alice.post("/keys/device_signing/upload", body=body)).ok()
    public = base64_of(bytes(self_signing.verify_key))
    signed, rows = {}, []
    for number in range(2_500):
        keys = {**device_keys(alice, key), "device_id": f"D{number}", "signatures": {}, "note": "x" * 2_000}
        rows.append((alice.user_id, f"D{number}", canonical_json.encode(keys)))
        signed[f"D{number}"] = sign(keys, alice.user_id, public, self_signing)
    async with server.db.transaction() as tx:
        await tx.executemany("INSERT INTO device_keys (user_id, device_id, keys) VALUES ($1, $2, $3)", rows)
    longest: list[float] = []
    for _ in range(3):
        async with loop_watched() as watch:
            answer = (await alice.post("/keys/signatures/upload", body={alice.user_id: signed})).ok()
        assert answer["failures"] == {}
        longest.append(watch.longest_s)
    assert min(longest) < 0.1, longest


async def test_a_message_reaches_each_device_once(server: RunningServer) -> None:
    """T-F4, T-F5: a repeated request sends nothing twice; what the device has is gone."""
    alice, bob = await server.user("alice"), await server.user("bob")
    tablet = await server.login("bob")
    body = {"messages": {bob.user_id: {"*": {"a": "\u0000"}}}}
    for _ in range(2):
        (await alice.put("/sendToDevice/{}/{}", "org.x", "t1", body=body)).ok()
    for device in (bob, tablet):
        first = await device.sync()
        expected = {"sender": alice.user_id, "type": "org.x", "content": {"a": "\u0000"}}
        assert first["to_device"]["events"] == [expected]
        assert (await device.sync())["to_device"]["events"] == [expected]
        assert "to_device" not in await device.sync(since=first["next_batch"])
        assert "to_device" not in await device.sync()


async def test_many_messages_come_in_order_over_several_syncs(server: RunningServer) -> None:
    alice, bob = await server.user("alice"), await server.user("bob")
    since = (await bob.sync())["next_batch"]
    for number in range(230):
        body = {"messages": {bob.user_id: {bob.device_id: {"n": number}}}}
        (await alice.put("/sendToDevice/{}/{}", "org.x", str(number), body=body)).ok()
    found: list[int] = []
    while len(found) < 230:
        answer = await bob.sync(since=since)
        since = answer["next_batch"]
        found += [message["content"]["n"] for message in answer["to_device"]["events"]]
    assert found == list(range(230))


async def test_device_lists_tell_who_came_changed_and_left(server: RunningServer) -> None:
    """T-F8, T-F9: of nobody else, and of each change."""
    alice, bob = await server.user("alice"), await server.user("bob")
    room_id = await alice.create_room(preset="public_chat")
    since = (await alice.sync())["next_batch"]
    await bob.join(room_id)
    answer = await alice.sync(since=since)
    assert bob.user_id in answer["device_lists"]["changed"]
    (await upload(bob, device_keys=device_keys(bob, SigningKey.generate()))).ok()
    changed = await alice.sync(since=answer["next_batch"])
    assert changed["device_lists"]["changed"] == [bob.user_id]
    (await bob.post("/rooms/{}/leave", room_id)).ok()
    left = await alice.sync(since=changed["next_batch"])
    assert left["device_lists"] == {"changed": [], "left": [bob.user_id]}
    query = {"from": since, "to": left["next_batch"]}
    assert (await alice.get("/keys/changes", **query)).ok()["left"] == [bob.user_id]


async def test_who_is_out_learns_of_no_members(server: RunningServer) -> None:
    """T-F8: neither who was invited or knocked, nor who has left of those who came after."""
    alice, bob, carol, dave = [await server.user(name) for name in ("alice", "bob", "carol", "dave")]
    room_id = await alice.create_room(preset="private_chat")
    since = (await dave.sync())["next_batch"]

    async def left(since: str = since) -> Any:
        upto = (await dave.sync())["next_batch"]
        told = (await dave.sync(since=since)).get("device_lists", {"left": []})
        answer = (await dave.get("/keys/changes", **{"from": since, "to": upto})).ok()
        assert answer["left"] == told["left"]
        return told["left"]

    (await alice.post("/rooms/{}/invite", room_id, body={"user_id": dave.user_id})).ok()
    (await dave.post("/rooms/{}/leave", room_id)).ok()
    assert await left() == []
    (await alice.put("/rooms/{}/state/m.room.join_rules", room_id, body={"join_rule": "knock"})).ok()
    (await dave.post("/knock/{}", room_id)).ok()
    (await dave.post("/rooms/{}/leave", room_id)).ok()
    assert await left() == []
    for user in (bob, dave):
        (await alice.post("/rooms/{}/invite", room_id, body={"user_id": user.user_id})).ok()
        await user.join(room_id)
    (await dave.post("/rooms/{}/leave", room_id)).ok()
    assert await left() == [alice.user_id, bob.user_id]
    later = (await dave.sync())["next_batch"]
    (await alice.post("/rooms/{}/invite", room_id, body={"user_id": carol.user_id})).ok()
    await carol.join(room_id)
    (await bob.put("/profile/{}/displayname", bob.user_id, body={"displayname": "Bobby"})).ok()
    assert await left() == [alice.user_id, bob.user_id]
    (await alice.post("/rooms/{}/ban", room_id, body={"user_id": dave.user_id})).ok()
    assert await left() == [alice.user_id, bob.user_id]
    assert await left(later) == []


async def test_a_deleted_device_leaves_nothing(server: RunningServer) -> None:
    alice, bob = await server.user("alice"), await server.user("bob")
    (await upload(alice, device_keys=device_keys(alice, SigningKey.generate()))).ok()
    (await upload(alice, one_time_keys={"signed_curve25519:a": one_time("x")})).ok()
    (await alice.post("/logout")).ok()
    assert (await query(bob, alice.user_id))["device_keys"] == {alice.user_id: {}}
    assert await claim(bob, alice.user_id, alice.device_id) == {}


def session(first: int, verified: bool = False, forwarded: int = 0) -> dict[str, Any]:
    return {
        "first_message_index": first,
        "forwarded_count": forwarded,
        "is_verified": verified,
        "session_data": {"n": first},
    }


async def test_a_backup_keeps_the_better_key(server: RunningServer) -> None:
    """T-F18: the etag changes when, and only when, a key does."""
    alice = await server.user("alice")
    body = {"algorithm": "m.megolm_backup.v1.curve25519-aes-sha2", "auth_data": {"public_key": "x"}}
    version = (await alice.post("/room_keys/version", body=body)).ok()["version"]
    path = f"/room_keys/keys/!r:x/s?version={version}"

    async def put(key: dict[str, Any]) -> Any:
        return (await alice.request("PUT", path, body=key)).ok()

    async def kept() -> Any:
        return (await alice.request("GET", path)).ok()["first_message_index"]

    first = await put(session(5))
    assert first["count"] == 1 and await kept() == 5
    worse = await put(session(7))
    assert worse["etag"] == first["etag"] and await kept() == 5
    better = await put(session(3))
    assert better["etag"] != first["etag"] and await kept() == 3
    await put(session(9, verified=True))
    assert await kept() == 9


async def test_keys_go_into_the_newest_backup_alone(server: RunningServer) -> None:
    alice, bob = await server.user("alice"), await server.user("bob")
    body = {"algorithm": "m.megolm_backup.v1.curve25519-aes-sha2", "auth_data": {}}
    old = (await alice.post("/room_keys/version", body=body)).ok()["version"]
    new = (await alice.post("/room_keys/version", body=body)).ok()["version"]
    refused = await alice.request("PUT", f"/room_keys/keys/!r:x/s?version={old}", body=session(1))
    assert refused.refused(403, "M_WRONG_ROOM_KEYS_VERSION")["current_version"] == new
    (await alice.request("DELETE", f"/room_keys/version/{new}")).ok()
    assert (await alice.get("/room_keys/version")).ok()["version"] == old
    (await bob.get("/room_keys/version")).refused(404, "M_NOT_FOUND")


@pytest.mark.slow
async def test_large_backups_are_read_and_written_beside_the_loop(server: RunningServer) -> None:
    """T-H16: as many keys as somebody has, and as many as a request can bring."""
    alice = await server.user("alice")
    body = {"algorithm": "m.megolm_backup.v1.curve25519-aes-sha2", "auth_data": {}}
    version = (await alice.post("/room_keys/version", body=body)).ok()["version"]
    path = f"/room_keys/keys?version={version}"
    few = {"rooms": {"!r:x": {"sessions": {str(number): session(1) for number in range(20_000)}}}}
    many = {"rooms": {f"!{room}:x": few["rooms"]["!r:x"] for room in range(4)}}
    (await alice.request("PUT", path, body=few)).ok()
    longest: list[float] = []
    data = canonical_json.encode(many)
    for _ in range(3):
        async with loop_watched() as watch:
            (await alice.request("PUT", path, data=data)).refused(400, "M_INVALID_PARAM")
        longest.append(watch.longest_s)
    assert min(longest) < 0.15, longest
    assert (await alice.request("GET", path)).ok()["rooms"]["!r:x"]["sessions"]["7"] == session(1)


async def test_many_who_write_to_an_old_backup_hold_nobody_up(server: RunningServer) -> None:
    """T-E19: each of them is answered on the connection that it has, however many there are."""
    alice = await server.user("alice")
    body = {"algorithm": "m.megolm_backup.v1.curve25519-aes-sha2", "auth_data": {}}
    old, _ = [(await alice.post("/room_keys/version", body=body)).ok()["version"] for _ in range(2)]
    path = f"/room_keys/keys/!r:x/s?version={old}"
    async with asyncio.timeout(20):
        answers = await asyncio.gather(*(alice.request("PUT", path, body=session(1)) for _ in range(30)))
    assert {answer.status for answer in answers} == {403}


async def test_a_dehydrated_device_receives_messages(server: RunningServer) -> None:
    """T-F20: its keys are checked as any device's."""
    alice, bob = await server.user("alice"), await server.user("bob")
    path = "/_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device"
    (await alice.get(path)).refused(404, "M_NOT_FOUND")
    key = SigningKey.generate()
    sleeping = server.anonymous()
    sleeping.user_id, sleeping.device_id = alice.user_id, "SLEEPER"
    body = {
        "device_id": "SLEEPER",
        "device_data": {"algorithm": "x"},
        "device_keys": device_keys(sleeping, key),
        "one_time_keys": {"signed_curve25519:a": one_time("x")},
    }
    assert (await alice.put(path, body=body)).ok() == {"device_id": "SLEEPER"}
    assert (await alice.get(path)).ok() == {"device_id": "SLEEPER", "device_data": {"algorithm": "x"}}
    assert "SLEEPER" in (await query(bob, alice.user_id))["device_keys"][alice.user_id]
    assert set(await claim(bob, alice.user_id, "SLEEPER")) == {"signed_curve25519:a"}
    sent = {"messages": {alice.user_id: {"SLEEPER": {"n": 1}}}}
    (await bob.put("/sendToDevice/{}/{}", "org.x", "1", body=sent)).ok()
    page = (await alice.post(path + "/SLEEPER/events")).ok()
    assert [event["content"] for event in page["events"]] == [{"n": 1}]
    rest = (await alice.post(path + "/SLEEPER/events", body={"next_batch": page["next_batch"]})).ok()
    assert rest["events"] == []
    other = {**body, "device_id": alice.device_id}
    (await alice.put(path, body=other)).refused(400, "M_INVALID_PARAM")
    assert (await alice.delete(path)).ok() == {"device_id": "SLEEPER"}
    assert "SLEEPER" not in (await query(bob, alice.user_id))["device_keys"][alice.user_id]


async def test_a_dehydrated_device_is_brought_back_in_pages(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As clients ask today: with `from`, until a page says of no other. Nothing is deleted on the way."""
    monkeypatch.setattr(dehydrated_devices, "EVENTS_PER_PAGE", 2)
    alice, bob = await server.user("alice"), await server.user("bob")
    path = "/_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device"
    sleeping = server.anonymous()
    # A key in base64, as the proposal has it: with what must be escaped in a path.
    sleeping.user_id, sleeping.device_id = alice.user_id, "zNn/5+RpOOcZJ2Gk6qSOIZ4MChHKTjDH8QHYyBrlq2w"
    keys = device_keys(sleeping, SigningKey.generate())
    body = {"device_id": sleeping.device_id, "device_data": {"algorithm": "x"}, "device_keys": keys}
    (await alice.put(path, body=body)).ok()
    assert (await alice.get(path + "/{}/events", sleeping.device_id)).ok() == {"events": []}
    for number in range(4):
        sent = {"messages": {alice.user_id: {sleeping.device_id: {"n": number}}}}
        (await bob.put("/sendToDevice/{}/{}", "org.x", str(number), body=sent)).ok()
    for _ in range(2):
        first = (await alice.get(path + "/{}/events", sleeping.device_id)).ok()
        assert [event["content"]["n"] for event in first["events"]] == [0, 1]
        last = (await alice.get(path + "/{}/events", sleeping.device_id, **{"from": first["next_batch"]})).ok()
        assert [event["content"]["n"] for event in last["events"]] == [2, 3] and "next_batch" not in last
    (await alice.get(path + "/{}/events", alice.device_id)).refused(403, "M_FORBIDDEN")
    (await bob.get(path + "/{}/events", sleeping.device_id)).refused(403, "M_FORBIDDEN")
    (await alice.get(path + "/{}/events", sleeping.device_id, **{"from": "s1"})).refused(400, "M_INVALID_PARAM")
