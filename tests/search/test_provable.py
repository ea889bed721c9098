"""The provable search: on generated histories, everybody finds exactly what /messages shows them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

import pytest

from homeserver.core.filters import parse_event_filter
from homeserver.core.identifiers import EventId, RoomId, UserId
from homeserver.rooms.searching import FoundEvent, Searching, SearchRequest
from homeserver.storage.events import StoredEvent
from tests.kit.elasticsearch import ElasticsearchServer
from tests.kit.search_histories import History, Players, Said, expected
from tests.kit.server import RunningServer
from tests.search.test_elastic_server import server_on

AT_ONCE = 100
STEPS = 24
PAGE = 100
# Term → whether it finds a text.
TERMS: Mapping[str, Callable[[str], bool]] = {
    "common": lambda text: True,
    "alpha": lambda text: "alpha" in text,
    "common -beta": lambda text: "beta" not in text,
    '"common 港口"': lambda text: text.startswith("common 港口"),
    "gam* OR 港口": lambda text: "gamma" in text or "港口" in text,
}
Seen = Mapping[RoomId, Sequence[StoredEvent]]


def request(term: str, order: str, rooms: Collection[RoomId] | None = None) -> SearchRequest:
    wanted = parse_event_filter({} if rooms is None else {"rooms": list(rooms)})
    return SearchRequest(term=term, keys=("content.body",), order_by=order, wanted=wanted, limit=PAGE, place=None)


async def everything(searching: Searching, user: UserId, wanted: SearchRequest, seen: Seen) -> list[FoundEvent]:
    """All pages; each is full and has the right count, and around each hit stands what the user sees there."""
    found: list[FoundEvent] = []
    places = {room: {one.nid: at for at, one in enumerate(shown)} for room, shown in seen.items()}
    count: int | None = None
    asked: SearchRequest | None = wanted
    while asked is not None:
        page = await searching.search(user, asked)
        assert count is None or page.count == count
        count = page.count
        assert page.next is None or len(page.found) == PAGE
        around = await searching.surroundings(user, page.found, 1, 1)
        for one in page.found:
            room = one.stored.event.room_id
            at, near = places[room][one.stored.nid], around[one.stored.nid]
            assert {places[room][event.nid] for event in near.before} <= {at - 1}
            assert {places[room][event.nid] for event in near.after} <= {at + 1}
        found += page.found
        asked = (
            SearchRequest(
                term=wanted.term,
                keys=wanted.keys,
                order_by=wanted.order_by,
                wanted=wanted.wanted,
                limit=PAGE,
                place=page.next,
            )
            if page.next is not None
            else None
        )
    assert len(found) == count
    return found


async def hold(players: Players, histories: Sequence[History]) -> int:
    """Holds every search of every player against what they are shown. How many events were found, all told."""
    searching = players.server.hansa.relations.searching
    found_in_all = 0
    for user in players.ids:
        seen = {room: await players.shown(user, room) for history in histories for room in history.rooms}
        whole = expected(players, user, histories, seen)
        for number, (term, finds) in enumerate(TERMS.items()):
            wanted = {event_id: said for event_id, said in whole.items() if finds(said.text)}
            order = ("recent", "rank")[number % 2]
            found = await everything(searching, user, request(term, order), seen)
            ids = [one.stored.event.event_id for one in found]
            assert {one.stored.event.event_id: one.source.event.event_id for one in found} == {
                event_id: said.source for event_id, said in wanted.items()
            }
            assert sorted(ids) == sorted(wanted), (term, set(ids) ^ set(wanted))
            found_in_all += len(ids)
            if number < 2:
                await hold_facets(searching, user, term, wanted)
        await hold_rooms(searching, user, histories, seen, whole)
    return found_in_all


async def hold_facets(searching: Searching, user: UserId, term: str, wanted: Mapping[EventId, Said]) -> None:
    facets = await searching.facets(user, request(term, "recent"))
    assert facets.count == facets.counted == len(wanted)
    assert dict(facets.rooms) == Counter(said.room_id for said in wanted.values())
    assert dict(facets.senders) == Counter(said.sender for said in wanted.values())


async def hold_rooms(
    searching: Searching, user: UserId, histories: Sequence[History], seen: Seen, whole: Mapping[EventId, Said]
) -> None:
    """Room by room, and through a room's predecessors."""
    for history in [one for one in histories if len(one.rooms) > 1][:5] + list(histories[:5]):
        room, first = history.room, history.rooms[0]
        for term, rooms, meant in (("common", [first], [first]), (f"in:{room} common", None, history.rooms)):
            found = await everything(searching, user, request(term, "recent", rooms), seen)
            wanted = {event_id for event_id, said in whole.items() if said.room_id in meant}
            assert {one.stored.event.event_id for one in found} == wanted


async def prove(server: RunningServer, batches: range) -> int:
    found = 0
    for batch in batches:
        users = [await server.user(f"user{batch}x{number}") for number in range(4)]
        players = Players(server, users, batch)
        histories = await players.play(AT_ONCE, STEPS)
        found += await hold(players, histories)
    return found


@pytest.mark.slow
async def test_a_search_finds_what_messages_show(server: RunningServer) -> None:
    """T-G8, T-G9: 200 histories: no event more, none less, in pages, counts, contexts, facets and predecessors."""
    assert await prove(server, range(2)) > 3_000


@pytest.mark.deep
async def test_ten_thousand_histories(server: RunningServer) -> None:
    """T-G8, T-G9: the same on 10,000."""
    assert await prove(server, range(1_000, 1_100)) > 150_000


@pytest.mark.deep
@pytest.mark.programs("elasticsearch")
async def test_two_thousand_histories_in_elasticsearch(
    database_dsn: str, tmp_path: Path, elasticsearch: ElasticsearchServer
) -> None:
    """T-G8, T-G9: the other engine, with more of everything; minutes."""
    async with server_on(database_dsn, tmp_path, elasticsearch.cluster(prefix="provable-deep")) as server:
        assert await prove(server, range(2_000, 2_020)) > 25_000


@pytest.mark.slow
@pytest.mark.programs("elasticsearch")
async def test_elasticsearch_finds_the_same(
    database_dsn: str, tmp_path: Path, elasticsearch: ElasticsearchServer
) -> None:
    """T-G8, T-G9: what is proved of the embedded index holds for the other."""
    async with server_on(database_dsn, tmp_path, elasticsearch.cluster(prefix="provable")) as server:
        assert await prove(server, range(1)) > 1_000
