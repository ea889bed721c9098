"""Files, reports, other servers, many users at once, and the search over everything, from the console."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.admin.console.furnished import picture_of
from tests.admin.console.test_acts import log_of
from tests.admin.console.visitor import Visitor
from tests.admin.people import Crew, crew_of
from tests.kit.server import RunningServer, config_for_tests, running_server
from tests.kit.until import until


async def test_pictures_are_seen_barred_and_let_out(server: RunningServer, crew: Crew) -> None:
    """T-J15: what was ticked is shown first; a protected file stays; a barred one has no picture any more."""
    media_id = await picture_of(crew.user)
    other = await picture_of(crew.user)
    visitor = await Visitor(server).log_in("the-moderator")
    await visitor.get("/admin/media")
    assert f"/admin/media/{media_id}/picture" in visitor.page
    seen = await visitor.get(f"/admin/media/{media_id}/picture")
    assert (seen.status, seen.headers["Content-Type"]) == (200, "image/png")
    assert "sandbox" in seen.headers["Content-Security-Policy"]
    chosen = {"pick_1": media_id, "act": "quarantine", "reason": "not here"}
    assert (await visitor.post("/admin/media/act", chosen)).status == 200
    assert "Nothing is done yet" in visitor.text() and media_id in visitor.page
    assert (await visitor.get(f"/admin/media/{media_id}/picture")).status == 200
    await visitor.get("/admin/media")
    assert (await visitor.post("/admin/media/act", {**chosen, "step": "do"})).status == 200
    assert 'name="act" value="unquarantine"' in visitor.page
    assert (await visitor.get(f"/admin/media/{media_id}/picture")).status == 404
    back = {**chosen, "act": "unquarantine", "step": "do"}
    await visitor.get("/admin/media?state=quarantined")
    assert media_id in visitor.page
    assert (await visitor.post("/admin/media/act", back)).status == 200
    await visitor.get("/admin/media")
    protect = {"pick_1": media_id, "pick_2": other, "act": "protect", "reason": "evidence", "step": "do"}
    assert (await visitor.post("/admin/media/act", protect)).status == 200
    await visitor.get("/admin/media")
    assert (await visitor.post("/admin/media/act", {**chosen, "pick_2": other, "step": "do"})).status == 200
    assert "Done with 0 of 2" in visitor.text()
    await visitor.get("/admin/media")
    assert (await visitor.post("/admin/media/act", {"act": "quarantine", "reason": "x"})).status == 400
    acts = [entry[1] for entry in await log_of(server) if entry[1].startswith("media.")]
    assert acts[:4] == ["media.quarantine", "media.unquarantine", "media.protect", "media.protect"]


def offered_back(visitor: Visitor) -> dict[str, str]:
    """The fields of the form that takes back what was just done."""
    return {**dict(re.findall(r'name="(act|pick_[0-9]+)" value="([^"]+)"', visitor.text())), "step": "do"}


async def test_many_users_at_once(server: RunningServer, crew: Crew) -> None:
    """Shown first, then done with each that it can be done with; the others are told of."""
    bots = [await server.user(f"bot{number}") for number in range(3)]
    visitor = await Visitor(server).log_in("the-moderator")
    await visitor.get("/admin/users?q=bot")
    picks = {f"pick_{number}": bot.user_id for number, bot in enumerate(bots)}
    chosen = {**picks, "act": "suspend", "reason": "a wave"}
    assert (await visitor.post("/admin/users/act", chosen)).status == 200
    assert all(bot.user_id in visitor.text() for bot in bots)
    sql = "SELECT count(*) FROM users WHERE is_suspended"
    assert await server.db.fetchval(sql) == 0
    await visitor.get("/admin/users?q=bot")
    both = {**chosen, "pick_9": crew.admin.user_id, "step": "do"}
    assert (await visitor.post("/admin/users/act", both)).status == 200
    assert "Done with 3 of 4" in visitor.text() and crew.admin.user_id in visitor.text()
    assert await server.db.fetchval(sql) == 3
    back = offered_back(visitor)
    assert back["act"] == "unsuspend" and crew.admin.user_id not in back.values()  # who wasn't suspended stays as is
    assert (await visitor.post("/admin/users/act", {**back, "reason": "a mistake"})).status == 200
    assert await server.db.fetchval(sql) == 0
    await visitor.get("/admin/users")
    assert (await visitor.post("/admin/users/act", {**chosen, "act": "deactivate"})).status == 400
    auditor = await Visitor(server).log_in("the-auditor")
    await auditor.get("/admin/users")
    assert 'name="pick_' not in auditor.page
    assert (await auditor.post("/admin/users/act", {**chosen, "step": "do"})).status == 403


async def test_a_report_is_put_away(server: RunningServer, crew: Crew) -> None:
    (await crew.moderator.post("/users/{}/report", crew.user.user_id, body={"reason": "Mistake"})).ok()
    visitor = await Visitor(server).log_in("the-moderator")
    await visitor.get("/admin/cases")
    await visitor.get("/admin/reports")
    found = re.search(r"/admin/reports/\d+", visitor.page)
    assert found
    await visitor.get(found[0])
    assert "Open the case" in visitor.text()
    assert (await visitor.post(f"{found[0]}/delete", {"reason": " "})).status == 400
    await visitor.get(found[0])
    assert (await visitor.post(f"{found[0]}/delete", {"reason": "a mistake"})).status == 303
    assert (await visitor.get(found[0])).status == 404
    assert (await log_of(server))[-1][1:] == ("report.delete", crew.user.user_id, "a mistake")


async def test_another_server_is_looked_at(server: RunningServer, crew: Crew) -> None:
    """Its outage, why, and its keys; one that was never heard of isn't there."""
    sql = "INSERT INTO unreachable_servers VALUES ('away.test', 1, 2000000000000, 3, 'it is silent')"
    await server.db.execute(sql)
    visitor = await Visitor(server).log_in("the-auditor")
    await visitor.get("/admin/federation")
    assert "/admin/federation/away.test" in visitor.page
    await visitor.get("/admin/federation/away.test")
    assert "it is silent" in visitor.text()
    assert (await visitor.get("/admin/federation/never.test")).status == 404
    assert (await visitor.post("/admin/federation/away.test/retry", {"reason": "x"})).status == 403


