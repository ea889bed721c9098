"""Rules tried on what was said: what they would hit, without effects, and the same as they hit live."""

from __future__ import annotations

from typing import Any

from tests.admin.people import Crew
from tests.admin.spam.test_rules_over_http import RULE, latest, put, rule, say
from tests.kit.server import RunningServer
from tests.kit.until import until

TEXTS = ["hello", "Buy pills", "see http://a.example/x", "buy  PILLS now", "http://b.a.example/y", "bye", "hello"]
CONDITIONS = {
    "words": 'event.text.contains("buy pills")',
    "links": '"a.example" in event.domains && sender.age_s < 3600',
    "again": "rates.text_10m > 1 || rates.link_10m > 1",
    "length": 'event.length > 5 && event.type == "m.room.message" && room.members == 1',
}


async def tried(server: RunningServer, crew: Crew, name: str, **body: Any) -> dict[str, Any]:
    job_id = (await crew.moderator.post(RULE + "/trial", name, body=body)).ok()["job_id"]

    async def has_ended() -> bool:
        row = await server.hansa.admin.rooms.jobs.one(job_id)
        return row.state not in ("scheduled", "active")

    await until(has_ended)
    job = (await crew.owner.get("/_hansa/admin/v1/jobs/{}", job_id)).ok()
    assert job["state"] == "complete", job
    progress: dict[str, Any] = job["progress"]
    return progress


async def test_replayed_and_live_verdicts_are_equal(server: RunningServer, crew: Crew) -> None:
    for name, condition in CONDITIONS.items():
        await put(crew, name, rule(condition, {"kind": "tag"}, stage="shadow"))
    room_id = await crew.user.create_room()
    for number, text in enumerate(TEXTS):
        body = {"msgtype": "m.text", "body": text}
        (await crew.user.put("/rooms/{}/send/m.room.message/{}", room_id, str(number), body=body)).ok()
    live = await latest(crew, sender=crew.user.user_id)
    for name in CONDITIONS:
        hits = sum(1 for one in live if one["rule_id"] == name)
        found = await tried(server, crew, name)
        assert (name, found["hits"]) == (name, hits)
        assert hits > 0
        assert found["by_sender"] == {crew.user.user_id: hits}
    assert len(await latest(crew, sender=crew.user.user_id)) == len(live)


async def test_a_draft_is_tried_before_it_is_kept(server: RunningServer, crew: Crew) -> None:
    room_id = await crew.user.create_room()
    event_id = (await say(crew.user, room_id, "zebra crossing")).ok()["event_id"]
    (await say(crew.user, room_id, "nothing")).ok()
    draft = {**rule('event.text.contains("zebra")', stage="draft")}
    found = await tried(server, crew, "zebra", rule=draft, days=1)
    assert (found["hits"], found["by_room"]) == (1, {room_id: 1})
    assert [(one["event_id"], one["seen"]["event.text"]) for one in found["samples"]] == [(event_id, "zebra crossing")]
    assert (await crew.auditor.get("/_hansa/admin/v1/spam/rules")).ok() == {"rules": []}
    (await crew.auditor.post(RULE + "/trial", "zebra", body={"rule": draft})).refused(403, "M_FORBIDDEN")
    (await crew.moderator.post(RULE + "/trial", "nothing", body={})).refused(404, "M_NOT_FOUND")
