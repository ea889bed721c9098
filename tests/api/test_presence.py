"""Presence: states, times, who sees whom, and what it costs."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest

from homeserver.core.identifiers import ServerName, UserId, domain_of
from homeserver.ephemeral import presence
from homeserver.ephemeral.presence import SAID_AGAIN_AFTER_S, TOLD_LASTS_S, Told
from homeserver.ephemeral.presence_places import Places
from homeserver.ephemeral.presence_turns import ELSEWHERE_MAX, Turns
from tests.api.live import ALICE, BOB, CAROL, SERVER, Live, running_live


@pytest.fixture
async def live(database_dsn: str) -> AsyncIterator[Live]:
    async with running_live(database_dsn) as parts:
        yield parts


async def seen_by(live: Live, viewer: UserId, since: int) -> dict[str, Any]:
    events = await live.presence.changes(viewer, since, live.journal.visible)
    assert all(event["type"] == "m.presence" for event in events)
    return {event["sender"]: event["content"] for event in events}


async def pass_time(live: Live, seconds: float) -> None:
    live.clock.advance(seconds)
    await live.presence.tick()


async def test_online_idle_offline(live: Live) -> None:
    await live.room(ALICE, BOB)
    for user in (ALICE, BOB):
        await live.presence.seen(user, "online")
    before = live.journal.visible
    await pass_time(live, 1)
    online = {"presence": "online", "last_active_ago": 1000, "currently_active": True}
    assert await seen_by(live, ALICE, before) == {ALICE: online, BOB: online}
    assert live.heard[-1].kind == "presence" and set(live.heard[-1].user_ids) == {ALICE, BOB}

    before = live.journal.visible
    await live.presence.seen(BOB, "online", 600)
    await live.presence.seen(ALICE, "online", 600)
    await pass_time(live, 60)
    assert (await seen_by(live, ALICE, before))[BOB] == {**online, "last_active_ago": 61_000, "currently_active": False}

    before = live.journal.visible
    await pass_time(live, 300)
    assert (await seen_by(live, ALICE, before))[BOB] == {"presence": "unavailable", "last_active_ago": 361_000}
    before = live.journal.visible
    await pass_time(live, 600)
    assert (await seen_by(live, ALICE, before))[BOB]["presence"] == "offline"


async def test_doing_something_is_being_active(live: Live) -> None:
    """T-F15: a private receipt is nothing that others may notice."""
    room = await live.room(ALICE, BOB)
    event = await live.say(ALICE, room)
    await live.presence.seen(BOB, "unavailable", 600)
    await live.ok(BOB, "POST", f"/rooms/{room}/receipt/m.read.private/{event}", {})
    assert (await live.ok(ALICE, "GET", f"/presence/{BOB}/status"))["presence"] == "unavailable"
    await live.read(BOB, room, event)
    assert (await live.ok(ALICE, "GET", f"/presence/{BOB}/status"))["presence"] == "online"


async def test_set_and_get(live: Live, database_dsn: str) -> None:
    await live.room(ALICE, BOB)
    await live.ok(BOB, "PUT", f"/presence/{BOB}/status", {"presence": "unavailable", "status_msg": "at sea"})
    shown = await live.ok(ALICE, "GET", f"/presence/{BOB}/status")
    assert (shown["presence"], shown["status_msg"]) == ("unavailable", "at sea")
    async with running_live(database_dsn, live.clock) as restarted:
        shown = await restarted.ok(ALICE, "GET", f"/presence/{BOB}/status")
        assert (shown["presence"], shown["status_msg"]) == ("offline", "at sea")


@pytest.mark.parametrize(
    ("caller", "method", "body", "status", "errcode"),
    [
        (ALICE, "PUT", {"presence": "online"}, 403, "M_FORBIDDEN"),
        (CAROL, "GET", None, 403, "M_FORBIDDEN"),
        (BOB, "PUT", {"presence": "dnd"}, 400, "M_INVALID_PARAM"),
        (BOB, "PUT", {"presence": 1}, 400, "M_BAD_JSON"),
        (BOB, "PUT", {}, 400, "M_MISSING_PARAM"),
        (BOB, "PUT", {"presence": "online", "status_msg": "\x00"}, 400, "M_INVALID_PARAM"),
    ],
)
async def test_refusals(live: Live, caller: UserId, method: str, body: Any, status: int, errcode: str) -> None:
    await live.room(ALICE, BOB)
    got, answer = await live.call(caller, method, f"/presence/{BOB}/status", body)
    assert (got, answer["errcode"]) == (status, errcode)


async def test_status_messages_are_short(live: Live) -> None:
    """T-H14: 512 bytes."""
    for length, status in ((512, 200), (513, 400)):
        body = {"presence": "online", "status_msg": "x" * length}
        assert (await live.call(BOB, "PUT", f"/presence/{BOB}/status", body))[0] == status


async def test_strangers_see_nothing(live: Live) -> None:
    """T-F8: nor do they learn of each other by being woken."""
    await live.room(ALICE, BOB)
    for user in (ALICE, BOB, CAROL):
        await live.presence.seen(user, "online")
    await pass_time(live, 1)
    assert (await seen_by(live, CAROL, 0)).keys() == {CAROL}
    assert (await seen_by(live, ALICE, 0)).keys() == {ALICE, BOB}
    live.heard.clear()
    await live.presence.set(BOB, "unavailable")
    await pass_time(live, 1)
    assert [set(entry.user_ids) for entry in live.heard] == [{ALICE, BOB}]


async def test_nothing_new_costs_nothing(live: Live) -> None:
    """T-G22: reading wakes nobody; syncs without a change ask no query."""
    await live.room(ALICE, BOB)
    for user in (ALICE, BOB):
        await live.presence.seen(user, "online")
    await pass_time(live, 1)
    told, queries = len(live.heard), live.db.asked + live.db.beside["presence"]
    for _ in range(3):
        await live.presence.seen(ALICE, "online")
        assert await live.presence.changes(ALICE, live.journal.visible, live.journal.visible) == []
        await pass_time(live, 1)
    assert (len(live.heard), live.db.asked + live.db.beside["presence"]) == (told, queries)


async def test_offline_syncs_leave_no_trace(live: Live) -> None:
    await live.room(ALICE, BOB)
    await live.presence.seen(BOB, "offline")
    await pass_time(live, 1)
    assert (await live.ok(ALICE, "GET", f"/presence/{BOB}/status"))["presence"] == "offline"


async def test_who_stays_is_told_again(live: Live) -> None:
    """Other servers take who isn't told of for half an hour for gone."""
    await live.room(ALICE, BOB)
    await live.presence.seen(BOB, "unavailable", 7_200)
    await pass_time(live, 1)
    before = live.journal.visible
    await pass_time(live, SAID_AGAIN_AFTER_S - 1)
    assert await seen_by(live, ALICE, before) == {}
    await pass_time(live, 1)
    assert (await seen_by(live, ALICE, before))[BOB]["presence"] == "unavailable"


