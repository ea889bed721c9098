"""What a searcher may see, as a part of the question."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeserver.core.visibility import Verdict, VisibilityTimeline
from search.tiers import FIRST_PLACE, LAST_PLACE
from search.visibility import scope_of
from tests.kit.server import Client, RunningServer
from tests.search.test_search import found, ids

VISIBILITIES = ("world_readable", "shared", "invited", "joined")
MEMBERSHIPS = ("invite", "join", "leave", "ban", "knock")


@given(
    st.lists(
        st.tuples(st.integers(0, 30), st.sampled_from(VISIBILITIES)), unique_by=lambda change: change[0], max_size=5
    ),
    st.lists(
        st.tuples(st.integers(0, 30), st.sampled_from(MEMBERSHIPS)), unique_by=lambda change: change[0], max_size=8
    ),
)
def test_the_scope_is_what_the_gate_lets_through(
    visibilities: list[tuple[int, str]], memberships: list[tuple[int, str | None]]
) -> None:
    """T-G8: no place more, none less."""
    timeline = VisibilityTimeline(sorted(visibilities), sorted(memberships))
    intervals = scope_of({1: timeline.visible_ranges()}).get(1, ())
    for place in range(-2, 34):
        is_seen = timeline.verdict(place) is Verdict.FULL
        assert any(first <= place <= last for first, last in intervals) is is_seen
    assert all(one[1] + 1 < other[0] for one, other in pairwise(intervals))


def test_ranges_become_closed_intervals() -> None:
    assert scope_of({1: [], 2: [(None, None)], 3: [(1, 4), (5, 7), (9, None)]}) == {
        2: [(FIRST_PLACE, LAST_PLACE)],
        3: [(1, 7), (9, LAST_PLACE)],
    }


async def shown(client: Client, room: str) -> dict[str, str]:
    """Event → what it says, of all that /messages shows."""
    said: dict[str, str] = {}
    query: dict[str, Any] = {"dir": "b", "limit": 1000}
    while True:
        answer = await client.get("/rooms/{}/messages", room, **query)
        if answer.status != 200:
            return said
        page = answer.json
        for event in page["chunk"]:
            if event["type"] == "m.room.message" and "body" in event["content"]:
                said[event["event_id"]] = event["content"]["body"]
        if "end" not in page or not page["chunk"]:
            return said
        query["from"] = page["end"]


class History:
    """Three users, who do what users do."""

    def __init__(self, seed: int, users: list[Client]) -> None:
        self._chance = random.Random(seed)
        self._users = users
        self._room = ""
        self._said: list[tuple[str, int]] = []

    async def play(self, steps: int) -> str:
        visibility = {"type": "m.room.history_visibility", "state_key": "", "content": self._visibility()}
        levels = {"users_default": 100}
        self._room = await self._users[0].create_room(
            preset="public_chat", initial_state=[visibility], power_level_content_override=levels
        )
        for step in range(steps):
            await self._step(step)
        # What a stranger may read of a room is not searched in: all of them were there for a moment.
        for user in self._users[1:]:
            await self._users[0].post("/rooms/{}/join", self._room)
            await self._users[0].post("/rooms/{}/invite", self._room, body={"user_id": user.user_id})
            await user.post("/rooms/{}/join", self._room)
            await user.post("/rooms/{}/leave", self._room)
        return self._room

    def _visibility(self) -> dict[str, str]:
        return {"history_visibility": self._chance.choice(VISIBILITIES)}

    async def _step(self, step: int) -> None:
        number = self._chance.randrange(len(self._users))
        user = self._users[number]
        other = self._chance.choice([one for one in self._users if one is not user])
        match self._chance.randrange(12):
            case 0:
                await user.post("/rooms/{}/join", self._room)
            case 1:
                await user.post("/rooms/{}/leave", self._room)
            case 2:
                await user.post("/rooms/{}/invite", self._room, body={"user_id": other.user_id})
            case 3:
                await user.post("/rooms/{}/kick", self._room, body={"user_id": other.user_id})
            case 4:
                await user.put("/rooms/{}/state/m.room.history_visibility", self._room, body=self._visibility())
            case 5 if self._said:
                event_id, _ = self._chance.choice(self._said)
                await user.put("/rooms/{}/redact/{}/{}", self._room, event_id, f"r{step}")
            case _:
                path = "/rooms/{}/send/m.room.message/{}"
                body = {"msgtype": "m.text", "body": f"word{step % 3} common"}
                sent = await user.put(path, self._room, f"t{step}", body=body)
                if sent.status == 200:
                    self._said.append((sent.json["event_id"], number))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
async def test_a_search_finds_what_messages_show(server: RunningServer, seed: int) -> None:
    """T-G8, T-G9: the same events, counts and groups, page by page, for whoever asks."""
    users = [await server.user(f"user{number}") for number in range(3)]
    rooms = [await History(seed * 10 + number, users).play(60) for number in range(2)]
    for user in users:
        expected = {event: body for room in rooms for event, body in (await shown(user, room)).items()}
        for term in ("common", "word1", "common -word2", '"word0 common"'):
            wanted = {
                event
                for event, body in expected.items()
                if ("word2" not in body if "-" in term else term.strip('"').split()[0] in body)
            }
            for order in ("recent", "rank"):
                pages: list[str] = []
                answer = await found(user, term, order_by=order, filter={"limit": 7})
                pages += [hit["result"]["event_id"] for hit in answer["results"]]
                while "next_batch" in answer:
                    assert len(answer["results"]) == 7
                    more = {"order_by": order, "filter": {"limit": 7}, "next_batch": answer["next_batch"]}
                    answer = await found(user, term, **more)
                    pages += [hit["result"]["event_id"] for hit in answer["results"]]
                    assert answer["count"] == len(wanted)
                assert (set(pages), len(pages), answer["count"]) == (wanted, len(wanted), len(wanted))


async def test_a_group_goes_on_by_itself(server: RunningServer) -> None:
    alice = await server.user("alice")
    rooms = [await alice.create_room() for _ in range(2)]
    sent = [await alice.send(rooms[number % 2], f"word {number}") for number in range(10)]
    answer = await found(alice, "word", filter={"limit": 4}, groupings={"group_by": [{"key": "room_id"}]})
    for number, room in enumerate(rooms):
        group = answer["groups"]["room_id"][room]
        hits, token = list(group["results"]), group["next_batch"]
        await alice.send(room, "word later")
        while token:
            more = await found(alice, "word", filter={"limit": 2}, next_batch=token)
            hits += [hit["result"]["event_id"] for hit in more["results"]]
            token = more.get("next_batch")
        assert hits == sent[number::2][::-1]


async def test_many_rooms_are_few_queries(server: RunningServer) -> None:
    """A search asks the database as often for thirty rooms as for three."""
    alice = await server.user("alice")
    asked = []
    for _ in range(3):
        for _ in range(10):
            await alice.send(await alice.create_room(), "word")
        await ids(alice, "word")
        before = server.db.asked
        assert (await found(alice, "word", filter={"limit": 3}))["results"]
        asked.append(server.db.asked - before)
    assert asked[2] <= asked[0] + 2 <= 12, asked


async def test_counts_of_what_an_erased_author_said(server: RunningServer) -> None:
    """T-G8: beyond the first page as well: who came later finds nothing of it, who was there all of it."""
    author, friend, late = await server.user("author"), await server.user("friend"), await server.user("late")
    room = await author.create_room(preset="public_chat")
    await friend.join(room)
    for number in range(24):
        await (author if number % 2 else friend).send(room, f"harbour {number}")
    auth = {
        "type": "m.login.password",
        "identifier": {"type": "m.id.user", "user": author.user_id},
        "password": "correct horse battery",
    }
    (await author.post("/account/deactivate", body={"auth": auth, "erase": True})).ok()
    await late.join(room)
    await friend.send(room, "harbour again")
    for who, mine in ((friend, 25), (late, 13)):
        criteria = {"search_term": "harbour", "filter": {"limit": 5}, "order_by": "recent"}
        body, token, texts = {"search_categories": {"room_events": criteria}}, "", list[str]()
        while True:
            answer = (await who.post(f"/search{token}", body=body)).ok()["search_categories"]["room_events"]
            assert answer["count"] == mine
            texts += [one["result"]["content"]["body"] for one in answer["results"]]
            if "next_batch" not in answer:
                break
            assert len(answer["results"]) == 5
            token = f"?next_batch={answer['next_batch']}"
        assert len(texts) == len(set(texts)) == mine
        facets = (await who.post("/_hansa/client/v1/search/facets", body={"search_term": "harbour"})).ok()
        assert facets["count"] == sum(one["count"] for one in facets["senders"]) == mine


async def erase(author: Client) -> None:
    auth = {
        "type": "m.login.password",
        "identifier": {"type": "m.id.user", "user": author.user_id},
        "password": "correct horse battery",
    }
    (await author.post("/account/deactivate", body={"auth": auth, "erase": True})).ok()


@pytest.mark.slow
@pytest.mark.parametrize("is_one_room", [False, True])
async def test_counts_of_many_kinds_of_erased_authors(server: RunningServer, *, is_one_room: bool) -> None:
    """T-G8: ten authors of whom something else is left each; in rooms of their own, and all in one, which the searcher
    came back to after each was erased."""
    viewer, host = await server.user("viewer"), await server.user("host")
    kept, rooms = [], [await host.create_room(preset="public_chat") for _ in range(1 if is_one_room else 10)]
    for number in range(10):
        author, room = await server.user(f"author{number}"), rooms[number % len(rooms)]
        await author.join(room)
        await viewer.join(room)
        kept.append(await author.send(room, "harbour kept"))
        (await viewer.post("/rooms/{}/leave", room)).ok()
        await author.send(room, "harbour lost")
        await erase(author)
        await viewer.join(room)
        (await viewer.post("/rooms/{}/leave", room)).ok()
    for limit in (1, 4, 50):
        answer = await found(viewer, "harbour", filter={"limit": limit})
        assert answer["count"] == 10
        assert [one["result"]["event_id"] for one in answer["results"]] == kept[::-1][:limit]
