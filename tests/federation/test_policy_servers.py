"""Policy servers: rooms that name one have their events looked at there, on both sides.

spec: server-server-api/#policy-servers
"""

from __future__ import annotations

from typing import Any

from homeserver.core.identifiers import RoomId
from homeserver.core.policy_server import KEY_ID, POLICY
from homeserver.core.signing import encode_base64
from tests.admin.people import owner_of
from tests.kit.server import Client, RunningServer
from tests.kit.until import until

RULE = "/_hansa/admin/v1/spam/rules/{}"


def name_of(server: RunningServer) -> str:
    return server.hansa.config.server_name


async def forbid(server: RunningServer, owner: Client, word: str, *when: str) -> None:
    rule = {
        "title": word,
        "when": list(when),
        "condition": f'event.text.contains("{word}")',
        "actions": [{"kind": "deny", "reason": f"no {word} here"}],
        "stage": "enforced",
    }
    (await owner.put(RULE, word, body={"rule": rule})).ok()


async def shared_room(here: RunningServer, there: RunningServer) -> tuple[Client, Client, Client, str]:
    """Of Alice here, who owns her server, and Bob there; its policy server is here."""
    owner, alice, bob = await owner_of(here), await here.user("alice"), await there.user("bob")
    room_id = await alice.create_room(preset="public_chat")
    (await bob.request("POST", "/join/{}", room_id, body={}, query={"via": name_of(here)})).ok()
    key = here.hansa.signer.policy
    assert key is not None
    content = {"via": name_of(here), "public_keys": {"ed25519": encode_base64(key.verify_key)}}
    (await alice.put("/rooms/{}/state/m.room.policy", room_id, body=content)).ok()

    async def is_known_there() -> bool:
        room = await there.hansa.rooms.rooms.get(RoomId(room_id))
        return room is not None and room.known_state(*POLICY) is not None

    await until(is_known_there)
    return owner, alice, bob, room_id


async def texts(client: Client, room_id: str) -> list[str]:
    page = (await client.get("/rooms/{}/messages", room_id, dir="b", limit="50")).ok()
    return [event["content"].get("body") for event in page["chunk"] if event["type"] == "m.room.message"]


async def pdu_of(server: RunningServer, event_id: str) -> Any:
    stored = (await server.hansa.rooms.store.by_ids([event_id]))[event_id]  # type: ignore[list-item,index]
    return stored.event.pdu


async def test_the_policy_server_signs_or_refuses(here: RunningServer, there: RunningServer) -> None:
    owner, alice, bob, room_id = await shared_room(here, there)
    await forbid(here, owner, "pills", "remote_event")
    event_id = await bob.send(room_id, "good morning")
    assert KEY_ID in (await pdu_of(there, event_id))["signatures"][name_of(here)]
    refused = await bob.put(
        "/rooms/{}/send/m.room.message/{}", room_id, "x", body={"msgtype": "m.text", "body": "cheap Pills"}
    )
    refused.refused(403, "M_FORBIDDEN")

    async def has_come() -> bool:
        return "good morning" in await texts(alice, room_id)

    await until(has_come)
    assert await texts(bob, room_id) == ["good morning"]
    own = await alice.send(room_id, "welcome")
    assert KEY_ID in (await pdu_of(here, own))["signatures"][name_of(here)]


async def test_what_the_policy_server_refuses_is_not_shown(here: RunningServer, there: RunningServer) -> None:
    """What comes unsigned is shown to the policy server; its refusal soft-fails the event, as our own rules do."""
    owner, alice, bob, room_id = await shared_room(here, there)
    await forbid(here, owner, "pills", "remote_event")
    there.hansa.rooms.submission.signatures = None  # a server that doesn't ask
    await bob.send(room_id, "cheap pills")
    await bob.send(room_id, "after it")

    async def has_come() -> bool:
        return "after it" in await texts(alice, room_id)

    await until(has_come)
    assert await texts(alice, room_id) == ["after it"]
    decisions = (await owner.get("/_hansa/admin/v1/spam/decisions")).ok()["decisions"]
    assert [(one["hook"], one["sender"]) for one in decisions] == [("remote_event", bob.user_id)]


