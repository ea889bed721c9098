"""Registration, log-in, sessions, devices, profiles and account data over HTTP."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.kit.clock import FakeClock
from tests.kit.server import SHARED_SECRET, Client, RunningServer, config_for_tests, running_server
from tests.kit.until import SOON_S

PASSWORD = "correct horse battery"


def by_password(user: str, password: str = PASSWORD, **more: Any) -> dict[str, Any]:
    identifier = {"type": "m.id.user", "user": user}
    return {"type": "m.login.password", "identifier": identifier, "password": password, **more}


async def test_registration_leads_through_its_stages(server: RunningServer) -> None:
    nobody = server.anonymous()
    first = await nobody.post("/register", body={"username": "alice", "password": PASSWORD})
    assert first.status == 401 and first.json["flows"] == [{"stages": ["m.login.dummy"]}]
    auth = {"type": "m.login.dummy", "session": first.json["session"]}
    account = (await nobody.post("/register", body={"username": "alice", "password": PASSWORD, "auth": auth})).ok()
    assert account["user_id"] == "@alice:hansa.test"
    other = await nobody.post("/register", body={"username": "ALICE", "password": PASSWORD, "auth": auth})
    other.refused(400, "M_USER_IN_USE")


@pytest.mark.parametrize("name", ["", "a b", "a:b", "ä", "_a", "a" * 300, "a\u0000b", "@evil:other.example"])
async def test_names_that_no_account_has(server: RunningServer, name: str) -> None:
    """T-I14: no look-alikes, no other server's names."""
    body = {"username": name, "password": PASSWORD, "auth": {"type": "m.login.dummy"}}
    assert (await server.anonymous().post("/register", body=body)).json["errcode"] == "M_INVALID_USERNAME"


async def test_a_session_is_for_what_it_was_begun_for(server: RunningServer) -> None:
    """T-I6, T-I22: authentication for one operation isn't good for another."""
    alice = await server.user("alice")
    challenge = await alice.post("/account/password", body={"new_password": "something else"})
    auth = {"type": "m.login.password", "identifier": {"type": "m.id.user", "user": "alice"}, "password": PASSWORD}
    body = {"auth": {**auth, "session": challenge.json["session"]}}
    (await alice.post("/account/deactivate", body=body)).refused(403, "M_FORBIDDEN")
    assert (await alice.get("/account/whoami")).status == 200


async def test_wrong_passwords_and_unknown_users_look_alike(server: RunningServer) -> None:
    """T-I15: no answer tells whether an account exists."""
    await server.user("alice")
    nobody = server.anonymous()
    wrong = await nobody.post("/login", body=by_password("alice", "wrong"))
    unknown = await nobody.post("/login", body=by_password("nobody", "wrong"))
    assert (wrong.status, wrong.json) == (unknown.status, unknown.json) == (403, wrong.json)


async def test_who_waits_is_sent_away_when_the_session_ends(server: RunningServer) -> None:
    """T-I23: a /sync that waits for a minute isn't a minute of somebody else's messages."""
    alice = await server.user("alice")
    other = await server.login("alice")
    since = (await other.sync())["next_batch"]
    waiting = asyncio.create_task(other.get("/sync", since=since, timeout=60_000))
    await alice.delete(f"/devices/{other.device_id}", body={"auth": by_password("alice")})
    async with asyncio.timeout(SOON_S):
        assert (await waiting).status in (200, 401)
        (await other.get("/sync", since=since, timeout=60_000)).refused(401, "M_UNKNOWN_TOKEN")


async def test_a_refresh_token_in_two_hands_ends_the_session(server: RunningServer) -> None:
    """T-I17: an answer that was lost can be asked for again; who comes with a token that others replaced has stolen it,
    or it was stolen from them. All tokens end; the device and its keys stay."""
    alice = await server.user("alice")
    nobody = server.anonymous()

    async def refreshed(token: str) -> dict[str, Any]:
        found: dict[str, Any] = (await nobody.post("/refresh", body={"refresh_token": token})).ok()
        return found

    async def status(tokens: dict[str, Any]) -> int:
        client = server.anonymous()
        client.token = tokens["access_token"]
        return (await client.get("/account/whoami")).status

    first = (await nobody.post("/login", body=by_password("alice", refresh_token=True))).ok()
    await refreshed(first["refresh_token"])  # the answer is lost
    second = await refreshed(first["refresh_token"])
    assert await status(second) == 200
    third = await refreshed(second["refresh_token"])
    assert await status(third) == 200
    again = await nobody.post("/refresh", body={"refresh_token": first["refresh_token"]})
    assert again.refused(401, "M_UNKNOWN_TOKEN")["soft_logout"] is True
    assert await status(third) == 401
    (await nobody.post("/refresh", body={"refresh_token": third["refresh_token"]})).refused(401, "M_UNKNOWN_TOKEN")
    assert (await alice.get("/account/whoami")).status == 200, "other sessions go on"
    kept = [device["device_id"] for device in (await alice.get("/devices")).ok()["devices"]]
    assert set(kept) == {alice.device_id, first["device_id"]}
    back = (await nobody.post("/login", body=by_password("alice", device_id=first["device_id"]))).ok()
    assert (back["device_id"], await status(back)) == (first["device_id"], 200)


