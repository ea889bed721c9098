"""Administrators lock and suspend; users look at where they were seen."""

from __future__ import annotations

import hashlib
import hmac

import pytest

from tests.api.test_oauth import as_user, signed_in
from tests.kit.oauth import App
from tests.kit.server import SHARED_SECRET, Client, RunningServer

_V1 = "/_matrix/client/v1/admin"


async def administrator(server: RunningServer, name: str = "boss") -> Client:
    anonymous = server.anonymous()
    nonce = (await anonymous.get("/_synapse/admin/v1/register")).ok()["nonce"]
    text = "\x00".join([nonce, name, "correct horse battery", "admin"])
    mac = hmac.new(SHARED_SECRET.encode(), text.encode(), hashlib.sha1).hexdigest()
    body = {"nonce": nonce, "username": name, "password": "correct horse battery", "admin": True, "mac": mac}
    (await anonymous.post("/_synapse/admin/v1/register", body=body)).ok()
    return await server.login(name)


async def test_a_locked_user_keeps_their_session(server: RunningServer) -> None:
    """Its tokens are renewed, and tell only that the account is locked: unlocked, the client goes on with its keys."""
    boss, alice, app = await administrator(server), await server.user("alice"), App(server)
    await app.register()
    tokens = await signed_in(server, app)
    (await boss.put(_V1 + "/lock/{}", alice.user_id, body={"locked": True})).ok()
    tokens = (await app.refresh(tokens["refresh_token"])).ok()
    client = as_user(server, tokens)
    assert (await client.get("/sync")).refused(401, "M_USER_LOCKED")["soft_logout"] is True
    (await boss.put(_V1 + "/lock/{}", alice.user_id, body={"locked": False})).ok()
    assert (await client.get("/account/whoami")).ok()["user_id"] == alice.user_id


async def test_a_locked_user_may_only_log_out(server: RunningServer) -> None:
    boss, alice = await administrator(server), await server.user("alice")
    (await boss.put(_V1 + "/lock/{}", alice.user_id, body={"locked": True})).ok()
    assert (await boss.get(_V1 + "/lock/{}", alice.user_id)).ok() == {"locked": True}
    refused = (await alice.get("/sync")).refused(401, "M_USER_LOCKED")
    assert refused["soft_logout"] is True
    login = {"type": "m.login.password", "identifier": {"type": "m.id.user", "user": "alice"}}
    again = await server.anonymous().post("/login", body={**login, "password": "correct horse battery"})
    again.refused(401, "M_USER_LOCKED")
    (await boss.put(_V1 + "/lock/{}", alice.user_id, body={"locked": False})).ok()
    await alice.sync()
    (await boss.put(_V1 + "/lock/{}", alice.user_id, body={"locked": True})).ok()
    (await alice.post("/logout")).ok()
    (await boss.put(_V1 + "/lock/{}", alice.user_id, body={"locked": False})).ok()
    (await alice.get("/account/whoami")).refused(401, "M_UNKNOWN_TOKEN")


async def test_a_suspended_user_reads_but_says_nothing(server: RunningServer) -> None:
    boss, alice = await administrator(server), await server.user("alice")
    room = await alice.create_room()
    (await boss.put(_V1 + "/suspend/{}", alice.user_id, body={"suspended": True})).ok()
    assert (await boss.get(_V1 + "/suspend/{}", alice.user_id)).ok() == {"suspended": True}
    path = "/rooms/{}/send/m.room.message/1"
    (await alice.put(path, room, body={"body": "x"})).refused(403, "M_USER_SUSPENDED")
    await alice.sync()
    (await boss.put(_V1 + "/suspend/{}", alice.user_id, body={"suspended": False})).ok()
    await alice.send(room)


async def test_a_suspended_user_verifies_devices_of_their_own(server: RunningServer) -> None:
    """Which talk to each other by messages to devices; to those of others nothing goes."""
    boss, alice, bob = await administrator(server), await server.user("alice"), await server.user("bob")
    (await boss.put(_V1 + "/suspend/{}", alice.user_id, body={"suspended": True})).ok()
    phone = await server.login("alice")
    path, request = "/sendToDevice/m.key.verification.request/{}", {"methods": ["m.sas.v1"]}
    (await alice.put(path, "1", body={"messages": {alice.user_id: {phone.device_id: request}}})).ok()
    [heard] = (await phone.sync())["to_device"]["events"]
    assert (heard["sender"], heard["content"]) == (alice.user_id, request)
    both = {alice.user_id: {"*": request}, bob.user_id: {"*": request}}
    (await alice.put(path, "2", body={"messages": both})).refused(403, "M_USER_SUSPENDED")
    assert not (await bob.sync()).get("to_device", {}).get("events")


@pytest.mark.parametrize(("what", "body"), [("lock", {"locked": True}), ("suspend", {"suspended": True})])
async def test_who_may_not(server: RunningServer, what: str, body: dict[str, bool]) -> None:
    boss, other, alice = await administrator(server), await administrator(server, "other"), await server.user("alice")
    path = f"{_V1}/{what}/{{}}"
    for target in (boss.user_id, "@nobody:hansa.test", "@x:elsewhere"):
        (await alice.put(path, target, body=body)).refused(403, "M_FORBIDDEN")
        (await alice.get(path, target)).refused(403, "M_FORBIDDEN")
    (await boss.put(path, boss.user_id, body=body)).refused(403, "M_FORBIDDEN")
    (await boss.put(path, other.user_id, body=body)).refused(403, "M_FORBIDDEN")
    (await boss.get(path, other.user_id)).refused(403, "M_FORBIDDEN")
    (await boss.put(path, "@x:elsewhere", body=body)).refused(400, "M_INVALID_PARAM")
    (await boss.put(path, "@nobody:hansa.test", body=body)).refused(404, "M_NOT_FOUND")
    (await boss.put(path, alice.user_id, body={})).refused(400, "M_MISSING_PARAM")
    assert "m.account_moderation" not in (await alice.get("/capabilities")).ok()["capabilities"]
    capability = (await boss.get("/capabilities")).ok()["capabilities"]["m.account_moderation"]
    assert capability == {"suspend": True, "lock": True}


async def test_whois(server: RunningServer) -> None:
    boss, alice, bob = await administrator(server), await server.user("alice"), await server.user("bob")
    await alice.sync()
    told = (await alice.get("/admin/whois/{}", alice.user_id)).ok()
    [connection] = told["devices"][alice.device_id]["sessions"][0]["connections"]
    assert connection["ip"] == "127.0.0.1" and connection["last_seen"] > 0
    assert (await boss.get("/admin/whois/{}", alice.user_id)).ok() == told
    (await bob.get("/admin/whois/{}", alice.user_id)).refused(403, "M_FORBIDDEN")
    (await boss.get("/admin/whois/{}", "@nobody:hansa.test")).refused(404, "M_NOT_FOUND")
