"""Power levels as they are read: defaults, each key alone, odd values. spec: client-server-api/#mroompower_levels"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from homeserver.core.auth_rules import CREATOR_LEVEL, SCALAR_LEVELS, PowerLevels, is_allowed, parse_level
from homeserver.core.room_versions import ROOM_VERSIONS, V1, V6, V9, V10, V11, V12, RoomVersion
from tests.kit.dag import ALICE, BOB, CAROL, DAVE
from tests.kit.scene import Scene

EVERY_VERSION = pytest.mark.parametrize("version", ROOM_VERSIONS.values(), ids=lambda version: f"v{version.id}")


def levels_of(version: RoomVersion, power: Mapping[str, Any] | None, **scene: Any) -> PowerLevels:
    return PowerLevels.of(Scene(version, power=power, **scene).state)


@EVERY_VERSION
def test_defaults(version: RoomVersion) -> None:
    """T-C9: without an m.room.power_levels event the creator has 100 (in version 12 more than any), others 0."""
    creator = CREATOR_LEVEL if version.creators_have_infinite_power else 100
    contents: list[dict[str, Any] | None] = [None, {}]
    for power in contents:
        levels = levels_of(version, power)
        assert (levels.user(ALICE), levels.user(BOB)) == (creator, 0)
        assert (levels.ban, levels.kick, levels.redact, levels.invite) == (50, 50, 50, 0)
        assert (levels.event("x", is_state=True), levels.event("x", is_state=False)) == (50, 0)
        assert levels.notifications("room") == 50
        assert levels.users() == {ALICE: creator}


@EVERY_VERSION
@pytest.mark.parametrize("name", SCALAR_LEVELS)
def test_each_level_is_read_alone(version: RoomVersion, name: str) -> None:
    """T-B12: a key changes what it names and nothing else."""
    plain, changed = levels_of(version, {}), levels_of(version, {name: 7})

    def readings(levels: PowerLevels) -> dict[str, int]:
        return {
            "users_default": levels.user(BOB),
            "events_default": levels.event("x", is_state=False),
            "state_default": levels.event("x", is_state=True),
            "ban": levels.ban,
            "redact": levels.redact,
            "kick": levels.kick,
            "invite": levels.invite,
        }

    assert readings(changed) == {**readings(plain), name: 7}
    assert changed.user(ALICE) == plain.user(ALICE)


@EVERY_VERSION
def test_named_events_users_and_notifications_go_before_defaults(version: RoomVersion) -> None:
    """T-B12."""
    power = {"events": {"m.x": 3}, "users": {BOB: 4}, "notifications": {"room": 5}, "users_default": 1}
    levels = levels_of(version, power)
    assert {levels.event("m.x", is_state=True), levels.event("m.x", is_state=False)} == {3}
    assert (levels.user(BOB), levels.user(CAROL)) == (4, 1)
    assert (levels.notifications("room"), levels.notifications("other")) == (5, 50)
    assert levels.may_send(BOB, "m.x", is_state=True)
    assert not levels.may_send(CAROL, "m.x", is_state=True)


def test_creators_of_version_12() -> None:
    """T-C16: sender and additional creators, whatever else the additional ones are."""
    levels = levels_of(V12, {"users": {BOB: 1, DAVE: 2}}, create={"additional_creators": [BOB, 5]})
    assert (levels.user(ALICE), levels.user(BOB)) == (CREATOR_LEVEL, CREATOR_LEVEL)
    assert levels.user(CAROL) == 0
    assert levels.users() == {ALICE: CREATOR_LEVEL, BOB: CREATOR_LEVEL, DAVE: 2}
    assert levels_of(V11, {}, create={"additional_creators": [BOB]}).user(BOB) == 0
    assert levels_of(V12, None, create={"additional_creators": "odd"}).user(ALICE) == CREATOR_LEVEL


# value, what it stands for in versions 1-5, 6-9, 10-12. spec: rooms/v1/#deprecated-event-content-schemas
_VALUES: list[tuple[object, int | None, int | None, int | None]] = [
    (5, 5, 5, 5),
    (-5, -5, -5, -5),
    (2**53 - 1, 2**53 - 1, 2**53 - 1, 2**53 - 1),
    (-(2**53) + 1, -(2**53) + 1, -(2**53) + 1, -(2**53) + 1),
    (2**53, 2**53, None, None),
    ("100", 100, 100, None),
    ("000100", 100, 100, None),
    ("+100", 100, 100, None),
    (" -00100 ", -100, -100, None),
    ("1_000", None, None, None),
    ("1.0", None, None, None),
    ("- 1", None, None, None),
    ("\u0665", None, None, None),
    ("9" * 5_000, None, None, None),
    ("", None, None, None),
    (50.57, 50, 50, None),
    (5.114698e4, 51146, 51146, None),
    (-1.5, -1, -1, None),
    (float("inf"), None, None, None),
    (True, None, None, None),
    (None, None, None, None),
    ([1], None, None, None),
]


@pytest.mark.parametrize(("value", "lenient", "strict_json", "integers"), _VALUES)
def test_values_of_levels(value: object, lenient: int | None, strict_json: int | None, integers: int | None) -> None:
    """T-B11, T-B15."""
    assert parse_level(V1, value) == lenient
    assert parse_level(V6, value) == strict_json
    assert parse_level(V10, value) == integers


@pytest.mark.parametrize("odd", ["high", [], {}, True])
def test_levels_that_cannot_be_read_give_nobody_anything(odd: object) -> None:
    """T-B13: old rooms may hold such values; a demand becomes out of reach, a user's own level worthless."""
    scene = Scene(V9, members={BOB: "join", CAROL: "join"}, power={"ban": odd, "users": {BOB: odd, CAROL: 0}})
    levels = PowerLevels.of(scene.state)
    assert levels.ban > levels.user(ALICE)
    assert levels.user(BOB) < levels.user(CAROL)
    assert not is_allowed(scene.event("m.room.member", ALICE, {"membership": "ban"}, BOB), scene.state)
    assert is_allowed(scene.event("m.room.member", ALICE, {"membership": "leave"}, BOB), scene.state)


