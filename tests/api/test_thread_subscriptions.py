"""Following threads."""

from __future__ import annotations

from typing import Any

from tests.kit.server import Client, RunningServer
from tests.kit.sliding import SlidingClient

PATH = "/_matrix/client/unstable/io.element.msc4306/rooms/{}/thread/{}/subscription"
ALL = "/_matrix/client/unstable/io.element.msc4308/thread_subscriptions"
EXTENSION = "io.element.msc4308.thread_subscriptions"


async def test_following_a_thread(server: RunningServer) -> None:
    alice, eve = await server.user("alice"), await server.user("eve")
    room = await alice.create_room()
    root = await alice.send(room, "root")
    relation: dict[str, Any] = {"m.relates_to": {"rel_type": "m.thread", "event_id": root}}
    first = await alice.send(room, "first", **relation)
    (await alice.get(PATH, room, root)).refused(404, "M_NOT_FOUND")
    body = {"automatic": root}
    (await alice.put(PATH, room, root, body=body)).refused(400, "IO.ELEMENT.MSC4306.M_NOT_IN_THREAD")
    (await alice.put(PATH, room, root, body={"automatic": first})).ok()
    assert (await alice.get(PATH, room, root)).ok() == {"automatic": True}
    (await alice.put(PATH, room, root)).ok()
    (await alice.put(PATH, room, root, body={"automatic": first})).ok()
    assert (await alice.get(PATH, room, root)).ok() == {"automatic": False}
    assert root in (await alice.get(ALL)).ok()["subscribed"][room]
    (await alice.delete(PATH, room, root)).ok()
    (await alice.delete(PATH, room, root)).ok()
    (await alice.get(PATH, room, root)).refused(404, "M_NOT_FOUND")
    refused = await alice.put(PATH, room, root, body={"automatic": first})
    refused.refused(409, "IO.ELEMENT.MSC4306.M_CONFLICTING_UNSUBSCRIPTION")
    second = await alice.send(room, "second", **relation)
    (await alice.put(PATH, room, root, body={"automatic": second})).ok()
    assert (await alice.get(ALL)).ok()["subscribed"] == {
        room: {
            root: {"automatic": True, "bump_stamp": (await alice.get(ALL)).ok()["subscribed"][room][root]["bump_stamp"]}
        }
    }
    (await eve.put(PATH, room, root)).refused(404, "M_NOT_FOUND")
    (await alice.put(PATH, room, "$nothing")).refused(404, "M_NOT_FOUND")


async def thread(client: Client, room: str, text: str = "root") -> tuple[str, str]:
    """A new thread: its root, and an event in it."""
    root = await client.send(room, text)
    return root, await answer(client, room, root)


async def answer(client: Client, room: str, root: str) -> str:
    return await client.send(room, "answer", **{"m.relates_to": {"rel_type": "m.thread", "event_id": root}})


def followed(told: dict[str, Any], kind: str = "subscribed") -> dict[str, bool | None]:
    """Threads by their root, and whether a client follows them by itself."""
    rooms = told.get(kind, {})
    return {root: one.get("automatic") for threads in rooms.values() for root, one in threads.items()}


async def test_what_is_no_subscription_is_refused(server: RunningServer) -> None:
    """Other rooms' threads, events that aren't there, other threads' events, and bodies of the wrong kind."""
    alice = await server.user("alice")
    room, other = await alice.create_room(), await alice.create_room()
    root, first = await thread(alice, room)
    _, elsewhere = await thread(alice, room, "another")
    for path in ((other, root), (room, "$nothing"), ("!nowhere:hansa.test", root)):
        for call in (alice.get(PATH, *path), alice.put(PATH, *path), alice.delete(PATH, *path)):
            (await call).refused(404, "M_NOT_FOUND")
    for cause in (root, elsewhere, await alice.send(room, "outside")):
        refused = await alice.put(PATH, room, root, body={"automatic": cause})
        refused.refused(400, "IO.ELEMENT.MSC4306.M_NOT_IN_THREAD")
    (await alice.put(PATH, room, root, body={"automatic": "$nothing"})).refused(404, "M_NOT_FOUND")
    (await alice.put(PATH, room, root, body={"automatic": True})).refused(400, "M_BAD_JSON")
    (await alice.put(PATH, room, root, body={"automatic": "no event"})).refused(400, "M_INVALID_PARAM")
    (await alice.get(PATH, room, root)).refused(404, "M_NOT_FOUND")
    (await server.anonymous().put(PATH, room, root)).refused(401, "M_MISSING_TOKEN")
    assert (await alice.put(PATH, room, root, body={"automatic": first})).ok() == {}


async def test_what_somebody_said_is_kept_over_what_a_client_guessed(server: RunningServer) -> None:
    """A manual subscription stays one; who left by hand is brought back by what came later alone, or by hand."""
    alice = await server.user("alice")
    room = await alice.create_room()
    root, first = await thread(alice, room)
    (await alice.put(PATH, room, root)).ok()
    (await alice.put(PATH, room, root, body={"automatic": first})).ok()
    assert (await alice.get(PATH, room, root)).ok() == {"automatic": False}
    (await alice.delete(PATH, room, root)).ok()
    for _ in range(2):
        refused = await alice.put(PATH, room, root, body={"automatic": first})
        refused.refused(409, "IO.ELEMENT.MSC4306.M_CONFLICTING_UNSUBSCRIPTION")
    (await alice.put(PATH, room, root)).ok()
    (await alice.delete(PATH, room, root)).ok()
    later = await answer(alice, room, root)
    (await alice.put(PATH, room, root, body={"automatic": later})).ok()
    (await alice.put(PATH, room, root)).ok()
    assert (await alice.get(PATH, room, root)).ok() == {"automatic": False}


