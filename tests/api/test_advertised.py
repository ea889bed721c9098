"""What /versions and /capabilities tell clients is so: each feature is used as a client uses it that saw it there."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest
from nacl.signing import SigningKey

from homeserver.client_api.server_info import UNSTABLE_FEATURES
from tests.api.test_account_moderation import administrator
from tests.api.test_encryption import DEHYDRATED, asleep
from tests.api.test_keys import cross_key, query
from tests.kit.server import Client, RunningServer, running_server
from tests.kit.sliding import SlidingClient, bodies, window
from tests.kit.until import until

V1, UNSTABLE = "/_matrix/client/v1", "/_matrix/client/unstable"
LIVEKIT = """
[rtc]
livekit_url = "ws://127.0.0.1:9"
livekit_key = "devkey"
livekit_secret = "a secret that LiveKit knows"
"""


@dataclass(frozen=True, slots=True)
class Scene:
    """A server, two users that are nobody else's, and who runs it."""

    server: RunningServer
    alice: Client
    bob: Client
    boss: Client

    async def room(self) -> str:
        """One with both in it."""
        room_id = await self.alice.create_room(preset="public_chat", name="Hof")
        await self.bob.join(room_id)
        return room_id

    async def thread(self, room_id: str) -> tuple[str, str]:
        root = await self.alice.send(room_id, "root")
        relation = {"m.relates_to": {"rel_type": "m.thread", "event_id": root}}
        return root, await self.alice.send(room_id, "answer", **relation)


def password(client: Client) -> dict[str, Any]:
    """What confirms a step."""
    identifier = {"type": "m.id.user", "user": client.user_id}
    return {"type": "m.login.password", "identifier": identifier, "password": "correct horse battery"}


Use = Callable[[Scene], Awaitable[None]]
USES: dict[str, Use] = {}


def uses(*names: str) -> Callable[[Use], Use]:
    def keep(use: Use) -> Use:
        USES.update(dict.fromkeys(names, use))
        return use

    return keep


@uses("fi.mau.msc2246.stable", "org.matrix.msc3916.stable")
async def media(scene: Scene) -> None:
    uri = (await scene.alice.post("/_matrix/media/v1/create")).ok()["content_uri"]
    place = uri.removeprefix("mxc://")
    (await scene.alice.request("PUT", f"/_matrix/media/v3/upload/{place}", data=b"moin")).ok()
    assert (await scene.bob.get(f"{V1}/media/download/{place}")).body == b"moin"


@uses("fi.mau.msc2815")
async def what_was_redacted(scene: Scene) -> None:
    room_id = await scene.room()
    event_id = await scene.bob.send(room_id, "spam")
    (await scene.bob.put("/rooms/{}/redact/{}/{}", room_id, event_id, "t")).ok()
    query = {"fi.mau.msc2815.include_unredacted_content": "true"}
    assert (await scene.alice.get("/rooms/{}/event/{}", room_id, event_id, **query)).ok()["content"]["body"] == "spam"
    (await scene.bob.get("/rooms/{}/event/{}", room_id, event_id, **query)).refused(403, "M_FORBIDDEN")


@uses("im.nheko.summary")
async def summary(scene: Scene) -> None:
    room_id = await scene.room()
    for path in (V1 + "/room_summary/{}", UNSTABLE + "/im.nheko.summary/summary/{}"):
        assert (await scene.alice.get(path, room_id)).ok()["name"] == "Hof"


@uses("io.element.msc4388")
async def meeting_of_today(scene: Scene) -> None:
    path = UNSTABLE + "/io.element.msc4388/rendezvous"
    made = (await scene.server.anonymous().post(path, body={"data": "one"})).ok()
    assert (await scene.alice.get(f"{path}/{made['id']}")).ok()["data"] == "one"


