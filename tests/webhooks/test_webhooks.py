"""Webhooks both ways, over HTTP: what other programs say in rooms, and what rooms tell other programs."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from click.testing import CliRunner

from homeserver.cli.command import Failed
from tests.admin.people import owner_of
from tests.kit.clock import FakeClock
from tests.kit.server import Client, RunningServer, config_for_tests, running_server
from tests.kit.until import a_moment, until
from tests.kit.webhook_receiver import WebhookReceiver, webhook_receiver
from tests.webhooks.test_sources import ALERTS, REPOSITORY

HOOKS = "/_hansa/client/v1/rooms/{}/webhooks"
BOT = "@_webhooks:hansa.test"
# Receivers of tests listen on the loopback.
LOOPBACK = '[federation]\nallow_ip_ranges = ["127.0.0.0/8"]\n'
ISSUE = {
    "action": "closed",
    "sender": {"login": "bob"},
    "repository": REPOSITORY,
    "issue": {"number": 3, "title": "Broken", "html_url": "https://git.test/3"},
}


@pytest.fixture
async def server(database_dsn: str) -> AsyncIterator[RunningServer]:
    async with running_server(database_dsn, toml=LOOPBACK) as running:
        yield running


@pytest.fixture
async def receiver() -> AsyncIterator[WebhookReceiver]:
    async with webhook_receiver() as listening:
        yield listening


async def make(client: Client, room_id: str, source: str = "json", **more: Any) -> str:
    """The path at which its source delivers."""
    answer = await client.post(HOOKS + "/inbound", room_id, body={"source": source, "name": "Builds", **more})
    url: str = answer.ok()["url"]
    return url[url.index("/_hansa") :]


async def deliver(server: RunningServer, path: str, payload: Any, **headers: str) -> Any:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await server.anonymous().request("POST", path, data=json.dumps(payload).encode(), headers=named)


async def heard(client: Client, room_id: str) -> list[Any]:
    """What webhooks have said, the newest first."""
    chunk = (await client.get("/rooms/{}/messages", room_id, dir="b", limit=50)).ok()["chunk"]
    return [one for one in chunk if one["sender"] == BOT and one["type"] == "m.room.message"]


async def test_a_forge_speaks_in_a_room(server: RunningServer) -> None:
    alice = await server.user("alice")
    room_id = await alice.create_room(preset="private_chat")
    path = await make(alice, room_id, "github", secret="sesame")
    body = json.dumps(ISSUE).encode()
    signature = "sha256=" + hmac.new(b"sesame", body, hashlib.sha256).hexdigest()
    headers = {"X-GitHub-Event": "issues", "X-Hub-Signature-256": signature, "X-GitHub-Delivery": "d1"}
    told = await server.anonymous().request("POST", path, data=body, headers=headers)
    again = await server.anonymous().request("POST", path, data=body, headers=headers)
    assert again.ok()["event_id"] == told.ok()["event_id"], "a delivery that comes twice is said once"
    (event,) = await heard(alice, room_id)
    assert event["content"]["body"].endswith("bob closed issue #3 Broken (https://git.test/3)")
    assert event["content"]["com.beeper.per_message_profile"]["displayname"] == "Builds"


async def test_who_doesnt_know_the_url_or_the_secret_says_nothing(server: RunningServer) -> None:
    alice = await server.user("alice")
    room_id = await alice.create_room()
    path = await make(alice, room_id, "gitlab", secret="sesame")
    (await deliver(server, path[:-3] + "abc", ISSUE)).refused(404, "M_NOT_FOUND")
    (await deliver(server, "/_hansa/webhooks/none/none", ISSUE)).refused(404, "M_NOT_FOUND")
    (await deliver(server, path, ISSUE)).refused(403, "M_FORBIDDEN")
    (await deliver(server, path, ISSUE, X_Gitlab_Token="wrong")).refused(403, "M_FORBIDDEN")
    plain = await make(alice, room_id)
    (await server.anonymous().request("POST", plain, data=b"{")).refused(400, "M_NOT_JSON")
    (await server.anonymous().request("POST", plain, data=b"[" * 100_000)).refused(400, "M_NOT_JSON")
    large = await server.anonymous().request("POST", plain, data=b" " * (2 * 1024 * 1024 + 1))
    assert large.status == 413
    assert await heard(alice, room_id) == []


async def test_alerts_of_one_group_are_one_message(server: RunningServer) -> None:
    alice = await server.user("alice")
    room_id = await alice.create_room()
    path = await make(alice, room_id, "alertmanager")
    first = (await deliver(server, path, ALERTS)).ok()["event_id"]
    reaction = {"m.relates_to": {"rel_type": "m.annotation", "event_id": first, "key": "👀"}}
    await alice.put("/rooms/{}/send/m.reaction/1", room_id, body=reaction)

    async def is_acknowledged() -> bool:
        return "@alice:hansa.test looks after it" in (await heard(alice, room_id))[0]["content"]["body"]

    await until(is_acknowledged)
    two = {**ALERTS, "alerts": [*ALERTS["alerts"], *ALERTS["alerts"]]}
    (await deliver(server, path, two)).ok()
    newest = (await heard(alice, room_id))[0]["content"]
    assert newest["m.relates_to"] == {"rel_type": "m.replace", "event_id": first}
    assert "2 of 2 firing" in newest["m.new_content"]["body"] and "looks after it" in newest["m.new_content"]["body"]
    (await deliver(server, path, {**ALERTS, "status": "resolved"})).ok()
    over = (await heard(alice, room_id))[0]["content"]
    assert over["m.new_content"]["body"].startswith("✅") and "looks after" not in over["m.new_content"]["body"]
    anew = (await deliver(server, path, ALERTS)).ok()["event_id"]
    assert "m.relates_to" not in (await heard(alice, room_id))[0]["content"] and anew != first


async def test_an_alert_is_acknowledged_in_its_own_room(server: RunningServer) -> None:
    """T-J4: a reaction in a room of one's own, to which the speaker was called, does nothing in another."""
    alice, eve = await server.user("alice"), await server.user("eve")
    room_id, elsewhere = await alice.create_room(), await eve.create_room()
    path = await make(alice, room_id, "alertmanager")
    await make(eve, elsewhere)
    first = (await deliver(server, path, ALERTS)).ok()["event_id"]
    assert BOT in (await eve.get("/rooms/{}/joined_members", elsewhere)).ok()["joined"]
    reaction = {"m.relates_to": {"rel_type": "m.annotation", "event_id": first, "key": "👀"}}
    (await eve.put("/rooms/{}/send/m.reaction/1", elsewhere, body=reaction)).ok()
    (await alice.put("/rooms/{}/send/m.reaction/1", room_id, body=reaction)).ok()

    async def is_acknowledged() -> bool:
        return "looks after it" in (await heard(alice, room_id))[0]["content"]["body"]

    await until(is_acknowledged)
    assert "@eve" not in str(await heard(alice, room_id))


