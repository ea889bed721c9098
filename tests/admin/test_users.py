"""Accounts through the admin API: the shapes that tools know, refusals beside permissions, a row for every change."""

from __future__ import annotations

from typing import Any

import pytest

from admin.audit import verify
from homeserver.storage.database import Database
from tests.admin.people import OPERATORS, PASSWORD, Crew
from tests.kit.oauth import App
from tests.kit.server import Client, RunningServer

V1, V2, V3 = "/_synapse/admin/v1", "/_synapse/admin/v2/users", "/_synapse/admin/v3/users"
AUDIT = "/_hansa/admin/v1/audit"


async def newest(crew: Crew) -> dict[str, Any]:
    found: dict[str, Any] = (await crew.owner.get(AUDIT, limit=1)).ok()["entries"][0]
    return found


async def names(client: Client, path: str = V2, **query: Any) -> list[str]:
    answer = (await client.get(path, **query)).ok()
    return [one["name"].split(":")[0].removeprefix("@") for one in answer["users"]]


async def test_the_list(crew: Crew) -> None:
    answer = (await crew.auditor.get(V2, limit=2)).ok()
    assert answer["total"] == 5 and answer["next_token"] == "2"
    assert set(answer["users"][0]) == {
        "name", "user_type", "is_guest", "admin", "deactivated", "shadow_banned", "displayname", "avatar_url",
        "creation_ts", "approved", "erased", "last_seen_ts", "locked",
    }  # fmt: skip
    assert answer["users"][0]["name"] == "@owner:hansa.test" and answer["users"][0]["admin"] is True
    assert answer["users"][1]["displayname"] == "the-admin"
    last = (await crew.auditor.get(V2, limit=2, **{"from": 4})).ok()
    assert len(last["users"]) == 1 and "next_token" not in last


async def test_the_list_filtered_and_sorted(server: RunningServer, crew: Crew) -> None:
    boss = crew.owner
    guest = (await server.anonymous().request("POST", "/register?kind=guest", body={})).ok()["user_id"]
    robot = {"user_type": "bot", "displayname": "A Robot"}
    assert (await boss.put(V2 + "/{}", "@bot:hansa.test", body=robot)).status == 201
    (await boss.post(V1 + "/deactivate/{}", crew.user.user_id)).ok()
    (await boss.put(V2 + "/{}", crew.auditor.user_id, body={"locked": True})).ok()
    assert await names(boss, name="ROBOT") == ["bot"]
    assert await names(boss, user_id="the-") == ["the-admin", "the-moderator"]
    assert await names(boss, admins="true") == ["owner"]
    assert guest.split(":")[0][1:] in await names(boss) and guest.split(":")[0][1:] not in await names(
        boss, guests="false"
    )
    assert "user" not in await names(boss) and "user" in await names(boss, deactivated="true")
    assert await names(boss, V3, deactivated="true") == ["user"]
    assert "user" in await names(boss, V3) and "owner" in await names(boss, V3)
    assert "the-auditor" not in await names(boss) and "the-auditor" in await names(boss, locked="true")
    assert "bot" not in await names(boss, not_user_type="bot")
    assert await names(boss, not_user_type="") == ["bot"]
    assert (await names(boss, order_by="displayname"))[0] == "bot"
    for order in ("is_guest", "admin", "user_type", "deactivated", "shadow_banned", "avatar_url", "last_seen_ts"):
        assert sorted(await names(boss, order_by=order, dir="b")) == sorted(await names(boss))
    newest_first = await names(boss, order_by="creation_ts", dir="b")
    assert newest_first[0] == "bot" and newest_first[-1] == "owner"
    assert (await names(boss, dir="b")) == list(reversed(await names(boss)))
    (await boss.get(V2, order_by="password_hash")).refused(400, "M_INVALID_PARAM")
    (await boss.get(V2, dir="x")).refused(400, "M_INVALID_PARAM")
    (await boss.get(V2, **{"from": -1})).refused(400, "M_INVALID_PARAM")
    found = (await boss.get(V1 + "/search_users/{}", boss.user_id, term="moder")).ok()
    assert [one["name"] for one in found] == [crew.moderator.user_id]


