"""Keys that another server hands out for its users and their devices."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from nacl.signing import SigningKey

from homeserver.core.signing import encode_base64
from tests.api.test_keys import cross_key, sign
from tests.federation.test_hostile_peers import joined, name_of
from tests.kit.authority import Authority
from tests.kit.loop_watch import loop_watched
from tests.kit.peer import Peer, running_peer
from tests.kit.peer_room import V1
from tests.kit.server import Client, RunningServer

Json = dict[str, Any]
KEY, MASTER = SigningKey(b"\x01" * 32), SigningKey(b"\x09" * 32)
NAME = "signed_curve25519:A"


def one_time_of(user_id: str, device_id: str, signer: SigningKey = KEY, **changes: Any) -> Json:
    """A one-time key as a device makes it."""
    return sign({"key": encode_base64(b"\x02" * 32), **changes}, user_id, device_id, signer)


@pytest.fixture
async def peer(authority: Authority) -> AsyncIterator[Peer]:
    async with running_peer(authority) as running:
        yield running


async def claimed(alice: Client, peer: Peer, given: Any, algorithm: str = "signed_curve25519") -> Any:
    """What Alice gets of a device D of Eve's, where the peer gives this."""
    eve = f"@eve:{peer.name}"
    peer.answers[V1 + "/user/keys/claim"] = lambda sent: {"one_time_keys": given}
    found = (await alice.post("/keys/claim", body={"one_time_keys": {eve: {"D": algorithm}}})).ok()
    assert found["failures"] == {}
    return found["one_time_keys"]


async def test_a_claimed_key_is_the_one_that_was_asked_for(here: RunningServer, peer: Peer) -> None:
    """T-F10: of the user, the device and the algorithm, signed by the device, one alone; what else comes is dropped."""
    alice, room = await joined(here, peer)
    eve, good = room.eve, one_time_of(room.eve, "D")
    expected = {eve: {"D": {NAME: good}}}
    assert await claimed(alice, peer, {eve: {"D": {NAME: good}}}) == expected
    both = {NAME: good, "signed_curve25519:B": one_time_of(eve, "D")}
    assert await claimed(alice, peer, {eve: {"D": both, "E": {NAME: good}}, "@x:y": {"D": both}}) == expected
    assert await claimed(alice, peer, {eve: {"D": {"other:A": good, "curve25519:A": good["key"], **both}}}) == expected
    plain = {eve: {"D": {"curve25519:A": good["key"]}}}
    assert await claimed(alice, peer, plain, "curve25519") == plain
    junk: list[Any] = [
        None,
        [],
        {eve: []},
        {eve: {"D": "key"}},
        {eve: {"E": {NAME: good}}},
        {f"@mallory:{peer.name}": {"D": {NAME: good}}},
        {eve: {"D": {"signed_curve25519": good}}},
        {eve: {"D": {"signed_curve25519:": good}}},
        {eve: {"D": {"signed_curve25519:" + "A" * 256: good}}},
        {eve: {"D": {NAME: good["key"]}}},
        {eve: {"D": {NAME: {"key": good["key"]}}}},
        {eve: {"D": {NAME: {**good, "signatures": []}}}},
        {eve: {"D": {NAME: {**good, "signatures": {eve: {"ed25519:D": 5}}}}}},
        {eve: {"D": {NAME: one_time_of(eve, "E")}}},
        {eve: {"D": {NAME: one_time_of(alice.user_id, "D")}}},
        {eve: {"D": {NAME: one_time_of(eve, "D", key="AAAA")}}},
        {eve: {"D": {NAME: one_time_of(eve, "D", key=5)}}},
        {eve: {"D": {NAME: one_time_of(eve, "D", more="x" * 10_000)}}},
        {eve: {"D": {f"{kind}:{number}": good for number, kind in enumerate("abcdef")} | {NAME: good}}},
    ]
    for given in junk:
        assert await claimed(alice, peer, given) == {}, given


async def test_a_known_device_must_have_signed(here: RunningServer, peer: Peer) -> None:
    """T-F10: where the device's keys are known here, its signature is checked."""
    alice, room = await joined(here, peer)
    keys = {
        "user_id": room.eve,
        "device_id": "D",
        "algorithms": [],
        "keys": {"ed25519:D": encode_base64(bytes(KEY.verify_key))},
    }
    listed = {"device_keys": {room.eve: {"D": sign(keys, room.eve, "D", KEY)}}}
    peer.answers[V1 + "/user/keys/query"] = lambda sent: listed
    forged = one_time_of(room.eve, "D", SigningKey(b"\x03" * 32))
    assert await claimed(alice, peer, {room.eve: {"D": {NAME: forged}}}) == {room.eve: {"D": {NAME: forged}}}
    (await alice.post("/keys/query", body={"device_keys": {room.eve: []}})).ok()
    assert await claimed(alice, peer, {room.eve: {"D": {NAME: forged}}}) == {}
    good = {room.eve: {"D": {NAME: one_time_of(room.eve, "D")}}}
    assert await claimed(alice, peer, good) == good


