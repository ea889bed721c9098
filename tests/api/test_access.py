"""Who may do what: every endpoint asks for a token, tokens can't be guessed or read back, passwords can't be tried."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import argon2
import pytest
from nacl.signing import SigningKey

from homeserver.storage.database import Database
from homeserver.web.endpoint import Access, endpoint
from tests.admin.console.visitor import Visitor
from tests.api.test_keys import cross_key, device_keys, sign, upload
from tests.kit.clock import FakeClock, JumpingClock
from tests.kit.oauth import Browser
from tests.kit.server import Client, RunningServer, running_server

_UNSTABLE = "/_matrix/client/unstable"
PASSWORD = "correct horse battery"
# What anybody may ask, by how its path begins: nobody is known there, what is asked is public, or (`/_hansa/`) people
# sign in on a page; `/admin` is the console, which knows its own sessions (tests/admin/console).
OPEN = tuple(
    """
    /.well-known/matrix/ /health /ready /metrics /_synapse/admin/v1/register
    /_matrix/key/ /_matrix/federation/v1/version /_matrix/federation/v1/openid/userinfo /_matrix/media/ /_matrix/app/
    /_matrix/federation/v1/3pid/onbind
    /_matrix/client/versions /_matrix/client/v3/login /_matrix/client/v3/register /_matrix/client/v1/register
    /_matrix/client/unstable/org.hansa.tus/uploads /_matrix/client/v1/room_summary/
    /_matrix/client/v3/refresh /_matrix/client/v3/auth/ /_matrix/client/v3/directory/ /_matrix/client/v3/publicRooms
    /_matrix/client/v3/profile/ /_matrix/client/v3/password_policy
    /_matrix/client/v3/account/password /_matrix/client/v3/account/deactivate
    /_matrix/client/v3/account/3pid /_matrix/client/v1/auth_metadata /_matrix/client/v1/rendezvous
    /_matrix/client/unstable/org.matrix.msc2965/ /_matrix/client/unstable/org.matrix.msc4108/
    /_matrix/client/unstable/io.element.msc4388/
    /_matrix/client/unstable/org.matrix.msc4140/ /_matrix/static/ /_synapse/client/ /admin /_hansa/account
    /_hansa/confirm /_hansa/forgotten /_hansa/link /_hansa/login /_hansa/logout /_hansa/oauth/ /_hansa/register
    /_hansa/search /_hansa/sso/ /_hansa/style.css /_hansa/unsubscribe /_hansa/webhooks/
    """.split()
)


def test_an_endpoint_says_who_may_call_it() -> None:
    """T-I1: there is no default that lets everybody in."""
    with pytest.raises(TypeError):
        endpoint("GET", "/x", spec="")  # type: ignore[call-arg]


async def test_every_endpoint_wants_a_token(server: RunningServer) -> None:
    """T-I1, T-I2, T-I10, T-J11: none, an empty one, blanks and one that was never given are refused everywhere."""
    stranger = server.anonymous()
    for declared in server.hansa.endpoints:
        path = re.sub(r"\{[a-z_]+\}", "x", declared.paths[0])
        if declared.access in (Access.NONE, Access.OPTIONAL) or declared.method == "OPTIONS":
            assert declared.paths[0].startswith(OPEN), f"{declared.method} {declared.paths[0]} is open to anybody"
            continue
        if declared.access is Access.SERVER:
            assert (await stranger.request(declared.method, path, data=b"{}")).status == 401, path
            continue
        refused = await stranger.request(declared.method, path)
        assert refused.status == 401, (declared.method, path)
        assert declared.method == "HEAD" or refused.json["errcode"] == "M_MISSING_TOKEN"
        for header in ("Bearer x", "Bearer hsa_" + "A" * 43, "Basic eDp4"):
            answer = await stranger.request(declared.method, path, headers={"Authorization": header})
            assert answer.status == 401, (declared.method, path, header)


async def test_the_console_does_nothing_for_strangers(server: RunningServer) -> None:
    """T-J11: whatever a page or a form is for, who hasn't logged in is sent there, or refused; a code of the log-in's
    own form, which anybody has, opens no other."""
    seen = 0
    for declared in server.hansa.endpoints:
        if not declared.paths[0].startswith("/admin") or declared.paths[0] in _FOR_ALL:
            continue
        path, stranger, seen = re.sub(r"\{[a-z_]+\}", "x", declared.paths[0]), Visitor(server), seen + 1
        await stranger.get("/admin/login")
        asked = stranger.get(path) if declared.method == "GET" else stranger.post(path, {"reason": "x"})
        answer = await asked
        assert answer.status in (303, 403), (declared.method, path, answer.status)
        assert answer.status == 403 or answer.headers["Location"].startswith("/admin/login"), path
    assert seen > 90


_FOR_ALL = ("/admin/login", "/admin/static/{name}", "/admin/language", "/admin/code", "/admin/logout")


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer ", "Bearer    ", "bearer\t", "Bearer \u00a0", "hsa_x", "null"]
)
async def test_empty_tokens_are_nobodys(server: RunningServer, header: str) -> None:
    """T-I10: also when an account without a session exists."""
    await server.user("alice")
    answer = await server.anonymous().request("GET", "/account/whoami", headers={"Authorization": header})
    assert answer.status == 401
    assert (await server.anonymous().get("/account/whoami", access_token="")).status == 401


@pytest.mark.parametrize("password", ["", " ", "\x00", None, 5, {}, ["correct horse battery"]])
async def test_odd_passwords_open_nothing(server: RunningServer, password: Any) -> None:
    """T-I3: an empty password is wrong before anything is asked, also for an account that has none."""
    await server.user("alice")
    for name in ("alice", "nobody"):
        identifier = {"type": "m.id.user", "user": name}
        login = {"type": "m.login.password", "identifier": identifier, "password": password}
        assert (await server.anonymous().post("/login", body=login)).status in (400, 403)
    body = {"username": "bob", "password": password, "auth": {"type": "m.login.dummy"}}
    if password is not None:
        assert (await server.anonymous().post("/register", body=body)).status == 400


async def test_an_account_without_a_password_is_opened_by_none(server: RunningServer, database: Database) -> None:
    """T-I5: interactive authentication passes only by the proof that its stage wants."""
    alice = await server.user("alice")
    await database.execute("UPDATE users SET password_hash = NULL WHERE user_id = $1", alice.user_id)
    identifier = {"type": "m.id.user", "user": "alice"}
    for given in ({"password": ""}, {"password": None}, {"password": PASSWORD}, {}):
        auth = {"type": "m.login.password", "identifier": identifier, **given}
        answer = await alice.post("/delete_devices", body={"devices": [alice.device_id], "auth": auth})
        assert answer.status == 401, given
    for stage in ("m.login.dummy", "m.login.token", "m.login.sso", "m.login.email.identity", ""):
        answer = await alice.post("/delete_devices", body={"devices": [alice.device_id], "auth": {"type": stage}})
        assert answer.status == 401, stage
    assert (await alice.get("/account/whoami")).status == 200


async def everything_kept(database: Database) -> str:
    """All rows of all tables as text, bytes in hexadecimal."""
    names = await database.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    rows = [
        row for name in names for row in await database.fetch(f'SELECT t::text AS row FROM "{name["tablename"]}" t')
    ]
    return "\n".join(row["row"] for row in rows)


async def test_secrets_are_not_kept(server: RunningServer, database: Database) -> None:
    """T-I11, T-I12: tokens are kept as hashes, passwords as argon2id, and nothing of a half-done authentication."""
    alice = await server.user("alice")
    login = {"type": "m.login.password", "identifier": {"type": "m.id.user", "user": "alice"}, "password": PASSWORD}
    opened = (await server.anonymous().post("/login", body={**login, "refresh_token": True})).ok()
    await alice.post("/account/password", body={"new_password": "the next password", "auth": {"type": "m.login.dummy"}})
    kept = await everything_kept(database)
    assert "@alice:hansa.test" in kept and "$argon2id$" in kept
    for secret in (PASSWORD, "the next password", alice.token, opened["access_token"], opened["refresh_token"]):
        assert secret is not None
        assert secret not in kept and secret.encode().hex() not in kept


async def test_tokens_cannot_be_guessed(server: RunningServer) -> None:
    """T-I11: 32 bytes of the system's randomness each, no two alike."""
    found = set()
    for number in range(20):
        account = await server.user(f"u{number}")
        assert re.fullmatch(r"hsa_[A-Za-z0-9_-]{43}", account.token or "")
        found.add(account.token)
    assert len(found) == 20