async def test_an_account_is_made_and_changed(server: RunningServer, crew: Crew, database: Database) -> None:
    body = {
        "password": PASSWORD,
        "displayname": "Alice",
        "avatar_url": "mxc://hansa.test/abc",
        "threepids": [
            {"medium": "email", "address": "Alice@Example.org"},
            {"medium": "msisdn", "address": "447470274584"},
        ],
        "external_ids": [{"auth_provider": "oidc", "external_id": "a1"}],
        "user_type": None,
    }  # fmt: skip
    made = await crew.admin.put(V2 + "/{}", "@alice:hansa.test", body=body)
    assert made.status == 201
    told = made.json
    assert told["displayname"] == "Alice" and told["avatar_url"] == "mxc://hansa.test/abc" and told["admin"] is False
    assert told["external_ids"] == [{"auth_provider": "oidc", "external_id": "a1"}]
    assert {one["address"] for one in told["threepids"]} == {"alice@example.org", "447470274584"}
    assert told["creation_ts"] < 10**11 and told["suspended"] is False
    alice = await server.login("alice")
    assert (await crew.admin.get(V1 + "/threepid/email/users/{}", "alice@example.org")).ok() == {
        "user_id": alice.user_id
    }
    assert (await crew.admin.get(V1 + "/auth_providers/oidc/users/a1")).ok() == {"user_id": alice.user_id}
    (await crew.admin.get(V1 + "/auth_providers/oidc/users/a2")).refused(404, "M_NOT_FOUND")
    (await crew.admin.get(V1 + "/threepid/email/users/x@example.org")).refused(404, "M_NOT_FOUND")
    taken = {"external_ids": [{"auth_provider": "oidc", "external_id": "a1"}]}
    (await crew.admin.put(V2 + "/{}", crew.user.user_id, body=taken)).refused(409, "M_UNKNOWN")
    address = {"threepids": [{"medium": "email", "address": "alice@example.org"}]}
    (await crew.admin.put(V2 + "/{}", crew.user.user_id, body=address)).refused(400, "M_THREEPID_IN_USE")
    changed = await crew.admin.put(V2 + "/{}", alice.user_id, body={"password": "another password", "user_type": "bot"})
    assert changed.status == 200 and changed.json["user_type"] == "bot"
    (await alice.get("/account/whoami")).refused(401, "M_UNKNOWN_TOKEN")
    await server.login("alice", "another password")
    row = await newest(crew)
    assert row["action"] == "user.modify" and row["after"]["password_set"] is True
    assert "another password" not in str(await database.fetch("SELECT * FROM audit_log"))
    assert (await verify(database)).problem is None


@pytest.mark.parametrize(
    ("target", "body", "status", "errcode"),
    [
        ("@x:elsewhere", {}, 400, "M_UNKNOWN"),
        ("@user:hansa.test", {"user_type": "king"}, 400, "M_INVALID_PARAM"),
        ("@user:hansa.test", {"deactivated": "yes"}, 400, "M_BAD_JSON"),
        ("@user:hansa.test", {"password": "x"}, 400, "M_WEAK_PASSWORD"),
        ("@user:hansa.test", {"password": "x" * 600}, 400, "M_INVALID_PARAM"),
        ("@user:hansa.test", {"avatar_url": "https://x"}, 400, "M_INVALID_PARAM"),
        ("@user:hansa.test", {"threepids": [{"medium": "email", "address": "x"}]}, 400, "M_INVALID_PARAM"),
        ("@user:hansa.test", {"threepids": [{"medium": "x", "address": "x"}]}, 400, "M_THREEPID_MEDIUM_NOT_SUPPORTED"),
        ("@user:hansa.test", {"admin": True}, 403, "M_FORBIDDEN"),
        ("@owner:hansa.test", {"displayname": "x"}, 403, "M_FORBIDDEN"),
        ("@the-admin:hansa.test", {"admin": True}, 403, "M_FORBIDDEN"),
        ("@UPPER:hansa.test", {}, 400, "M_INVALID_USERNAME"),
    ],
)  # fmt: skip
async def test_what_an_admin_may_not_put(
    crew: Crew, target: str, body: dict[str, Any], status: int, errcode: str
) -> None:
    """T-J2: nobody raises themselves or acts on those above."""
    (await crew.admin.put(V2 + "/{}", target, body=body)).refused(status, errcode)