async def test_servers_are_checked_step_by_step(server: RunningServer, crew: Crew) -> None:
    """Any by its name, with what to do; names that can't be, and operators who only read, are turned away."""
    visitor = await Visitor(server).log_in("the-admin")
    await visitor.get("/admin/federation")
    assert 'value="hansa.test"' in visitor.page
    # An address that no server may be asked at: nothing leaves this machine.
    assert (await visitor.post("/admin/federation/check", {"server_name": "127.0.0.1:9"})).status == 200
    said = visitor.text()
    assert "may not be connected to" in said and "federation.allow_ip_ranges" in said
    assert "127.0.0.1, port 9 (step 1" in said and "hansa federation check 127.0.0.1:9" in said
    assert (await visitor.post("/admin/federation/check", {"server_name": "no name"})).status == 400
    reader = await Visitor(server).log_in("the-auditor")
    await reader.get("/admin/federation")
    assert "/admin/federation/check" not in reader.page
    assert (await reader.post("/admin/federation/check", {"server_name": "127.0.0.1:9"})).status == 403


async def test_a_room_shows_its_servers_files_and_memberships(server: RunningServer, crew: Crew) -> None:
    room_id = await crew.user.create_room(name="Garden", preset="public_chat")
    media_id = await picture_of(crew.user)
    await crew.user.send(room_id, "a picture", url=f"mxc://hansa.test/{media_id}", msgtype="m.image")
    visitor = await Visitor(server).log_in("the-moderator")
    await visitor.get(f"/admin/rooms/{quote(room_id, safe='')}")
    assert "Joined: 1" in visitor.text() and media_id in visitor.page and "hansa.test</span>" in visitor.page
    rows = json.loads((await visitor.get(f"/admin/rooms/{quote(room_id, safe='')}/timeline?format=json")).body)
    assert "a picture" in {row["body"] for row in rows}


async def test_the_overview_says_what_to_do_and_where(server: RunningServer, crew: Crew) -> None:
    (await crew.moderator.post("/users/{}/report", crew.user.user_id, body={"reason": "Spam"})).ok()
    visitor = await Visitor(server).log_in("the-moderator")
    await visitor.get("/admin/cases")
    await visitor.get("/admin")
    assert 'href="/admin/cases">Look' in visitor.page and "Storage by kind" in visitor.page
    live = json.loads((await visitor.get("/admin/overview.json")).body)
    assert live["figures"]["cases"] == "1"


async def test_the_overview_shows_the_search_by_tiers(server: RunningServer, crew: Crew) -> None:
    """How many events the index finds and what it takes; the archive by months."""
    room_id = await crew.user.create_room(name="Den")
    await crew.user.send(room_id, "hello")
    visitor = await Visitor(server).log_in("the-moderator")

    async def has_it() -> bool:
        await visitor.get("/admin")
        row = re.search(r"Hot: the index</th>(.*?)</tr>", visitor.page)
        assert row is not None
        what, messages, held = re.findall(r"<td[^>]*>([^<]*)</td>", row[1])
        return what == "embedded" and int(messages) > 0 and not held.startswith("–")

    await until(has_it)
    assert "Months: 0" in visitor.page