@uses("org.matrix.msc4108")
async def meeting(scene: Scene) -> None:
    path = UNSTABLE + "/org.matrix.msc4108/rendezvous"
    made = await scene.alice.request("POST", path, data=b"one", headers={"Content-Type": "text/plain"})
    assert made.status == 201
    url: str = made.json["url"]
    assert (await scene.alice.get(url[url.index("/_matrix") :])).body == b"one"


@uses("m.id_access_token", "m.separate_add_and_bind")
async def bindings(scene: Scene) -> None:
    body: dict[str, Any] = {"client_secret": "s", "sid": "1", "id_server": "id.invalid"}
    (await scene.alice.post("/account/3pid/bind", body=body)).refused(400, "M_MISSING_PARAM")
    body["auth"] = password(scene.alice)
    (await scene.alice.post("/account/3pid/add", body=body)).refused(401, "M_THREEPID_AUTH_FAILED")


@uses("m.lazy_load_members")
async def lazy_members(scene: Scene) -> None:
    room_id = await scene.room()
    await scene.alice.send(room_id)
    wanted = '{"room":{"timeline":{"limit":1},"state":{"lazy_load_members":true}}}'
    state = (await scene.alice.sync(filter=wanted))["rooms"]["join"][room_id]["state"]["events"]
    assert [event["state_key"] for event in state if event["type"] == "m.room.member"] == [scene.alice.user_id]


@uses("org.matrix.e2e_cross_signing")
async def cross_signing(scene: Scene) -> None:
    key = cross_key(scene.alice, "master", SigningKey.generate())
    (await scene.alice.post("/keys/device_signing/upload", body={"master_key": key})).ok()
    assert (await query(scene.bob, scene.alice.user_id))["master_keys"][scene.alice.user_id] == key


@uses("org.matrix.msc2285.stable")
async def private_receipts(scene: Scene) -> None:
    room_id = await scene.room()
    event_id = await scene.alice.send(room_id)
    (await scene.bob.post("/rooms/{}/receipt/m.read.private/{}", room_id, event_id)).ok()
    own = (await scene.bob.sync())["rooms"]["join"][room_id]["ephemeral"]["events"]
    assert [kind for event in own for kind in event["content"].get(event_id, ())] == ["m.read.private"]
    assert scene.bob.user_id not in str((await scene.alice.sync())["rooms"]["join"][room_id]["ephemeral"])


@uses("org.matrix.msc2432")
async def aliases(scene: Scene) -> None:
    room_id = await scene.room()
    for path in ("/rooms/{}/aliases", UNSTABLE + "/org.matrix.msc2432/rooms/{}/aliases"):
        assert (await scene.alice.get(path, room_id)).ok() == {"aliases": []}


@uses("org.matrix.msc2946.stable")
async def hierarchy(scene: Scene) -> None:
    space = await scene.alice.create_room(creation_content={"type": "m.space"})
    assert [room["room_id"] for room in (await scene.alice.get(V1 + "/rooms/{}/hierarchy", space)).ok()["rooms"]] == [
        space
    ]


@uses("org.matrix.msc3030.stable")
async def by_time(scene: Scene) -> None:
    room_id = await scene.room()
    event_id = await scene.alice.send(room_id)
    ts = int(time.time() * 1000) + 60_000
    found = await scene.alice.get(V1 + "/rooms/{}/timestamp_to_event", room_id, ts=ts, dir="b")
    assert found.ok()["event_id"] == event_id


@uses("org.matrix.msc3391")
async def no_account_data(scene: Scene) -> None:
    user_id = scene.alice.user_id
    (await scene.alice.put("/user/{}/account_data/org.x", user_id, body={"a": 1})).ok()
    path = UNSTABLE + "/org.matrix.msc3391/user/{}/account_data/org.x"
    (await scene.alice.delete(path, user_id)).ok()
    (await scene.alice.get("/user/{}/account_data/org.x", user_id)).refused(404, "M_NOT_FOUND")