async def test_only_moderators_manage_webhooks(server: RunningServer) -> None:
    """T-J5: making one, of either direction, takes a right in the room."""
    alice, bob, eve = await server.user("alice"), await server.user("bob"), await server.user("eve")
    room_id = await alice.create_room(preset="public_chat")
    await bob.join(room_id)
    new = {"source": "json", "name": "x"}
    for client in (bob, eve):
        (await client.post(HOOKS + "/inbound", room_id, body=new)).refused(403, "M_FORBIDDEN")
        (await client.get(HOOKS, room_id)).refused(403, "M_FORBIDDEN")
        out = {"name": "x", "url": "https://x.test"}
        (await client.post(HOOKS + "/outbound", room_id, body=out)).refused(403, "M_FORBIDDEN")
    path = await make(alice, room_id)
    webhook_id = path.split("/")[3]
    (await bob.delete(HOOKS + "/{}", room_id, webhook_id)).refused(403, "M_FORBIDDEN")
    others = await eve.create_room()
    (await eve.delete(HOOKS + "/{}", others, webhook_id)).refused(404, "M_NOT_FOUND")
    (listed,) = (await alice.get(HOOKS, room_id)).ok()["inbound"]
    assert listed["webhook_id"] == webhook_id and listed["owner"] == alice.user_id
    assert "token" not in json.dumps(listed) and path.split("/")[4] not in json.dumps(listed)
    (await alice.delete(HOOKS + "/{}", room_id, webhook_id)).ok()
    (await deliver(server, path, {"text": "moin"})).refused(404, "M_NOT_FOUND")


