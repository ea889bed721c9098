"""A server whose people sign in at a Matrix Authentication Service."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from homeserver.core.identifiers import UserId
from homeserver.storage import operator_roles
from homeserver.web.endpoint import Access
from tests.kit.clock import FakeClock
from tests.kit.mas import API, DEVICE, OLD_API, OLD_DEVICE, SECRET, MasServer, call, mas_server, sign_in
from tests.kit.server import RunningServer, delegated_config, running_server

ADMIN = "urn:synapse:admin:*"


@pytest.fixture
async def mas() -> AsyncIterator[MasServer]:
    async with mas_server() as running:
        yield running


@pytest.fixture
async def server(database_dsn: str, clock: FakeClock, mas: MasServer, tmp_path: Path) -> AsyncIterator[RunningServer]:
    config = delegated_config(tmp_path, mas.endpoint, SECRET)
    async with running_server(database_dsn, config=config, clock=clock) as running:
        yield running


async def test_people_who_signed_in_there_are_known_here(server: RunningServer, mas: MasServer) -> None:
    alice = await sign_in(mas, server.anonymous(), "alice", "LAPTOP")
    known = (await alice.get("/account/whoami")).ok()
    assert known == {"user_id": "@alice:hansa.test", "device_id": "LAPTOP", "is_guest": False}
    assert mas.supports_device_id == ["1"]
    bob = await sign_in(mas, server.anonymous(), "bob", "PHONE")
    room_id = await alice.create_room(preset="public_chat")
    await bob.join(room_id)
    event_id = await alice.send(room_id, "hello")
    events = (await bob.sync())["rooms"]["join"][room_id]["timeline"]["events"]
    assert events[-1]["event_id"] == event_id
    (device,) = (await alice.get("/devices")).ok()["devices"]
    assert (device["device_id"], device["display_name"]) == ("LAPTOP", "App")


async def test_a_device_is_named_by_scope_or_beside_it(server: RunningServer, mas: MasServer) -> None:
    await sign_in(mas, server.anonymous(), "alice", "LAPTOP")
    client = server.anonymous()
    for token, said in {
        "stable": {"scope": f"openid {API} {DEVICE}LAPTOP"},
        "older": {"scope": f"{OLD_API} {OLD_DEVICE}LAPTOP"},
        "legacy": {"scope": API, "device_id": "LAPTOP"},
        "both": {"scope": f"{API} {DEVICE}OTHER", "device_id": "LAPTOP"},
    }.items():
        mas.tokens[token] = {"username": "alice", **said}
        client.token = token
        assert (await client.get("/account/whoami")).ok()["device_id"] == "LAPTOP"
    mas.tokens["none"] = {"username": "alice", "scope": API}
    client.token = "none"
    assert "device_id" not in (await client.get("/account/whoami")).ok()


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ({"active": False}, 401),
        ({"active": True, "username": "alice", "scope": "openid"}, 401),
        ({"active": True, "username": "alice", "scope": None}, 401),
        ({"active": True, "username": "alice", "scope": f"{API} {DEVICE}GONE"}, 401),
        ({"active": True, "username": "alice", "scope": API, "expires_in": 0}, 401),
        ({"active": True, "username": "nobody", "scope": API}, 503),
        ({"active": True, "scope": API}, 503),
        ({"active": True, "username": "", "scope": API}, 503),
        ({"active": True, "username": "al\x00ice", "scope": API}, 503),
        ({"active": True, "username": "alice", "scope": f"{API} {DEVICE}A {DEVICE}B"}, 503),
        ({"active": True, "username": "alice", "scope": f"{API} {DEVICE}{'x' * 300}"}, 503),
        ({"active": True, "username": "alice", "scope": API, "device_id": ""}, 503),
        ({"active": "yes"}, 503),
        ({"username": "alice", "scope": API}, 503),
        ([], 503),
        ("no", 503),
    ],
)
async def test_what_lets_nobody_in(server: RunningServer, mas: MasServer, said: Any, status: int) -> None:
    """T-I9, T-I10: an ended token logs out; an answer that no service of ours would give is an outage, no log-out."""
    alice = await sign_in(mas, server.anonymous(), "alice", "LAPTOP")
    mas.answer = said
    errcode = "M_UNKNOWN_TOKEN" if status == 401 else "M_UNKNOWN"
    (await alice.get("/account/whoami")).refused(status, errcode)


async def test_while_the_service_is_away(server: RunningServer, mas: MasServer, clock: FakeClock) -> None:
    """T-J7: those who were just here go on; for others it is an outage, and no word of how we ask."""
    alice = await sign_in(mas, server.anonymous(), "alice", "LAPTOP")
    (await alice.get("/account/whoami")).ok()
    metadata = (await alice.get("/_matrix/client/v1/auth_metadata")).ok()
    mas.status = 500
    (await alice.get("/account/whoami")).ok()
    alice.token = "mct_other"
    refused = (await alice.get("/account/whoami")).refused(503, "M_UNKNOWN")
    assert refused["error"] == "Unable to introspect the access token"
    clock.advance(3_600)
    assert (await alice.get("/_matrix/client/v1/auth_metadata")).ok() == metadata, "what it said last"


async def test_what_it_said_is_believed_for_a_short_time(
    server: RunningServer, mas: MasServer, clock: FakeClock
) -> None:
    """T-I9, T-I23: two minutes, or as long as the token lives; not a moment longer than the device is there."""
    alice = await sign_in(mas, server.anonymous(), "alice", "LAPTOP", expires_in=60)
    bob = await sign_in(mas, server.anonymous(), "bob", "PHONE")
    for client in (alice, alice, bob, bob):
        (await client.get("/account/whoami")).ok()
    assert mas.asked == 2
    mas.tokens.clear()
    clock.advance(61)
    (await alice.get("/account/whoami")).refused(401, "M_UNKNOWN_TOKEN")
    (await bob.get("/account/whoami")).ok()
    clock.advance(60)
    (await bob.get("/account/whoami")).refused(401, "M_UNKNOWN_TOKEN")
    carol = await sign_in(mas, server.anonymous(), "carol", "TABLET")
    (await carol.get("/account/whoami")).ok()
    gone = await call(server.anonymous(), "POST", "delete_device", {"localpart": "carol", "device_id": "TABLET"})
    assert (gone.status, gone.body) == (204, b"")
    (await carol.get("/account/whoami")).refused(401, "M_UNKNOWN_TOKEN")


async def test_tokens_that_are_none_are_asked_for_once(server: RunningServer, mas: MasServer) -> None:
    """T-I10: whoever tries the same token again and again doesn't have us ask each time, nor for a huge one."""
    client = server.anonymous()
    for _ in range(5):
        client.token = "mct_guessed"
        (await client.get("/account/whoami")).refused(401, "M_UNKNOWN_TOKEN")
    assert mas.asked == 1
    client.token = "m" * 5_000
    (await client.get("/account/whoami")).refused(401, "M_UNKNOWN_TOKEN")
    client.token = SECRET
    (await client.get("/account/whoami")).refused(401, "M_UNKNOWN_TOKEN")
    assert mas.asked == 2