async def test_one_of_many_gets_the_name(server: RunningServer) -> None:
    """T-I13: the database decides, not a look before; nobody gets into somebody's account by registering it."""
    body = {"username": "alice", "password": PASSWORD, "auth": {"type": "m.login.dummy"}}
    answers = await asyncio.gather(*(server.anonymous().post("/register", body=body) for _ in range(8)))
    assert sorted(answer.status for answer in answers) == [200, *[400] * 7]
    assert all(answer.json["errcode"] == "M_USER_IN_USE" for answer in answers if answer.status == 400)
    again = await server.anonymous().post("/register", body={**body, "password": "somebody else's"})
    again.refused(400, "M_USER_IN_USE")


async def test_who_is_unknown_costs_as_much_as_who_is_known(
    server: RunningServer, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """T-I15: one hash of the same cost is checked for a user, for nobody, and for an account without a password."""
    await server.user("alice")
    await server.user("bridged")
    await database.execute("UPDATE users SET password_hash = NULL WHERE user_id = $1", "@bridged:hansa.test")
    costs: list[argon2.Parameters] = []
    verify = argon2.PasswordHasher.verify

    def noted(self: argon2.PasswordHasher, hash: str, password: str) -> Any:
        costs.append(argon2.extract_parameters(hash))
        return verify(self, hash, password)

    monkeypatch.setattr(argon2.PasswordHasher, "verify", noted)
    for name in ("alice", "nobody", "bridged"):
        identifier = {"type": "m.id.user", "user": name}
        login = {"type": "m.login.password", "identifier": identifier, "password": "wrong"}
        (await server.anonymous().post("/login", body=login)).refused(403, "M_FORBIDDEN")
    assert len(costs) == 3 and costs[0] == costs[1] == costs[2]


async def test_passwords_cannot_be_tried(database_dsn: str) -> None:
    """T-I16: not for an account, not from an address; nobody is locked out for good by who tries."""
    clock = FakeClock()
    limits = "[rate_limits]\nlogin_address = {per_second = 0.01, burst = 12}\n"
    async with running_server(database_dsn, clock=clock, toml=limits) as server:
        await server.user("alice")

        async def tried(name: str, password: str) -> int:
            identifier = {"type": "m.id.user", "user": name}
            login = {"type": "m.login.password", "identifier": identifier, "password": password}
            return (await server.anonymous().post("/login", body=login)).status

        assert [await tried("alice", f"wrong {number}") for number in range(5)] == [403] * 5
        assert await tried("alice", PASSWORD) == 429, "the account rests after so many failures"
        assert [await tried(f"user{number}", "wrong") for number in range(6)] == [403] * 6
        assert await tried("somebody", "wrong") == 429, "the address rests, whomever it tries"
        clock.advance(3600)
        assert await tried("alice", PASSWORD) == 200


@pytest.mark.slow
async def test_an_ipv6_network_tries_no_more_than_one_address(database_dsn: str) -> None:
    """T-I16: by the API, by our own page, at the console and by mails: 2^64 addresses are one client."""
    limits = """
        [rate_limits]
        login_address = {per_second = 0.001, burst = 4}
        login_account = {per_second = 100, burst = 100}
        email_requester = {per_second = 0.001, burst = 4}
        requests_address = {per_second = 100, burst = 1000}
    """
    async with running_server(database_dsn, toml=limits) as server:
        await server.user("alice")
        for number, way in enumerate((_by_api, _by_page, _by_console, _by_mail)):
            found = [await way(server, f"2001:db8:0:{number}::{last}") for last in range(1, 9)]
            assert set(found[4:]) == {429} and 429 not in found[:4], (way, found)
            assert await way(server, f"2001:db8:1:{number}::1") != 429, "others are not held up"


async def _by_api(server: RunningServer, address: str) -> int:
    login = {"type": "m.login.password", "identifier": {"type": "m.id.user", "user": "alice"}, "password": "wrong"}
    headers = {"X-Forwarded-For": address}
    return (await server.anonymous().request("POST", "/login", body=login, headers=headers)).status


async def _by_page(server: RunningServer, address: str) -> int:
    browser = Browser(server)
    browser.headers = {"X-Forwarded-For": address}
    await browser.open("/_hansa/login")
    return (await browser.sign_in("alice", "wrong")).status


async def _by_console(server: RunningServer, address: str) -> int:
    visitor = Visitor(server)
    visitor.headers = {"X-Forwarded-For": address}
    await visitor.get("/admin/login")
    return (await visitor.post("/admin/login", {"name": "alice", "password": "wrong"})).status


async def _by_mail(server: RunningServer, address: str) -> int:
    body = {"email": "a@mail.test", "client_secret": "s", "send_attempt": 1}
    headers = {"X-Forwarded-For": address}
    return (await server.anonymous().request("POST", "/register/email/requestToken", body=body, headers=headers)).status


@pytest.mark.parametrize("way", ["keys", "other keys", "dehydrated", "cross-signing", "signature", "gone"])
async def test_new_devices_are_shown_at_once(server: RunningServer, way: str) -> None:
    """T-P1: no device or key comes or goes silently: whoever shares a room hears of it in the next /sync."""
    alice, bob = await server.user("alice"), await server.user("bob")
    room = await alice.create_room(preset="public_chat")
    await bob.join(room)
    phone, sleeper = await server.login("alice"), server.anonymous()
    sleeper.user_id, sleeper.device_id = alice.user_id, "SLEEPER"
    key, master = SigningKey.generate(), SigningKey.generate()
    crossed = {"master_key": cross_key(alice, "master", master)}
    if way != "keys":
        (await upload(phone, device_keys=device_keys(phone, key))).ok()
    if way == "signature":
        (await phone.post("/keys/device_signing/upload", body=crossed)).ok()
    since = (await bob.sync())["next_batch"]
    if way in ("keys", "other keys"):
        (await upload(phone, device_keys=device_keys(phone, SigningKey.generate()))).ok()
    elif way == "dehydrated":
        asleep = {"device_id": "SLEEPER", "device_data": {"algorithm": "x"}}
        asleep |= {"device_keys": device_keys(sleeper, SigningKey.generate())}
        (await phone.put(f"{_UNSTABLE}/org.matrix.msc3814.v1/dehydrated_device", body=asleep)).ok()
    elif way == "cross-signing":
        (await phone.post("/keys/device_signing/upload", body=crossed)).ok()
    elif way == "signature":
        public = crossed["master_key"]["keys"]
        signed = {alice.user_id: {next(iter(public.values())): sign(crossed["master_key"], *_named(phone), key)}}
        assert (await phone.post("/keys/signatures/upload", body=signed)).ok() == {"failures": {}}
    else:
        (await phone.post("/logout")).ok()
    lists = (await bob.sync(since=since, timeout=0)).get("device_lists", {})
    assert lists.get("changed") == [alice.user_id]


def _named(client: Client) -> tuple[str, str]:
    return str(client.user_id), str(client.device_id)


async def test_prototype_names_are_names(server: RunningServer) -> None:
    """T-P3: keys that mean something to JavaScript are kept and given back as any other; types are bounded."""
    alice = await server.user("alice")
    path = "/user/{}/account_data/{}"
    for kind in ("__proto__", "constructor", "toString"):
        content = {"__proto__": {"polluted": True}, "constructor": 1}
        assert (await alice.put(path, alice.user_id, kind, body=content)).status == 200
        assert (await alice.get(path, alice.user_id, kind)).ok() == content
    assert (await alice.put(path, alice.user_id, "x" * 1000, body={})).status == 400
    room = await alice.create_room()
    of_room = "/user/{}/rooms/{}/account_data/{}"
    assert (await alice.put(of_room, alice.user_id, room, "__proto__", body={"__proto__": 1})).status == 200
    assert (await alice.put(of_room, alice.user_id, room, "x" * 256, body={})).status == 400
    tag = "/user/{}/rooms/{}/tags/{}"
    assert (await alice.put(tag, alice.user_id, room, "__proto__", body={"order": 0.5})).status == 200
    assert (await alice.get("/user/{}/rooms/{}/tags", alice.user_id, room)).ok() == {
        "tags": {"__proto__": {"order": 0.5}}
    }
    assert (await alice.put(tag, alice.user_id, room, "x" * 256, body={})).status == 400


@pytest.mark.parametrize("key", ["{}", "_{}", "_{}_DEVICE", "_{}_DEVICE_m.call"])
@pytest.mark.parametrize("kind", ["m.call.member", "org.matrix.msc3401.call.member", "org.matrix.msc4143.rtc.member"])
async def test_nobody_joins_a_call_for_another(server: RunningServer, kind: str, key: str) -> None:
    """T-P6: a state key that is a user's id, also as clients write it in calls, is theirs, and of those above them."""
    alice, bob, carol = [await server.user(name) for name in ("alice", "bob_the_b", "carol")]
    room = await alice.create_room(preset="public_chat", power_level_content_override={"events": {kind: 0}})
    for user in (bob, carol):
        await user.join(room)
    state = "/rooms/{}/state/{}/{}"
    for other in (alice, carol):
        (await bob.put(state, room, kind, key.format(other.user_id), body={"a": 1})).refused(403, "M_FORBIDDEN")
    assert (await bob.put(state, room, kind, key.format(bob.user_id), body={"a": 1})).status == 200
    assert (await bob.put(state, room, kind, "_k", body={"a": 1})).status == 200
    if key != "{}":  # where the auth rules have no say
        assert (await alice.put(state, room, kind, key.format(bob.user_id), body={})).status == 200


async def seen_by(client: Client, room: str) -> list[str]:
    events = (await client.get("/rooms/{}/messages", room, dir="b", limit=50)).ok()["chunk"]
    return [event["content"]["body"] for event in reversed(events) if event["type"] == "m.room.message"]


async def test_a_jumping_clock_breaks_nothing(database_dsn: str) -> None:
    """T-O13: order, sync, limits and log-ins go on, a day back or a year forth."""
    clock = JumpingClock()
    async with running_server(database_dsn, clock=clock) as server:
        alice = await server.user("alice")
        room = await alice.create_room()
        since = (await alice.sync())["next_batch"]
        said = []
        for number, jump in enumerate((0, -86_400, 3600, 365 * 86_400, -365 * 86_400)):
            clock.jump(jump)
            said.append(f"message {number}")
            await alice.send(room, said[-1])
            answer = await alice.sync(since=since, timeout=0)
            since = answer["next_batch"]
            timeline = answer["rooms"]["join"][room]["timeline"]["events"]
            assert [event["content"]["body"] for event in timeline] == [said[-1]]
            assert (await alice.get("/account/whoami")).status == 200
            assert (await server.login("alice")).token
        assert await seen_by(alice, room) == said