async def test_what_a_webhook_may_be_is_checked(server: RunningServer) -> None:
    alice = await server.user("alice")
    room_id = await alice.create_room()
    for bad in (
        {"source": "json", "name": ""},
        {"source": "github", "name": "x", "template": "x"},
        {"source": "json", "name": "x", "template": "y" * 5_000},
        {"source": "json", "name": "x", "secret": "\n"},
    ):
        (await alice.post(HOOKS + "/inbound", room_id, body=bad)).refused(400, "M_INVALID_PARAM")
    (await alice.post(HOOKS + "/inbound", room_id, body={"source": "cobol", "name": "x"})).refused(400, "M_BAD_JSON")
    for url in ("ftp://x.test", "x.test", "https://x.test/\n"):
        (await alice.post(HOOKS + "/outbound", room_id, body={"name": "x", "url": url})).refused(400, "M_INVALID_PARAM")
    for _ in range(20):
        await make(alice, room_id)
    (await alice.post(HOOKS + "/inbound", room_id, body={"source": "json", "name": "x"})).refused(
        429, "M_LIMIT_EXCEEDED"
    )
    secret = await alice.create_room(
        initial_state=[{"type": "m.room.encryption", "content": {"algorithm": "m.megolm.v1.aes-sha2"}}]
    )
    (await alice.post(HOOKS + "/inbound", secret, body={"source": "json", "name": "x"})).refused(400, "M_INVALID_PARAM")
    await make(alice, secret, in_the_clear=True)


async def test_a_moderator_ends_a_webhook_by_a_kick(server: RunningServer) -> None:
    """What a webhook may do in a room, the room decides."""
    alice = await server.user("alice")
    room_id = await alice.create_room()
    path = await make(alice, room_id)
    (await deliver(server, path, {"text": "moin"})).ok()
    (await alice.post("/rooms/{}/kick", room_id, body={"user_id": BOT})).ok()
    (await deliver(server, path, {"text": "moin"})).refused(403, "M_FORBIDDEN")
    assert len(await heard(alice, room_id)) == 1


@pytest.mark.parametrize(("act", "field"), [("suspend", "suspended"), ("lock", "locked")])
async def test_who_may_say_nothing_says_nothing_by_a_webhook(server: RunningServer, act: str, field: str) -> None:
    """Its URL is known to who made it, who could go on with it; once they may speak again, it speaks too."""
    boss, alice, bob = await owner_of(server), await server.user("alice"), await server.user("bob")
    room_id = await alice.create_room(preset="public_chat")
    await bob.join(room_id)
    path = await make(alice, room_id)
    admin = f"/_matrix/client/v1/admin/{act}/{{}}"
    (await boss.put(admin, alice.user_id, body={field: True})).ok()
    (await deliver(server, path, {"text": "buy now"})).refused(403, "M_FORBIDDEN")
    assert await heard(bob, room_id) == []
    (await boss.put(admin, alice.user_id, body={field: False})).ok()
    (await deliver(server, path, {"text": "the build is red"})).ok()
    assert [one["content"]["body"] for one in await heard(bob, room_id)] == ["the build is red"]


async def test_a_flood_of_deliveries_is_held_up(database_dsn: str) -> None:
    limits = "[rate_limits]\nwebhook = { per_second = 0.1, burst = 3 }\n"
    async with running_server(database_dsn, toml=limits) as server:
        alice = await server.user("alice")
        path = await make(alice, await alice.create_room())
        for _ in range(3):
            (await deliver(server, path, {"text": "moin"})).ok()
        (await deliver(server, path, {"text": "moin"})).refused(429, "M_LIMIT_EXCEEDED")