async def test_logout_ends_the_session_and_its_device(server: RunningServer) -> None:
    """T-I23: the token is good for nothing from then on."""
    alice = await server.user("alice")
    other = await server.login("alice")
    (await alice.post("/logout")).ok()
    (await alice.get("/account/whoami")).refused(401, "M_UNKNOWN_TOKEN")
    assert [device["device_id"] for device in (await other.get("/devices")).ok()["devices"]] == [other.device_id]
    (await other.post("/logout/all")).ok()
    (await other.get("/account/whoami")).refused(401, "M_UNKNOWN_TOKEN")


async def test_a_device_is_taken_over_by_a_new_login(server: RunningServer) -> None:
    alice = await server.user("alice")
    again = await server.login("alice", device_id=alice.device_id)
    (await alice.get("/account/whoami")).refused(401, "M_UNKNOWN_TOKEN")
    assert (await again.get("/account/whoami")).ok()["device_id"] == alice.device_id


async def test_refreshed_tokens_end_the_old_ones_when_used(server: RunningServer) -> None:
    """T-I17: a refresh token that was replaced is good for nothing."""
    await server.user("alice")
    nobody = server.anonymous()
    first = (await nobody.post("/login", body=by_password("alice", refresh_token=True))).ok()
    assert first["expires_in_ms"] > 0
    second = (await nobody.post("/refresh", body={"refresh_token": first["refresh_token"]})).ok()
    client = server.anonymous()
    client.token = first["access_token"]
    assert (await client.get("/account/whoami")).status == 200
    client.token = second["access_token"]
    assert (await client.get("/account/whoami")).status == 200
    client.token = first["access_token"]
    (await client.get("/account/whoami")).refused(401, "M_UNKNOWN_TOKEN")
    (await nobody.post("/refresh", body={"refresh_token": first["refresh_token"]})).refused(401, "M_UNKNOWN_TOKEN")


async def test_a_deactivated_account_is_gone(server: RunningServer) -> None:
    """T-I9: nobody logs in to it again."""
    alice, bob = await server.user("alice"), await server.user("bob")
    room_id = await alice.create_room(preset="public_chat")
    await bob.join(room_id)
    auth = {"type": "m.login.password", "identifier": {"type": "m.id.user", "user": "bob"}, "password": PASSWORD}
    (await bob.post("/account/deactivate", body={"auth": auth, "erase": True})).ok()
    (await bob.get("/account/whoami")).refused(401, "M_UNKNOWN_TOKEN")
    (await server.anonymous().post("/login", body=by_password("bob"))).refused(403, "M_FORBIDDEN")
    assert bob.user_id not in (await alice.get("/rooms/{}/joined_members", room_id)).ok()["joined"]


async def test_tokens_are_not_in_the_database(server: RunningServer) -> None:
    """Whoever reads the tables can't log in with what is there."""
    alice = await server.user("alice")
    assert alice.token is not None
    rows = await server.hansa.world.db.fetch("SELECT * FROM access_tokens")
    digest = hashlib.sha256(alice.token.encode()).digest()
    assert [row["digest"] for row in rows] == [digest]
    assert all(alice.token not in str(row) for row in rows)


def signed(name: str, nonce: str, *, is_admin: bool = False, secret: str = SHARED_SECRET) -> dict[str, Any]:
    words = "\0".join([nonce, name, PASSWORD, "admin" if is_admin else "notadmin"])
    mac = hmac.new(secret.encode(), words.encode(), hashlib.sha1).hexdigest()
    return {"nonce": nonce, "username": name, "password": PASSWORD, "mac": mac, "admin": is_admin}


async def shared_secret(client: Client, name: str, *, is_admin: bool, secret: str = SHARED_SECRET) -> Any:
    nonce = (await client.get("/_synapse/admin/v1/register")).ok()["nonce"]
    body = signed(name, nonce, is_admin=is_admin, secret=secret)
    return body, await client.post("/_synapse/admin/v1/register", body=body)


