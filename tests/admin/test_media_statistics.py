"""Who keeps how much: counted, sorted, searched."""

from __future__ import annotations

from typing import Any

import pytest

from tests.admin.people import Crew

PATH = "/_synapse/admin/v1/statistics/users/media"


async def uploaded(crew: Crew) -> None:
    for client, sizes in ((crew.user, [5, 10]), (crew.admin, [7]), (crew.moderator, [1, 1, 1])):
        for size in sizes:
            answer = await client.request("POST", "/_matrix/media/v3/upload", data=bytes([size]) * size)
            answer.ok()


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, ["the-admin", "the-moderator", "user"]),
        ({"order_by": "media_length", "dir": "b"}, ["user", "the-admin", "the-moderator"]),
        ({"order_by": "media_count"}, ["the-admin", "user", "the-moderator"]),
        ({"order_by": "displayname", "dir": "b"}, ["user", "the-moderator", "the-admin"]),
        ({"search_term": "MODER"}, ["the-moderator"]),
        ({"from_ts": 2**50}, []),
        ({"until_ts": 1}, []),
        ({"limit": 1, "from": 1}, ["the-moderator"]),
    ],
)
async def test_who_keeps_how_much(crew: Crew, query: dict[str, Any], expected: list[str]) -> None:
    await uploaded(crew)
    answer = (await crew.auditor.get(PATH, **query)).ok()
    assert [one["displayname"] for one in answer["users"]] == expected
    if not query:
        assert answer["total"] == 3 and "next_token" not in answer
        assert answer["users"][2] == {
            "user_id": crew.user.user_id,
            "displayname": "user",
            "media_count": 2,
            "media_length": 15,
        }
    if "limit" in query:
        assert answer["next_token"] == 2


@pytest.mark.parametrize(
    "query", [{"order_by": "x"}, {"dir": "x"}, {"limit": -1}, {"from_ts": 5, "until_ts": 5}, {"search_term": ""}]
)
async def test_what_cannot_be_asked(crew: Crew, query: dict[str, Any]) -> None:
    (await crew.auditor.get(PATH, **query)).refused(400, "M_INVALID_PARAM")