async def test_what_other_servers_say_of_their_users(live: Live) -> None:
    """T-E24: of who shares no room with ours nothing is kept; and their own server says when they are away."""
    eve, mallory = UserId("@eve:elsewhere.test"), UserId("@mallory:elsewhere.test")
    await live.room(ALICE, eve)
    await live.presence.seen(ALICE, "online", 7_200)
    told = [
        Told(user_id=user, state="online", status_msg="baking", active_ago_ms=5_000, is_active=True)
        for user in (eve, mallory)
    ]
    before = live.journal.visible
    await live.presence.told(told, SERVER)
    await pass_time(live, 1)
    shown = {"presence": "online", "status_msg": "baking", "last_active_ago": 6_000, "currently_active": True}
    assert (await seen_by(live, ALICE, before))[eve] == shown
    assert live.presence.events_of([mallory]) == []
    await pass_time(live, TOLD_LASTS_S - 10)
    assert live.presence.events_of([eve])[0]["content"]["presence"] == "online"
    before = live.journal.visible
    await live.presence.told([Told(user_id=eve, state="unavailable", active_ago_ms=70_000)], SERVER)
    await pass_time(live, 1)
    assert (await seen_by(live, ALICE, before))[eve] == {"presence": "unavailable", "last_active_ago": 71_000}
    await pass_time(live, TOLD_LASTS_S)
    assert live.presence.events_of([eve])[0]["content"]["presence"] == "offline"