async def test_the_service_says_who_administers(server: RunningServer, mas: MasServer) -> None:
    """T-I1: by the token's scope; a role given here counts too, an account's flag alone doesn't."""
    alice = await sign_in(mas, server.anonymous(), "alice", "LAPTOP")
    (await alice.get("/_synapse/admin/v2/users")).refused(403, "M_FORBIDDEN")
    async with server.db.transaction() as tx:
        await operator_roles.set_admin_flag(tx, UserId("@alice:hansa.test"), True)
    mas.give("mct_flag", "alice", "LAPTOP")
    mas.give("mct_admin", "alice", "LAPTOP", scope=f"{API} {ADMIN}")
    alice.token = "mct_flag"
    (await alice.get("/_synapse/admin/v2/users")).refused(403, "M_FORBIDDEN")
    alice.token = "mct_admin"
    listed = (await alice.get("/_synapse/admin/v2/users")).ok()["users"]
    assert [user["name"] for user in listed] == ["@alice:hansa.test"]
    made = await alice.put("/_synapse/admin/v2/users/@new:hansa.test", body={"password": "correct horse"})
    made.refused(403, "M_FORBIDDEN")


@pytest.mark.parametrize("secret", [None, "", "x", SECRET + "x", "mct_alice_LAPTOP"])
async def test_the_back_channel_is_the_services_alone(
    server: RunningServer, mas: MasServer, secret: str | None
) -> None:
    """T-I1, T-I2, T-I10: all twelve paths, before anything else of the request is looked at."""
    await sign_in(mas, server.anonymous(), "alice", "LAPTOP", scope=f"{API} {ADMIN}")
    served = [one for one in server.hansa.endpoints if one.access is Access.SERVICE]
    assert len(served) == 12
    for one in served:
        path = one.paths[0].removeprefix("/_synapse/mas/")
        answer = await call(server.anonymous(), one.method, path, secret=secret)
        assert answer.status == (403 if secret else 401), (path, answer.body)
    assert (await server.anonymous().get("/profile/@alice:hansa.test")).ok() == {"displayname": "alice"}