async def test_forms_are_taken_as_slack_sends_them(server: RunningServer) -> None:
    alice = await server.user("alice")
    room_id = await alice.create_room()
    path = await make(alice, room_id, "slack")
    form = ("payload=" + quote(json.dumps({"text": "*moin*"}))).encode()
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = await server.anonymous().request("POST", path, data=form, headers=headers)
    # Alertmanager and Grafana take any other answer for an error, and send the same again.
    assert (answer.status, answer.body, answer.headers["Content-Type"]) == (200, b"ok", "text/html")
    assert (await heard(alice, room_id))[0]["content"]["formatted_body"] == "<strong>moin</strong>"


async def test_a_room_tells_in_order_and_again(server: RunningServer, receiver: WebhookReceiver) -> None:
    alice = await server.user("alice")
    room_id = await alice.create_room()
    await alice.send(room_id, "before")
    out = {"name": "out", "url": receiver.url, "types": ["m.room.message"]}
    made = (await alice.post(HOOKS + "/outbound", room_id, body=out)).ok()
    receiver.secret = made["secret"]
    receiver.statuses = [500]
    sent = await alice.send(room_id, "one")
    number, failed = await receiver.next()
    again, repeated = await receiver.next()
    assert number == again == f"{made['webhook_id']}-1"
    for told in (failed, repeated):
        assert [event["event_id"] for event in told["events"]] == [sent]
    await alice.put("/rooms/{}/state/m.room.topic", room_id, body={"topic": "not told"})
    texts = [f"m{number}" for number in range(5)]
    for text in texts:
        await alice.send(room_id, text)
    came: list[str] = []
    while len(came) < 5:
        came += [event["content"]["body"] for event in (await receiver.next())[1]["events"]]
    assert came == texts
    (listed,) = (await alice.get(HOOKS, room_id)).ok()["outbound"]
    assert listed["is_enabled"] and listed["failures"] == 0 and "secret" not in listed


async def test_what_happened_while_the_server_was_down_or_the_receiver_away_is_told(
    database_dsn: str, receiver: WebhookReceiver
) -> None:
    async with running_server(database_dsn, toml=LOOPBACK) as server:
        alice = await server.user("alice")
        room_id = await alice.create_room()
        out = {"name": "out", "url": receiver.url, "types": ["m.room.message"]}
        receiver.secret = (await alice.post(HOOKS + "/outbound", room_id, body=out)).ok()["secret"]
        receiver.statuses = [503] * 2
        await alice.send(room_id, "one")
        first, _ = await receiver.next()
    async with running_server(database_dsn, toml=LOOPBACK) as server:
        alice = await server.login("alice")
        await alice.send(room_id, "two")
        came: list[tuple[str, str]] = []
        while not came or came[-1][1] != "two":
            number, told = await receiver.next()
            came += [(number, event["content"]["body"]) for event in told["events"]]
        assert came[0] == (first, "one") and came[-1][1] == "two"
        assert [text for text, _ in dict.fromkeys((body, 0) for _, body in came)] == ["one", "two"]


async def test_a_receiver_that_is_gone_is_given_up_and_its_owner_told(
    server: RunningServer, receiver: WebhookReceiver
) -> None:
    alice = await server.user("alice")
    room_id = await alice.create_room()
    made = (await alice.post(HOOKS + "/outbound", room_id, body={"name": "out", "url": receiver.url})).ok()
    receiver.secret, receiver.statuses = made["secret"], [410]
    await alice.send(room_id, "one")
    await receiver.next()

    async def is_told() -> bool:
        return bool((await alice.sync())["rooms"].get("invite"))

    await until(is_told)
    (listed,) = (await alice.get(HOOKS, room_id)).ok()["outbound"]
    assert not listed["is_enabled"]
    await alice.send(room_id, "two")
    await a_moment()
    assert receiver.deliveries.empty()
    other = await alice.create_room()
    resume = HOOKS + "/{}/resume"
    (await alice.post(resume, other, made["webhook_id"])).refused(404, "M_NOT_FOUND")
    (await (await server.user("bob")).post(resume, room_id, made["webhook_id"])).refused(403, "M_FORBIDDEN")
    assert (await alice.post(resume, room_id, made["webhook_id"])).ok()["is_enabled"]
    came: list[str] = []
    while len(came) < 2:
        came += [event["content"]["body"] for event in (await receiver.next())[1]["events"]]
    assert came == ["one", "two"], "it goes on where it was"