async def test_registration_by_shared_secret(server: RunningServer) -> None:
    """T-J1: a nonce is good once, and a code only for what it covers."""
    nobody = server.anonymous()
    body, made = await shared_secret(nobody, "root", is_admin=True)
    assert made.ok()["user_id"] == "@root:hansa.test"
    again = await nobody.post("/_synapse/admin/v1/register", body=body)
    assert "nonce" in again.refused(400, "M_UNKNOWN")["error"]
    _, wrong = await shared_secret(nobody, "evil", is_admin=True, secret="another secret")
    wrong.refused(403, "M_FORBIDDEN")
    # Whoever sees one go by can't make more of it: nor an operator, nor another name, nor with a nonce of their own.
    seen, made = await shared_secret(nobody, "carol", is_admin=False)
    made.ok()
    for change in ({"admin": True}, {"username": "mallory"}, {"password": "mine"}, {"user_type": "bot"}):
        nonce = (await nobody.get("/_synapse/admin/v1/register")).ok()["nonce"]
        for body in ({**seen, **change}, {**seen, **change, "nonce": nonce}, {**seen, **change, "nonce": "x"}):
            assert (await nobody.post("/_synapse/admin/v1/register", body=body)).status in (400, 403), body


async def test_a_nonce_is_good_for_a_minute(database_dsn: str) -> None:
    """T-J1"""
    clock = FakeClock()
    async with running_server(database_dsn, clock=clock) as server:
        nobody = server.anonymous()
        nonces = [(await nobody.get("/_synapse/admin/v1/register")).ok()["nonce"] for _ in range(2)]
        for name, nonce, seconds, status in (("early", nonces[0], 50, 200), ("late", nonces[1], 11, 400)):
            clock.advance(seconds)
            assert (await nobody.post("/_synapse/admin/v1/register", body=signed(name, nonce))).status == status


async def test_without_a_secret_nobody_registers_by_it(database_dsn: str) -> None:
    """T-J1: it is off unless the operator has set one; an empty one, or none, signs nothing."""
    with tempfile.TemporaryDirectory(prefix="hansa-test-") as folder:
        config = config_for_tests(Path(folder))
        off = replace(config, registration=replace(config.registration, shared_secret=None))
        async with running_server(database_dsn, config=off) as server:
            nobody = server.anonymous()
            (await nobody.get("/_synapse/admin/v1/register")).refused(403, "M_FORBIDDEN")
            body = signed("evil", "", secret="")
            (await nobody.post("/_synapse/admin/v1/register", body=body)).refused(403, "M_FORBIDDEN")


async def test_a_profile_goes_into_the_rooms(server: RunningServer) -> None:
    alice = await server.user("alice")
    room_id = await alice.create_room()
    (await alice.put("/profile/{}/displayname", alice.user_id, body={"displayname": "Alice A."})).ok()
    member = (await alice.get("/rooms/{}/state/m.room.member/{}", room_id, alice.user_id)).ok()
    assert member["displayname"] == "Alice A."
    assert (await server.anonymous().get("/profile/{}", alice.user_id)).ok() == {"displayname": "Alice A."}


@pytest.mark.parametrize("url", ["http://x/y", "mxc://a/../b", "mxc://a/b/c", "javascript:alert(1)", "mxc://a/b?c"])
async def test_avatars_are_media(server: RunningServer, url: str) -> None:
    """T-P2: no picture's address leads a client anywhere else."""
    alice = await server.user("alice")
    (await alice.put("/profile/{}/avatar_url", alice.user_id, body={"avatar_url": url})).refused(400, "M_INVALID_PARAM")


async def test_profiles_are_for_whom_the_operator_says(database_dsn: str) -> None:
    """T-G15: for everyone; for those who have logged in; or for those who share a room, where a refusal tells of no
    account."""
    for lookups, refused in (("everyone", ()), ("users", ("nobody",)), ("sharing", ("nobody", "eve"))):
        async with running_server(database_dsn, toml=f'[profiles]\nlookups = "{lookups}"') as server:
            names = {name: f"{name}-{lookups}" for name in ("alice", "bob", "eve")}
            alice, bob, eve = [await server.user(name) for name in names.values()]
            (await alice.put("/profile/{}/displayname", alice.user_id, body={"displayname": "A"})).ok()
            await bob.join(await alice.create_room(preset="public_chat"))
            askers = {"alice": alice, "bob": bob, "eve": eve, "nobody": server.anonymous()}
            for name, client in askers.items():
                for path in ("/profile/{}", "/profile/{}/displayname"):
                    answer = await client.get(path, alice.user_id)
                    if name in refused:
                        errcode = "M_MISSING_TOKEN" if name == "nobody" else "M_FORBIDDEN"
                        answer.refused(401 if name == "nobody" else 403, errcode)
                    else:
                        assert answer.ok() == {"displayname": "A"}, (lookups, name)
            if lookups == "sharing":
                (await eve.get("/profile/{}", "@not-there:hansa.test")).refused(403, "M_FORBIDDEN")


