"""The provable search: on generated histories, everybody finds exactly what /messages shows them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

import pytest

from homeserver.core.filters import parse_event_filter
from homeserver.core.identifiers import EventId, RoomId, UserId
from homeserver.rooms.searching import FoundEvent, Searching, SearchRequest
from homeserver.storage import events
from homeserver.storage.events import StoredEvent
from tests.kit.elasticsearch import ElasticsearchServer
from tests.kit.search_answers import hold_answer, near
from tests.kit.search_histories import History, Players, Said, expected
from tests.kit.server import RunningServer
from tests.kit.until import until
from tests.search.test_elastic_server import server_on

AT_ONCE = 100
NEAR = 2
STEPS = 24
PAGE = 100
SOFT_FAILED = "SELECT count(*) FROM events WHERE flags = $1"
# Term → whether it finds a text, and what is highlighted in that.
TERMS: Mapping[str, tuple[Callable[[str], bool], set[str]]] = {
    "common": (lambda text: True, {"common"}),
    "alpha": (lambda text: "alpha" in text, {"alpha"}),
    "common -beta": (lambda text: "beta" not in text, {"common"}),
    '"common 港口"': (lambda text: text.startswith("common 港口"), {"common", "港口"}),
    "gam* OR 港口": (lambda text: "gamma" in text or "港口" in text, {"gam", "港口"}),
}
Seen = Mapping[RoomId, Sequence[StoredEvent]]


def request(term: str, order: str, rooms: Collection[RoomId] | None = None) -> SearchRequest:
    wanted = parse_event_filter({} if rooms is None else {"rooms": list(rooms)})
    return SearchRequest(term=term, keys=("content.body",), order_by=order, wanted=wanted, limit=PAGE, place=None)


async def everything(
    searching: Searching, user: UserId, wanted: SearchRequest, seen: Seen, ignored: Collection[str]
) -> list[FoundEvent]:
    """All pages; each is full and has the right count, and around each hit stands what the user sees there."""
    found: list[FoundEvent] = []
    count: int | None = None
    asked: SearchRequest | None = wanted
    while asked is not None:
        page = await searching.search(user, asked)
        assert count is None or page.count == count
        count = page.count
        assert page.next is None or len(page.found) == PAGE
        around = await searching.surroundings(user, page.found, NEAR, NEAR)
        for one in page.found:
            around_it = near(seen[one.stored.event.room_id], one.stored.nid, ignored, NEAR)
            beside = around[one.stored.nid]
            assert ([event.nid for event in beside.before], [event.nid for event in beside.after]) == around_it
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

    async def is_level() -> bool:
        return not (await searching.search(players.ids[0], request("common", "recent"))).is_partial

    await until(is_level, within_s=60)
    for number, user in enumerate(players.ids):
        ignored = players.ignored[user]
        seen = {room: await players.shown(user, room) for history in histories for room in history.rooms}
        whole = expected(players, user, histories, seen)
        for nth, (term, (finds, highlights)) in enumerate(TERMS.items()):
            wanted = {event_id: said for event_id, said in whole.items() if finds(said.text)}
            order = ("recent", "rank")[nth % 2]
            found = await everything(searching, user, request(term, order), seen, ignored)
            ids = [one.stored.event.event_id for one in found]
            assert {one.stored.event.event_id: one.source.event.event_id for one in found} == {
                event_id: said.source for event_id, said in wanted.items()
            }
            assert sorted(ids) == sorted(wanted), (term, set(ids) ^ set(wanted))
            found_in_all += len(ids)
            if nth < 2:
                await hold_facets(searching, user, term, wanted)
            if nth == number % len(TERMS) or term == "common":
                await hold_answer(players.users[number], (term, order, highlights), wanted, ignored)
        await hold_rooms(players, user, histories, seen, whole)
    return found_in_all


async def hold_facets(searching: Searching, user: UserId, term: str, wanted: Mapping[EventId, Said]) -> None:
    facets = await searching.facets(user, request(term, "recent"))
    assert facets.count == facets.counted == len(wanted)
    assert dict(facets.rooms) == Counter(said.room_id for said in wanted.values())
    assert dict(facets.senders) == Counter(said.sender for said in wanted.values())


async def hold_rooms(
    players: Players, user: UserId, histories: Sequence[History], seen: Seen, whole: Mapping[EventId, Said]
) -> None:
    """Room by room, and through a room's predecessors."""
    searching, ignored = players.server.hansa.relations.searching, players.ignored[user]
    for history in [one for one in histories if len(one.rooms) > 1][:5] + list(histories[:5]):
        room, first = history.room, history.rooms[0]
        for term, rooms, meant in (("common", [first], [first]), (f"in:{room} common", None, history.rooms)):
            found = await everything(searching, user, request(term, "recent", rooms), seen, ignored)
            wanted = {event_id for event_id, said in whole.items() if said.room_id in meant}
            assert {one.stored.event.event_id for one in found} == wanted


async def prove(server: RunningServer, batches: range) -> int:
    found = 0
    for batch in batches:
        users = [await server.user(f"user{batch}x{number}") for number in range(4)]
        players = Players(server, users, batch)
        histories = await players.play(AT_ONCE, STEPS)
        found += await hold(players, histories)
    assert await server.db.fetchval(SOFT_FAILED, events.SOFT_FAILED) > 10 * len(batches)
    return found


@pytest.mark.slow
async def test_a_search_finds_what_messages_show(server: RunningServer) -> None:
    """T-G8, T-G9: 200 histories: no event more, none less, in pages, counts, contexts, groups,
    facets and predecessors; answers are those of /messages and /context."""
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