def told_of(user_id: str, devices: int, self_signing: SigningKey, signer: SigningKey) -> Json:
    """What a server says of a user: so many devices, each signed by the self-signing key, or by another in its name."""
    public, master = encode_base64(bytes(self_signing.verify_key)), encode_base64(bytes(MASTER.verify_key))
    found = {}
    for number in range(devices):
        name = f"D{number}"
        keys: Json = {"user_id": user_id, "device_id": name, "algorithms": []}
        keys["keys"] = {f"ed25519:{name}": encode_base64(bytes(KEY.verify_key))}
        made = [sign(keys, user_id, *by)["signatures"][user_id] for by in ((name, KEY), (public, signer))]
        found[name] = {**keys, "signatures": {user_id: made[0] | made[1]}}
    keys = {"user_id": user_id, "usage": ["self_signing"], "keys": {f"ed25519:{public}": public}}
    return {
        "device_keys": {user_id: found},
        "master_keys": {user_id: {"user_id": user_id, "usage": ["master"], "keys": {f"ed25519:{master}": master}}},
        "self_signing_keys": {user_id: sign(keys, user_id, master, MASTER)},
    }


async def test_a_signature_in_a_users_name_is_checked(here: RunningServer, peer: Peer) -> None:
    """T-F6: what the self-signing key that a server tells of hasn't made doesn't go on to clients."""
    alice, room = await joined(here, peer)
    key, other = SigningKey(b"\x04" * 32), SigningKey(b"\x05" * 32)
    public = encode_base64(bytes(key.verify_key))
    for signer, expected in ((other, {"ed25519:D0"}), (key, {"ed25519:D0", f"ed25519:{public}"})):
        told = told_of(room.eve, 1, key, signer)
        peer.answers[V1 + "/user/keys/query"] = lambda sent, told=told: told  # type: ignore[misc]
        change = {"user_id": room.eve, "device_id": "D0", "stream_id": 1, "prev_id": []}
        await room.send(name_of(here), edus=[{"edu_type": "m.device_list_update", "content": change}])
        found = (await alice.post("/keys/query", body={"device_keys": {room.eve: []}})).ok()
        assert set(found["device_keys"][room.eve]["D0"]["signatures"][room.eve]) == expected


@pytest.mark.slow
async def test_what_a_server_tells_of_keys_is_checked_beside_the_loop(here: RunningServer, peer: Peer) -> None:
    """T-H16: however many devices it makes up."""
    alice, _ = await joined(here, peer)
    key = SigningKey(b"\x04" * 32)
    users = [f"@made-up-{number}:{peer.name}" for number in range(3)]
    each = [told_of(user, 1_000, key, key) for user in users]
    told = {name: {user: one[name][user] for user, one in zip(users, each, strict=True)} for name in each[0]}
    peer.answers[V1 + "/user/keys/query"] = lambda sent: told
    longest: list[float] = []
    for _ in range(3):
        async with loop_watched() as watch:
            found = (await alice.post("/keys/query", body={"device_keys": {user: [] for user in users}})).ok()
        assert sum(map(len, found["device_keys"].values())) == 3_000
        longest.append(watch.longest_s)
    assert min(longest) < 0.1, longest


async def test_users_elsewhere_can_be_verified(here: RunningServer, peer: Peer) -> None:
    """T-F6: who signs their master key sees that again, and nobody else does; another one's name is no help."""
    alice, room = await joined(here, peer)
    carol = await here.user("carol")
    told = told_of(room.eve, 1, KEY, KEY)
    peer.answers[V1 + "/user/keys/query"] = lambda sent: told
    own = {name: SigningKey.generate() for name in ("master", "self_signing", "user_signing")}
    keys = {"master_key": cross_key(alice, "master", own["master"])}
    for name in ("self_signing", "user_signing"):
        keys[f"{name}_key"] = cross_key(alice, name, own[name], own["master"])
    (await alice.post("/keys/device_signing/upload", body=keys)).ok()
    master, name = told["master_keys"][room.eve], encode_base64(bytes(MASTER.verify_key))
    public = encode_base64(bytes(own["user_signing"].verify_key))

    async def signed_by(signer: SigningKey) -> Any:
        body = {room.eve: {name: sign(master, alice.user_id, public, signer)}}
        return (await alice.post("/keys/signatures/upload", body=body)).ok()["failures"]

    async def shown(viewer: Client) -> Any:
        found = (await viewer.post("/keys/query", body={"device_keys": {room.eve: []}})).ok()
        return found["master_keys"][room.eve].get("signatures", {})

    assert (await signed_by(KEY))[room.eve][name]["errcode"] == "M_INVALID_SIGNATURE"
    assert await signed_by(own["user_signing"]) == {}
    assert list((await shown(alice))[alice.user_id]) == [f"ed25519:{public}"]
    assert alice.user_id not in await shown(carol)
    told["master_keys"][room.eve] = {**master, "signatures": "none"}
    assert (await alice.post("/keys/query", body={"device_keys": {room.eve: []}})).status == 200
