"""What one message costs the unread counts of its room: all on the event loop, nothing in the database.

"own rules" is the part of the members that changed a push rule: those are asked one by one.
"""

from __future__ import annotations

from typing import Any, cast

from immutables import Map

from bench.harness import measure
from homeserver.core.events import Event, StateKey
from homeserver.core.identifiers import EventId, RoomId, ServerName, UserId
from homeserver.core.push_rules import NO_EDITS, PushEdits, compile_ruleset, effective, put_rule
from homeserver.core.room import RoomHead
from homeserver.core.room_versions import ROOM_VERSIONS
from homeserver.journal.journal import Entry, Journal
from homeserver.push.rulesets import PushRulesets, RulesChanged
from homeserver.push.unread import Unread
from homeserver.rooms.building import Written
from homeserver.rooms.residents import Room, Rooms
from homeserver.runtime.clock import SystemClock
from homeserver.storage.database import Database
from homeserver.storage.events import StoredEvent
from homeserver.storage.states import first_line

SERVER = ServerName("a.example")
VERSION = ROOM_VERSIONS["11"]
ROOM = RoomId("!room:a.example")
CASES = ((100, 0.0, 0), (100, 0.0, 3), (100, 0.3, 0), (100, 1.0, 0), (10_000, 0.0, 0), (10_000, 0.3, 0))
MESSAGES = 200


def _user(number: int) -> UserId:
    return UserId(f"@u{number}:{SERVER}")


def _event(number: int, type: str, content: dict[str, Any], state_key: str | None = None) -> Event:
    pdu: dict[str, Any] = {
        "type": type,
        "sender": _user(0),
        "room_id": ROOM,
        "content": content,
        "depth": number,
        "origin_server_ts": 1,
        "prev_events": [],
        "auth_events": [],
    }
    if state_key is not None:
        pdu["state_key"] = state_key
    return Event(VERSION, pdu, EventId(f"$e{number}"))


def _room(members: int) -> Room:
    create = _event(1, "m.room.create", {}, "")
    levels = _event(2, "m.room.power_levels", {"users": {create.sender: 100}}, "")
    known: Map[StateKey, Event | None] = Map({create.key: create, levels.key: levels})
    return Room(
        nid=1,
        head=RoomHead(version=VERSION, room_id=ROOM, heads=(), depth=1, known=known),
        line=first_line(1, {}),
        nids=Map(),
        members=Map({_user(number): "join" for number in range(members)}),
        joined=members,
        newest=1,
    )


def _stored(number: int, mentions: int) -> StoredEvent:
    content: dict[str, Any] = {"msgtype": "m.text", "body": "a message as people write them, more or less"}
    if mentions:
        content["m.mentions"] = {"user_ids": [_user(index + 1) for index in range(mentions)]}
    return StoredEvent(
        nid=number,
        room_nid=1,
        ordering=number,
        event=_event(number, "m.room.message", content),
        state_nid=1,
        replaces=None,
        redacted_by=None,
        flags=0,
        device_id=None,
        txn_id=None,
        size_bytes=500,
    )


def _own_rules(number: int) -> PushEdits:
    """A muted room elsewhere and a keyword: what clients make of their settings."""
    edits = put_rule(NO_EDITS, "room", f"!muted{number}:{SERVER}", {"actions": []})
    return put_rule(edits, "content", "name", {"pattern": f"name{number}", "actions": ["notify"]})


class _Counting:
    """Counts messages of one room, one after the other."""

    def __init__(self, members: int, own_rules: float, mentions: int) -> None:
        # Neither is asked while events are counted.
        database, rooms = cast(Database, None), cast(Rooms, None)
        journal = Journal(database)
        rulesets = PushRulesets(database, journal)
        for number in range(int(members * own_rules)):
            edits = _own_rules(number)
            changed = RulesChanged(_user(number), edits, compile_ruleset(effective(edits)))
            rulesets.hear([Entry(1, "account_data", None, (_user(number),), changed)])
        self._unread = Unread(database, journal, rooms, rulesets, SystemClock(), SERVER)
        self._room = _room(members)
        self._mentions = mentions
        self._position = 10

    def count(self) -> None:
        for _ in range(MESSAGES):
            self._position += 1
            written = Written(stored=_stored(self._position, self._mentions), room=self._room)
            self._unread.hear([Entry(self._position, "event", ROOM, (), written)])


def run() -> None:
    for members, own_rules, mentions in CASES:
        name = f"unread: own rules {own_rules:.0%}, {mentions} mentioned"
        measure(name, members, _Counting(members, own_rules, mentions).count, units=MESSAGES)