async def test_accounts_are_made_and_changed(server: RunningServer, mas: MasServer) -> None:
    client = server.anonymous()
    wish = {"localpart": "alice", "set_displayname": "Alice L.", "set_emails": ["Alice@Example.org"]}
    assert (await call(client, "POST", "provision_user", wish)).status == 201
    alice = await sign_in(mas, server.anonymous(), "alice", "LAPTOP")
    queried = (await call(client, "GET", "query_user?localpart=alice")).ok()
    assert queried == {
        "user_id": "@alice:hansa.test",
        "display_name": "Alice L.",
        "avatar_url": None,
        "is_suspended": False,
        "is_deactivated": False,
    }
    (mail,) = (await alice.get("/account/3pid")).ok()["threepids"]
    assert (mail["medium"], mail["address"]) == ("email", "alice@example.org")
    change = {"localpart": "alice", "set_avatar_url": "mxc://hansa.test/abc", "set_emails": [], "locked": True}
    assert (await call(client, "POST", "provision_user", change)).status == 200
    (await alice.get("/account/whoami")).refused(401, "M_USER_LOCKED")
    await call(client, "POST", "provision_user", {"localpart": "alice", "locked": False})
    assert (await alice.get("/account/3pid")).ok()["threepids"] == []
    shown = (await alice.get("/profile/@alice:hansa.test")).ok()
    assert shown == {"displayname": "Alice L.", "avatar_url": "mxc://hansa.test/abc"}
    (await call(client, "POST", "set_displayname", {"localpart": "alice", "displayname": "A"})).ok()
    assert (await alice.get("/profile/@alice:hansa.test/displayname")).ok() == {"displayname": "A"}
    (await call(client, "POST", "unset_displayname", {"localpart": "alice"})).ok()
    (await alice.get("/profile/@alice:hansa.test/displayname")).refused(404, "M_NOT_FOUND")
    taken = {"localpart": "bob", "set_emails": ["shared@example.org"]}
    assert (await call(client, "POST", "provision_user", taken)).status == 201
    assert (await call(client, "POST", "provision_user", {**taken, "localpart": "alice"})).status == 200
    assert [mail["address"] for mail in (await alice.get("/account/3pid")).ok()["threepids"]] == ["shared@example.org"]


async def test_accounts_end_and_begin_again(server: RunningServer, mas: MasServer) -> None:
    """T-I9, T-I24: sessions end with the account; what the service did is in the audit log."""
    alice = await sign_in(mas, server.anonymous(), "alice", "LAPTOP")
    room_id = await alice.create_room()
    bob = await sign_in(mas, server.anonymous(), "bob", "PHONE", scope=f"{API} {ADMIN}")
    await alice.post("/rooms/{}/invite", room_id, body={"user_id": "@bob:hansa.test"})
    await bob.join(room_id)
    (await call(server.anonymous(), "POST", "delete_user", {"localpart": "alice", "erase": True})).ok()
    (await alice.get("/account/whoami")).refused(401, "M_UNKNOWN_TOKEN")
    assert list((await bob.get("/rooms/{}/joined_members", room_id)).ok()["joined"]) == ["@bob:hansa.test"]
    (await call(server.anonymous(), "GET", "is_localpart_available?localpart=alice")).refused(400, "M_USER_IN_USE")
    assert (await call(server.anonymous(), "GET", "query_user?localpart=alice")).ok()["is_deactivated"]
    (await call(server.anonymous(), "POST", "reactivate_user", {"localpart": "alice"})).ok()
    again = await sign_in(mas, server.anonymous(), "alice", "NEW")
    (await again.get("/account/whoami")).ok()
    entries = (await bob.get("/_hansa/admin/v1/audit")).ok()["entries"]
    done = [(entry["actor"], entry["action"]) for entry in entries if entry["target"] == "@alice:hansa.test"]
    actor = "matrix-authentication-service"
    assert done == [(actor, "user.reactivate"), (actor, "user.deactivate"), (actor, "user.create")]


