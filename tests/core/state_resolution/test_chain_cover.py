"""The chain cover against the walk that it saves."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeserver.core.identifiers import EventId
from homeserver.core.state_resolution import ChainCover, MissingEvents, auth_difference
from homeserver.core.state_resolution.sets import reachable


def graph(seed: int, size: int) -> dict[EventId, list[EventId]]:
    """Each event with what it cites, of those before it: near ones mostly, as in rooms."""
    chance = random.Random(seed)
    cites: dict[EventId, list[EventId]] = {}
    names: list[EventId] = []
    for number in range(size):
        name = EventId(f"${number}")
        near = names[-chance.choice([3, 10, 100]) :]
        cites[name] = chance.sample(near, min(len(near), chance.randint(0 if number < 3 else 1, 4)))
        names.append(name)
    return cites


def covered(cites: dict[EventId, list[EventId]]) -> tuple[ChainCover, ChainCover]:
    """A cover that grew, and one read back from what that kept."""
    cover = ChainCover()
    places, links = [], []
    for event_id, auth_ids in cites.items():
        place, added = cover.add(event_id, auth_ids)
        places.append((event_id, place))
        links += added
        assert cover.add(event_id, auth_ids) == (place, [])
    return cover, ChainCover.of(reversed(places), reversed(links))


@given(seed=st.integers(0, 10**9), size=st.integers(1, 120), parts=st.integers(1, 4))
def test_differences_equal_those_of_the_walk(seed: int, size: int, parts: int) -> None:
    cites = graph(seed, size)
    names = list(cites)
    chance = random.Random(seed)
    sets = [set(chance.sample(names, min(size, chance.randint(0, 6)))) for _ in range(parts)]
    shared = set(chance.sample(names, min(size, chance.randint(0, 3))))
    walked = auth_difference(sets, cites.__getitem__, shared=shared)
    for cover in covered(cites):
        assert cover.auth_difference(sets, shared=shared) == walked
        assert cover.difference_of_states(sets, shared.__contains__) == walked
        behind = reachable(shared, cites.__getitem__)
        reach = cover.reach(shared)
        assert {name for name in names if cover.is_behind(name, reach)} == behind


def test_a_straight_chain_is_one_chain() -> None:
    cites = {EventId(f"${number}"): [EventId(f"${number - 1}")] if number else [] for number in range(2_000)}
    cover, _read = covered(cites)
    assert cover.reach([EventId("$1999")]) == {1: 2000}


def test_unknown_events_are_asked_for() -> None:
    cover = ChainCover()
    with pytest.raises(MissingEvents) as missing:
        cover.add(EventId("$new"), [EventId("$a"), EventId("$b")])
    assert missing.value.ids == {"$a", "$b"}
    assert EventId("$new") not in cover
    with pytest.raises(MissingEvents):
        cover.reach([EventId("$a")])


def test_a_chain_is_read_back_whole_or_not_at_all() -> None:
    cover = ChainCover()
    places = [(name, cover.add(name, cites)[0]) for name, cites in graph(1, 20).items()]
    with pytest.raises(ValueError, match="should come next"):
        ChainCover.of([entry for entry in places if entry[1].number > 1], [])