@uses("org.matrix.msc3440.stable", "org.matrix.msc3856.stable")
async def threads(scene: Scene) -> None:
    room_id = await scene.room()
    root, answer = await scene.thread(room_id)
    (shown,) = (await scene.bob.get(V1 + "/rooms/{}/threads", room_id)).ok()["chunk"]
    assert shown["event_id"] == root and shown["unsigned"]["m.relations"]["m.thread"]["count"] == 1
    assert shown["unsigned"]["m.relations"]["m.thread"]["latest_event"]["event_id"] == answer


@uses("org.matrix.msc3771", "org.matrix.msc3773")
async def threads_that_are_read(scene: Scene) -> None:
    room_id = await scene.room()
    root, answer = await scene.thread(room_id)
    wanted = '{"room":{"timeline":{"unread_thread_notifications":true}}}'

    async def unread() -> dict[str, Any]:
        room = (await scene.bob.sync(filter=wanted))["rooms"]["join"][room_id]
        found: dict[str, Any] = room.get("unread_thread_notifications", {})
        return found

    assert (await unread())[root]["notification_count"] == 1
    (await scene.bob.post("/rooms/{}/receipt/m.read/{}", room_id, answer, body={"thread_id": root})).ok()
    assert root not in await unread()


@uses("org.matrix.msc3814")
async def dehydrated(scene: Scene) -> None:
    (await scene.alice.put(DEHYDRATED, body=asleep(scene.server, scene.alice, "SLEEPER"))).ok()
    assert (await scene.alice.get(DEHYDRATED)).ok()["device_id"] == "SLEEPER"
    assert (await scene.alice.get(DEHYDRATED + "/SLEEPER/events")).ok() == {"events": []}


@uses("org.matrix.msc3827.stable")
async def public_spaces(scene: Scene) -> None:
    await scene.alice.create_room(visibility="public")
    space = await scene.alice.create_room(visibility="public", creation_content={"type": "m.space"})
    body = {"filter": {"room_types": ["m.space"]}}
    found = (await scene.alice.post("/publicRooms", body=body)).ok()["chunk"]
    assert space in [room["room_id"] for room in found] and {room["room_type"] for room in found} == {"m.space"}


@uses("org.matrix.msc3874")
async def messages_by_relation(scene: Scene) -> None:
    room_id = await scene.room()
    await scene.thread(room_id)
    wanted = '{"org.matrix.msc3874.rel_types":["m.thread"]}'
    found = (await scene.alice.get("/rooms/{}/messages", room_id, dir="b", filter=wanted)).ok()
    assert bodies({"timeline": found["chunk"]}) == ["answer"]


@uses("org.matrix.msc3881")
async def pushers(scene: Scene) -> None:
    data = {"url": "https://push.example.org/_matrix/push/v1/notify"}
    pusher = {"pushkey": "k", "kind": "http", "app_id": "a", "app_display_name": "A", "device_display_name": "D"}
    body = {**pusher, "lang": "en", "data": data, "org.matrix.msc3881.enabled": False}
    (await scene.alice.post("/pushers/set", body=body)).ok()
    (shown,) = (await scene.alice.get("/pushers")).ok()["pushers"]
    assert shown["org.matrix.msc3881.enabled"] is False
    assert shown["org.matrix.msc3881.device_id"] == scene.alice.device_id


@uses("org.matrix.msc3882")
async def login_tokens(scene: Scene) -> None:
    path = UNSTABLE + "/org.matrix.msc3882/login/get_token"
    token = (await scene.alice.post(path, body={"auth": password(scene.alice)})).ok()["login_token"]
    again = await scene.server.anonymous().post("/login", body={"type": "m.login.token", "token": token})
    assert again.ok()["user_id"] == scene.alice.user_id


@uses("org.matrix.msc3890")
async def silent_devices(scene: Scene) -> None:
    other = await scene.server.login(scene.alice.user_id)
    kind = f"org.matrix.msc3890.local_notification_settings.{other.device_id}"
    (await other.put("/user/{}/account_data/{}", scene.alice.user_id, kind, body={"is_silenced": True})).ok()
    (await other.post("/logout")).ok()
    (await scene.alice.get("/user/{}/account_data/{}", scene.alice.user_id, kind)).refused(404, "M_NOT_FOUND")


