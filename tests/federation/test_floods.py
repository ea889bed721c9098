"""Servers that ask, send and make us work without end: each has its bounds, and costs others nothing."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Sequence
from typing import Any
from urllib.parse import unquote

import pytest

import federation.remote_rooms as joining
from federation import intake
from federation.budgets import QUESTIONS_MAX, WAITING_S_MAX, WAITING_SHARE, Budget, NoPatience, Patience
from federation.keys.ring import Signed, Verdict
from federation.outbound.destination import EDUS_MAX, EDUS_PER_TRANSACTION, Destination, QueuedPdu, Transaction
from federation.outbound.pacing import PER_SECOND, Pacing
from federation.pdu_checks import PduChecks
from federation.reachability import RETRY_MAX_S, Reachability
from homeserver.core.errors import Unavailable
from homeserver.core.identifiers import EventId, RoomId, ServerName
from homeserver.runtime.ids import SystemRandomness
from tests.federation.test_hostile_peers import joined, name_of, texts
from tests.kit.authority import Authority
from tests.kit.clock import FakeClock
from tests.kit.federation import federated_server
from tests.kit.foreign_members import join_foreign
from tests.kit.peer import Peer, running_peer
from tests.kit.peer_room import V1, V2, PeerRoom
from tests.kit.ports import free_port
from tests.kit.postgres import PostgresForTests
from tests.kit.server import Client, RunningServer, running_server
from tests.kit.until import until


@pytest.fixture
async def peer(authority: Authority) -> AsyncIterator[Peer]:
    async with running_peer(authority) as running:
        yield running


def made_up(count: int, seed: int = 0) -> list[EventId]:
    """Ids of events that nobody has."""
    return [EventId("$" + f"{seed}x{number}".rjust(43, "A")) for number in range(count)]


# --- transactions


async def test_transactions_are_bounded_and_counted_once(here: RunningServer, peer: Peer) -> None:
    """T-E12, T-E23: more than the spec allows is refused; a repeated id changes nothing, whatever it brings."""
    alice, room = await joined(here, peer)

    async def status(**body: Any) -> int:
        told = {"origin": peer.name, "origin_server_ts": 1, "pdus": [], "edus": [], **body}
        return (await peer.ask("PUT", name_of(here), V1 + "/send/large", told)).status

    typing = {"edu_type": "m.typing", "content": {"room_id": room.room_id, "user_id": room.eve, "typing": True}}
    one = room.text("once").pdu
    assert await status(pdus=[one] * 51) == 400 and await status(edus=[typing] * 101) == 400
    junk: list[Any] = [
        None,
        5,
        {},
        {"edu_type": "m.typing", "content": {"room_id": 5}},
        {"edu_type": "m.receipt", "content": []},
    ]
    first = await room.send(name_of(here), *room.events.values(), txn_id="t1", edus=[*junk, typing])
    ephemeral = (await alice.sync())["rooms"]["join"][room.room_id]["ephemeral"]["events"]
    assert {"user_ids": [room.eve]} in [event["content"] for event in ephemeral]
    other = room.make("m.room.message", {"msgtype": "m.text", "body": "under a used id"})
    assert await room.send(name_of(here), other, txn_id="t1") == first
    again = [room.send(name_of(here), room.events[room.heads[0]], txn_id=name) for name in ("t2", "t2", "t3")]
    await asyncio.gather(*again)
    last = room.text("last")
    await room.send(name_of(here), last)

    async def heard() -> bool:
        return "last" in await texts(alice, room.room_id)

    await until(heard)
    assert await texts(alice, room.room_id) == ["once", "last"]


@pytest.mark.slow
async def test_a_transaction_is_the_same_after_a_restart(database_dsn: str, authority: Authority, peer: Peer) -> None:
    """T-E12: whose answer was lost with us sends it again, gets the same answer, and nothing is there twice."""
    port = free_port()
    async with federated_server(database_dsn, authority, port=port) as server:
        alice, room = await joined(server, peer)
        message = {"sender": room.eve, "type": "m.test", "message_id": "m1", "messages": {alice.user_id: {"*": {}}}}
        sent = room.text("once")
        edus = [{"edu_type": "m.direct_to_device", "content": message}]
        first = await room.send(name_of(server), sent, txn_id="t1", edus=edus)
        assert first == {sent.event_id: {}}

        async def heard() -> bool:
            return texts_are(await texts(alice, room.room_id), "once")

        await until(heard)
    async with federated_server(database_dsn, authority, port=port) as server:
        again = server.anonymous()
        again.token, again.user_id, again.device_id = alice.token, alice.user_id, alice.device_id
        assert await room.send(name_of(server), sent, txn_id="t1", edus=edus) == first
        last = room.text("last")
        await room.send(name_of(server), last)

        async def all_heard() -> bool:
            return texts_are(await texts(again, room.room_id), "once", "last")

        await until(all_heard)
        told = (await again.sync()).get("to_device", {}).get("events", [])
        assert [event["type"] for event in told] == ["m.test"]


def texts_are(found: list[str], *wanted: str) -> bool:
    """As these, none of them twice."""
    assert len(found) <= len(wanted), found
    return found == list(wanted)


async def test_questions_are_answered_in_bounds(here: RunningServer, peer: Peer) -> None:
    """T-E6: however much is asked for, so much is looked up."""
    alice = await here.user("alice")
    room_id = await alice.create_room()
    last = [await alice.send(room_id, f"{number}") for number in range(110)][-1]
    await join_foreign(here, room_id, [f"@bob:{peer.name}"])
    body = {"latest_events": [last], "earliest_events": [], "limit": 10**9, "min_depth": 0}
    path = f"{V1}/get_missing_events/{room_id}"
    assert len((await peer.ask_json("POST", name_of(here), path, body))["events"]) == 20
    many = {**body, "latest_events": made_up(21)}
    assert (await peer.ask("POST", name_of(here), path, many)).status == 400
    found = await peer.ask_json("GET", name_of(here), f"{V1}/backfill/{room_id}?v={last}&limit=999999999")
    assert len(found["pdus"]) == 100


async def test_one_server_spends_its_own_share_alone(postgres: PostgresForTests, authority: Authority) -> None:
    """T-E13, T-E22: who asks, or invites, too often waits; others don't."""
    limits = ("federation = {per_second = 0.001, burst = 3}", "federation_invite = {per_second = 0.001, burst = 2}")
    toml = "\n".join(["[rate_limits]", *limits])
    target = "/_matrix/federation/v1/query/profile?user_id=@x:y"
    async with (
        postgres.fresh() as dsn,
        federated_server(dsn, authority, toml=toml) as here,
        running_peer(authority) as loud,
        running_peer(authority) as quiet,
    ):
        bob = await here.user("bob")
        answers = [await loud.ask("GET", name_of(here), target) for _ in range(5)]
        assert [answer.status == 429 for answer in answers] == [False] * 3 + [True] * 2
        assert b"retry_after_ms" in answers[-1].body
        assert (await quiet.ask("GET", name_of(here), target)).status != 429
        statuses = []
        for server in (loud, loud, loud, quiet):
            room = PeerRoom(server)
            event = room.make("m.room.member", {"membership": "invite"}, bob.user_id)
            body = {"room_version": "11", "event": event.pdu}
            path = f"{V2}/invite/{room.room_id}/{event.event_id}"
            statuses.append((await server.ask("PUT", name_of(here), path, body)).status)
        assert statuses == [200, 200, 429, 200]