async def test_no_address_of_this_network_is_called(database_dsn: str, receiver: WebhookReceiver) -> None:
    """T-L1: a room's moderator can't have the server call what only it can reach."""
    clock = FakeClock()
    async with running_server(database_dsn, clock=clock) as server:
        alice = await server.user("alice")
        room_id = await alice.create_room()
        await alice.post(HOOKS + "/outbound", room_id, body={"name": "out", "url": receiver.url})
        await alice.send(room_id, "one")

        async def has_failed() -> bool:
            return bool((await alice.get(HOOKS, room_id)).ok()["outbound"][0]["failures"])

        await until(has_failed)
        assert receiver.deliveries.empty()


async def test_one_is_told_what_one_may_read(server: RunningServer, receiver: WebhookReceiver) -> None:
    """Whoever has left the room hears no more by their webhook either."""
    alice, bob = await server.user("alice"), await server.user("bob")
    room_id = await alice.create_room(
        preset="public_chat", power_level_content_override={"users": {bob.user_id: 100}},
        initial_state=[{"type": "m.room.history_visibility", "content": {"history_visibility": "joined"}}],
    )  # fmt: skip
    await bob.join(room_id)
    out = {"name": "out", "url": receiver.url, "types": ["m.room.message"]}
    receiver.secret = (await bob.post(HOOKS + "/outbound", room_id, body=out)).ok()["secret"]
    await alice.send(room_id, "heard")
    assert (await receiver.next())[1]["events"][0]["content"]["body"] == "heard"
    (await bob.post("/rooms/{}/leave", room_id)).ok()
    await alice.send(room_id, "not for bob")
    await a_moment()
    assert receiver.deliveries.empty()


async def test_commands_in_the_room(server: RunningServer) -> None:
    """Commands come from users of this server who may, and secrets are told to them alone."""
    alice, bob = await server.user("alice"), await server.user("bob")
    room_id = await alice.create_room(preset="public_chat")
    await bob.join(room_id)
    await make(alice, room_id)  # brings the account in

    async def answer_to(client: Client, words: str) -> str:
        before = len(await heard(alice, room_id))
        await client.send(room_id, words)

        async def is_answered() -> bool:
            return len(await heard(alice, room_id)) > before

        await until(is_answered)
        body: str = (await heard(alice, room_id))[0]["content"]["body"]
        return body

    assert "!hook add SOURCE NAME" in await answer_to(alice, "!hook")
    assert "may not manage" in await answer_to(bob, "!hook list")
    assert "may not manage" in await answer_to(bob, "!hook add json mine")
    assert "no source 'cobol'" in await answer_to(alice, "!hook add cobol mine")
    said = await answer_to(alice, "!hook add json Nightly builds")
    assert "is made" in said and "/_hansa/webhooks/" not in said
    (notices,) = (await alice.sync())["rooms"]["invite"]
    await alice.join(notices)
    chunk = (await alice.get("/rooms/{}/messages", notices, dir="b", limit=5)).ok()["chunk"]
    url = chunk[-1]["content"].get("body") or next(
        one["content"]["body"] for one in chunk if one["type"] == "m.room.message"
    )
    path = url[url.index("/_hansa/webhooks/") :]
    (await deliver(server, path, {"text": "moin"})).ok()
    listed = await answer_to(alice, "!hook list")
    assert "Nightly builds" in listed
    assert "removed" in await answer_to(alice, f"!hook remove {path.split('/')[3]}")
    assert "must be one for http" in await answer_to(alice, "!hook out nonsense")
    said = await answer_to(alice, "!hook out https://x.test/hook m.never")
    assert "is made" in said
    await server.db.execute("UPDATE event_webhooks SET is_enabled = false")
    assert "switched off" in await answer_to(alice, "!hook list")
    assert "is on again" in await answer_to(alice, f"!hook resume {said.split()[0]}")
    assert "switched off" not in await answer_to(alice, "!hook list")
    assert "may not manage" in await answer_to(bob, f"!hook resume {said.split()[0]}")