async def test_who_is_not_there(crew: Crew) -> None:
    (await crew.owner.get(V2 + "/{}", "@nobody:hansa.test")).refused(404, "M_NOT_FOUND")
    (await crew.owner.get(V2 + "/{}", "@x:elsewhere")).refused(400, "M_UNKNOWN")
    (await crew.owner.post(V1 + "/deactivate/{}", "@nobody:hansa.test")).refused(404, "M_NOT_FOUND")
    (await crew.owner.get(V1 + "/username_available", username="user")).refused(400, "M_USER_IN_USE")
    assert (await crew.owner.get(V1 + "/username_available", username="free")).ok() == {"available": True}


async def test_an_account_ends_and_comes_back(server: RunningServer, crew: Crew) -> None:
    user = crew.user
    room = await user.create_room()
    (await crew.moderator.post(V1 + "/deactivate/{}", user.user_id)).refused(403, "M_FORBIDDEN")
    answer = await crew.admin.post(V1 + "/deactivate/{}", user.user_id, body={"erase": True})
    assert answer.ok() == {"id_server_unbind_result": "success"}
    assert (await newest(crew))["after"] == {"erase": True}
    (await user.get("/account/whoami")).refused(401, "M_UNKNOWN_TOKEN")
    told = (await crew.admin.get(V2 + "/{}", user.user_id)).ok()
    assert told["deactivated"] is True and told["erased"] is True and told["displayname"] is None
    memberships = (await crew.admin.get(V1 + "/users/{}/memberships", user.user_id)).ok()["memberships"]
    assert memberships == {room: "leave"}
    body: dict[str, Any] = {"deactivated": False}
    (await crew.admin.put(V2 + "/{}", user.user_id, body=body)).refused(400, "M_UNKNOWN")
    told = (await crew.admin.put(V2 + "/{}", user.user_id, body={**body, "password": "the new password"})).ok()
    assert told["deactivated"] is False and told["erased"] is False
    await server.login("user", "the new password")


async def test_logging_in_as_somebody(server: RunningServer, crew: Crew) -> None:
    """T-J2, T-J16: not as oneself, not as one's betters, not without a trace."""
    path = V1 + "/users/{}/login"
    (await crew.moderator.post(path, crew.user.user_id)).refused(403, "M_FORBIDDEN")
    (await crew.admin.post(path, crew.admin.user_id)).refused(400, "M_UNKNOWN")
    (await crew.admin.post(path, crew.owner.user_id)).refused(403, "M_FORBIDDEN")
    (await crew.admin.post(path, "@x:elsewhere")).refused(400, "M_UNKNOWN")
    (await crew.admin.post(path, crew.user.user_id, body={"valid_until_ms": 5})).refused(400, "M_INVALID_PARAM")
    token = (await crew.admin.post(path, crew.user.user_id)).ok()["access_token"]
    as_user = server.anonymous()
    as_user.token = token
    assert (await as_user.get("/account/whoami")).ok()["user_id"] == crew.user.user_id
    devices = (await crew.admin.get(V2 + "/{}/devices", crew.user.user_id)).ok()
    assert devices["total"] == 1
    row = await newest(crew)
    assert (row["action"], row["target"]) == ("user.log_in_as", crew.user.user_id) and token not in str(row)
    (await as_user.post("/logout/all")).ok()
    (await as_user.get("/account/whoami")).refused(401, "M_UNKNOWN_TOKEN")


async def test_what_somebody_found_is_revoked(server: RunningServer, crew: Crew) -> None:
    """T-J16: a token of an administrator without a device too, and nothing beside it. spec: #token-revocation"""
    path, found, other = V1 + "/users/{}/login", server.anonymous(), server.anonymous()
    for client in (found, other):
        client.token = (await crew.admin.post(path, crew.user.user_id)).ok()["access_token"]
    assert found.token is not None
    (await App(server).post("revoke", token=found.token)).ok()
    (await found.get("/account/whoami")).refused(401, "M_UNKNOWN_TOKEN")
    for client in (other, crew.user):
        (await client.get("/account/whoami")).ok()


