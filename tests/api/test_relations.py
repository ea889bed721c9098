"""Edits, threads, references and reactions, and what of them is told to whom."""

from __future__ import annotations

from typing import Any

from tests.kit.server import Client, RunningServer

V1 = "/_matrix/client/v1/rooms/{}"


def to(rel_type: str, event_id: str, **more: Any) -> dict[str, Any]:
    return {"m.relates_to": {"rel_type": rel_type, "event_id": event_id, **more}}


async def edit(client: Client, room: str, event_id: str, text: str) -> str:
    new = {"msgtype": "m.text", "body": text}
    return await client.send(room, "* " + text, **{"m.new_content": new}, **to("m.replace", event_id))


async def react(client: Client, room: str, event_id: str, key: str, txn: str) -> Any:
    return await client.put("/rooms/{}/send/m.reaction/{}", room, txn, body=to("m.annotation", event_id, key=key))


async def bundled(client: Client, room: str, event_id: str) -> dict[str, Any]:
    event = (await client.get("/rooms/{}/event/{}", room, event_id)).ok()
    relations: dict[str, Any] = event["unsigned"].get("m.relations", {})
    return relations


async def related(client: Client, room: str, *path: str, **query: Any) -> list[str]:
    segments = "/relations" + "/{}" * len(path)
    return [event["event_id"] for event in (await client.get(V1 + segments, room, *path, **query)).ok()["chunk"]]


async def redact(client: Client, room: str, event_id: str) -> None:
    (await client.put("/rooms/{}/redact/{}/{}", room, event_id, "r" + event_id)).ok()


async def pair(server: RunningServer) -> tuple[Client, Client, str]:
    alice, bob = await server.user("alice"), await server.user("bob")
    room = await alice.create_room(preset="public_chat")
    await bob.join(room)
    return alice, bob, room


async def test_everything_is_bundled_everywhere(server: RunningServer) -> None:
    alice, bob, room = await pair(server)
    root = await alice.send(room, "root")
    since = (await bob.sync())["next_batch"]
    first = await bob.send(room, "first", **to("m.thread", root))
    second = await alice.send(room, "second", **to("m.thread", root))
    latest_edit = await edit(alice, room, second, "2nd")
    root_edit = await edit(alice, room, root, "ROOT")
    reference = await bob.send(room, "see", **to("m.reference", root))
    (await react(bob, room, root, "👍", "1")).ok()

    async def check(event: dict[str, Any]) -> None:
        found = event["unsigned"]["m.relations"]
        assert set(found) == {"m.replace", "m.thread", "m.reference"}
        assert found["m.replace"]["event_id"] == root_edit
        assert found["m.replace"]["content"]["m.new_content"]["body"] == "ROOT"
        assert found["m.reference"] == {"chunk": [{"event_id": reference}]}
        thread = found["m.thread"]
        assert (thread["count"], thread["current_user_participated"]) == (2, True)
        assert thread["latest_event"]["event_id"] == second
        assert thread["latest_event"]["unsigned"]["m.relations"]["m.replace"]["event_id"] == latest_edit

    def one(events: list[dict[str, Any]]) -> dict[str, Any]:
        return next(event for event in events if event["event_id"] == root)

    for client in (alice, bob):
        await check((await client.get("/rooms/{}/event/{}", room, root)).ok())
        await check((await client.get("/rooms/{}/context/{}", room, root)).ok()["event"])
        await check(one((await client.get("/rooms/{}/messages", room, dir="b", limit=100)).ok()["chunk"]))
        await check(one((await client.sync())["rooms"]["join"][room]["timeline"]["events"]))
        await check(one((await client.get(V1 + "/threads", room)).ok()["chunk"]))
    gap = await bob.sync(since=since)
    edited = next(e for e in gap["rooms"]["join"][room]["timeline"]["events"] if e["event_id"] == second)
    assert edited["unsigned"]["m.relations"]["m.replace"]["event_id"] == latest_edit
    children = await related(alice, room, root)
    assert children[1:] == [reference, root_edit, second, first]
    assert await related(alice, room, root, "m.thread", "m.room.message", dir="f") == [first, second]
    assert await related(alice, room, root, "m.annotation", "m.room.message") == []
    assert latest_edit in await related(alice, room, root, recurse="true")


