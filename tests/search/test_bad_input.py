"""What people send who mean no good, and an index that is damaged: an error that says so, soon, and never a fault."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest

from search.analyser import analyse
from search.query import QueryError, parse
from tests.kit.server import Client, RunningServer, config_for_tests, running_server
from tests.kit.until import until
from tests.search.test_search import answered, found, ids

FACETS = "/_hansa/client/v1/search/facets"
SAVED = "/_hansa/client/v1/saved_searches"
SOON_S = 30.0
BOMBS = (
    " OR ".join(["word"] * 1_000),
    "a*",
    "x" * 1_000_000,
    "(" * 500,
    "(" * 8 + "a" + ")" * 8 + " (" * 400,
    '"' * 999,
    "-" * 999,
    "- " * 499,
    "in:!" * 200,
    "from:" * 150,
    "has:" + "link|" * 190 + "x",
    " ".join(["ab*"] * 9),
    " ".join(["abcd~"] * 9),
    "\ufdfa" * 900,
    "天" * 999,
    "a\u0301" * 490,
    "\U0001f600" * 999,
    "x" * 990 + "~",
    "é" * 499 + "*",
    "\x00" * 500,
    "\u202e\u200b" * 400,
    " ".join(f"w{number}" for number in range(190)),
)
TOKENS = (
    "",
    "x",
    "1_2",
    "1_2_3_4",
    "-1_2_3",
    "99999999999999999999_0_0",
    "1_2_3_sender",
    "1_2_3_room_id_",
    "1_2_3_event_id_x",
    "\u0661_\u0662_\u0663",
    "1_2_3\n",
    "a" * 10_000,
)


@pytest.mark.slow
async def test_query_bombs(server: RunningServer) -> None:
    """T-G10: found or refused, each within seconds, by every call that takes a term."""
    alice = await server.user("alice")
    room = await alice.create_room()
    for number in range(300):
        await alice.send(room, f"word{number} ab{number}c abc{number} 天天天 \ufdfa")
    for bomb in BOMBS:
        body = {"search_categories": {"room_events": {"search_term": bomb}}}
        async with asyncio.timeout(SOON_S):
            asked = [
                await alice.post("/search", body=body),
                await alice.post(FACETS, body={"search_term": bomb}),
                await alice.post(SAVED, body={"term": bomb, "paused": True}),
            ]
        for one in asked:
            assert one.status == 200 or one.json["errcode"] in ("M_INVALID_PARAM", "M_RESOURCE_LIMIT_EXCEEDED")
        said = asked[0].json
        assert "character" in said["error"] or len(bomb) > 1_000 if asked[0].status == 400 else True
    after = await found(alice, "word7")
    assert after["count"] == 1 and "org.hansa.partial" not in after


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_parser_says_where(bomb: str) -> None:
    """T-G10: whatever is typed is a query, nothing, or refused at a place within it."""
    try:
        parse(bomb, me="@me:a")
    except QueryError as error:
        assert 1 <= error.position <= len(bomb) + 1


def test_a_text_that_grows_by_folding_is_bounded() -> None:
    """T-G10: one sign stands for eighteen letters."""
    assert len(analyse("\ufdfa" * 65_536).tokens) < 70_000


async def test_tokens_of_no_page(server: RunningServer) -> None:
    """T-G11: refused, or a page of what one may see."""
    alice, bob = await server.user("alice"), await server.user("bob")
    room = await alice.create_room()
    await alice.send(room, "word")
    own = await bob.send(await bob.create_room(), "word")
    assert await ids(bob, "word") == [own]  # all is in the index
    body = {"search_categories": {"room_events": {"search_term": "word"}}}
    for token in TOKENS[1:]:
        answer = await bob.request("POST", "/search", body=body, query={"next_batch": token})
        assert answer.status in (200, 400), token
    huge, last = 10**17, 10**12
    for token in (f"{huge}_{huge}_{huge}", f"{huge}_-{huge}_1", f"{huge}_65_1", f"{huge}_1_{2**48}"):
        answer = await bob.request("POST", "/search", body=body, query={"next_batch": token})
        answer.refused(400, "M_INVALID_PARAM")
    for token in (f"{huge}_64_{last}_room_id_{room}", f"{huge}_64_{last}_sender_{alice.user_id}"):
        answer = await bob.request("POST", "/search", body=body, query={"next_batch": token})
        assert answer.ok()["search_categories"]["room_events"]["results"] == []
    answer = await bob.request("POST", "/search", body=body, query={"next_batch": f"{huge}_64_{last}"})
    events = answer.ok()["search_categories"]["room_events"]
    assert "org.hansa.partial" not in events
    assert [result["result"]["event_id"] for result in events["results"]] == [own]


async def test_rooms_of_others(server: RunningServer) -> None:
    """T-G8: to name a room, or a thousand, shows nothing of it, nor whether it is there."""
    alice, bob = await server.user("alice"), await server.user("bob")
    room = await alice.create_room(room_alias_name="secret")
    await alice.send(room, "word")
    many = [room, *(f"!r{number}:hansa.test" for number in range(900))]
    for criteria in (
        {"filter": {"rooms": many}},
        {"filter": {"rooms": [room]}, "org.hansa.include_predecessors": True},
    ):
        answer = await found(bob, "word", **criteria)
        assert (answer["count"], answer["results"]) == (0, [])
    assert await ids(bob, f"in:{room} word") == await ids(bob, "in:!nowhere:hansa.test word") == []
    assert (await bob.post(FACETS, body={"search_term": "word", "filter": {"rooms": [room]}})).ok()["rooms"] == []


async def page(client: Client, cookie: str, query: dict[str, str]) -> Any:
    return await client.request("GET", "/_hansa/search", query=query, headers={"Cookie": cookie})


async def test_the_page_shows_errors_as_pages(server: RunningServer) -> None:
    """T-B14: and what was typed as text."""
    await server.user("alice")
    reader = server.anonymous()
    begun = await reader.get("/_hansa/login")
    cookie = begun.headers["Set-Cookie"].partition(";")[0]
    code = re.search(r'name="form_code" value="([0-9a-f]+)"', begun.body.decode())
    assert code is not None
    form = f"form_code={code[1]}&next=/_hansa/search&username=alice&password=correct+horse+battery"
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Cookie": cookie, "Origin": server.base_url}
    signed = await reader.request("POST", "/_hansa/login", data=form.encode(), headers=headers, follow=False)
    cookie = signed.headers["Set-Cookie"].partition(";")[0]
    for query in ({"q": "has:<b>"}, {"q": "word", "next": "x"}, {"q": "x" * 5_000}, {"q": "(a"}):
        answer = await page(reader, cookie, query)
        assert (answer.status, answer.headers["Content-Type"]) == (400, "text/html; charset=utf-8")
        assert b'role="alert"' in answer.body and b"<b>" not in answer.body
    assert (await page(reader, cookie, {"q": "\x00"})).status == 200


@pytest.mark.slow
async def test_an_index_whose_files_are_damaged(database_dsn: str, tmp_path: Any) -> None:
    """T-O7: answers are partial until it is whole again, by itself; nothing is lost, and nobody gets a fault."""
    config = config_for_tests(tmp_path)
    async with running_server(database_dsn, config=config) as server:
        alice = await server.user("alice")
        room = await alice.create_room()
        sent = [await alice.send(room, f"word {number}") for number in range(20)]
        assert await ids(alice, "word", filter={"limit": 50}) == sent[::-1]
    for file in (tmp_path / "search").glob("*.*"):
        if file.suffix in (".term", ".idx", ".pos", ".fast", ".store"):
            file.write_bytes(b"\xff" * max(16, file.stat().st_size // 2))
    async with running_server(database_dsn, config=config) as server:
        again = server.anonymous()
        again.token = alice.token

        async def is_whole() -> bool:
            answer = await answered(again, "word", filter={"limit": 50})
            hits = [one["result"]["event_id"] for one in answer["results"]]
            assert "org.hansa.partial" in answer or hits == sent[::-1]
            return hits == sent[::-1]

        await until(is_whole)