async def test_passwords_are_reset(server: RunningServer, crew: Crew) -> None:
    path = V1 + "/reset_password/{}"
    (await crew.admin.post(path, crew.owner.user_id, body={"new_password": "taken over!"})).refused(403, "M_FORBIDDEN")
    (await crew.admin.post(path, crew.user.user_id, body={})).refused(400, "M_MISSING_PARAM")
    kept = {"new_password": "the second one", "logout_devices": False}
    (await crew.admin.post(path, crew.user.user_id, body=kept)).ok()
    (await crew.user.get("/account/whoami")).ok()
    (await crew.admin.post(path, crew.user.user_id, body={"new_password": "the third one"})).ok()
    (await crew.user.get("/account/whoami")).refused(401, "M_UNKNOWN_TOKEN")
    await server.login("user", "the third one")


async def test_the_admin_flag(server: RunningServer, crew: Crew) -> None:
    """T-J2."""
    path = V1 + "/users/{}/admin"
    assert (await crew.admin.get(path, crew.owner.user_id)).ok() == {"admin": True}
    assert (await crew.admin.get(path, crew.user.user_id)).ok() == {"admin": False}
    (await crew.admin.put(path, crew.admin.user_id, body={"admin": True})).refused(403, "M_FORBIDDEN")
    (await crew.owner.put(path, crew.owner.user_id, body={"admin": False})).refused(400, "M_UNKNOWN")
    (await crew.owner.put(path, crew.user.user_id, body={"admin": True})).ok()
    (await crew.user.put(path, crew.owner.user_id, body={"admin": False})).ok()
    (await crew.owner.get(V2)).refused(403, "M_FORBIDDEN")
    (await crew.user.delete(OPERATORS, crew.user.user_id)).refused(403, "M_FORBIDDEN")


async def test_devices(server: RunningServer, crew: Crew) -> None:
    path, one = V2 + "/{}/devices", V2 + "/{}/devices/{}"
    user = crew.user
    told = (await crew.auditor.get(path, user.user_id)).ok()
    assert told["total"] == 1
    assert set(told["devices"][0]) == {
        "device_id", "display_name", "last_seen_ip", "last_seen_user_agent", "last_seen_ts", "user_id", "dehydrated",
    }  # fmt: skip
    assert (await crew.admin.post(path, user.user_id, body={"device_id": "NEW"})).status == 201
    (await crew.admin.put(one, user.user_id, "NEW", body={"display_name": "Toaster"})).ok()
    assert (await crew.admin.get(one, user.user_id, "NEW")).ok()["display_name"] == "Toaster"
    (await crew.admin.get(one, user.user_id, "OLD")).refused(404, "M_NOT_FOUND")
    (await crew.admin.put(one, user.user_id, "OLD", body={})).refused(404, "M_NOT_FOUND")
    (await crew.admin.delete(one, crew.owner.user_id, crew.owner.device_id)).refused(403, "M_FORBIDDEN")
    (await crew.admin.delete(one, user.user_id, "NEW")).ok()
    (await crew.admin.post(V2 + "/{}/delete_devices", user.user_id, body={"devices": [user.device_id]})).ok()
    assert (await crew.admin.get(path, user.user_id)).ok() == {"devices": [], "total": 0}
    (await user.get("/account/whoami")).refused(401, "M_UNKNOWN_TOKEN")
    (await crew.admin.get(path, "@nobody:hansa.test")).refused(404, "M_NOT_FOUND")