@uses("org.matrix.msc4140")
async def delayed_events(scene: Scene) -> None:
    room_id = await scene.room()
    path = UNSTABLE + "/org.matrix.msc4140/delayed_events"
    query, body = {"org.matrix.msc4140.delay": 60_000}, {"msgtype": "m.text", "body": "late"}
    sent = await scene.alice.request("PUT", "/rooms/{}/send/m.room.message/t", room_id, body=body, query=query)
    delay_id = sent.ok()["delay_id"]
    assert [one["delay_id"] for one in (await scene.alice.get(path)).ok()["delayed_events"]] == [delay_id]
    for action in ("restart", "send"):
        (await scene.alice.post(f"{path}/{delay_id}/{action}")).ok()
    found = (await scene.bob.get("/rooms/{}/messages", room_id, dir="b", limit=1)).ok()["chunk"]
    assert bodies({"timeline": found}) == ["late"]


@uses("org.matrix.msc4143")
async def transports(scene: Scene) -> None:
    told = (await scene.alice.get(UNSTABLE + "/org.matrix.msc4143/rtc/transports")).ok()["rtc_transports"]
    assert [one["type"] for one in told] == ["livekit"] and told[0]["livekit_service_url"].endswith("/livekit/jwt")
    service = "/_matrix/livekit/jwt"
    (await scene.alice.post(service + "/sfu/get", body={"room": "x"})).refused(400, "M_MISSING_PARAM")


@uses("org.matrix.msc4151")
async def reported_rooms(scene: Scene) -> None:
    room_id = await scene.room()
    (await scene.bob.post(UNSTABLE + "/org.matrix.msc4151/rooms/{}/report", room_id, body={"reason": "x"})).ok()
    assert await scene.server.db.fetchval("SELECT count(*) FROM reports WHERE target = $1", room_id) == 1


@uses("org.matrix.msc4260.stable")
async def reported_users(scene: Scene) -> None:
    user_id = scene.alice.user_id
    (await scene.bob.post("/users/{}/report", user_id, body={"reason": "x"})).ok()
    assert await scene.server.db.fetchval("SELECT count(*) FROM reports WHERE target = $1", user_id) == 1


@uses("org.matrix.msc4155")
async def filtered_invites(scene: Scene) -> None:
    content = {"blocked_users": [scene.alice.user_id]}
    kind = "org.matrix.msc4155.invite_permission_config"
    (await scene.bob.put("/user/{}/account_data/{}", scene.bob.user_id, kind, body=content)).ok()
    invite = await scene.alice.post(
        "/rooms/{}/invite", await scene.alice.create_room(), body={"user_id": scene.bob.user_id}
    )
    invite.refused(403, "M_INVITE_BLOCKED")


@uses("org.matrix.msc4380.stable")
async def blocked_invites(scene: Scene) -> None:
    invited = await scene.alice.create_room()
    (await scene.alice.post("/rooms/{}/invite", invited, body={"user_id": scene.bob.user_id})).ok()
    kind = "m.invite_permission_config"
    body = {"default_action": "block"}
    (await scene.bob.put("/user/{}/account_data/{}", scene.bob.user_id, kind, body=body)).ok()
    invite = await scene.alice.post(
        "/rooms/{}/invite", await scene.alice.create_room(), body={"user_id": scene.bob.user_id}
    )
    invite.refused(403, "M_INVITE_BLOCKED")
    assert invited not in str(await scene.bob.sync())
    assert (await SlidingClient(scene.bob).sync(lists={"main": window()}))["rooms"] == {}


@uses("org.matrix.msc4222")
async def state_after(scene: Scene) -> None:
    room_id = await scene.room()
    room = (await scene.alice.sync(**{"org.matrix.msc4222.use_state_after": "true"}))["rooms"]["join"][room_id]
    state = room["org.matrix.msc4222.state_after"]["events"]
    assert {"m.room.name", "m.room.create"} <= {event["type"] for event in state} and "state" not in room


