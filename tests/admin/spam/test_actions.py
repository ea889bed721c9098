"""Each action that a rule may take is really taken: seen from the room, the account, the file, and who was told."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

from tests.admin.people import Crew, crew_of
from tests.admin.spam.test_rules_over_http import RULE, SPAM, latest, put, rule, say
from tests.api.test_proof_of_work import STAGE, solved
from tests.kit.authority import Authority
from tests.kit.federation import federated_server
from tests.kit.postgres import PostgresForTests
from tests.kit.server import Answered, Client, RunningServer
from tests.kit.until import until

ZEBRA = 'event.text.contains("zebra")'
NUMBERS = itertools.count()
MEMBER = "/rooms/{}/state/m.room.member/{}"
POWER = "/rooms/{}/state/m.room.power_levels/"


async def membership(client: Client, room_id: str, user_id: str) -> str:
    found: str = (await client.get(MEMBER, room_id, user_id)).ok()["membership"]
    return found


async def attempt(client: Client, room_id: str) -> Answered:
    """A message of its own each time: a repeated request would be answered as the first one was."""
    path = "/rooms/{}/send/m.room.message/{}"
    return await client.put(path, room_id, f"attempt{next(NUMBERS)}", body={"msgtype": "m.text", "body": "horse"})


async def room_with(host: Client, *guests: Client, **body: Any) -> str:
    room_id = await host.create_room(preset="public_chat", **body)
    for guest in guests:
        await guest.join(room_id)
    return room_id


@pytest.mark.parametrize("version", ["10", "12"])
@pytest.mark.parametrize(("kind", "becomes"), [("kick", "leave"), ("ban", "ban")])
async def test_members_are_put_out(server: RunningServer, crew: Crew, kind: str, becomes: str, version: str) -> None:
    """In version 12 too, where a creator's power stands in no event."""
    mallory = await server.user("mallory")
    room_id = await room_with(crew.user, mallory, room_version=version)
    await put(crew, "out", rule(ZEBRA, {"kind": kind, "reason": "no zebras"}))
    await mallory.send(room_id, "horse")
    assert await membership(crew.user, room_id, mallory.user_id) == "join"
    await mallory.send(room_id, "zebra")

    async def is_out() -> bool:
        return await membership(crew.user, room_id, mallory.user_id) == becomes

    await until(is_out)
    assert (await crew.user.get(MEMBER, room_id, mallory.user_id)).ok()["reason"] == "no zebras"


async def test_members_are_muted_and_heard_again(server: RunningServer, crew: Crew) -> None:
    mallory = await server.user("mallory")
    room_id = await room_with(crew.user, mallory)
    await put(crew, "mute", rule(ZEBRA, {"kind": "mute"}))
    await mallory.send(room_id, "zebra")

    async def is_muted() -> bool:
        return (await attempt(mallory, room_id)).status == 403

    await until(is_muted)
    assert (await crew.user.get(POWER, room_id)).ok()["users"][mallory.user_id] == -1
    [decision] = await latest(crew, sender=mallory.user_id)
    undo = (SPAM + "/decisions/{}/undo", str(decision["decision_id"]))
    assert (await crew.moderator.post(*undo, body={})).ok()["undone"] == ["mute"]
    await mallory.send(room_id, "horse")


async def test_a_limit_is_answered_as_one(server: RunningServer, crew: Crew) -> None:
    room_id = await crew.user.create_room()
    await put(crew, "slow", rule(ZEBRA, {"kind": "rate_limit", "seconds": 7, "reason": "slowly"}))
    refused = (await say(crew.user, room_id, "zebra")).refused(429, "M_LIMIT_EXCEEDED")
    assert refused["retry_after_ms"] == 7_000
    assert refused["error"].startswith("slowly (to appeal: ")


async def test_a_tag_is_a_record_alone(server: RunningServer, crew: Crew) -> None:
    room_id = await crew.user.create_room()
    await put(crew, "tagged", rule(ZEBRA, {"kind": "tag"}))
    event_id = await crew.user.send(room_id, "zebra")
    assert (await crew.user.get("/rooms/{}/event/{}", room_id, event_id)).ok()["content"]["body"] == "zebra"
    assert [one["outcome"] for one in await latest(crew)] == ["tag"]