def test_the_operator_makes_one(database_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the command line, beside a running server: its first delivery brings the account into the room."""
    monkeypatch.setenv("HANSA_DATABASE__DSN", database_dsn)
    config = config_for_tests(tmp_path)

    async def scene() -> None:
        async with running_server(database_dsn, config=config) as server:
            alice = await server.user("alice")
            room_id = await alice.create_room(preset="private_chat")
            arguments = ["--config", str(tmp_path / "hansa.toml"), "webhook"]
            words = ["create", room_id, "--owner", alice.user_id, "--source", "json", "--name", "x"]
            url = (await asyncio.to_thread(_output, [*arguments, *words])).strip()
            (await deliver(server, url[url.index("/_hansa") :], {"text": "moin"})).ok()
            assert (await heard(alice, room_id))[0]["content"]["body"] == "moin"
            (listed,) = json.loads(await asyncio.to_thread(_output, [*arguments, "list", "--json"]))
            assert listed["room_id"] == room_id and listed["direction"] == "in"
            await asyncio.to_thread(_output, [*arguments, "remove", listed["webhook_id"]])
            (await deliver(server, url[url.index("/_hansa") :], {"text": "moin"})).refused(404, "M_NOT_FOUND")
            state = {"algorithm": "m.megolm.v1.aes-sha2"}
            secret = await alice.create_room(initial_state=[{"type": "m.room.encryption", "content": state}])
            asked = "SELECT is_encrypted FROM room_facts JOIN rooms USING (room_nid) WHERE room_id = $1"

            async def is_known() -> bool:
                return bool(await server.db.fetchval(asked, secret))

            await until(is_known)
            words = ["create", secret, "--owner", alice.user_id, "--source", "json", "--name", "x"]
            with pytest.raises(Failed, match="encrypted"):
                await asyncio.to_thread(_output, [*arguments, *words])
            assert "/_hansa" in await asyncio.to_thread(_output, [*arguments, *words, "--in-the-clear"])
            words = ["tell", room_id, "https://x.test/hook", "--owner", alice.user_id, "--name", "y", "--type", "m.a"]
            assert len((await asyncio.to_thread(_output, [*arguments, *words])).strip()) == 43
            (made,) = (await alice.get(HOOKS, room_id)).ok()["outbound"]
            assert (made["url"], made["types"], made["owner"]) == ("https://x.test/hook", ["m.a"], alice.user_id)
            newest = (await alice.get("/rooms/{}/messages", room_id, dir="b", limit=1)).ok()["chunk"][0]["event_id"]
            assert await server.db.fetchval(
                "SELECT ordering = position FROM events, event_webhooks WHERE event_id = $1", newest
            ), "it tells what happens from now on"
            await server.db.execute("UPDATE event_webhooks SET is_enabled = false")
            (_, listed) = json.loads(await asyncio.to_thread(_output, [*arguments, "list", "--json"]))
            assert (listed["direction"], listed["is_enabled"]) == ("out", False)
            await asyncio.to_thread(_output, [*arguments, "resume", listed["webhook_id"]])
            assert (await alice.get(HOOKS, room_id)).ok()["outbound"][0]["is_enabled"]

    asyncio.run(scene())


def _output(arguments: list[str]) -> str:
    from homeserver.cli.command import hansa

    return CliRunner().invoke(hansa, arguments, catch_exceptions=False, standalone_mode=False).output
