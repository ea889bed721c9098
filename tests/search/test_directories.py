"""People and rooms are found by their names as messages are by their words: the same folding."""

from __future__ import annotations

import pytest

from tests.kit.server import RunningServer

NAMES = {
    "wang": "王小明",
    "taro": "山田ﾀﾛｳ",
    "minji": "김민지",
    "lukasz": "Łukasz Gródek",
    "umit": "Ümit IŞIK",
    "somchai": "สมชาย ใจดี",
    "sarah": "שָׂרָה כהן",
}
FOUND = [
    ("小明", "wang"),
    ("明", "wang"),
    ("タロウ", "taro"),
    ("민지", "minji"),
    ("lukasz grodek", "lukasz"),
    ("umit", "umit"),
    ("ใจ", "somchai"),
    ("שרה", "sarah"),
]


@pytest.mark.slow
async def test_names_of_people_and_rooms(server: RunningServer) -> None:
    alice = await server.user("alice")
    for localpart, name in NAMES.items():
        user = await server.user(localpart)
        (await user.put("/profile/{}/displayname", user.user_id, body={"displayname": name})).ok()
        await user.create_room(preset="public_chat", visibility="public", name=f"{name} rumba", topic="ℌarbour")
    for term, localpart in FOUND:
        people = (await alice.post("/user_directory/search", body={"search_term": term})).ok()["results"]
        assert [one["user_id"] for one in people] == [f"@{localpart}:hansa.test"], term
        rooms = (await alice.post("/publicRooms", body={"filter": {"generic_search_term": term}})).ok()["chunk"]
        assert [one["name"] for one in rooms] == [f"{NAMES[localpart]} rumba"], term
    rooms = (await alice.post("/publicRooms", body={"filter": {"generic_search_term": "HARBOUR"}})).ok()["chunk"]
    assert len(rooms) == len(NAMES)
    assert not (await alice.post("/publicRooms", body={"filter": {"generic_search_term": "小红"}})).ok()["chunk"]