# --- what is asked because of them


async def test_a_false_past_is_asked_for_a_while(here: RunningServer, peer: Peer) -> None:
    """T-E7: a peer that answers each question with new ones is asked so often, and then no more."""
    alice, room = await joined(here, peer)
    seeds = iter(range(100_000))

    def deeper(sent: Any) -> dict[str, Any]:
        told = [room.make("m.room.message", {"body": "x"}, prev=made_up(20, next(seeds))) for _ in range(19)]
        first = room.make("m.room.message", {"body": "y"}, prev=[one.event_id for one in told])
        return {"events": [first.pdu, *(one.pdu for one in told)]}

    peer.answers[V1 + "/get_missing_events"] = deeper
    peer.answers[V1 + "/state_ids"] = lambda sent: {"pdu_ids": made_up(40, next(seeds)), "auth_chain_ids": []}
    before = len(peer.asked)
    events = [room.make("m.room.message", {"body": "z"}, prev=made_up(20, next(seeds))) for _ in range(20)]
    await room.send(name_of(here), *events)
    rooms = here.hansa.rooms
    asked_before_end = -1

    async def is_over() -> bool:
        nonlocal asked_before_end
        staged = await here.db.fetchval("SELECT count(*) FROM staged_pdus WHERE tries = 0")
        asked_before_end = len(peer.asked)
        return bool(staged == 0)

    await until(is_over, within_s=60)
    assert 0 < asked_before_end - before <= QUESTIONS_MAX
    assert (await rooms.rooms.get(RoomId(room.room_id))) is not None
    await alice.send(room.room_id, "still here")