@uses("org.matrix.msc4293")
async def bans_that_redact(scene: Scene) -> None:
    room_id = await scene.room()
    event_id = await scene.bob.send(room_id, "spam")
    body = {"user_id": scene.bob.user_id, "org.matrix.msc4293.redact_events": True}
    (await scene.alice.post("/rooms/{}/ban", room_id, body=body)).ok()

    async def is_gone() -> bool:
        return not (await scene.alice.get("/rooms/{}/event/{}", room_id, event_id)).ok()["content"]

    await until(is_gone)


@uses("org.matrix.msc4306")
async def followed_threads(scene: Scene) -> None:
    room_id = await scene.room()
    root, _ = await scene.thread(room_id)
    path = UNSTABLE + "/io.element.msc4306/rooms/{}/thread/{}/subscription"
    (await scene.bob.put(path, room_id, root)).ok()
    assert (await scene.bob.get(path, room_id, root)).ok() == {"automatic": False}
    name = "io.element.msc4308.thread_subscriptions"
    told = await SlidingClient(scene.bob).sync(lists={"main": window()}, extensions={name: {"enabled": True}})
    assert root in told["extensions"][name]["subscribed"][room_id]
    (await scene.bob.put(path, room_id, "$nothing")).refused(404, "M_NOT_FOUND")
    rules = (await scene.bob.get("/pushrules/")).ok()["global"]["postcontent"]
    assert {rule["rule_id"] for rule in rules} == {
        ".io.element.msc4306.rule.unsubscribed_thread",
        ".io.element.msc4306.rule.subscribed_thread",
    }


@uses("org.matrix.msc4354")
async def sticky_events(scene: Scene) -> None:
    room_id = await scene.room()
    query = {"org.matrix.msc4354.sticky_duration_ms": 300_000}
    body = {"msgtype": "m.text", "body": "lasting"}
    sent = await scene.alice.request("PUT", "/rooms/{}/send/m.room.message/t", room_id, body=body, query=query)
    await scene.alice.send(room_id, "newest")
    wanted = '{"room":{"timeline":{"limit":1}}}'
    (told,) = (await scene.bob.sync(filter=wanted))["rooms"]["join"][room_id]["msc4354_sticky"]["events"]
    assert told["event_id"] == sent.ok()["event_id"] and told["msc4354_sticky"] == {"duration_ms": 300_000}
    assert 0 < told["unsigned"]["msc4354_sticky_duration_ttl_ms"] <= 300_000


@uses("org.matrix.simplified_msc3575")
async def sliding_sync(scene: Scene) -> None:
    room_id = await scene.room()
    sliding = SlidingClient(scene.bob)
    assert set((await sliding.sync(lists={"main": window()}))["rooms"]) == {room_id}
    await scene.alice.send(room_id, "moin")
    assert bodies((await sliding.sync(lists={"main": window()}))["rooms"][room_id]) == ["moin"]


@uses("uk.half-shot.msc2666.query_mutual_rooms", "uk.half-shot.msc2666.query_mutual_rooms.stable")
async def mutual_rooms(scene: Scene) -> None:
    room_id = await scene.room()
    for path in (V1 + "/mutual_rooms", UNSTABLE + "/uk.half-shot.msc2666/user/mutual_rooms"):
        assert (await scene.alice.get(path, user_id=scene.bob.user_id)).ok()["joined"] == [room_id]


@uses("uk.tcpip.msc4133", "uk.tcpip.msc4133.stable")
async def profiles(scene: Scene) -> None:
    user_id = scene.alice.user_id
    for path in ("/profile/{}/org.x", UNSTABLE + "/uk.tcpip.msc4133/profile/{}/org.x"):
        (await scene.alice.put(path, user_id, body={"org.x": [path]})).ok()
        assert (await scene.bob.get(path, user_id)).ok() == {"org.x": [path]}
        (await scene.alice.delete(path, user_id)).ok()
        (await scene.bob.get(path, user_id)).refused(404, "M_NOT_FOUND")


