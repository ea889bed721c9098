"""Users answer a refusal from a chat, and are answered there."""

from __future__ import annotations

from tests.admin.people import Crew
from tests.admin.spam.test_actions import ZEBRA, room_with
from tests.admin.spam.test_rules_over_http import SPAM, latest, put, rule, say
from tests.kit.server import Client, RunningServer
from tests.kit.until import until

NOTICES = "@_server:hansa.test"


async def heard(client: Client, room_id: str) -> list[str]:
    """What the server said there, the newest first."""
    page = (await client.get("/rooms/{}/messages", room_id, dir="b", limit="50")).ok()
    return [one["content"]["body"] for one in page["chunk"] if one["sender"] == NOTICES and "body" in one["content"]]


async def answer(client: Client, room_id: str, words: str, *, begins: str) -> str:
    """Says it, and waits for the answer that begins so."""
    before = len(await heard(client, room_id))
    await client.send(room_id, words)

    async def is_answered() -> bool:
        return len(await heard(client, room_id)) > before

    await until(is_answered)
    [newest, *_] = await heard(client, room_id)
    assert newest.startswith(begins), newest
    return newest


async def chat(client: Client, **body: object) -> str:
    room_id = await client.create_room(invite=[NOTICES], is_direct=True, **body)

    async def is_answered() -> bool:
        return bool(await heard(client, room_id))

    await until(is_answered)
    return room_id


async def test_an_appeal_from_a_chat(server: RunningServer, crew: Crew) -> None:
    mallory = await server.user("mallory")
    room_id = await room_with(crew.user, mallory)
    await put(crew, "adverts", rule(ZEBRA))
    (await say(mallory, room_id, "zebra")).refused(403, "M_FORBIDDEN")
    [decision] = await latest(crew, sender=mallory.user_id)
    code = decision["code"]
    desk, others = await chat(mallory), await chat(crew.user)
    assert (await heard(mallory, desk))[0].startswith("Was something that you did refused")
    await answer(mallory, desk, "!appeal", begins="Was something")
    await answer(mallory, desk, f"!appeal {code}", begins="Was something")
    await answer(mallory, desk, "!appeal nonsense it was not", begins="there is nothing to appeal")
    # Somebody else's code says nothing.
    await answer(crew.user, others, f"!appeal {code} it was me", begins="there is nothing to appeal")
    await answer(mallory, desk, f"!appeal {code} {'x' * 2_001}", begins="an appeal may have 2,000")
    await answer(mallory, desk, f"!appeal {code} it is an\nanimal", begins=f"Your appeal {code} is noted")
    await answer(mallory, desk, f"!appeal {code} again", begins="there is nothing to appeal")
    [appealed] = await latest(crew, appealed="true")
    assert (appealed["code"], appealed["appeal"]) == (code, "it is an\nanimal")
    undo = (SPAM + "/decisions/{}/undo", str(decision["decision_id"]))
    (await crew.moderator.post(*undo, body={"why": "an animal"})).ok()
    [notices] = (await mallory.sync())["rooms"]["invite"]
    await mallory.join(notices)
    assert [text.split(":")[0] for text in await heard(mallory, notices)] == [f"Your appeal {code} was granted"]


async def test_an_encrypted_chat_is_told_so(server: RunningServer, crew: Crew) -> None:
    algorithm = {"type": "m.room.encryption", "content": {"algorithm": "m.megolm.v1.aes-sha2"}}
    room_id = await chat(crew.user, initial_state=[{**algorithm, "state_key": ""}])
    assert (await heard(crew.user, room_id))[0].startswith("This room is encrypted")


async def test_other_rooms_are_not_entered(server: RunningServer, crew: Crew) -> None:
    """What looks like the command elsewhere is a message like any other."""
    room_id = await crew.user.create_room()
    await crew.user.send(room_id, "!appeal CODE words")
    desk = await chat(crew.user)
    await answer(crew.user, desk, "!appeal nonsense words", begins="there is nothing to appeal")
    assert await heard(crew.user, room_id) == []


async def test_who_is_suspended_can_appeal(server: RunningServer, crew: Crew) -> None:
    """They may not write to rooms: the endpoint is open to them."""
    mallory = await server.user("mallory")
    room_id = await room_with(crew.user, mallory)
    await put(crew, "suspend", rule(ZEBRA, {"kind": "suspend"}))
    await mallory.send(room_id, "zebra")

    async def is_suspended() -> bool:
        return bool((await say(mallory, room_id, "horse")).status == 403)

    await until(is_suspended)
    [decision] = await latest(crew, sender=mallory.user_id)
    body = {"code": decision["code"], "text": "it is an animal"}
    (await mallory.request("POST", "/_hansa/client/v1/appeals", body=body)).ok()
    assert [one["code"] for one in await latest(crew, appealed="true")] == [decision["code"]]
