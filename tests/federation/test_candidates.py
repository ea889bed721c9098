"""Rooms that several servers may let us into, some of which hang, trickle, refuse or lie."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from federation.candidates import AT_ONCE, NEXT_AFTER_S, Candidates
from homeserver.core.identifiers import ServerName
from tests.kit.authority import Authority
from tests.kit.clock import FakeClock, FastClock
from tests.kit.federation import federated_server
from tests.kit.odd_peer import Behaviour, answering, break_off, hang, odd_peer, trickle
from tests.kit.peer import Peer, running_peer
from tests.kit.peer_room import V1, V2, PeerRoom
from tests.kit.postgres import PostgresForTests
from tests.kit.server import Answered, Client, RunningServer
from tests.kit.until import a_moment

FORBIDDEN = answering("403 Forbidden", b'{"errcode": "M_FORBIDDEN", "error": "not you"}')
NO_TEMPLATE = answering("200 OK", b'{"room_version": "11", "event": {"type": "m.room.name"}}')
ODD: dict[str, Behaviour] = {
    "hang": hang,
    "trickle": trickle,
    "break off": break_off,
    "refuse": FORBIDDEN,
    "lie": NO_TEMPLATE,
    "no JSON": answering("200 OK", b"<html>"),
    "fail": answering("500 Internal Server Error", b"{}"),
}


@pytest.fixture
async def hasty(postgres: PostgresForTests, authority: Authority) -> AsyncIterator[RunningServer]:
    """A server for which time passes fast, so that it soon asks the next one; answers' time-outs are as ever."""
    async with postgres.fresh() as dsn, federated_server(dsn, authority, clock=FastClock(20)) as server:
        yield server


@pytest.fixture
async def peer(authority: Authority) -> AsyncIterator[Peer]:
    async with running_peer(authority) as running:
        yield running


@pytest.fixture
async def other(authority: Authority) -> AsyncIterator[Peer]:
    async with running_peer(authority) as running:
        yield running


async def go(verb: str, user: Client, room_id: str, *via: str) -> Answered:
    return await user.post(f"/{verb}/{{}}?" + "&".join(f"via={name}" for name in via), room_id)


def sent(verb: str, *peers: Peer) -> list[str]:
    return [path for peer in peers for method, path, _ in peer.asked if method == "PUT" and f"/{verb}/" in path]


def was_waited_out(server: RunningServer, name: ServerName) -> bool:
    """Whether a question to another server went on up to its time-out, after which that one counts as down."""
    assert server.hansa.federation is not None
    return server.hansa.federation.reachability.is_failing(name)


# --- who is asked when


class _Asked:
    """Servers that answer when a test says so."""

    def __init__(self, *names: str) -> None:
        self.clock = FakeClock()
        self.order: list[str] = []
        self.answers: dict[str, asyncio.Future[str]] = {}
        self.candidates: Candidates[str] = Candidates([ServerName(name) for name in names], self._ask, self.clock)

    async def _ask(self, server: ServerName) -> str:
        self.order.append(server)
        answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.answers[server] = answer
        return await answer


async def test_the_next_one_is_asked_when_one_keeps_us_waiting() -> None:
    """And no more than a few at once, however long it takes. Who answers first is first."""
    asked = _Asked(*"abcde")
    async with asked.candidates as candidates:
        reading = asyncio.create_task(candidates.next())
        for count in (1, 2, 3, 3, 3):
            await a_moment()
            assert asked.order == list("abcde")[:count]
            asked.clock.advance(NEXT_AFTER_S)
        asked.answers["b"].set_result("good")
        answered = await reading
        assert answered is not None and (answered[0], answered[1].result()) == ("b", "good")
        assert AT_ONCE == 3
    assert asked.answers["a"].cancelled() and asked.answers["c"].cancelled()


async def test_who_refuses_is_followed_at_once() -> None:
    asked = _Asked(*"ab")
    async with asked.candidates as candidates:
        reading = asyncio.create_task(candidates.next())
        await a_moment()
        asked.answers["a"].set_exception(ValueError("no"))
        answered = await reading
        assert answered is not None and isinstance(answered[1].exception(), ValueError)
        reading = asyncio.create_task(candidates.next())
        await a_moment()
        assert asked.order == ["a", "b"]
        asked.answers["b"].set_result("good")
        assert await reading is not None
        assert await candidates.next() is None


async def test_who_was_interrupted_is_asked_last() -> None:
    asked = _Asked(*"abc")
    async with asked.candidates as candidates:
        reading = asyncio.create_task(candidates.next())
        await a_moment()
        asked.clock.advance(NEXT_AFTER_S)
        await a_moment()
        asked.answers["b"].set_result("useless, as turns out")
        await reading
        await candidates.hold()
        assert asked.answers["a"].cancelled()
        for name in "ca":
            reading = asyncio.create_task(candidates.next())
            asked.clock.advance(NEXT_AFTER_S)
            await a_moment()
            asked.answers[name].set_exception(ValueError("no"))
            answered = await reading
            assert answered is not None and answered[0] == name
            assert isinstance(answered[1].exception(), ValueError)
        assert await candidates.next() is None


async def test_who_gives_up_ends_the_questions() -> None:
    asked = _Asked(*"ab")

    async def ask() -> None:
        async with asked.candidates as candidates:
            await candidates.next()

    asking = asyncio.create_task(ask())
    await a_moment()
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    assert asking.cancelled() and asked.answers["a"].cancelled()


# --- coming in


