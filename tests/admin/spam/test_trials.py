"""Rules tried on what was said: what they would hit, without effects, and the same as they hit live."""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests.admin.people import Crew, crew_of
from tests.admin.spam.test_rules_over_http import RULE, latest, put, rule, say
from tests.kit.clock import FakeClock
from tests.kit.server import RunningServer, running_server
from tests.kit.until import until

TEXTS = ["hello", "Buy pills", "see http://a.example/x", "buy  PILLS now", "http://b.a.example/y", "bye", "hello"]
# For a figure: HANSA_TRIAL_EVENTS=1000000.
MANY = int(os.environ.get("HANSA_TRIAL_EVENTS", "25000"))
_TOLD_EVERY_S = 10
CONDITIONS = {
    "words": 'event.text.contains("buy pills")',
    "links": '"a.example" in event.domains && sender.age_s < 3600',
    "again": "rates.text_10m > 1 || rates.link_10m > 1",
    "length": 'event.length > 5 && event.type == "m.room.message" && room.members == 1',
}


async def tried(server: RunningServer, crew: Crew, name: str, **body: Any) -> dict[str, Any]:
    job_id = (await crew.moderator.post(RULE + "/trial", name, body=body)).ok()["job_id"]

    began = told = time.monotonic()

    async def has_ended() -> bool:
        nonlocal told
        row = await server.hansa.admin.rooms.jobs.one(job_id)
        if time.monotonic() > told + _TOLD_EVERY_S:
            told = time.monotonic()
            seen = json.loads(row.progress).get("looked_at", 0)
            tell(f"{name}: {seen:,} looked at, {seen / (told - began):,.0f}/s, {resident_mb()}")
        return row.state not in ("scheduled", "active")

    await until(has_ended, within_s=max(120, MANY / 5_000))
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


def tell(words: str) -> None:
    """For who runs this with -s, and waits."""
    print(f"{time.strftime('%H:%M:%S')} {words}", flush=True)  # noqa: T201


def resident_mb() -> str:
    """How much memory the server's process has, and the trial's own."""
    pids = [os.getpid(), *(child.pid for child in multiprocessing.active_children())]
    pages = [int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids if Path(f"/proc/{pid}").exists()]
    return " + ".join(f"{found * resource.getpagesize() >> 20} MB" for found in pages)


def cpu_s() -> float:
    """What this process and those that it ended have used."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + ended.ru_utime + ended.ru_stime


# Events as if many had been said: copied past the server, which would take hours.
_NEWEST = """
    SELECT event_nid, room_nid, origin_server_ts, events.state_nid FROM events JOIN rooms USING (room_nid)
    WHERE room_id = $1 ORDER BY event_nid DESC LIMIT 1