async def find(visitor: Visitor, **fields: str) -> int:
    await visitor.get("/admin/search")
    return (await visitor.post("/admin/search", {"reason": "a court order", **fields})).status


async def test_an_owner_searches_in_everything(server: RunningServer, crew: Crew) -> None:
    """T-J16: what was asked for, and why, is in the log; nobody below an owner is let in, and no link does it."""
    room_id = await crew.user.create_room()
    other = await crew.admin.create_room()
    await crew.user.send(room_id, "the quick brown fox")
    await crew.admin.send(other, "a brown bear")
    owner, admin = await Visitor(server).log_in("owner"), await Visitor(server).log_in("the-admin")

    async def is_found() -> bool:
        assert await find(owner, term="brown") == 200
        return "quick brown fox" in owner.text() and "brown bear" in owner.text()

    await until(is_found)
    assert await find(owner, term="brown", sender=crew.admin.user_id) == 200
    assert "quick brown fox" not in owner.text() and "brown bear" in owner.text()
    assert await find(owner, term="brown", reason=" ") == 400
    assert await find(owner, term="") == 400
    assert await find(admin, term="brown") == 403
    await admin.get("/admin/search?term=brown")
    assert "brown bear" not in admin.text()
    last = [entry for entry in await log_of(server) if entry[1] == "content.search"][-1]
    assert last == (crew.owner.user_id, "content.search", f"brown {crew.admin.user_id}", "a court order")
    found = await crew.owner.post("/_hansa/admin/v1/search", body={"term": "fox", "reason": "a test"})
    assert [one["content"]["body"] for one in found.ok()["results"]] == ["the quick brown fox"]


async def test_the_archive_is_told_of_by_month(server: RunningServer, crew: Crew) -> None:
    sql = """
        INSERT INTO archive_files (month, bucket, name, is_cold, rows, first_nid, last_nid, upto, made_ms, rule, digest,
            parquet_bytes, parquet_digest, footer_start, footer_crc, terms_bytes, terms_digest, head_start, head_end,
            head_crc, damage)
        VALUES ('2025-03', $1, $2, true, 1200, 1, 9, 9, 1, '', '', 1048576, '', 0, 0, 1048576, '', 0, 0, 0, $3)
    """
    await server.db.execute(sql, 0, "one", None)
    await server.db.execute(sql, 1, "two", "its footer is wrong")
    await server.db.execute("INSERT INTO archive_jobs (kind, asked_ms, what, total) VALUES ('verify', 1, 'reading', 9)")
    done = "INSERT INTO archive_jobs (kind, asked_ms, what, total, ended_ms, result) VALUES ('run', 1, '', 0, 2, $1)"
    await server.db.execute(done, b'{"messages": 7, "months": {"2025-03": 7}}')
    visitor = await Visitor(server).log_in("the-auditor")
    await visitor.get("/admin/search")
    page = visitor.text()
    assert "months · 2025-03: " in page and '{"' not in page
    assert "2025-03" in page and "2,400" in page and "4.0 MiB" in page and "Damaged files: 1" in page
    assert "Verify the archive" in page and 'name="term"' not in page


@pytest.fixture
async def careful(database_dsn: str, tmp_path: Path) -> AsyncIterator[RunningServer]:
    """A server that wants two owners for a search in everything."""
    config = config_for_tests(tmp_path)
    config = replace(config, admin=replace(config.admin, second_operator_for=("search_content",)))
    async with running_server(database_dsn, config=config) as running:
        yield running


async def test_a_search_in_everything_can_want_two(careful: RunningServer) -> None:
    crew = await crew_of(careful)
    second = await careful.user("second")
    (await crew.owner.put("/_hansa/admin/v1/operators/{}", second.user_id, body={"role": "owner"})).ok()
    owner, other = await Visitor(careful).log_in("owner"), await Visitor(careful).log_in("second")
    assert await find(owner, term="brown") == 403
    await other.get("/admin/approvals")
    found = re.search(r'action="(/admin/approvals/\w+)"', other.page)
    assert found
    assert (await other.post(found[1], {"act": "approve"})).status == 303
    assert await find(owner, term="other words") == 403
    assert await find(owner, term="brown") == 200
    assert await find(owner, term="brown") == 403
