"""Push rules about followed threads: MSC4306."""

from __future__ import annotations

from typing import Any

from tests.api.test_thread_subscriptions import PATH, answer
from tests.kit.server import Client, RunningServer, running_server
from tests.kit.until import until

UNFOLLOWED, FOLLOWED = (f".io.element.msc4306.rule.{name}" for name in ("unsubscribed_thread", "subscribed_thread"))
CONDITION = "io.element.msc4306.thread_subscription"


async def pair(server: RunningServer) -> tuple[Client, Client, str]:
    """Alice speaks in a room, Bob counts what he is notified of."""
    alice, bob = await server.user("alice"), await server.user("bob")
    room = await alice.create_room(preset="public_chat")
    await bob.join(room)
    return alice, bob, room


async def unread(client: Client, room: str) -> int:
    found = await client.sync()
    count: int = found["rooms"]["join"][room]["unread_notifications"]["notification_count"]
    return count


async def counts(client: Client, room: str, expected: int) -> None:
    """What hangs on who follows a thread is counted a moment later, where that must be read first."""

    async def is_so() -> bool:
        return await unread(client, room) == expected

    await until(is_so)


async def test_the_rules_come_with_the_first_thread(server: RunningServer) -> None:
    alice = await server.user("alice")
    room = await alice.create_room()
    root = await alice.send(room)
    first = await answer(alice, room, root)
    assert "postcontent" not in (await alice.get("/pushrules/")).ok()["global"]
    (await alice.get("/pushrules/global/postcontent/{}", FOLLOWED)).refused(404, "M_NOT_FOUND")
    since = (await alice.sync())["next_batch"]
    (await alice.put(PATH, room, root, body={"automatic": first})).ok()
    rules = (await alice.get("/pushrules/")).ok()["global"]["postcontent"]
    assert [(rule["rule_id"], rule["conditions"], rule["actions"]) for rule in rules] == [
        (UNFOLLOWED, [{"kind": CONDITION, "subscribed": False}], []),
        (FOLLOWED, [{"kind": CONDITION, "subscribed": True}], ["notify", {"set_tweak": "sound", "value": "default"}]),
    ]
    told = (await alice.sync(since=since))["account_data"]["events"]
    assert [event["content"]["global"]["postcontent"] for event in told if event["type"] == "m.push_rules"] == [rules]
    rule = "/pushrules/global/postcontent/{}"
    assert (await alice.get(rule, FOLLOWED)).ok() == rules[1]
    (await alice.put(rule + "/enabled", UNFOLLOWED, body={"enabled": False})).ok()
    (await alice.put(rule + "/actions", FOLLOWED, body={"actions": ["notify"]})).ok()
    changed = (await alice.get("/pushrules/")).ok()["global"]["postcontent"]
    assert [(one["enabled"], one["actions"]) for one in changed] == [(False, []), (True, ["notify"])]
    (await alice.delete(rule, FOLLOWED)).refused(400, "M_INVALID_PARAM")
    own: dict[str, Any] = {"actions": [], "conditions": []}
    (await alice.put(rule, "own", body=own)).refused(400, "M_INVALID_PARAM")


async def test_followed_threads_notify_and_others_keep_silent(server: RunningServer) -> None:
    alice, bob, room = await pair(server)
    one, two = await alice.send(room), await alice.send(room)
    assert await unread(bob, room) == 2
    await answer(alice, room, two)
    assert await unread(bob, room) == 3, "without following any thread all of them notify"
    (await bob.put(PATH, room, one)).ok()
    await answer(alice, room, one)
    await counts(bob, room, 4)
    await answer(alice, room, two)
    await answer(alice, room, one)
    await counts(bob, room, 5)
    (await bob.delete(PATH, room, one)).ok()
    await answer(alice, room, one)
    await alice.send(room)
    await counts(bob, room, 6)
    (await bob.put(PATH, room, two)).ok()
    last = await answer(alice, room, two)
    await counts(bob, room, 7)
    listed = (await bob.get("/notifications", limit=2)).ok()["notifications"]
    assert listed[0]["event"]["event_id"] == last
    assert listed[0]["actions"] == ["notify", {"set_tweak": "sound", "value": "default"}]


async def test_a_mention_is_heard_in_any_thread(server: RunningServer) -> None:
    """Rules of users' own and about mentions are above those about threads."""
    alice, bob, room = await pair(server)
    one, two = await alice.send(room), await alice.send(room)
    (await bob.put(PATH, room, one)).ok()
    relation = {"rel_type": "m.thread", "event_id": two}
    content: dict[str, Any] = {"m.relates_to": relation, "m.mentions": {"user_ids": [bob.user_id]}}
    await alice.send(room, "Bob?", **content)
    assert await unread(bob, room) == 3, "that doesn't hang on who follows the thread"


async def test_a_rule_of_ones_own_may_ask_it(server: RunningServer) -> None:
    alice, bob, room = await pair(server)
    root = await alice.send(room)
    conditions: list[dict[str, Any]] = [{"kind": CONDITION, "subscribed": False}]
    rule = "/pushrules/global/override/{}"
    (await bob.put(rule, "quiet", body={"conditions": conditions, "actions": []})).ok()
    ill: list[dict[str, Any]] = [{"kind": CONDITION, "subscribed": "no"}]
    (await bob.put(rule, "ill", body={"conditions": ill, "actions": []})).ok()
    await answer(alice, room, root)
    await alice.send(room)
    await counts(bob, room, 2)


async def test_it_is_so_after_a_restart(database_dsn: str) -> None:
    async with running_server(database_dsn) as server:
        alice, bob, room = await pair(server)
        one, two = await alice.send(room), await alice.send(room)
        (await bob.put(PATH, room, one)).ok()
    async with running_server(database_dsn) as server:
        alice, bob = server.holding(alice.token or ""), server.holding(bob.token or "")
        for number, root in enumerate((two, one, two)):
            relation = {"rel_type": "m.thread", "event_id": root}
            body = {"msgtype": "m.text", "body": "hello", "m.relates_to": relation}
            (await alice.put("/rooms/{}/send/m.room.message/{}", room, f"again{number}", body=body)).ok()
        await counts(bob, room, 3)