"""
_COLUMNS = ("event_nid", "room_nid", "ordering", "depth", "origin_server_ts", "state_nid", "event_id", "sender", "json")
_AT_ONCE = 20_000


async def say_many(server: RunningServer, dsn: str, room_id: str) -> None:
    base = await server.db.fetchrow(_NEWEST, room_id)
    assert base is not None
    first_nid, room_nid, ts, state_nid = base

    def line(n: int) -> str:
        nid, sender = first_nid + n, f"@somebody{n % 50}:hansa.test"
        said = f"message number {n}{' zebra' if n % 100 == 0 else ''}"
        text = (
            f'{{"type":"m.room.message","sender":"{sender}","room_id":"{room_id}",'
            f'"content":{{"msgtype":"m.text","body":"{said}"}}}}'
        )
        source = f"\\\\x{text.encode().hex()}"
        return f"{nid}\t{room_nid}\t{nid}\t{10 + n}\t{ts + n}\t{state_nid}\t$long{nid}\t{sender}\t{source}\n"

    async def lines() -> AsyncIterator[bytes]:
        for start in range(1, MANY + 1, _AT_ONCE):
            yield "".join(map(line, range(start, min(start + _AT_ONCE, MANY + 1)))).encode()
            if start % 1_000_000 == 1 and start > 1:
                tell(f"{start - 1:,} events copied, {(start - 1) / (time.monotonic() - began):,.0f}/s")

    began = time.monotonic()
    connection = await asyncpg.connect(dsn)
    try:
        # Whoever asks for 10,000,000 has time: a statement elsewhere has half a minute.
        await connection.execute("SET statement_timeout = 0")
        await connection.copy_to_table("events", source=lines(), columns=_COLUMNS, timeout=7_200)
        await connection.execute("ANALYZE events", timeout=7_200)
    finally:
        await connection.close()
    tell(f"{MANY:,} events copied in {time.monotonic() - began:,.0f} s")


async def test_what_people_share_and_how_old_rooms_are(database_dsn: str) -> None:
    """Of invites, without the room that they are for; live and replayed."""
    clock = FakeClock()
    async with running_server(database_dsn, clock=clock) as server:
        crew = await crew_of(server)
        conditions = {
            "strangers": "sender.shared_rooms == 0",
            "friends": "sender.shared_rooms == 1",
            "new-room": "room.age_s < 60",
        }
        for name, condition in conditions.items():
            await put(crew, name, rule(condition, {"kind": "tag"}, stage="shadow", when=("invite",)))
        user, friend, stranger = crew.user, await server.user("friend"), await server.user("stranger")
        common = await user.create_room(preset="public_chat")
        await friend.join(common)
        room_id = await user.create_room()
        (await user.post("/rooms/{}/invite", room_id, body={"user_id": friend.user_id})).ok()
        clock.advance(90)
        (await user.post("/rooms/{}/invite", room_id, body={"user_id": stranger.user_id})).ok()
        live = [one["rule_id"] for one in await latest(crew, sender=user.user_id)]
        assert sorted(live) == ["friends", "new-room", "strangers"]
        for name in conditions:
            assert (await tried(server, crew, name))["hits"] == 1, name


@pytest.mark.slow
async def test_a_long_history_is_replayed_in_a_process_of_its_own(
    server: RunningServer, crew: Crew, database_dsn: str
) -> None:
    room_id = await crew.user.create_room()
    await say_many(server, database_dsn, room_id)
    found = await paced(server, crew, "zebra", 'event.text.contains("zebra")')
    assert (found["hits"], found["by_room"]) == (MANY // 100, {room_id: MANY // 100})
    assert found["looked_at"] >= MANY
    assert (await paced(server, crew, "fast", "rates.text_10m > 1 || rates.sender_10s > 40"))["hits"] > 0


async def paced(server: RunningServer, crew: Crew, name: str, condition: str) -> dict[str, Any]:
    """What the trial of a draft found; tells who runs this how fast it was."""
    began, spent = time.monotonic(), cpu_s()
    found = await tried(server, crew, name, rule=rule(condition, stage="draft"))
    looked_at, took_s = found["looked_at"], time.monotonic() - began
    each_us = (cpu_s() - spent) / looked_at * 1e6  # the server's and the trial's process, not the database's
    tell(
        f"{name}: {looked_at:,} in {took_s:,.0f} s, {looked_at / took_s:,.0f}/s,"
        f" {each_us:.1f} µs of CPU each, {resident_mb()}"
    )
    return found


@pytest.mark.slow
async def test_a_trial_is_cancelled_in_its_middle(server: RunningServer, crew: Crew, database_dsn: str) -> None:
    room_id = await crew.user.create_room()
    await say_many(server, database_dsn, room_id)
    body = {"rule": rule("event.similar > 8", stage="draft")}
    job_id = (await crew.moderator.post(RULE + "/trial", "slow", body=body)).ok()["job_id"]
    (await crew.admin.post("/_hansa/admin/v1/jobs/{}/cancel", job_id)).ok()

    async def nobody_works() -> bool:
        return not multiprocessing.active_children()

    await until(nobody_works)
    assert (await crew.owner.get("/_hansa/admin/v1/jobs/{}", job_id)).ok()["state"] == "cancelled"