async def test_which_edits_count(server: RunningServer) -> None:
    """T-G18, T-P5: by the sender, of the type, never of state or of an edit; the newest that wasn't redacted."""
    alice, bob, room = await pair(server)
    message = await alice.send(room, "v1")
    await edit(bob, room, message, "forged")
    body: dict[str, Any] = {"m.new_content": {"body": "x"}, **to("m.replace", message)}
    (await alice.put("/rooms/{}/send/org.other/{}", room, "t", body=body)).ok()
    await alice.send(room, "without new content", **to("m.replace", message))
    assert await bundled(bob, room, message) == {}
    second = await edit(alice, room, message, "v2")
    third = await edit(alice, room, message, "v3")
    await edit(alice, room, third, "of an edit")
    assert (await bundled(bob, room, message))["m.replace"]["event_id"] == third
    assert await bundled(bob, room, third) == {}
    await redact(alice, room, third)
    assert (await bundled(bob, room, message))["m.replace"]["event_id"] == second
    await redact(alice, room, message)
    assert await bundled(bob, room, message) == {}
    path = "/rooms/{}/state/m.room.topic"
    topic = (await alice.put(path, room, body={"topic": "t"})).ok()["event_id"]
    body = {"m.new_content": {"topic": "x"}, **to("m.replace", topic)}
    (await alice.put("/rooms/{}/send/m.room.topic/{}", room, "t2", body=body)).ok()
    assert await bundled(bob, room, topic) == {}


async def test_transaction_ids_stay_with_their_device(server: RunningServer) -> None:
    """T-B24"""
    alice, bob, room = await pair(server)
    root = await alice.send(room)
    await edit(alice, room, root, "v2")
    await alice.send(room, **to("m.thread", root))
    own, others = await bundled(alice, room, root), await bundled(bob, room, root)
    for found, has_it in ((own, True), (others, False)):
        shown = (found["m.replace"], found["m.thread"]["latest_event"])
        assert all(("transaction_id" in event["unsigned"]) is has_it for event in shown)


async def test_what_is_hidden_is_not_counted(server: RunningServer) -> None:
    """T-G17, T-C13: of other rooms, redacted, by ignored users, or before one could see it."""
    alice, bob, room = await pair(server)
    root = await alice.send(room, "root")
    other = await alice.create_room()
    await alice.send(other, "elsewhere", **to("m.thread", root))
    await alice.send(other, "elsewhere", **to("m.reference", root))
    assert await bundled(alice, room, root) == {} and await related(alice, room, root) == []
    first = await bob.send(room, "a secret", **to("m.thread", root))
    second = await alice.send(room, "b", **to("m.thread", root))
    reference = await bob.send(room, "c", **to("m.reference", root))
    assert (await bundled(alice, room, root))["m.thread"]["count"] == 2
    body: dict[str, Any] = {"ignored_users": {bob.user_id: {}}}
    (await alice.put("/user/{}/account_data/m.ignored_user_list", alice.user_id, body=body)).ok()
    found = await bundled(alice, room, root)
    assert (found["m.thread"]["count"], "m.reference" in found) == (1, False)
    assert await related(alice, room, root) == [second]
    (await alice.put("/user/{}/account_data/m.ignored_user_list", alice.user_id, body={"ignored_users": {}})).ok()
    await redact(bob, room, first)
    await redact(bob, room, reference)
    found = await bundled(alice, room, root)
    assert (found["m.thread"]["count"], "m.reference" in found) == (1, False)
    assert (await bundled(bob, room, root))["m.thread"]["current_user_participated"] is False
    assert await related(alice, room, root) == [second]
    (await bob.post("/rooms/{}/leave", room)).ok()
    await alice.send(room, "after", **to("m.thread", root))
    assert (await bundled(bob, room, root))["m.thread"]["count"] == 1
    assert (await bundled(alice, room, root))["m.thread"]["count"] == 2
    assert await related(bob, room, root) == [second]
    await redact(alice, room, second)
    eve = await server.user("eve")
    (await eve.get(V1 + "/relations/{}", room, root)).refused(404, "M_NOT_FOUND")
    (await eve.get(V1 + "/threads", room)).refused(403, "M_FORBIDDEN")


async def test_a_reaction_is_given_once(server: RunningServer) -> None:
    alice, bob, room = await pair(server)
    message = await alice.send(room)
    first = (await react(bob, room, message, "👍", "1")).ok()["event_id"]
    assert (await react(bob, room, message, "👍", "1")).ok()["event_id"] == first
    (await react(bob, room, message, "👍", "2")).refused(400, "M_DUPLICATE_ANNOTATION")
    (await react(alice, room, message, "👍", "3")).ok()
    (await react(bob, room, message, "👎", "4")).ok()
    await redact(bob, room, first)
    (await react(bob, room, message, "👍", "5")).ok()
    assert await bundled(bob, room, message) == {}


