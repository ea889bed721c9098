"""Which events authorise which, and what an event may cite. spec: server-server-api/#auth-events-selection"""

from __future__ import annotations

from typing import Any

import pytest

from homeserver.core.auth_rules import (
    RULE_NUMBERS,
    Rule,
    auth_keys,
    check_auth_events,
    keys_for_check,
    required_signers,
)
from homeserver.core.errors import MissingEvents, RuleBroken
from homeserver.core.events import Event, StateKey
from homeserver.core.identifiers import EventId
from homeserver.core.room_versions import ROOM_VERSIONS, V1, V7, V8, V11, V12, RoomVersion
from tests.kit.dag import ALICE, BOB, CAROL, third_party_signed
from tests.kit.scene import Scene

EVERY_VERSION = pytest.mark.parametrize("version", ROOM_VERSIONS.values(), ids=lambda version: f"v{version.id}")
CREATE, POWER, RULES = ("m.room.create", ""), ("m.room.power_levels", ""), ("m.room.join_rules", "")


def member(user: str) -> StateKey:
    return ("m.room.member", user)


def promise(token: str) -> StateKey:
    return ("m.room.third_party_invite", token)


BASE = {POWER, member(BOB)}
VIA = {"membership": "join", "join_authorised_via_users_server": ALICE}


@pytest.mark.parametrize(
    ("type", "state_key", "content", "selected"),
    [
        ("m.room.create", "", {}, None),
        ("m.room.message", None, {"membership": "join"}, BASE),
        ("m.room.topic", "", {}, BASE),
        ("m.room.member", BOB, {"membership": "join"}, BASE | {RULES}),
        ("m.room.member", BOB, {"membership": "knock"}, BASE | {RULES}),
        ("m.room.member", BOB, {"membership": "leave"}, BASE),
        ("m.room.member", CAROL, {"membership": "leave"}, BASE | {member(CAROL)}),
        ("m.room.member", CAROL, {"membership": "ban"}, BASE | {member(CAROL)}),
        ("m.room.member", CAROL, {"membership": "invite"}, BASE | {member(CAROL), RULES}),
        (
            "m.room.member",
            CAROL,
            {"membership": "invite", "third_party_invite": third_party_signed(CAROL, "t")},
            BASE | {member(CAROL), RULES, promise("t")},
        ),
        (
            "m.room.member",
            CAROL,
            {"membership": "join", "third_party_invite": third_party_signed(CAROL, "t")},
            BASE | {member(CAROL), RULES},
        ),
        ("m.room.member", CAROL, {"membership": "invite", "third_party_invite": 5}, BASE | {member(CAROL), RULES}),
        ("m.room.member", CAROL, {"membership": ["invite"]}, BASE | {member(CAROL)}),
        ("m.room.member", None, {"membership": "join"}, BASE),
    ],
)
@EVERY_VERSION
def test_selection(
    version: RoomVersion, type: str, state_key: str | None, content: dict[str, Any], selected: set[StateKey] | None
) -> None:
    """T-C16, T-C29: the selection; version 12 never selects the create event, and still checks against it."""
    keys = auth_keys(version, type=type, sender=BOB, state_key=state_key, content=content)
    wanted = set() if selected is None else selected | ({CREATE} if version is not V12 else set())
    assert len(keys) == len(set(keys))
    assert set(keys) == wanted
    checked = keys_for_check(Scene(version).event(type, BOB, content, state_key))
    assert set(checked) == (set() if selected is None else selected | {CREATE})


@EVERY_VERSION
def test_the_authoriser_of_a_restricted_join_is_selected(version: RoomVersion) -> None:
    """T-C21: from version 8 on, for joins only."""
    keys = auth_keys(version, type="m.room.member", sender=BOB, state_key=BOB, content=VIA)
    assert (member(ALICE) in keys) is version.restricted_joins
    leaving = auth_keys(
        version, type="m.room.member", sender=BOB, state_key=BOB, content={**VIA, "membership": "leave"}
    )
    assert member(ALICE) not in leaving