@uses("uk.timedout.msc4323")
async def moderated_accounts(scene: Scene) -> None:
    for what, key in (("suspend", "suspended"), ("lock", "locked")):
        for path in (V1 + "/admin/{}/{}", UNSTABLE + "/uk.timedout.msc4323/admin/{}/{}"):
            for is_on in (True, False):
                (await scene.boss.put(path, what, scene.bob.user_id, body={key: is_on})).ok()
                assert (await scene.boss.get(path, what, scene.bob.user_id)).ok() == {key: is_on}


@pytest.mark.slow
async def test_each_feature_is_there(database_dsn: str) -> None:
    async with running_server(database_dsn, toml=LIVEKIT) as server:
        told = (await server.anonymous().get("/_matrix/client/versions")).ok()["unstable_features"]
        assert set(told) == {*UNSTABLE_FEATURES, *(f"io.element.e2ee_forced.{kind}" for kind in FORCED)}
        assert {name for name, is_on in told.items() if is_on} == set(USES), "a feature without its use, or the reverse"
        boss, wrong = await administrator(server), {}
        for number, (use, name) in enumerate({use: name for name, use in USES.items()}.items()):
            alice, bob = await server.user(f"alice{number}"), await server.user(f"bob{number}")
            try:
                await use(Scene(server, alice, bob, boss))
            except (AssertionError, KeyError, ValueError) as error:
                wrong[name] = repr(error)
        assert wrong == {}


FORCED = {"public": "public_chat", "private": "private_chat", "trusted_private": "trusted_private_chat"}


@pytest.mark.parametrize(
    ("wanted", "forced"), [("none", []), ("invite", ["private", "trusted_private"]), ("all", FORCED)]
)
async def test_clients_learn_which_rooms_begin_encrypted(database_dsn: str, wanted: str, forced: Any) -> None:
    async with running_server(database_dsn, toml=f'[rooms]\nencrypt_by_default = "{wanted}"\n') as server:
        alice = await server.user("alice")
        told = (await alice.get("/_matrix/client/versions")).ok()["unstable_features"]
        assert {kind for kind in FORCED if told[f"io.element.e2ee_forced.{kind}"]} == set(forced)
        for kind, preset in FORCED.items():
            state = await alice.get("/rooms/{}/state/m.room.encryption", await alice.create_room(preset=preset))
            assert (state.status == 200) is (kind in forced), kind


async def versions_that_rooms_may_have(scene: Scene, told: dict[str, Any]) -> None:
    for version in told["available"]:
        room_id = await scene.alice.create_room(room_version=version)
        create = (await scene.alice.get("/rooms/{}/state/m.room.create", room_id)).ok()
        assert create.get("room_version", "1") == version
    create = (await scene.alice.get("/rooms/{}/state/m.room.create", await scene.alice.create_room())).ok()
    assert create["room_version"] == told["default"] and told["available"][told["default"]] == "stable"


async def a_name(scene: Scene, told: dict[str, Any]) -> None:
    changed = await scene.alice.put("/profile/{}/displayname", scene.alice.user_id, body={"displayname": "A"})
    assert (changed.status == 200) is told["enabled"]


async def a_picture(scene: Scene, told: dict[str, Any]) -> None:
    body = {"avatar_url": "mxc://hansa.test/x"}
    changed = await scene.alice.put("/profile/{}/avatar_url", scene.alice.user_id, body=body)
    assert (changed.status == 200) is told["enabled"]


async def any_field(scene: Scene, told: dict[str, Any]) -> None:
    changed = await scene.alice.put("/profile/{}/m.tz", scene.alice.user_id, body={"m.tz": "Europe/Berlin"})
    assert (changed.status == 200) is told["enabled"] and set(told) == {"enabled"}