async def test_pages_of_relations(server: RunningServer) -> None:
    alice, _, room = await pair(server)
    root = await alice.send(room)
    replies = [await alice.send(room, str(n), **to("m.thread", root)) for n in range(7)]
    for direction, expected in (("b", replies[::-1]), ("f", replies)):
        found: list[str] = []
        query: dict[str, Any] = {"dir": direction, "limit": 3}
        while True:
            page = (await alice.get(V1 + "/relations/{}", room, root, **query)).ok()
            found += [event["event_id"] for event in page["chunk"]]
            if "next_batch" not in page:
                break
            query["from"] = page["next_batch"]
        assert found == expected
    wrong: list[dict[str, Any]] = [{"limit": 0}, {"limit": -1}, {"dir": "x"}, {"from": "?"}]
    for query in wrong:
        assert (await alice.get(V1 + "/relations/{}", room, root, **query)).status == 400
    (await alice.get(V1 + "/relations/{}", room, "$unknown")).refused(404, "M_NOT_FOUND")


async def test_a_walk_along_relations_ends(server: RunningServer) -> None:
    """T-C28"""
    alice, _, room = await pair(server)
    chain = [await alice.send(room)]
    for _ in range(6):
        chain.append(await alice.send(room, **to("m.reference", chain[-1])))
    page = (await alice.get(V1 + "/relations/{}", room, chain[0], recurse="true", dir="f")).ok()
    assert [event["event_id"] for event in page["chunk"]] == chain[1:4]
    assert page["recursion_depth"] == 3


async def test_threads_in_pages(server: RunningServer) -> None:
    alice, bob, room = await pair(server)
    roots = [await alice.send(room, f"root {n}") for n in range(4)]
    for root in roots:
        await alice.send(room, **to("m.thread", root))
    await bob.send(room, **to("m.thread", roots[1]))

    async def listed(client: Client, **query: Any) -> list[int]:
        found: list[int] = []
        while True:
            page = (await client.get(V1 + "/threads", room, limit=2, **query)).ok()
            found += [roots.index(event["event_id"]) for event in page["chunk"]]
            if "next_batch" not in page:
                return found
            query["from"] = page["next_batch"]

    assert await listed(alice) == await listed(bob) == [1, 3, 2, 0]
    assert await listed(bob, include="participated") == [1]
    assert await listed(alice, include="participated") == [1, 3, 2, 0]
    (await alice.get(V1 + "/threads", room, include="x")).refused(400, "M_INVALID_PARAM")


async def test_replies_that_are_not_seen_move_no_thread(server: RunningServer) -> None:
    """T-G17, T-C13: neither order nor pages nor which threads there are say that something was said later."""
    alice, bob, room = await pair(server)
    old, new, silent = [await alice.send(room, name) for name in ("old", "new", "silent")]
    for root in (old, new):
        await alice.send(room, **to("m.thread", root))
    (await bob.post("/rooms/{}/leave", room)).ok()
    for root in (old, silent):
        await alice.send(room, "unseen", **to("m.thread", root))

    async def listed(client: Client) -> list[str]:
        page = (await client.get(V1 + "/threads", room, limit=2)).ok()
        assert client is alice or "next_batch" not in page
        return [event["event_id"] for event in page["chunk"]]

    assert await listed(alice) == [silent, old]
    assert await listed(bob) == [new, old]
    for recurse in ("true", "false"):
        page = (await bob.get(V1 + "/relations/{}", room, old, dir="f", limit=1, recurse=recurse)).ok()
        assert len(page["chunk"]) == 1 and "next_batch" not in page
    await bob.join(room)
    assert await listed(alice) == [silent, old]
    for root in (silent, new):
        await bob.send(room, "by an ignored user", **to("m.thread", root))
    assert await listed(alice) == [new, silent]
    body: dict[str, Any] = {"ignored_users": {bob.user_id: {}, "@nul\x00:test": {}}}
    (await alice.put("/user/{}/account_data/m.ignored_user_list", alice.user_id, body=body)).ok()
    assert await listed(alice) == [silent, old]
    assert len(await related(alice, room, new)) == 1


async def test_bundles_cost_no_query_by_event(server: RunningServer) -> None:
    alice, bob, room = await pair(server)
    roots = [await alice.send(room) for _ in range(20)]
    for root in roots:
        await bob.send(room, **to("m.thread", root))
        await edit(alice, room, root, "v2")
    path = "/rooms/{}/messages"
    first = (await alice.get(path, room, dir="b", limit=100)).ok()["chunk"]
    assert sum("m.relations" in event["unsigned"] for event in first) == 20
    before = server.db.asked
    second = (await alice.get(path, room, dir="b", limit=100)).ok()["chunk"]
    assert [event["event_id"] for event in second] == [event["event_id"] for event in first]
    assert server.db.asked - before <= 5
    before = server.db.asked
    message = await alice.send(room, "nothing relates to this")
    sent = server.db.asked - before
    before = server.db.asked
    await alice.get("/rooms/{}/event/{}", room, message)
    assert (sent, server.db.asked - before) <= (3, 0)
