"""Following threads."""

from __future__ import annotations

from typing import Any

from tests.kit.server import RunningServer

PATH = "/_matrix/client/unstable/io.element.msc4306/rooms/{}/thread/{}/subscription"
ALL = "/_matrix/client/unstable/io.element.msc4308/thread_subscriptions"


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