async def delays(scene: Scene, told: dict[str, Any]) -> None:
    room_id, body = await scene.room(), {"body": "x", "msgtype": "m.text"}

    async def delay(delay_ms: int, txn: int = 0) -> int:
        path, query = f"/rooms/{{}}/send/m.room.message/{txn}", {"org.matrix.msc4140.delay": delay_ms}
        return (await scene.alice.request("PUT", path, room_id, body=body, query=query)).status

    assert await delay(told["max_delay_ms"] + 1) == 400
    answers = [await delay(told["max_delay_ms"], number) for number in range(told["max_scheduled"] + 1)]
    assert answers == [200] * told["max_scheduled"] + [429]


async def contacts(scene: Scene, told: dict[str, Any]) -> None:
    body = {"client_secret": "secret", "email": "alice@example.org", "send_attempt": 1}
    asked = await scene.alice.post("/account/3pid/email/requestToken", body=body)
    assert (asked.status == 200) is told["enabled"]


async def a_token_for_another_device(scene: Scene, told: dict[str, Any]) -> None:
    given = await scene.alice.post(V1 + "/login/get_token", body={"auth": password(scene.alice)})
    assert (given.status == 200) is told["enabled"]


async def left_rooms(scene: Scene, told: dict[str, Any]) -> None:
    room_id = await scene.room()
    (await scene.bob.post("/rooms/{}/leave", room_id)).ok()
    left = (await scene.bob.sync(filter='{"room":{"include_leave":true}}'))["rooms"].get("leave", {})
    assert (room_id not in left) is told["enabled"]


async def another_password(scene: Scene, told: dict[str, Any]) -> None:
    body = {"auth": password(scene.alice), "new_password": "another horse battery"}
    assert ((await scene.alice.post("/account/password", body=body)).status == 200) is told["enabled"]


CAPABILITIES: dict[str, Callable[[Scene, dict[str, Any]], Awaitable[None]]] = {
    "m.3pid_changes": contacts,
    "m.forget_forced_upon_leave": left_rooms,
    "m.get_login_token": a_token_for_another_device,
    "m.profile_fields": any_field,
    "m.room_versions": versions_that_rooms_may_have,
    "m.set_avatar_url": a_picture,
    "m.set_displayname": a_name,
    "org.matrix.msc4140.delayed_events": delays,
    "uk.tcpip.msc4133.profile_fields": any_field,
    "m.change_password": another_password,  # the last: the others prove themselves by the first one
}


@pytest.mark.slow
async def test_each_capability_is_as_told(server: RunningServer) -> None:
    alice, bob, boss = await server.user("alice"), await server.user("bob"), await administrator(server)
    found = (await alice.get("/capabilities")).ok()["capabilities"]
    assert set(found) == set(CAPABILITIES), "a capability without its use, or the reverse"
    for name, use in CAPABILITIES.items():
        await use(Scene(server, alice, bob, boss), found[name])
    more = (await boss.get("/capabilities")).ok()["capabilities"]
    assert set(more) - set(found) == {"m.account_moderation"}
    for what, is_there in more["m.account_moderation"].items():
        assert ((await boss.get(V1 + "/admin/{}/{}", what, alice.user_id)).status == 200) is is_there


async def test_what_guests_may_not(server: RunningServer) -> None:
    """Capabilities are those of who asks."""
    account = (await server.anonymous().post("/register?kind=guest")).ok()
    guest = server.holding(account["access_token"])
    guest.user_id = account["user_id"]
    found = (await guest.get("/capabilities")).ok()["capabilities"]
    assert not found["m.set_avatar_url"]["enabled"] and found["m.profile_fields"]["allowed"] == ["displayname"]
    (await guest.put("/profile/{}/avatar_url", guest.user_id, body={"avatar_url": ""})).refused(
        403, "M_GUEST_ACCESS_FORBIDDEN"
    )
    (await guest.put("/profile/{}/displayname", guest.user_id, body={"displayname": "G"})).ok()
    assert not found["m.change_password"]["enabled"] and not found["m.3pid_changes"]["enabled"]