@pytest.mark.parametrize(
    "url", ["mxc://a/../b", "mxc://a/b/c", "mxc://a/b?c", "MXC:/x", "mxc://a%2fb/c", "mxc://a/b\n"]
)
async def test_pictures_in_rooms_are_media(server: RunningServer, url: str) -> None:
    """T-P2: those of rooms and of members too, on every way that they are sent; none is none."""
    alice = await server.user("alice")
    room = await alice.create_room()
    member = {"membership": "join", "avatar_url": url}
    picture = {"type": "m.room.avatar", "content": {"url": url}}
    state = "/rooms/{}/state/{}/{}"
    (await alice.put(state, room, "m.room.avatar", "", body={"url": url})).refused(400, "M_BAD_JSON")
    (await alice.put(state, room, "m.room.member", alice.user_id, body=member)).refused(400, "M_BAD_JSON")
    (await alice.post("/createRoom", body={"initial_state": [picture]})).refused(400, "M_BAD_JSON")
    for good in ({"url": "mxc://a.example:8448/b_c-D"}, {"url": ""}, {}):
        (await alice.put(state, room, "m.room.avatar", "", body=good)).ok()


async def test_profile_fields_are_bounded(server: RunningServer) -> None:
    """T-G15: in number, name and size."""
    alice = await server.user("alice")
    path = "/profile/{}/{}"
    long_key = await alice.put(path, alice.user_id, "a" * 256, body={"a" * 256: 1})
    long_key.refused(400, "M_KEY_TOO_LARGE")
    large = await alice.put(path, alice.user_id, "org.x", body={"org.x": "a" * 70_000})
    large.refused(400, "M_PROFILE_TOO_LARGE")
    (await alice.put(path, alice.user_id, "org.x", body={"org.x": {"a": [1]}})).ok()
    assert (await alice.get(path, alice.user_id, "org.x")).ok() == {"org.x": {"a": [1]}}
    statuses = [
        (await alice.put(path, alice.user_id, f"org.{number}", body={f"org.{number}": "a" * 8_000})).status
        for number in range(10)
    ]
    assert statuses == [200] * 8 + [400] * 2, "many small fields are one large profile"
    (await alice.request("DELETE", f"/profile/{alice.user_id}/org.0")).ok()
    (await alice.put(path, alice.user_id, "org.9", body={"org.9": "a" * 8_000})).ok()
    bob = await server.user("bob")
    fields = [f"org.{number}" for number in range(12)]
    puts = (bob.put(path, bob.user_id, field, body={field: "a" * 8_000}) for field in fields)
    answers = await asyncio.gather(*puts)
    assert sorted(answer.status for answer in answers) == [200] * 8 + [400] * 4, "also where they come at once"


async def test_account_data_is_ones_own(server: RunningServer) -> None:
    """Nobody reads or writes another's account data."""
    alice, bob = await server.user("alice"), await server.user("bob")
    path = "/user/{}/account_data/{}"
    (await alice.put(path, alice.user_id, "org.x", body={"a": "\u0000b"})).ok()
    assert (await alice.get(path, alice.user_id, "org.x")).ok() == {"a": "\u0000b"}
    (await bob.get(path, alice.user_id, "org.x")).refused(403, "M_FORBIDDEN")
    (await bob.put(path, alice.user_id, "org.x", body={})).refused(403, "M_FORBIDDEN")
    (await alice.put(path, alice.user_id, "m.push_rules", body={})).refused(405, "M_BAD_JSON")


async def test_the_same_filter_is_kept_once(server: RunningServer) -> None:
    alice = await server.user("alice")
    path = "/user/{}/filter"
    first = (await alice.post(path, alice.user_id, body={"room": {"timeline": {"limit": 5}}})).ok()["filter_id"]
    again = (await alice.post(path, alice.user_id, body={"room": {"timeline": {"limit": 5}}})).ok()["filter_id"]
    assert first == again
    assert (await alice.get(path + "/" + first, alice.user_id)).ok() == {"room": {"timeline": {"limit": 5}}}
    (await alice.get(path + "/999", alice.user_id)).refused(404, "M_NOT_FOUND")