async def test_devices_are_brought_into_line(server: RunningServer, mas: MasServer) -> None:
    alice = await sign_in(mas, server.anonymous(), "alice", "ONE")
    two = await sign_in(mas, server.anonymous(), "alice", "TWO")
    (await alice.get("/account/whoami")).ok()
    (await two.get("/account/whoami")).ok()
    (await call(server.anonymous(), "POST", "sync_devices", {"localpart": "alice", "devices": ["TWO", "THREE"]})).ok()
    assert [one["device_id"] for one in (await two.get("/devices")).ok()["devices"]] == ["THREE", "TWO"]
    (await alice.get("/account/whoami")).refused(401, "M_UNKNOWN_TOKEN")
    named = {"localpart": "alice", "device_id": "TWO", "display_name": "Second"}
    (await call(server.anonymous(), "POST", "update_device_display_name", named)).ok()
    assert (await two.get("/devices/TWO")).ok()["display_name"] == "Second"


async def test_cross_signing_keys_are_replaced_when_the_service_allows_it(
    server: RunningServer, mas: MasServer
) -> None:
    """T-I5, T-I6: on its page, named in the answer; once."""
    alice = await sign_in(mas, server.anonymous(), "alice", "LAPTOP")

    def key(letter: str) -> dict[str, Any]:
        public = letter * 43
        return {"user_id": "@alice:hansa.test", "usage": ["master"], "keys": {f"ed25519:{public}": public}}

    path = "/keys/device_signing/upload"
    (await alice.post(path, body={"master_key": key("A")})).ok()
    refused = await alice.post(path, body={"master_key": key("B")})
    url = "https://mas.example.org/account/?action=org.matrix.cross_signing_reset"
    assert refused.status == 401
    assert refused.json["params"] == {"m.oauth": {"url": url}, "org.matrix.cross_signing_reset": {"url": url}}
    assert [flow["stages"] for flow in refused.json["flows"]] == [["m.oauth"], ["org.matrix.cross_signing_reset"]]
    page = await alice.request("GET", "/auth/m.oauth/fallback/web?session=dummy", follow=False)
    assert (page.status, page.headers["Location"]) == (302, url)
    (await call(server.anonymous(), "POST", "allow_cross_signing_reset", {"localpart": "alice"})).ok()
    (await alice.post(path, body={"master_key": key("B")})).ok()
    assert (await alice.post(path, body={"master_key": key("C")})).status == 401


async def test_our_own_sign_in_is_gone(server: RunningServer, mas: MasServer) -> None:
    """T-I14: nobody gets in, or makes an account, beside the service."""
    alice = await sign_in(mas, server.anonymous(), "alice", "LAPTOP")
    for method, path in (
        ("GET", "/login"),
        ("POST", "/login"),
        ("POST", "/refresh"),
        ("POST", "/logout"),
        ("GET", "/register/available?username=x"),
        ("POST", "/account/password"),
        ("POST", "/account/deactivate"),
        ("POST", "/account/3pid/add"),
        ("POST", "/delete_devices"),
        ("DELETE", "/devices/LAPTOP"),
        ("GET", "/_hansa/login"),
        ("GET", "/_hansa/account"),
        ("POST", "/_hansa/oauth/token"),
        ("GET", "/_synapse/admin/v1/register"),
        ("GET", "/login/sso/redirect?redirectUrl=https%3A%2F%2Fapp.example.org"),
    ):
        answer = await alice.request(method, path, body=None if method == "GET" else {})
        assert (answer.status, answer.json["errcode"]) == (404, "M_UNRECOGNIZED"), (method, path)
    refused = await alice.post("/register", body={"username": "x", "password": "correct horse"})
    refused.refused(403, "M_FORBIDDEN")
    asked = {"type": "m.login.application_service", "username": "x"}
    (await alice.post("/register", body=asked)).refused(400, "M_APPSERVICE_LOGIN_UNSUPPORTED")
    assert (await alice.get("/_matrix/client/v1/auth_metadata")).ok() == mas.said_of_itself
    known = (await alice.get("/.well-known/matrix/client")).ok()
    where = {"issuer": "https://mas.example.org/", "account": "https://mas.example.org/account/"}
    assert known["org.matrix.msc2965.authentication"] == where
    able = (await alice.get("/capabilities")).ok()["capabilities"]
    assert not any(able[name]["enabled"] for name in ("m.change_password", "m.get_login_token", "m.3pid_changes"))
