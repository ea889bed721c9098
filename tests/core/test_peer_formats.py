"""Event ids, hashes, redaction and push conditions against Synapse's, on random input for every room version."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from homeserver.core.events import content_hash, event_id_of
from homeserver.core.push_conditions import EventView, Recipient, compile_condition
from homeserver.core.redaction import redact
from homeserver.core.room_versions import ROOM_VERSIONS, EventIdFormat, RoomVersion
from tests.peers.oracle import Oracle, running_oracle

REPOSITORY = Path(__file__).resolve().parents[2]
PEER_PYTHON = REPOSITORY / ".venv-peer" / "bin" / "python"
VERSIONS = [pytest.param(version, id=f"v{name}") for name, version in ROOM_VERSIONS.items()]
ROUNDS = 60
ROUNDS_DEEP = 2_000

pytestmark = pytest.mark.peer


@pytest.fixture(scope="module")
def oracle() -> Iterator[Oracle]:
    python = Path(os.environ.get("HANSA_PEER_PYTHON") or PEER_PYTHON)
    with running_oracle(python, REPOSITORY / "tests" / "peers" / "synapse_formats.py") as process:
        yield process


TYPES = ["m.room." + name for name in "member create join_rules power_levels aliases redaction topic message".split()]
TYPES += ["m.room.history_visibility", "org.example.other"]
CONTENT_KEYS = (
    "membership join_authorised_via_users_server third_party_invite displayname creator room_version join_rule allow "
    "ban kick redact invite events events_default state_default users users_default notifications aliases "
    "history_visibility redacts body é"
).split()
TOP_KEYS = "origin prev_state membership redacts org.example".split()


def some_value(chance: Random, depth: int = 0) -> Any:
    kind = chance.randrange(7 if depth < 2 else 4)
    if kind == 0:
        return chance.choice([None, True, False])
    if kind == 1:
        return chance.choice([0, -1, 50, 2**53 - 1, -(2**53) + 1])
    if kind in (2, 3):
        return "".join(chance.choices('aé日\U0001f600\x7f\x00"\\/\n', k=chance.randrange(5)))
    if kind == 4:
        return [some_value(chance, depth + 1) for _ in range(chance.randrange(3))]
    return {chance.choice(["signed", "a", "é", "\U0001f600", "￿"]): some_value(chance, depth + 1) for _ in range(2)}


def some_pdu(chance: Random, version: RoomVersion) -> dict[str, Any]:
    in_event = version.event_id_format is EventIdFormat.IN_EVENT
    references: list[Any] = [["$x:y", {"sha256": "a"}]] if in_event else ["$" + "a" * 43]
    pdu = {
        "type": chance.choice(TYPES),
        "sender": "@a:example.org",
        "room_id": "!" + "a" * 43 if version.room_id_from_create_event else "!r:example.org",
        "content": {key: some_value(chance) for key in chance.sample(CONTENT_KEYS, 6)},
        "depth": chance.randrange(100),
        "origin_server_ts": 1_000_000,
        "prev_events": references,
        "auth_events": references,
        "hashes": {"sha256": "a"},
        "signatures": {"example.org": {"ed25519:1": "x"}},
        **{key: some_value(chance) for key in chance.sample(TOP_KEYS, 2)},
    }
    if in_event:
        pdu["event_id"] = "$e:example.org"
    if chance.random() < 0.5:
        pdu["state_key"] = chance.choice(["", "@a:example.org"])
    if pdu["type"] == "m.room.create" and version.room_id_from_create_event:
        # The peer stumbles over such an event that is no state.
        pdu["state_key"] = ""
        del pdu["room_id"]
    return pdu


def compare_formats(version: RoomVersion, oracle: Oracle, rounds: int) -> None:
    chance = Random(f"formats {version.id}")
    for number in range(rounds):
        pdu = some_pdu(chance, version)
        told = oracle.ask({"version": version.id, "pdu": pdu})
        assert content_hash(pdu, version) == told["content_hash"], (number, pdu)
        assert event_id_of(version, pdu) == told["event_id"], (number, pdu)
        assert redact(version, pdu) == told["redacted"], (number, pdu)


@pytest.mark.parametrize("version", VERSIONS)
def test_ids_hashes_and_redaction_equal_the_peers(version: RoomVersion, oracle: Oracle) -> None:
    """T-B25"""
    compare_formats(version, oracle, ROUNDS)


@pytest.mark.deep
@pytest.mark.parametrize("version", VERSIONS)
def test_ids_hashes_and_redaction_equal_the_peers_often(version: RoomVersion, oracle: Oracle) -> None:
    """T-B25"""
    compare_formats(version, oracle, ROUNDS_DEEP)


def some_condition(chance: Random) -> dict[str, Any]:
    key = chance.choice(
        ["content.body", "content.topic", r"content.m\.list", "content.number", "type", "content.deep.a"]
    )
    value = chance.choice(["a", "ab", 1, True, None, "@me:example.org"])
    return chance.choice(
        [
            {"kind": "event_match", "key": key, "pattern": "".join(chance.choices("aaBb_- *?", k=chance.randrange(6)))},
            {"kind": "event_match", "key": "content.body", "pattern": "".join(chance.choices("ab_-*?", k=4))},
            {"kind": "event_property_is", "key": key, "value": value},
            {"kind": "event_property_contains", "key": key, "value": value},
            {"kind": "contains_display_name"},
            {"kind": "room_member_count", "is": chance.choice(["", "==", "<", ">", "<=", ">="]) + chance.choice("123")},
            {"kind": "sender_notification_permission", "key": "room"},
            {"kind": "org.example.unknown"},
        ]
    )


def compare_conditions(oracle: Oracle, rounds: int) -> int:
    chance = Random("conditions")
    held = 0
    for number in range(rounds):
        event = {
            "type": chance.choice(["a", "ab"]),
            "sender": "@a:example.org",
            "room_id": "!r:example.org",
            "content": {
                "body": chance.choice(["".join(chance.choices("aaabB_- ", k=chance.randrange(1, 9))), 1]),
                "topic": "".join(chance.choices("abB_- ", k=chance.randrange(5))),
                "m.list": chance.sample(["a", "ab", 1, True, None, "@me:example.org"], 3),
                "number": chance.choice([1, True, None, "a"]),
                "deep": {"a": chance.choice(["a", ["ab"], {}])},
            },
        }
        who: dict[str, Any] = {
            "user_id": "@me:example.org",
            # No wildcards: the peer takes a name for a pattern, the spec for text.
            "display_name": chance.choice(["a", "ab", "a-b", "a b"]),
            "member_count": chance.randrange(1, 4),
            "sender_power": chance.choice([0, 50]),
        }
        condition = some_condition(chance)
        needed = chance.choice([{}, {"room": 0}, {"room": 51}])
        told = oracle.ask({"event": event, "condition": condition, "recipient": {**who, "notifications": needed}})
        recipient = Recipient(**who, power_levels={"notifications": needed})
        holds = compile_condition(condition).holds(EventView(event), recipient)
        assert holds is told["holds"], (number, condition, event, who, needed)
        held += holds
    return held


def test_push_conditions_equal_the_peers(oracle: Oracle) -> None:
    """T-H1: linear globs give what a regular expression gives."""
    assert compare_conditions(oracle, 600) > 50


@pytest.mark.deep
def test_push_conditions_equal_the_peers_often(oracle: Oracle) -> None:
    """T-H1"""
    assert compare_conditions(oracle, 20_000) > 2_000