async def test_what_was_said_before_is_redacted_as_far_back_as_asked(server: RunningServer, crew: Crew) -> None:
    mallory = await server.user("mallory")
    room_id = await room_with(crew.user, mallory)
    earlier, others = await mallory.send(room_id, "horse"), await crew.user.send(room_id, "horse")
    await put(crew, "this", rule(ZEBRA, {"kind": "redact", "reason": "stripes"}))
    event_id = await mallory.send(room_id, "zebra")

    async def content(of: str) -> Any:
        return (await crew.user.get("/rooms/{}/event/{}", room_id, of)).ok()["content"]

    async def is_gone() -> bool:
        return bool(await content(event_id) == {})

    await until(is_gone)
    assert await content(earlier) != {}
    await put(crew, "all", rule('event.text.contains("lion")', {"kind": "redact", "minutes": 10}))
    last = await mallory.send(room_id, "lion")

    async def all_gone() -> bool:
        return [await content(one) for one in (earlier, last)] == [{}, {}]

    await until(all_gone)
    assert await content(others) != {}


async def test_suspending_is_in_the_audit_log(server: RunningServer, crew: Crew) -> None:
    """T-J16: what rules do to accounts is traced as what operators do."""
    mallory = await server.user("mallory")
    room_id = await room_with(crew.user, mallory)
    await put(crew, "suspend", rule(ZEBRA, {"kind": "suspend"}))
    await mallory.send(room_id, "zebra")

    async def is_suspended() -> bool:
        answer = await attempt(mallory, room_id)
        return answer.status == 403 and answer.json["errcode"] == "M_USER_SUSPENDED"

    await until(is_suspended)
    [decision] = await latest(crew, sender=mallory.user_id)
    (await crew.moderator.post(SPAM + "/decisions/{}/undo", str(decision["decision_id"]), body={})).ok()
    await mallory.send(room_id, "horse")
    entries = (await crew.auditor.get("/_hansa/admin/v1/audit", target=mallory.user_id)).ok()["entries"]
    assert [(one["actor"], one["action"], one["after"]) for one in entries] == [
        ("hansa", "user.suspend", {"suspended": False}),
        ("hansa", "user.suspend", {"suspended": True}),
    ]
    assert entries[1]["reason"] == "rule suspend, version 1"


async def test_files_are_quarantined(server: RunningServer, crew: Crew) -> None:
    room_id = await crew.user.create_room()
    await put(crew, "files", rule('event.msgtype == "m.image"', {"kind": "quarantine"}))
    uri = (await crew.user.request("POST", "/_matrix/media/v3/upload", data=b"a file")).ok()["content_uri"]
    path = "/_matrix/client/v1/media/download/" + uri.removeprefix("mxc://")
    assert (await crew.user.get(path)).status == 200
    await crew.user.send(room_id, "look", msgtype="m.image", url=uri)

    async def is_barred() -> bool:
        return (await crew.user.get(path)).status == 404

    await until(is_barred)
    [decision] = await latest(crew, sender=crew.user.user_id)
    (await crew.moderator.post(SPAM + "/decisions/{}/undo", str(decision["decision_id"]), body={})).ok()
    assert (await crew.user.get(path)).status == 200


async def test_a_room_is_told(server: RunningServer, crew: Crew) -> None:
    desk = await crew.moderator.create_room()
    room_id = await crew.user.create_room()
    await put(crew, "told", rule(ZEBRA, {"kind": "notify", "room_id": desk}))
    event_id = await crew.user.send(room_id, "zebra")

    async def told() -> list[str]:
        page = (await crew.moderator.get("/rooms/{}/messages", desk, dir="b", limit="5")).ok()
        return [one["content"]["body"] for one in page["chunk"] if one["type"] == "m.room.message"]

    async def is_told() -> bool:
        return bool(await told())

    await until(is_told)
    [text] = await told()
    assert "Rule told" in text
    assert event_id in text
    assert "zebra" not in text  # what was said stays in its room


async def test_a_report_is_filed(server: RunningServer, crew: Crew) -> None:
    room_id = await crew.user.create_room()
    await put(crew, "reported", rule(ZEBRA, {"kind": "report"}))
    event_id = await crew.user.send(room_id, "zebra")

    async def is_filed() -> bool:
        found = (await crew.admin.get("/_synapse/admin/v1/event_reports")).ok()["event_reports"]
        return [one["event_id"] for one in found] == [event_id]

    await until(is_filed)