async def test_the_policy_servers_key_is_the_one_that_the_room_names(here: RunningServer, there: RunningServer) -> None:
    """T-E25: by another key nothing is signed; once the room names the right one again, nothing stays refused."""
    _, alice, bob, room_id = await shared_room(here, there)
    path = "/rooms/{}/send/m.room.message/{}"
    right = (await alice.get("/rooms/{}/state/m.room.policy", room_id)).ok()

    async def name_key(content: dict[str, Any]) -> None:
        event_id = (await alice.put("/rooms/{}/state/m.room.policy", room_id, body=content)).ok()["event_id"]

        async def is_known_there() -> bool:
            return bool((await bob.get("/rooms/{}/event/{}", room_id, event_id)).status == 200)

        await until(is_known_there)

    await name_key({**right, "public_keys": {"ed25519": encode_base64(b"another key, of thirty-two bytes")}})
    (await bob.put(path, room_id, "1", body={"msgtype": "m.text", "body": "x"})).refused(403, "M_FORBIDDEN")
    await name_key(right)
    (await bob.put(path, room_id, "1", body={"msgtype": "m.text", "body": "x"})).ok()


async def test_rooms_that_name_another_are_not_signed_for(here: RunningServer, there: RunningServer) -> None:
    _, alice, bob, room_id = await shared_room(here, there)
    event_id = await bob.send(room_id, "x")
    client = there.hansa.federation
    assert client is not None
    path, server = "/_matrix/policy/v1/sign", here.hansa.base.server_name
    pdu = await pdu_of(there, event_id)
    answer = await client.client.post(server, path, pdu)
    assert list(answer[name_of(here)]) == [KEY_ID]

    async def status_of(body: dict[str, Any]) -> tuple[int, str]:
        try:
            await client.client.post(server, path, body)
        except Exception as error:
            return getattr(error, "status", 0), getattr(error, "errcode", "")
        return 200, ""

    assert await status_of({}) == (400, "M_BAD_JSON")
    assert await status_of({**pdu, "depth": "x"}) == (400, "M_BAD_JSON")
    assert await status_of({**pdu, "room_id": "!nowhere:" + name_of(here)}) == (404, "M_NOT_FOUND")
    assert await status_of({**pdu, "sender": alice.user_id}) == (400, "M_FORBIDDEN")
    (await alice.put("/rooms/{}/state/m.room.policy", room_id, body={})).ok()
    assert await status_of(pdu) == (404, "M_NOT_FOUND")


async def test_a_refusal_is_explained_on_the_sender_s_server(here: RunningServer, there: RunningServer) -> None:
    """Recorded as a decision and seen in a case; it doesn't count against the sender, and can't be undone there."""
    owner, _, bob, room_id = await shared_room(here, there)
    theirs = await owner_of(there)
    await forbid(here, owner, "pills", "remote_event")
    body = {"msgtype": "m.text", "body": "cheap Pills"}
    (await bob.put("/rooms/{}/send/m.room.message/{}", room_id, "x", body=body)).refused(403, "M_FORBIDDEN")
    spam = "/_hansa/admin/v1/spam/decisions"
    [decision] = (await theirs.get(spam, sender=bob.user_id)).ok()["decisions"]
    assert (decision["rule_id"], decision["outcome"], decision["room_id"]) == ("policy-server", "deny", room_id)
    explained = (await theirs.get(spam + "/{}", str(decision["decision_id"]))).ok()["decision"]["seen"]
    assert (explained["policy_server"], explained["event.text"]) == (name_of(here), "cheap Pills")
    assert "no pills here" in explained["reason"]
    undone = await theirs.post(spam + "/{}/undo", str(decision["decision_id"]), body={})
    undone.refused(400, "M_INVALID_PARAM")
    around = there.hansa.spam.engine.around
    assert (await around.sender(bob.user_id, None)).past_actions == 0
    [case] = (await theirs.get("/_hansa/admin/v1/cases", because="refusal")).ok()["cases"]
    assert (case["entity"], case["refusals"]) == (bob.user_id, 1)
    whole = (await theirs.get("/_hansa/admin/v1/cases/{}", str(case["case_id"]))).ok()
    assert [one["why"] for one in whole["refused"]] == [explained["reason"]]
