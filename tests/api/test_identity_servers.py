"""Identity servers that users name: addresses bound there, invites to addresses; a captcha's service."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.kit.authority import Authority
from tests.kit.canned import answer, canned
from tests.kit.identity import IdentityServer, identity_server
from tests.kit.server import Client, RunningServer, running_server


@pytest.fixture
async def identity(tmp_path: Path) -> AsyncIterator[IdentityServer]:
    async with identity_server(Authority(tmp_path).server_context("127.0.0.1")) as server:
        yield server


@pytest.fixture
async def server(database_dsn: str, identity: IdentityServer, tmp_path: Path) -> AsyncIterator[RunningServer]:
    toml = f'[federation]\nca_path = "{tmp_path}/ca.pem"\nallow_ip_ranges = ["127.0.0.0/8"]\n'
    async with running_server(database_dsn, toml=toml) as running:
        yield running


def invite(identity: IdentityServer, address: str = "carol@hansa.test") -> dict[str, Any]:
    return {"id_server": identity.name, "id_access_token": "secret", "medium": "email", "address": address}


async def test_addresses_are_bound_and_unbound(server: RunningServer, identity: IdentityServer) -> None:
    alice = await server.user("alice")
    body = {"client_secret": "s", "sid": "other", "id_server": identity.name, "id_access_token": "secret"}
    (await alice.post("/account/3pid/bind", body=body)).refused(403, "M_SESSION_NOT_VALIDATED")
    (await alice.post("/account/3pid/bind", body={**body, "sid": "proved"})).ok()
    assert identity.known == {"carol@hansa.test": alice.user_id}
    what = {"medium": "email", "address": "Carol@hansa.test"}
    assert (await alice.post("/account/3pid/unbind", body=what)).ok() == {"id_server_unbind_result": "success"}
    [(authorization, told)] = identity.unbound
    assert authorization.startswith(f'X-Matrix origin="hansa.test",destination="{identity.name}"')
    assert told == {"mxid": alice.user_id, "threepid": {"medium": "email", "address": "carol@hansa.test"}}
    assert (await alice.post("/account/3pid/unbind", body=what)).ok() == {"id_server_unbind_result": "no-support"}
    (await alice.post("/account/3pid/bind", body={**body, "sid": "proved"})).ok()
    auth = {"type": "m.login.password", "identifier": {"type": "m.id.user", "user": "alice"}}
    ended = await alice.post("/account/deactivate", body={"auth": {**auth, "password": "correct horse battery"}})
    assert ended.ok() == {"id_server_unbind_result": "success"} and len(identity.unbound) == 2


async def test_whose_address_is_known_is_invited(server: RunningServer, identity: IdentityServer) -> None:
    alice, carol = await server.user("alice"), await server.user("carol")
    identity.known["carol@hansa.test"] = carol.user_id
    room = await alice.create_room()
    (await alice.post("/rooms/{}/invite", room, body=invite(identity, "Carol@Hansa.test"))).ok()
    assert room in (await carol.sync())["rooms"]["invite"]


async def take_up(client: Client, room: str, signed: dict[str, Any]) -> Any:
    return await client.post("/rooms/{}/join", room, body={"third_party_signed": signed})


async def test_an_invite_waits_for_its_owner(server: RunningServer, identity: IdentityServer) -> None:
    """T-C20, T-L1: the promise stands in the room; only whom the identity server signs for may take it up."""
    alice, carol, mallory = [await server.user(name) for name in ("alice", "carol", "mallory")]
    room = await alice.create_room(invite_3pid=[invite(identity)], name="Den")
    assert identity.invites[0]["room_name"] == "Den" and identity.invites[0]["sender"] == alice.user_id
    promise = (await alice.get("/rooms/{}/state/m.room.third_party_invite/promise", room)).ok()
    assert promise["display_name"] == "c...@h..." and len(promise["public_keys"]) == 1
    signed = identity.signed(carol.user_id, "promise")
    (await take_up(mallory, room, signed)).refused(403, "M_FORBIDDEN")
    (await take_up(mallory, room, {**signed, "mxid": mallory.user_id})).refused(403, "M_FORBIDDEN")
    (await take_up(carol, room, identity.signed(carol.user_id, "no such"))).refused(403, "M_FORBIDDEN")
    identity.is_key_valid = False
    (await take_up(carol, room, signed)).refused(403, "M_FORBIDDEN")
    identity.is_key_valid = True
    (await take_up(carol, room, signed)).ok()
    assert room in (await carol.get("/joined_rooms")).ok()["joined_rooms"]


async def test_an_invite_finds_its_owner(server: RunningServer, identity: IdentityServer) -> None:
    """T-C20: told by the identity server that the address is somebody's now; proved by its signature alone."""
    alice, carol, mallory = [await server.user(name) for name in ("alice", "carol", "mallory")]
    room = await alice.create_room()
    (await alice.post("/rooms/{}/invite", room, body=invite(identity))).ok()
    path, signed = "/_matrix/federation/v1/3pid/onbind", identity.signed(carol.user_id, "promise")
    waiting = {"room_id": room, "sender": alice.user_id, "signed": signed}
    forged = {**waiting, "signed": {**signed, "mxid": mallory.user_id}}
    (await mallory.put(path, body={"mxid": mallory.user_id, "invites": [forged, {}, {"room_id": 5}]})).ok()
    assert "invite" not in (await mallory.sync()).get("rooms", {})
    (await carol.put(path, body={"mxid": "@carol:elsewhere", "invites": [waiting]})).refused(400, "M_INVALID_PARAM")
    (await carol.put(path, body={"mxid": carol.user_id, "invites": [{}, waiting]})).ok()
    assert room in (await carol.sync())["rooms"]["invite"]