@pytest.mark.slow
@pytest.mark.parametrize("odd", list(ODD))
async def test_odd_candidates_keep_nobody_out(hasty: RunningServer, authority: Authority, peer: Peer, odd: str) -> None:
    """Two of them are named before the one that lets the user in, and none gets to see a join."""
    alice, room = await hasty.user("alice"), PeerRoom(peer)
    room.answer_joins(alice.user_id)
    async with AsyncExitStack() as stack:
        others = [await stack.enter_async_context(odd_peer(authority, ODD[odd])) for _ in range(AT_ONCE - 1)]
        (await go("join", alice, room.room_id, *(one.name for one in others), peer.name)).ok()
        assert others[0].asked and not [line for one in others for line in one.asked if "/send_join/" in line]
        assert odd not in ("hang", "trickle") or not was_waited_out(hasty, others[0].name)
    assert len(sent("send_join", peer)) == 1


@pytest.mark.slow
async def test_what_the_best_refusal_says_is_told(hasty: RunningServer, authority: Authority) -> None:
    """Where nobody lets the user in: what a server that knows the room says of it, whatever the others did."""
    alice = await hasty.user("alice")
    async with odd_peer(authority, break_off) as broken, odd_peer(authority, FORBIDDEN) as refusing:
        (await go("join", alice, f"!room:{refusing.name}", broken.name, refusing.name)).refused(403, "M_FORBIDDEN")
        (await go("knock", alice, f"!room:{refusing.name}", broken.name, refusing.name)).refused(403, "M_FORBIDDEN")
        answer = await go("join", alice, f"!room:{broken.name}", broken.name)
        assert answer.status == 502


@pytest.mark.slow
async def test_one_join_is_sent_where_several_would_let_us_in(
    hasty: RunningServer, authority: Authority, peer: Peer, other: Peer
) -> None:
    """Also when the user's client asks several times meanwhile."""
    alice, room = await hasty.user("alice"), PeerRoom(peer)
    room.answer_joins(alice.user_id)
    other.answers |= peer.answers
    async with odd_peer(authority, hang) as hanging:
        names = (hanging.name, peer.name, other.name)
        for answer in await asyncio.gather(*(go("join", alice, room.room_id, *names) for _ in range(3))):
            answer.ok()
    assert len(sent("send_join", peer, other)) == 1


@pytest.mark.slow
@pytest.mark.parametrize("lie", ["not allowed", "no state", "refused late"])
async def test_who_lies_of_the_room_keeps_nobody_out(here: RunningServer, peer: Peer, other: Peer, lie: str) -> None:
    """T-A3: the liar gets a join to see and tells a state that is of no use; the next one is asked then."""
    alice, room = await here.user("alice"), PeerRoom(peer)
    room.answer_joins(alice.user_id)
    other.answers |= peer.answers
    told = room.told()
    if lie == "not allowed":
        told["state"] = [pdu for pdu in told["state"] if pdu["type"] != "m.room.join_rules"]
    else:
        told["state"] = []
    if lie == "refused late":
        del other.answers[V2 + "/send_join"]
    else:
        other.answers[V2 + "/send_join"] = lambda pdu: {**told, "event": pdu}
    (await go("join", alice, room.room_id, other.name, peer.name)).ok()
    assert len(sent("send_join", other)) == 1 and len(sent("send_join", peer)) == 1
    assert room.eve in (await alice.get("/rooms/{}/joined_members", room.room_id)).ok()["joined"]


# --- knocking, and looking at a space


@pytest.mark.slow
@pytest.mark.parametrize("odd", ["hang", "trickle", "refuse"])
async def test_odd_candidates_keep_nobody_from_knocking(
    hasty: RunningServer, authority: Authority, peer: Peer, odd: str
) -> None:
    alice, room = await hasty.user("alice"), PeerRoom(peer)
    room.add("m.room.join_rules", {"join_rule": "knock"}, "")
    event = room.make("m.room.member", {"membership": "knock"}, alice.user_id, sender=alice.user_id)
    template = {key: value for key, value in event.pdu.items() if key not in ("hashes", "signatures")}
    peer.answers[V1 + "/make_knock"] = lambda _: {"room_version": "11", "event": template}
    peer.answers[V1 + "/send_knock"] = lambda _: {"knock_room_state": []}
    async with odd_peer(authority, ODD[odd]) as one:
        (await go("knock", alice, room.room_id, one.name, peer.name)).ok()
        assert not was_waited_out(hasty, one.name)
    assert len(sent("send_knock", peer)) == 1


@pytest.mark.slow
async def test_a_server_that_hangs_hides_no_space(hasty: RunningServer, authority: Authority, peer: Peer) -> None:
    alice, room = await hasty.user("alice"), PeerRoom(peer)
    room.answer_joins(alice.user_id)
    (await go("join", alice, room.room_id, peer.name)).ok()
    child = f"!child:{peer.name}"
    summary = {"room_id": child, "name": "Child", "join_rule": "public", "num_joined_members": 1}
    summary |= {"guest_can_join": False, "world_readable": True, "children_state": []}
    peer.answers[V1 + "/hierarchy"] = lambda _: {"room": summary, "children": [], "inaccessible_children": []}
    async with odd_peer(authority, hang) as hanging:
        space = await alice.create_room(creation_content={"type": "m.space"})
        via = {"via": [hanging.name, peer.name]}
        (await alice.put("/rooms/{}/state/m.space.child/{}", space, child, body=via)).ok()
        found = (await alice.get("/_matrix/client/v1/rooms/{}/hierarchy", space)).ok()["rooms"]
        assert not was_waited_out(hasty, hanging.name)
    assert child in [one["room_id"] for one in found]