class Cited:
    """A message of Bob's that cites what it should, and what tests put beside."""

    def __init__(self, version: RoomVersion) -> None:
        self.scene = Scene(version, members={BOB: "join"}, power={})
        self.due = [self.scene.state[key] for key in (POWER, member(BOB))]
        if version is not V12:
            self.due.insert(0, self.scene.create)

    def broken(self, *cited: Event, rejected: frozenset[EventId] = frozenset()) -> str | None:
        event = self.scene.event("m.room.message", BOB, {}, auth=[one.event_id for one in cited])
        try:
            check_auth_events(event, cited, rejected=rejected)
        except RuleBroken as refusal:
            return refusal.rule
        return None


@EVERY_VERSION
def test_citations(version: RoomVersion) -> None:
    """T-A11, T-C5, T-C16, T-C29, T-E18: rule 2; in version 12 rule 3."""
    case, numbers = Cited(version), RULE_NUMBERS[version.id]
    due, scene = case.due, case.scene
    assert case.broken(*due) is None
    assert case.broken(*[one for one in due if one.type != "m.room.power_levels"]) is None
    assert case.broken(*due, due[-1]) == numbers[Rule.AUTH_EVENTS_DUPLICATE]
    older = scene.event("m.room.member", BOB, {"membership": "join"}, BOB, depth=3)
    assert case.broken(*due, older) == numbers[Rule.AUTH_EVENTS_DUPLICATE]
    for surplus in (
        scene.state[member(ALICE)],
        scene.add("m.room.topic", ALICE, {}, ""),
        scene.event("m.room.message", ALICE, {}),
        scene.event("m.room.member", BOB, {"membership": "join"}),
    ):
        assert case.broken(*due, surplus) == numbers[Rule.AUTH_EVENTS_SELECTION]
    rejected = frozenset({due[-1].event_id})
    assert case.broken(*due, rejected=rejected) == numbers[Rule.AUTH_EVENTS_REJECTED]
    room_id = "!" + "A" * 43 if version is V12 else "!other:a.example"
    foreign = scene.event("m.room.member", BOB, {"membership": "join"}, BOB, room_id=room_id)
    assert case.broken(*due[:-1], foreign) == numbers[Rule.AUTH_EVENTS_ROOM]


def test_the_create_event_is_cited_up_to_version_11_and_never_after() -> None:
    """T-C16, T-C29."""
    assert Cited(V11).broken(*Cited(V11).due[1:]) == "2.4"
    latest = Cited(V12)
    assert latest.broken(latest.scene.create, *latest.due) == "3.2"


def test_unknown_auth_events_are_asked_for() -> None:
    event = Scene(V11).event("m.room.message", BOB, {}, auth=["$a", "$b"])
    with pytest.raises(MissingEvents) as missing:
        check_auth_events(event, [], rejected=())
    assert missing.value.ids == {"$a", "$b"}


def test_who_must_have_signed() -> None:
    """T-A4, T-C21: the sender's server, the event id's in versions 1 and 2, the authoriser's of a restricted join."""

    def signers(version: RoomVersion, content: dict[str, Any], **more: Any) -> set[str]:
        return set(required_signers(Scene(version).event("m.room.member", CAROL, content, CAROL, **more)))

    assert signers(V11, {"membership": "join"}) == {"b.example"}
    assert signers(V1, {"membership": "join"}, event_id="$x:c.example") == {"b.example", "c.example"}
    assert signers(V8, VIA) == {"b.example", "a.example"}
    assert signers(V7, VIA) == {"b.example"}
    assert "" in signers(V8, {**VIA, "join_authorised_via_users_server": None})  # nobody can have signed
    invited = {"membership": "invite", "third_party_invite": third_party_signed(CAROL, "t")}
    assert signers(V11, invited) == set()