async def test_a_server_takes_its_share_alone(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    """T-E24: however many users a server says are online, those of others are shown, and ours hear of it."""
    crowd = [UserId(f"@{number}:loud.test") for number in range(6)]
    quiet = UserId("@eve:quiet.test")
    await live.room(ALICE, quiet, *crowd)
    monkeypatch.setattr(presence, "TOLD_OF_SERVER_MAX", 4)
    monkeypatch.setattr(presence, "WOKEN_PER_TICK_MAX", 2)
    await live.presence.seen(ALICE, "online", 7_200)
    await pass_time(live, 1)
    live.heard.clear()
    for users in (crowd, [quiet]):
        await live.presence.told([Told(user_id=user, state="online") for user in users], SERVER)
    await pass_time(live, 1)
    online = {event["sender"] for event in live.presence.events_of([*crowd, quiet])}
    assert len(online) == 5 and quiet in online
    assert [ALICE in entry.user_ids for entry in live.heard] == [True]
    await live.presence.told([Told(user_id=crowd[0], state="offline")], SERVER)
    await live.presence.told([Told(user_id=crowd[5], state="online")], SERVER)
    assert live.presence.events_of([crowd[5]])[0]["content"]["presence"] == "online"


async def test_servers_share_the_places(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    """T-E24: a few servers that take all places there are make way for those with fewer users, and for nobody else."""
    crowds = [[UserId(f"@{number}:loud{server}.test") for number in range(4)] for server in range(2)]
    quiet = [UserId(f"@{number}:quiet.test") for number in range(4)]
    await live.room(ALICE, *quiet, *crowds[0], *crowds[1])
    monkeypatch.setattr(presence, "TOLD_MAX", 6)
    monkeypatch.setattr(presence, "TOLD_OF_SERVER_MAX", 4)

    async def tell(users: list[UserId], state: str = "online") -> list[int]:
        """How many of each crowd and of the quiet ones are online then."""
        await live.presence.told([Told(user_id=user, state=state) for user in users], SERVER)
        return [
            sum(event["content"]["presence"] == "online" for event in live.presence.events_of(some))
            for some in (*crowds, quiet)
        ]

    assert await tell(crowds[0]) == [4, 0, 0]
    assert await tell(crowds[1]) == [3, 3, 0]
    assert live.presence.events_of([crowds[0][0]])[0]["content"]["presence"] == "offline", "the one told first"
    assert await tell(quiet[:1]) in ([2, 3, 1], [3, 2, 1])
    assert await tell(quiet) == [2, 2, 2]
    assert await tell(crowds[0]) == [2, 2, 2]
    assert await tell(quiet, "offline") == [2, 2, 0]
    assert await tell(crowds[0]) == [4, 2, 0]


def test_places_keep_count() -> None:
    """As counted anew, whatever comes and goes."""
    places, there = Places(), dict[UserId, None]()
    for number in range(3_000):
        user_id = UserId(f"@{number * 7 % 40}:{number * number % 11}.test")
        if number % 3:
            places.told(user_id)
            there[user_id] = None
        else:
            places.gone(user_id)
            there.pop(user_id, None)
        counts = Counter(domain_of(user) for user in there)
        server = ServerName(f"{number % 13}.test")
        assert (places.total, places.count(server)) == (len(there), counts[server])
        loser, most = places.first_to_go(server), max(counts.values(), default=0)
        assert (loser is None) is (most <= counts[server] + 1)
        assert loser is None or (counts[domain_of(loser)] == most and loser in there)


def test_changes_are_told_in_turn() -> None:
    """T-E24: a server whose users change all the time keeps those of others waiting for a moment alone."""
    turns = Turns()
    ours, quiet = UserId("@alice:hansa.test"), UserId("@eve:quiet.test")
    for number in range(3 * ELSEWHERE_MAX):
        turns.add(UserId(f"@{number}:loud.test"), is_elsewhere=True)
    turns.add(quiet, is_elsewhere=True)
    turns.add(ours, is_elsewhere=False)
    first = turns.take(500)
    assert len(first) == ELSEWHERE_MAX + 1 and first[0] == ours and first[2] == quiet
    assert quiet not in turns and UserId(f"@{2 * ELSEWHERE_MAX}:loud.test") in turns
    rest = [*turns.take(500), *turns.take(500), *turns.take(500)]
    assert len({*first, *rest}) == len(first) + len(rest) == 3 * ELSEWHERE_MAX + 2
