"""One-time keys that another server hands out for its users' devices."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from nacl.signing import SigningKey

from homeserver.core.signing import encode_base64
from tests.api.test_keys import sign
from tests.federation.test_hostile_peers import joined
from tests.kit.authority import Authority
from tests.kit.peer import Peer, running_peer
from tests.kit.peer_room import V1
from tests.kit.server import Client, RunningServer

Json = dict[str, Any]
KEY = SigningKey(b"\x01" * 32)
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