async def test_a_rooms_patience_comes_back() -> None:
    """T-E7: for each server and room apart, with time, and never more than at first."""
    clock = FakeClock()
    patience = Patience(clock)

    async def waits(server: str, seconds: float) -> bool:
        try:
            async with patience.waiting(ServerName(server), RoomId("!a:x")):
                clock.advance(seconds)
        except NoPatience:
            return False
        return True

    assert await waits("evil.test", WAITING_S_MAX + 20)
    assert not await waits("evil.test", 1) and await waits("good.test", 1)
    clock.advance(20 / WAITING_SHARE + 1)
    assert await waits("evil.test", 1)
    clock.advance(10 * WAITING_S_MAX / WAITING_SHARE)
    assert await waits("evil.test", WAITING_S_MAX) and not await waits("evil.test", 1)


async def test_a_time_out_within_is_not_the_rooms() -> None:
    """T-E7: what is waited for may have bounds of its own."""
    with pytest.raises(TimeoutError):
        async with Patience(FakeClock()).waiting(ServerName("a.test"), RoomId("!a:x")):
            raise TimeoutError


def test_a_budget_is_for_a_minute() -> None:
    """T-E7: one for each server and room; it comes back."""
    clock = FakeClock()
    budget = Budget(clock)
    one, other, room = ServerName("a.test"), ServerName("b.test"), RoomId("!r:a.test")
    assert all(budget.spend(one, room) for _ in range(QUESTIONS_MAX))
    assert not budget.spend(one, room)
    assert budget.spend(other, room) and budget.spend(one, RoomId("!other:a.test"))
    clock.advance(61)
    assert budget.spend(one, room)


async def test_a_state_of_millions_is_not_fetched(here: RunningServer, peer: Peer) -> None:
    """T-E8: told of more events than any room has, the server fetches none of them."""
    _, room = await joined(here, peer)
    peer.answers[V1 + "/get_missing_events"] = lambda sent: {"events": []}
    peer.answers[V1 + "/state_ids"] = lambda sent: {"pdu_ids": ["$" + "b" * 43] * 200_001, "auth_chain_ids": []}
    await room.send(name_of(here), room.make("m.room.message", {"body": "x"}, prev=made_up(1)))

    async def is_put_off() -> bool:
        return bool(await here.db.fetchval("SELECT count(*) FROM staged_pdus WHERE tries = 1"))

    await until(is_put_off)
    paths = [path for _, path, _ in peer.asked]
    assert any(path.startswith(V1 + "/state_ids") for path in paths)
    assert not any(path.startswith((V1 + "/event/", V1 + "/state/")) for path in paths)