async def test_what_is_known_of_a_user(server: RunningServer, crew: Crew) -> None:
    user, boss = crew.user, crew.owner
    room = await user.create_room(invite=[boss.user_id])
    (await user.post("/rooms/{}/invite", room, body={"user_id": crew.admin.user_id})).ok()
    (await user.put("/user/{}/account_data/org.x", user.user_id, body={"a": 1})).ok()
    (await user.put("/user/{}/rooms/{}/account_data/org.y", user.user_id, room, body={"b": 2})).ok()
    base = V1 + "/users/{}"
    assert (await boss.get(base + "/joined_rooms", user.user_id)).ok() == {"joined_rooms": [room], "total": 1}
    assert (await boss.get(base + "/memberships", boss.user_id)).ok() == {"memberships": {room: "invite"}}
    told = (await boss.get(base + "/accountdata", user.user_id)).ok()["account_data"]
    assert told["global"]["org.x"] == {"a": 1} and told["rooms"][room]["org.y"] == {"b": 2}
    (await crew.auditor.get(base + "/accountdata", user.user_id)).refused(403, "M_FORBIDDEN")
    assert (await boss.get(base + "/sent_invite_count", user.user_id, from_ts=0)).ok() == {"invite_count": 2}
    assert (await boss.get(base + "/sent_invite_count", user.user_id, from_ts=2**50)).ok() == {"invite_count": 0}
    (await boss.get(base + "/sent_invite_count", user.user_id)).refused(400, "M_MISSING_PARAM")
    counted = (await boss.get(base + "/cumulative_joined_room_count", user.user_id, from_ts=0)).ok()
    assert counted == {"cumulative_joined_room_count": 1}
    pusher = {
        "app_id": "a", "pushkey": "k", "kind": "http", "app_display_name": "A", "device_display_name": "D",
        "lang": "en", "data": {"url": "https://push.example.org/_matrix/push/v1/notify"},
    }  # fmt: skip
    (await user.post("/pushers/set", body=pusher)).ok()
    pushed = (await boss.get(base + "/pushers", user.user_id)).ok()
    assert pushed["total"] == 1 and pushed["pushers"][0]["pushkey"] == "k" and pushed["pushers"][0]["kind"] == "http"
    seen = (await boss.get(V1 + "/whois/{}", user.user_id)).ok()
    assert seen["user_id"] == user.user_id and user.device_id in seen["devices"]


async def test_registration_tokens(crew: Crew, database: Database) -> None:
    path = V1 + "/registration_tokens"
    (await crew.moderator.get(path)).refused(403, "M_FORBIDDEN")
    (await crew.auditor.post(path + "/new")).refused(403, "M_FORBIDDEN")
    made = (await crew.admin.post(path + "/new", body={"token": "open-sesame", "uses_allowed": 1})).ok()
    assert made == {"token": "open-sesame", "uses_allowed": 1, "pending": 0, "completed": 0, "expiry_time": None}
    random = (await crew.admin.post(path + "/new", body={"length": 8})).ok()["token"]
    assert len(random) == 8
    (await crew.admin.post(path + "/new", body={"token": "open-sesame"})).refused(400, "M_INVALID_PARAM")
    for wrong in ({"token": "a b"}, {"token": ""}, {"token": "x" * 65}, {"uses_allowed": -1}, {"expiry_time": 5}):
        (await crew.admin.post(path + "/new", body=wrong)).refused(400, "M_INVALID_PARAM")
    assert (await crew.admin.get(path + "/open-sesame")).ok() == made
    changed = (await crew.admin.put(path + "/open-sesame", body={"uses_allowed": 0})).ok()
    assert changed["uses_allowed"] == 0
    listed = (await crew.admin.get(path, valid="true")).ok()["registration_tokens"]
    assert [one["token"] for one in listed] == [random]
    assert (await crew.admin.get(path, valid="false")).ok()["registration_tokens"] == [changed]
    (await crew.admin.delete(path + "/open-sesame")).ok()
    for method in ("GET", "PUT", "DELETE"):
        (await crew.admin.request(method, path + "/open-sesame", body={})).refused(404, "M_NOT_FOUND")
    assert "open-sesame" not in str([tuple(row) for row in await database.fetch("SELECT * FROM audit_log")])


async def test_what_is_tried_with_one_user(crew: Crew) -> None:
    path = V1 + "/experimental_features/{}"
    (await crew.admin.put(path, crew.user.user_id, body={"features": {"msc3881": True, "msc3575": False}})).ok()
    told = (await crew.admin.get(path, crew.user.user_id)).ok()["features"]
    assert told == {"msc3881": True, "msc3575": False, "msc4222": False}
    versions = "/_matrix/client/versions"
    for client, is_on in ((crew.user, False), (crew.admin, True)):
        features = (await client.get(versions)).ok()["unstable_features"]
        assert features["org.matrix.simplified_msc3575"] is is_on and features["org.matrix.msc3881"] is True
        assert "org.matrix.msc3575" not in features, "that one is another, which nobody serves"
    (await crew.admin.put(path, crew.user.user_id, body={"features": {"mscX": True}})).refused(400, "M_UNKNOWN")
    assert (await crew.auditor.get(V1 + "/server_version")).ok()["server_version"]
