"""Holds the answers of POST /search against what /messages and /context show the same user."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from homeserver.core.identifiers import EventId, RoomId
from homeserver.storage.events import StoredEvent
from tests.kit.search_histories import Said
from tests.kit.server import Client

PAGE = 40
NEAR = 2
# So many of what was found are looked at with /context and /messages; of so many rooms the group is read to its end.
LOOKED_AT = 5
ROOMS_READ = 3
Json = dict[str, Any]


def near(shown: Sequence[StoredEvent], nid: int, ignored: Collection[str], count: int) -> tuple[list[int], list[int]]:
    """What stands before an event (nearest first) and after it, among what /messages shows; without the messages of
    those who are ignored."""
    kept = [one.nid for one in shown if one.event.is_state or one.event.sender not in ignored]
    at = kept.index(nid)
    return kept[max(0, at - count) : at][::-1], kept[at + 1 : at + 1 + count]


async def asked(client: Client, term: str, order: str, token: str | None = None) -> Json:
    """One page with all that can be asked for."""
    criteria = {
        "search_term": term,
        "order_by": order,
        "filter": {"limit": PAGE},
        "keys": ["content.body"],
        "event_context": {"before_limit": NEAR, "after_limit": NEAR},
        "groupings": {"group_by": [{"key": "room_id"}, {"key": "sender"}]},
    }
    answer = await client.request(
        "POST",
        "/search",
        body={"search_categories": {"room_events": criteria}},
        query={"next_batch": token} if token is not None else None,
    )
    page: Json = answer.ok()["search_categories"]["room_events"]
    assert "org.hansa.partial" not in page
    return page


async def whole(client: Client, term: str, order: str, token: str | None = None) -> list[Json]:
    """All pages from a token on. All but the last are full, and none is empty but the last."""
    pages = [await asked(client, term, order, token)]
    while (following := pages[-1].get("next_batch")) is not None:
        assert len(pages[-1]["results"]) == PAGE
        pages.append(await asked(client, term, order, following))
    return pages


async def hold_answer(
    client: Client, question: tuple[str, str, set[str]], wanted: Mapping[EventId, Said], ignored: Collection[str]
) -> None:
    """`question` is (term, order, what is to be highlighted), `wanted` what must be found."""
    term, order, highlights = question
    pages = await whole(client, term, order)
    results = [result for page in pages for result in page["results"]]
    ids = [result["result"]["event_id"] for result in results]
    assert sorted(ids) == sorted(wanted), term
    for page in pages:
        assert page["count"] == len(wanted)
        assert set(page["highlights"]) == highlights
        _hold_groups(page)
    for result in results:
        text = wanted[result["result"]["event_id"]].text
        assert any(word in text for word in highlights)
    for result in results[:: max(1, len(results) // LOOKED_AT)]:
        await _hold_context(client, result, ignored)
    await _hold_following(client, term, order, pages[0], wanted)


def _hold_groups(page: Json) -> None:
    """Each result is in one group of each kind, in the page's order; groups stand as their first one does."""
    for key in ("room_id", "sender"):
        of_key: dict[str, list[str]] = {}
        for result in page["results"]:
            of_key.setdefault(result["result"][key], []).append(result["result"]["event_id"])
        groups = page["groups"][key]
        assert {value: group["results"] for value, group in groups.items()} == of_key
        assert [value for value, _ in sorted(groups.items(), key=lambda one: int(one[1]["order"]))] == list(of_key)


async def _hold_following(client: Client, term: str, order: str, first: Json, wanted: Mapping[EventId, Said]) -> None:
    """Each group goes on within itself, to its end."""
    for key, most in (("room_id", ROOMS_READ), ("sender", 10)):
        for value, group in list(first["groups"][key].items())[:most]:
            found = list(group["results"])
            of_group = {one for one, said in wanted.items() if value in (said.room_id, said.sender)}
            if "next_batch" in group:
                pages = await whole(client, term, order, group["next_batch"])
                assert {page["count"] for page in pages} == {len(of_group)}
                found += [result["result"]["event_id"] for page in pages for result in page["results"]]
            else:
                assert len(wanted) <= PAGE  # the page was the last
            assert sorted(found) == sorted(of_group)


async def _hold_context(client: Client, result: Json, ignored: Collection[str]) -> None:
    """The event and what is around it are those of /context, letter by letter; its tokens lead on from there."""
    event, context = result["result"], result["context"]
    room_id, event_id = RoomId(event["room_id"]), event["event_id"]
    shown = (await client.get("/rooms/{}/context/{}", room_id, event_id, limit=100)).ok()
    assert _plain(event) == _plain(shown["event"])
    before, after = (_kept(shown[side], ignored) for side in ("events_before", "events_after"))
    assert _plain(context["events_before"]) == _plain(before[:NEAR])
    assert _plain(context["events_after"]) == _plain(after[:NEAR])
    for token, direction, rest in (("start", "b", before[NEAR:]), ("end", "f", after[NEAR:])):
        page = (
            await client.get("/rooms/{}/messages", room_id, dir=direction, limit=100, **{"from": context[token]})
        ).ok()
        if len(context["events_before" if token == "start" else "events_after"]) == NEAR:
            assert [one["event_id"] for one in _kept(page["chunk"], ignored)][: len(rest)] == [
                one["event_id"] for one in rest
            ]


def _kept(events: Sequence[Json], ignored: Collection[str]) -> list[Json]:
    return [one for one in events if "state_key" in one or one["sender"] not in ignored]


def _plain(value: Any) -> Any:
    """Without what is another thing each time it is asked for."""
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items() if key != "age"}
    return [_plain(one) for one in value] if isinstance(value, list) else value