async def test_bad_identity_servers(server: RunningServer, identity: IdentityServer) -> None:
    """T-L1, T-L4: what users name is checked; who doesn't answer is nobody's crash."""
    alice = await server.user("alice")
    room = await alice.create_room()
    for change, status in (
        ({"id_server": "../x"}, 400),
        ({"id_server": "127.0.0.1:1"}, 502),
        ({"id_server": "10.0.0.1"}, 502),
        ({"id_access_token": "a\r\nb"}, 400),
        ({"id_access_token": None}, 400),
        ({"medium": "msisdn"}, 400),
        ({"address": "no address"}, 400),
    ):
        answered = await alice.post("/rooms/{}/invite", room, body={**invite(identity), **change})
        assert answered.status == status, (change, answered.body)


async def test_a_captcha_is_checked(database_dsn: str) -> None:
    """T-I14: with the service that the operator names."""
    heard: list[bool] = []

    def say(head: str) -> bytes:
        heard.append("POST /verify" in head)
        return answer(b'{"success": true}' if len(heard) > 1 else b'{"success": false}')

    async with canned(say) as service:
        toml = (
            f'[captcha]\nsite_key = "public"\nsecret = "secret"\nverify_url = "http://127.0.0.1:{service.port}/verify"\n'
            '[federation]\nallow_ip_ranges = ["127.0.0.0/8"]\n'
        )
        async with running_server(database_dsn, toml=toml) as server:
            anonymous = server.anonymous()
            body = {"username": "alice", "password": "correct horse battery"}
            begun = (await anonymous.post("/register", body=body)).json
            assert begun["params"] == {"m.login.recaptcha": {"public_key": "public"}}
            auth = {"type": "m.login.recaptcha", "session": begun["session"]}
            (await anonymous.post("/register", body={**body, "auth": auth})).refused(401, "M_CAPTCHA_NEEDED")
            solved = {**body, "auth": {**auth, "response": "picture"}}
            (await anonymous.post("/register", body=solved)).refused(401, "M_CAPTCHA_INVALID")
            assert (await anonymous.post("/register", body=solved)).json["completed"] == ["m.login.recaptcha"]
            last = {"type": "m.login.dummy", "session": begun["session"]}
            (await anonymous.post("/register", body={**body, "auth": last})).ok()