async def test_a_join_into_millions_is_given_up(
    here: RunningServer, peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """T-E9: a state beyond the bound is no room."""
    monkeypatch.setattr(joining, "STATE_EVENTS_MAX", 50)
    alice, room = await here.user("alice"), PeerRoom(peer)
    for number in range(30):
        room.add("x.state", {}, f"{number}")
    room.answer_joins(alice.user_id)
    answer = await alice.post(f"/join/{{}}?via={peer.name}&server_name={peer.name}", room.room_id)
    assert answer.status == 502
    assert (await alice.get("/joined_rooms")).ok()["joined_rooms"] == []


def backfilling(room: PeerRoom) -> Any:
    """Answers /backfill with what is asked for and what lies before it, as far as the room has it."""

    def walked(sent: Any) -> dict[str, Any]:
        front = list(sent["v"]) if isinstance(sent["v"], list) else [sent["v"]]
        found: dict[str, Any] = {}
        while front and len(found) < 100:
            event = room.events.get(front.pop(0))
            if event is not None and event.event_id not in found:
                found[event.event_id] = event.pdu
                front.extend(event.prev_event_ids)
        return {"pdus": list(found.values())}

    return walked


async def read_to_the_end(user: Client, room_id: str, limit: int = 50) -> list[str]:
    """All texts, the oldest first, as a client reads them: on and on while there is an `end` that is a new one."""
    found, query = list[str](), dict[str, str]()
    while True:
        page = (await user.get("/rooms/{}/messages", room_id, dir="b", limit=str(limit), **query)).ok()
        found += [event["content"]["body"] for event in page["chunk"] if event["type"] == "m.room.message"]
        if page.get("end", page["start"]) == page["start"]:
            return found[::-1]
        query = {"from": page["end"]}


@pytest.mark.parametrize("count", [120, 350, 750])
async def test_a_page_of_refused_events_is_not_the_end(here: RunningServer, peer: Peer, count: int) -> None:
    """T-E2: what lies behind is read on, however many events before it break the rules."""
    alice, room = await here.user("alice"), PeerRoom(peer)
    room.text("the beginning")
    mallory = f"@mallory:{peer.name}"
    for number in range(count):
        room.take(room.make("m.room.message", {"msgtype": "m.text", "body": f"{number}"}, sender=mallory))
    room.answer_joins(alice.user_id)
    peer.answers[V1 + "/backfill"] = backfilling(room)
    (await alice.post(f"/join/{{}}?via={peer.name}&server_name={peer.name}", room.room_id)).ok()
    assert await read_to_the_end(alice, room.room_id) == ["the beginning"]


@pytest.mark.parametrize("looked_at", [100, 10])
async def test_a_past_that_is_kept_back_is_not_the_end(
    here: RunningServer, peer: Peer, monkeypatch: pytest.MonkeyPatch, looked_at: int
) -> None:
    """T-E2: whoever cites events that they give to nobody hides nothing of what was before, however many these are."""
    monkeypatch.setattr("federation.backfill.GAPS_MAX", looked_at)
    alice, room = await here.user("alice"), PeerRoom(peer)
    room.text("the beginning")
    room.answer_joins(alice.user_id)
    peer.answers[V1 + "/backfill"] = backfilling(room)
    (await alice.post(f"/join/{{}}?via={peer.name}&server_name={peer.name}", room.room_id)).ok()
    state = [event.event_id for event in room.state.values()]
    kept_back = [room.make("m.room.message", {"body": f"{number}"}) for number in range(20)]
    by_id = {event.event_id: event for event in kept_back}
    peer.answers[V1 + "/get_missing_events"] = lambda sent: {"events": []}
    peer.answers[V1 + "/state_ids"] = lambda sent: {"pdu_ids": state, "auth_chain_ids": []}
    peer.answers[V1 + "/event/"] = lambda sent: {"pdus": [by_id[EventId(unquote(peer.asked[-1][1])[-44:])].pdu]}
    last = room.make("m.room.message", {"body": "the end"}, prev=list(by_id))
    await room.send(name_of(here), last)

    async def is_here() -> bool:
        return (await alice.get("/rooms/{}/event/{}", room.room_id, last.event_id)).status == 200

    await until(is_here, within_s=60)
    assert await read_to_the_end(alice, room.room_id) == ["the beginning", "the end"]


async def test_many_ends_are_tied_by_few(here: RunningServer, peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    """T-E10: a new event cites so many of them; with each the room has fewer."""
    monkeypatch.setattr("homeserver.rooms.ties.HEADS_MAX", 1_000)
    alice, room = await joined(here, peer)
    before = list(room.heads)
    branches = [room.make("m.room.message", {"msgtype": "m.text", "body": f"{n}"}, prev=before) for n in range(45)]
    await room.send(name_of(here), *branches)

    async def heads() -> int:
        known = await here.hansa.rooms.rooms.get(RoomId(room.room_id))
        return len(known.head.heads) if known is not None else 0

    async def all_here() -> bool:
        return await heads() == 45

    await until(all_here)
    for most in (26, 7, 1):
        event_id = await alice.send(room.room_id, "a knot")
        stored = await here.hansa.rooms.store.by_id(EventId(event_id))
        assert stored is not None and len(stored.event.prev_event_ids) <= 20
        assert await heads() == most


# --- signatures


class _CountingKeys:
    """All signatures are right; `asked` has whose were looked at."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def verify(self, requests: Sequence[Signed]) -> list[Verdict]:
        self.asked += [request.server_name for request in requests]
        return [Verdict.VALID] * len(requests)


async def test_only_needed_signatures_are_looked_at(peer: Peer) -> None:
    """T-E11: a hundred more cost nothing, not even a question for their keys."""
    event = PeerRoom(peer).text("hello")
    flood = {f"s{number}.test": {"ed25519:1": "A" * 86} for number in range(100)}
    keys = _CountingKeys()
    checks = PduChecks(keys)  # type: ignore[arg-type]
    await checks.check_one(event.version, {**event.pdu, "signatures": {**flood, **event.pdu["signatures"]}})
    assert keys.asked == [peer.name]


# --- servers that are away


async def test_waits_grow_to_a_day_and_are_spread() -> None:
    """T-E3, T-E14: no number of failures makes a wait overflow, and no thousand servers come back at one moment."""
    clock = FakeClock()
    reachability = Reachability(None, clock, SystemRandomness())  # type: ignore[arg-type]
    name, wait_s = ServerName("a.test"), 0.0
    for _ in range(1_500):
        outage = reachability.failed(name, "down")
        wait_s = (outage.retry_at_ms - clock.now_ms()) / 1000
        assert 0 < wait_s <= RETRY_MAX_S * 1.2
        clock.advance(wait_s + 1)
    assert wait_s >= RETRY_MAX_S * 0.8
    at = {reachability.failed(ServerName(f"s{number}.test"), "down").retry_at_ms for number in range(1_000)}
    assert max(at) - min(at) > 1_500 and len(at) > 300


async def test_a_clock_that_was_ahead_makes_nobody_wait_for_hours() -> None:
    """T-E14: what was noted by it is no longer than any wait of its kind, however far it is put back."""
    clock = FakeClock()
    reachability = Reachability(None, clock, SystemRandomness())  # type: ignore[arg-type]
    name = ServerName("a.test")
    first = reachability.failed(name, "down")
    assert reachability.retry_at_ms(name) == first.retry_at_ms
    clock.put_back(3_600)
    assert reachability.retry_at_ms(name) is None and reachability.is_failing(name)
    second = reachability.failed(name, "down")
    assert second.failures == 2 and 0 < second.retry_at_ms - clock.now_ms() <= 24_000
    assert reachability.retry_at_ms(name) == second.retry_at_ms


async def test_servers_are_tried_one_after_the_other() -> None:
    """T-E14: after a start, and after an outage of everything, so many a second."""
    clock = FakeClock()
    pacing, began = Pacing(clock), list[float]()

    async def one() -> None:
        async with pacing.slot():
            began.append(clock.monotonic_s())

    tasks = [asyncio.create_task(one()) for _ in range(200)]
    for _ in range(400):
        for _ in range(5):
            await asyncio.sleep(0)
        clock.advance(0.05)
    await asyncio.gather(*tasks)
    for second in range(10):
        assert sum(second <= at < second + 1 for at in began) <= PER_SECOND + 1


def test_what_changes_often_is_told_as_it_is() -> None:
    """T-E24: of a user's presence the last word alone waits, and of all EDUs a bounded number."""
    destination = Destination(ServerName("a.test"))
    for number in range(1_000):
        destination.add_edu("presence @a:b", {"number": number})
    assert list(destination.edus.values()) == [{"number": 999}]
    for number in range(3 * EDUS_MAX):
        destination.add_edu(f"presence @{number}:b", {})
    assert len(destination.edus) == EDUS_MAX
    assert len(destination.next_transaction("t").edus) == EDUS_PER_TRANSACTION


# --- what others won't take


def test_halves_of_a_transaction() -> None:
    """T-E5: everything once, in order, down to single things."""
    pdus, edus = tuple(QueuedPdu(n, b"%d" % n) for n in range(5)), ({"a": 1}, {"b": 2})
    parts = [Transaction("t", pdus, edus)]
    while any(part.halves() for part in parts):
        parts = [half for part in parts for half in (part.halves() or (part,))]
    assert [pdu for part in parts for pdu in part.pdus] == list(pdus)
    assert [edu for part in parts for edu in part.edus] == list(edus)
    assert len({part.txn_id for part in parts}) == 7


async def test_one_thing_that_is_refused_stops_nothing_else(here: RunningServer, peer: Peer) -> None:
    """T-E5: the transaction is halved until that one thing is alone, and left out."""
    alice = await here.user("alice")
    room_id = await alice.create_room()
    await join_foreign(here, room_id, [f"@bob:{peer.name}"])
    peer.fails = 500
    await alice.send(room_id, "first")
    await peer.until(lambda: peer.asked)
    for number in range(20):
        await alice.send(room_id, "poison" if number == 13 else f"{number}")
    peer.fails = None
    peer.refuses = lambda body: any(pdu["content"].get("body") == "poison" for pdu in body["pdus"])
    assert here.hansa.federation is not None
    here.hansa.federation.reachability.try_again(peer.name)
    wanted = ["first", *(f"{number}" for number in range(20) if number != 13)]
    await peer.until(lambda: [pdu["content"].get("body") for pdu in peer.pdus][-1:] == wanted[-1:])
    assert [pdu["content"]["body"] for pdu in peer.pdus] == wanted


# --- inside


async def test_a_write_that_fails_leaves_all_usable(
    server_of_one: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """T-E20: the room, its journal and everybody's sync go on."""
    alice = await server_of_one.user("alice")
    room_id = await alice.create_room()
    since = (await alice.sync())["next_batch"]
    committer = server_of_one.hansa.rooms.incoming._parts.committer
    real, fails = committer._write_surely, 3

    async def failing(*given: Any) -> Any:
        nonlocal fails
        if fails:
            fails -= 1
            raise Unavailable("the disk is gone for a moment")
        return await real(*given)

    monkeypatch.setattr(committer, "_write_surely", failing)
    path, message = "/rooms/{}/send/m.room.message/{}", {"msgtype": "m.text", "body": "x"}
    assert (await alice.put(path, room_id, "lost", body=message)).status == 503
    assert (await alice.put("/rooms/{}/state/m.room.topic", room_id, body={"topic": "x"})).status == 503
    assert (await alice.put("/rooms/{}/state/m.room.name", room_id, body={"name": "x"})).status == 503
    sent = await alice.send(room_id, "at last")
    timeline = (await alice.sync(since=since, timeout="0"))["rooms"]["join"][room_id]["timeline"]["events"]
    assert [event["event_id"] for event in timeline] == [sent]
    state = {event["type"] for event in (await alice.get("/rooms/{}/state", room_id)).ok()}
    assert not state & {"m.room.topic", "m.room.name"}


async def test_what_was_acknowledged_outlives_a_failing_database(
    here: RunningServer, peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """T-E20, T-E18: an event that couldn't be written for a moment is taken in later; one that fails by itself is left
    out, and holds up none."""
    monkeypatch.setattr(intake, "RETRY_FIRST_MS", 1)
    monkeypatch.setattr(intake, "RETRY_EVERY_S", 0.05)
    alice, room = await joined(here, peer)
    incoming, fails = here.hansa.rooms.incoming, 4
    real = incoming.take

    async def failing(room_id: RoomId, arrivals: Sequence[Any]) -> Any:
        nonlocal fails
        if any(arrival.event.content.get("body") == "odd" for arrival in arrivals):
            raise RuntimeError("nobody thought of this")
        if fails:
            fails -= 1
            raise Unavailable("the database is away for a moment")
        return await real(room_id, arrivals)

    monkeypatch.setattr(incoming, "take", failing)
    await room.send(name_of(here), room.text("kept"))
    await room.send(
        name_of(here), room.make("m.room.message", {"msgtype": "m.text", "body": "odd"}), room.text("after")
    )

    async def heard() -> bool:
        return await texts(alice, room.room_id) == ["kept", "after"]

    await until(heard)
    assert await here.hansa.world.db.fetchval("SELECT count(*) FROM staged_pdus") == 0


async def test_chains_of_authorisation_cost_what_they_are_long(server_of_one: RunningServer) -> None:
    """T-E1: each event adds as many rows as the one before it, however much stands behind it."""
    alice = await server_of_one.user("alice")
    room_id = await alice.create_room()
    levels = (await alice.get("/rooms/{}/state/m.room.power_levels", room_id)).ok()

    async def rows() -> int:
        tables = [row["relname"] for row in await server_of_one.db.fetch("SELECT relname FROM pg_stat_user_tables")]
        counts = [await server_of_one.db.fetchval(f'SELECT count(*) FROM "{table}"') for table in tables]
        return sum(counts)

    counted = [await rows()]
    for batch in range(3):
        for number in range(16):
            levels["users"][f"@u{batch}.{number}:x.test"] = 1
            (await alice.put("/rooms/{}/state/m.room.power_levels", room_id, body=levels)).ok()
        counted.append(await rows())
    grown = [after - before for before, after in itertools.pairwise(counted)]
    assert max(grown) <= min(grown) + 8 and max(grown) <= 16 * 6


@pytest.fixture
async def server_of_one(database_dsn: str) -> AsyncIterator[RunningServer]:
    async with running_server(database_dsn) as server:
        yield server