def test_who_may_redact() -> None:
    """T-C11: from version 3 on at the time it takes effect: by level, or the sender's own server."""
    scene = Scene(V11, members={BOB: "join", CAROL: "join"}, power={"users": {BOB: 50}})
    levels = PowerLevels.of(scene.state)
    of_carol = scene.event("m.room.message", CAROL, {})
    assert levels.may_redact(CAROL, of_carol)
    assert levels.may_redact(DAVE, of_carol)
    assert levels.may_redact(BOB, of_carol)
    assert not levels.may_redact(CAROL, scene.event("m.room.message", ALICE, {}))


def test_who_of_our_users_may_ask_for_a_redaction() -> None:
    """T-C14: nobody redacts a neighbour's message because the server could."""
    scene = Scene(V11, members={BOB: "join", CAROL: "join"}, power={"users": {BOB: 50}})
    levels = PowerLevels.of(scene.state)
    of_carol = scene.event("m.room.message", CAROL, {})
    assert levels.may_request_redaction(CAROL, of_carol)
    assert levels.may_request_redaction(BOB, of_carol)
    assert not levels.may_request_redaction(DAVE, of_carol)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
_NAMES = st.sampled_from([*SCALAR_LEVELS, "users", "events", "notifications"])


@settings(max_examples=40)
@given(power=st.dictionaries(_NAMES, _JSON), version=st.sampled_from(list(ROOM_VERSIONS.values())))
def test_any_content_gives_levels_and_verdicts_without_an_exception(
    power: dict[str, Any], version: RoomVersion
) -> None:
    """T-B13, T-E18: whatever the stored event holds, reading it is safe and replacing it gives a verdict."""
    scene = Scene(version, members={BOB: "join"}, power=power)
    levels = PowerLevels.of(scene.state)
    assert all(isinstance(level, int) for level in levels.users().values())
    assert isinstance(levels.event("m.x", is_state=True) + levels.ban + levels.notifications("room"), int)
    for new in ({}, power, {"users": {BOB: 1}}):
        is_allowed(scene.event("m.room.power_levels", ALICE, new, ""), scene.state)
    is_allowed(scene.event("m.room.member", BOB, {"membership": "ban"}, ALICE), scene.state)


@settings(max_examples=40)
@given(content=st.dictionaries(st.sampled_from(["membership", "third_party_invite"]), _JSON), rule=_JSON)
def test_any_member_content_gives_a_verdict(content: dict[str, Any], rule: object) -> None:
    """T-B10, T-E18."""
    for version in (V9, V12):
        scene = Scene(version, members={BOB: "join"}, join_rule=rule)
        for target in (ALICE, BOB, "x", None):
            is_allowed(scene.event("m.room.member", BOB, content, target), scene.state)
