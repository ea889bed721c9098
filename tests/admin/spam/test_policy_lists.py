"""Policy list rooms that are followed keep users, servers and rooms out, by name, glob and hash."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import pytest

from admin.spam.facts import Happening
from admin.spam.policy_lists import Bans
from tests.admin.people import Crew
from tests.admin.spam.test_rules_over_http import SPAM, latest
from tests.kit.server import RunningServer
from tests.kit.until import until

LISTS = SPAM + "/policy_lists/{}"


def hashed(name: str) -> str:
    return base64.b64encode(hashlib.sha256(name.encode()).digest()).decode()


def rule(kind: str, **content: Any) -> dict[str, Any]:
    return {"type": f"m.policy.rule.{kind}", "content": {"recommendation": "m.ban", **content}}


@pytest.mark.parametrize(
    ("given", "is_out"),
    [
        (rule("user", entity="@eve:bad.example", reason="spam"), True),
        (rule("user", entity="@e?e:*.example"), True),
        (rule("user", entity="@EVE:bad.example"), False),
        (rule("user", entity="@eve:bad.exampl"), False),
        (rule("user", entity="@eve:bad.exampl[e]"), False),  # no other signs mean anything
        (rule("user", **{"org.matrix.msc4205.hashes": {"sha256": hashed("@eve:bad.example")}}), True),
        (rule("server", hashes={"sha256": hashed("bad.example")}), True),
        (rule("server", entity="*.example"), True),
        (rule("server", entity="bad"), False),
        (rule("user", entity="@eve:bad.example", recommendation="m.think"), False),
        (rule("user", entity=5), False),
        (rule("user", entity="*" * 600), False),
        (rule("cat", entity="@eve:bad.example"), False),
        ({"type": "m.policy.rule.user", "content": {}}, False),
    ],
)
def test_what_a_rule_keeps_out(given: dict[str, Any], is_out: bool) -> None:
    what = Happening(hook="remote_event", sender="@eve:bad.example", at_s=0, room_id="!r:here.example")
    assert (Bans([given]).why(what) is not None) is is_out


async def test_a_list_that_is_followed_is_applied(server: RunningServer, crew: Crew) -> None:
    mallory, host = await server.user("mallory"), await server.user("host")
    watched = await host.create_room(preset="public_chat")
    room_id = await crew.moderator.create_room(name="bans")
    (await crew.auditor.put(LISTS, room_id)).refused(403, "M_FORBIDDEN")
    (await crew.moderator.put(LISTS, "!nowhere:hansa.test")).refused(404, "M_NOT_FOUND")
    (await crew.moderator.put(LISTS, room_id)).ok()
    state = "/rooms/{}/state/m.policy.rule.{}/{}"
    path = state.replace("m.policy.rule.{}", "m.policy.rule.user")
    content = {"entity": "@mall*:hansa.test", "recommendation": "m.ban", "reason": "waves"}
    (await crew.moderator.put(path, room_id, "one", body=content)).ok()

    async def is_out() -> bool:
        return (await mallory.post("/join/{}", watched)).status == 403

    await until(is_out)
    refused = (await host.post("/rooms/{}/invite", watched, body={"user_id": mallory.user_id})).refused(
        403, "M_FORBIDDEN"
    )
    assert "waves" in refused["error"]
    assert {one["rule_id"] for one in await latest(crew)} == {"policy-list"}
    (await crew.moderator.put(path, room_id, "one", body={})).ok()

    async def is_in() -> bool:
        return (await mallory.post("/join/{}", watched)).status == 200

    await until(is_in)
    (await crew.moderator.delete(LISTS, room_id)).ok()
    (await crew.moderator.delete(LISTS, room_id)).refused(404, "M_NOT_FOUND")