async def test_a_repeated_request_is_judged_once(server: RunningServer, crew: Crew) -> None:
    """The same transaction: the same answer, whatever rules say by now, and one decision."""
    room_id = await crew.user.create_room()
    await put(crew, "quiet", rule('event.text.contains("zebra") && rates.text_10m < 2', {"kind": "shadow"}))
    (one,) = {(await say(crew.user, room_id, "a zebra here")).ok()["event_id"] for _ in range(3)}
    assert len(await latest(crew)) == 1
    sent = (await say(crew.user, room_id, "a horse here")).ok()["event_id"]
    await put(crew, "loud", rule('event.text.contains("horse")'))
    assert (await say(crew.user, room_id, "a horse here")).ok()["event_id"] == sent != one


async def test_a_captcha_is_asked_of_those_who_seem_odd(server: RunningServer, crew: Crew) -> None:
    """Others register as ever; a captcha that was solved lets through, and another rule's refusal stands."""
    odd = rule('sender.localpart.re2("^bot[0-9]+$")', {"kind": "captcha"}, when=("registration",))
    await put(crew, "odd", odd)
    await server.user("normal")
    client = server.anonymous()
    body = {"username": "bot1", "password": "correct horse battery"}
    asked = (await client.post("/register", body={**body, "auth": {"type": "m.login.dummy"}})).json
    assert [flow["stages"][0] for flow in asked["flows"]] == [STAGE]
    auth = {"session": asked["session"], "type": STAGE, "response": "guess"}
    (await client.post("/register", body={**body, "auth": auth})).refused(401, "M_CAPTCHA_INVALID")
    skipped = {"session": asked["session"], "type": "m.login.dummy"}
    assert (await client.post("/register", body={**body, "auth": skipped})).status == 401
    auth["response"] = solved(asked["params"][STAGE])
    assert (await client.post("/register", body={**body, "auth": auth})).ok()["user_id"] == "@bot1:hansa.test"
    refusal = rule('sender.localpart == "bot2"', when=("registration",), priority=200)
    await put(crew, "never", refusal)
    second = {**body, "username": "bot2", "auth": {"type": "m.login.dummy"}}
    (await client.post("/register", body=second)).refused(403, "M_FORBIDDEN")
    event_rule = rule("true", {"kind": "captcha"})
    (await crew.moderator.put(RULE, "wrong", body={"rule": event_rule})).refused(400, "M_INVALID_PARAM")


async def test_what_is_soft_failed_is_kept_and_shown_to_nobody(postgres: PostgresForTests, tmp_path: Path) -> None:
    """T-H15: of another server's event. Its own users go on seeing it, and it is told why here."""
    authority = Authority(tmp_path)
    async with (
        postgres.fresh() as one,
        postgres.fresh() as other,
        federated_server(one, authority) as here,
        federated_server(other, authority) as there,
    ):
        crew, mallory = await crew_of(here), await there.user("mallory")
        room_id = await crew.user.create_room(preset="public_chat")
        via = here.hansa.config.server_name
        (await mallory.request("POST", "/join/{}", room_id, body={}, query={"via": via})).ok()
        await put(crew, "quiet", rule(ZEBRA, {"kind": "soft_fail"}, when=("remote_event",)))
        hidden = await mallory.send(room_id, "zebra")
        await mallory.send(room_id, "horse")

        async def texts(of: Client) -> list[str]:
            page = (await of.get("/rooms/{}/messages", room_id, dir="b", limit="20")).ok()["chunk"]
            return [one["content"]["body"] for one in page if one["type"] == "m.room.message"]

        async def has_come() -> bool:
            return "horse" in await texts(crew.user)

        await until(has_come)
        assert await texts(crew.user) == ["horse"] and await texts(mallory) == ["horse", "zebra"]
        (await crew.user.get("/rooms/{}/event/{}", room_id, hidden)).refused(404, "M_NOT_FOUND")
        [decision] = await latest(crew, sender=mallory.user_id)
        assert (decision["outcome"], decision["event_id"]) == ("soft_fail", hidden)