async def test_others_do_not_see_it(server: RunningServer) -> None:
    alice, bob = await server.user("alice"), await server.user("bob")
    room = await alice.create_room(preset="public_chat")
    await bob.join(room)
    root, _ = await thread(alice, room)
    (await alice.put(PATH, room, root)).ok()
    (await bob.get(PATH, room, root)).refused(404, "M_NOT_FOUND")
    assert (await bob.get(ALL)).ok() == {}
    (await bob.delete(PATH, room, root)).ok()
    assert (await alice.get(PATH, room, root)).ok() == {"automatic": False}


async def test_sliding_sync_tells_what_changed(server: RunningServer) -> None:
    """At first what is followed alone; then each change once, an end of one too. Nothing where it isn't asked for."""
    alice = await server.user("alice")
    room = await alice.create_room()
    (one, first), (two, _), (three, _) = [await thread(alice, room, text) for text in "abc"]
    (await alice.put(PATH, room, one, body={"automatic": first})).ok()
    (await alice.put(PATH, room, two)).ok()
    (await alice.put(PATH, room, three)).ok()
    (await alice.delete(PATH, room, three)).ok()
    client = SlidingClient(alice)
    wish: dict[str, Any] = {"extensions": {EXTENSION: {"enabled": True}}}
    told = (await client.sync(**wish))["extensions"][EXTENSION]
    assert followed(told) == {one: True, two: False} and "unsubscribed" not in told and "prev_batch" not in told
    assert EXTENSION not in (await client.sync(**wish))["extensions"]
    (await alice.delete(PATH, room, two)).ok()
    (await alice.put(PATH, room, one)).ok()
    told = (await client.sync(timeout=30_000, **wish))["extensions"][EXTENSION]
    stamps = told["subscribed"][room][one]["bump_stamp"], told["unsubscribed"][room][two]["bump_stamp"]
    assert (followed(told), followed(told, "unsubscribed")) == ({one: False}, {two: None}) and stamps[0] > stamps[1]
    assert EXTENSION not in (await SlidingClient(alice, "plain").sync())["extensions"]


async def test_what_a_sync_leaves_out_is_listed(server: RunningServer) -> None:
    """MSC4308: `prev_batch` of the answer leads on backwards, down to the `pos` of the request: each change once."""
    alice = await server.user("alice")
    room = await alice.create_room()
    before, roots = (await thread(alice, room))[0], [(await thread(alice, room, f"{n}"))[0] for n in range(7)]
    (await alice.put(PATH, room, before)).ok()
    client = SlidingClient(alice)
    wish: dict[str, Any] = {"extensions": {EXTENSION: {"enabled": True, "limit": 2}}}
    await client.sync(**wish)
    asked_at = client.pos
    for root in roots:
        (await alice.put(PATH, room, root)).ok()
    (await alice.delete(PATH, room, roots[0])).ok()
    told = (await client.sync(**wish))["extensions"][EXTENSION]
    found, ended, token = followed(told), followed(told, "unsubscribed"), told["prev_batch"]
    assert len(found) + len(ended) == 2 and roots[0] in ended
    pages = 0
    while token is not None:
        page = (await alice.get(ALL, dir="b", limit=2, to=asked_at, **{"from": token})).ok()
        assert not set(followed(page)) & set(found) and len(followed(page)) in (1, 2)
        found |= followed(page)
        token, pages = page.get("end"), pages + 1
    assert set(found) == set(roots[1:]) and pages == 3
    whole = (await alice.get(ALL, limit=3)).ok()
    assert len(followed(whole)) == 3 and "end" in whole
    rest = (await alice.get(ALL, limit=100, **{"from": whole["end"]})).ok()
    assert {*followed(whole), *followed(rest)} == {before, *roots[1:]} and "end" not in rest


async def test_what_is_no_page_is_refused(server: RunningServer) -> None:
    alice = await server.user("alice")
    for query in ({"dir": "f"}, {"limit": 0}, {"limit": -1}, {"from": "x"}, {"to": "x"}, {"limit": "many"}):
        (await alice.get(ALL, **query)).refused(400, "M_INVALID_PARAM")
    (await server.anonymous().get(ALL)).refused(401, "M_MISSING_TOKEN")


async def test_a_purged_room_leaves_nothing(server: RunningServer) -> None:
    alice, admin = await server.user("alice"), await server.user("olga")
    await server.db.execute("UPDATE users SET is_admin = true WHERE user_id = $1", admin.user_id)
    room = await alice.create_room()
    root, _ = await thread(alice, room)
    (await alice.put(PATH, room, root)).ok()
    (await admin.request("DELETE", "/_synapse/admin/v1/rooms/{}", room, body={"purge": True})).ok()
    assert (await alice.get(ALL)).ok() == {}
    (await alice.get(PATH, room, root)).refused(404, "M_NOT_FOUND")
