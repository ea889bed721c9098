"""Every rule of every room version: an event that it refuses beside one, as like as can be, that is allowed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from homeserver.core.auth_rules import RULE_NUMBERS, Rule, check_auth
from homeserver.core.errors import RuleBroken
from homeserver.core.events import Event, StateKey
from homeserver.core.room_versions import ROOM_VERSIONS, V8, V9, V10, V11, V12, RoomVersion
from homeserver.core.signing import encode_base64
from tests.kit.dag import (
    ALICE,
    BOB,
    CAROL,
    DAVE,
    EVE,
    IDENTITY,
    STRANGER,
    make_create,
    make_event,
    third_party_signed,
)
from tests.kit.scene import Scene

MOD = {"users": {CAROL: 50}}
IN_ROOM = {BOB: "join", CAROL: "join"}


@dataclass(frozen=True)
class Case:
    """An event, and the room that it is sent to."""

    type: str
    sender: str
    content: Mapping[str, Any]
    state_key: str | None = None
    more: Mapping[str, Any] = field(default_factory=dict)
    scene: Mapping[str, Any] = field(default_factory=dict)
    promise: Mapping[str, Any] | None = None  # content of the room's m.room.third_party_invite of token "t"

    def build(self, version: RoomVersion) -> tuple[Event, dict[StateKey, Event]]:
        scene = Scene(version, **self.scene)
        if self.promise is not None:
            scene.add("m.room.third_party_invite", CAROL, self.promise, "t")
        content = scene.with_alice(self.content) if self.type == "m.room.power_levels" else self.content
        return scene.event(self.type, self.sender, content, self.state_key, **self.more), scene.state


def member(sender: str, membership: object, target: str | None, *, also: Any = None, **scene: Any) -> Case:
    return Case("m.room.member", sender, {"membership": membership, **(also or {})}, target, scene=scene)


def levels(sender: str, new: Mapping[str, Any], old: Mapping[str, Any] | None, **scene: Any) -> Case:
    """Replaces `old` by `new`; Carol has level 50 in both, Bob none of his own."""

    def with_mods(content: Mapping[str, Any]) -> dict[str, Any]:
        return {**content, "users": {CAROL: 50, **content.get("users", {})}}

    power = None if old is None else with_mods(old)
    return Case("m.room.power_levels", sender, with_mods(new), "", scene={"members": IN_ROOM, "power": power, **scene})


def message(sender: str, **scene: Any) -> Case:
    return Case("m.room.message", sender, {"body": "x"}, scene=scene)


def third_party(target: str, invite: object, *, sender: str = CAROL, promised: bool = True, **scene: Any) -> Case:
    promise = {"public_key": encode_base64(IDENTITY.verify_key)} if promised else None
    content = {"membership": "invite", "third_party_invite": invite}
    return Case("m.room.member", sender, content, target, scene={"members": IN_ROOM, **scene}, promise=promise)


GOOD = third_party_signed(DAVE, "t")
PUBLIC: Mapping[str, Any] = {"join_rule": "public"}
RESTRICTED: Mapping[str, Any] = {"join_rule": "restricted", "members": IN_ROOM}
VIA_BOB = {"join_authorised_via_users_server": BOB}
KNOCK: Mapping[str, Any] = {"join_rule": "knock"}
BANNED_BOB = {BOB: "ban", CAROL: "join"}
MAPS_OF_NO_LEVELS: tuple[Any, ...] = ({"x": "5"}, {"x": None}, [], 5)

# rule, refused, allowed
PAIRS: list[tuple[Rule, Case, Case]] = [
    (Rule.MEMBER_FORM, member(BOB, "join", None, **PUBLIC), member(BOB, "join", BOB, **PUBLIC)),
    (Rule.MEMBER_FORM, member(BOB, 1, BOB, **PUBLIC), member(BOB, "join", BOB, **PUBLIC)),
    (Rule.MEMBER_FORM, member(ALICE, "invite", "dave"), member(ALICE, "invite", DAVE)),
    (Rule.JOIN_SENDER, member(ALICE, "join", BOB, **PUBLIC), member(BOB, "join", BOB, **PUBLIC)),
    (
        Rule.JOIN_BANNED,
        member(BOB, "join", BOB, members={BOB: "ban"}, **PUBLIC),
        member(BOB, "join", BOB, members={BOB: "leave"}, **PUBLIC),
    ),
    (
        Rule.JOIN_OTHERWISE,
        member(BOB, "join", BOB, join_rule="invite"),
        member(BOB, "join", BOB, join_rule="invite", members={BOB: "invite"}),
    ),
    (Rule.JOIN_OTHERWISE, member(BOB, "join", BOB), member(BOB, "join", BOB, members={BOB: "join"})),
    (
        Rule.JOIN_OTHERWISE,
        member(BOB, "join", BOB, join_rule="private", members={BOB: "invite"}),
        member(BOB, "join", BOB, **PUBLIC),
    ),
    (Rule.JOIN_OTHERWISE, member(BOB, "join", BOB, join_rule=["public"]), member(BOB, "join", BOB, **PUBLIC)),
    (
        Rule.JOIN_RESTRICTED,
        member(DAVE, "join", DAVE, **RESTRICTED),
        member(DAVE, "join", DAVE, also=VIA_BOB, **RESTRICTED),
    ),
    (
        Rule.JOIN_RESTRICTED,
        member(DAVE, "join", DAVE, also={"join_authorised_via_users_server": 7}, **RESTRICTED),
        member(DAVE, "join", DAVE, also=VIA_BOB, **RESTRICTED),
    ),
    (
        Rule.JOIN_RESTRICTED,
        member(DAVE, "join", DAVE, also=VIA_BOB, join_rule="restricted", members={BOB: "leave"}),
        member(DAVE, "join", DAVE, also=VIA_BOB, join_rule="restricted", members={BOB: "leave", DAVE: "invite"}),
    ),
    (
        Rule.JOIN_RESTRICTED,
        member(DAVE, "join", DAVE, also=VIA_BOB, power={"invite": 1}, **RESTRICTED),
        member(DAVE, "join", DAVE, also=VIA_BOB, power={"invite": 1, "users": {BOB: 1}}, **RESTRICTED),
    ),
    (
        Rule.THIRD_PARTY_BANNED,
        third_party(DAVE, GOOD, members={**IN_ROOM, DAVE: "ban"}),
        third_party(DAVE, GOOD, members={**IN_ROOM, DAVE: "leave"}),
    ),
    (Rule.THIRD_PARTY_SIGNED, third_party(DAVE, {"display_name": "x"}), third_party(DAVE, GOOD)),
    (Rule.THIRD_PARTY_SIGNED, third_party(DAVE, "signed"), third_party(DAVE, GOOD)),
    (Rule.THIRD_PARTY_FIELDS, third_party(DAVE, {"signed": {"mxid": DAVE}}), third_party(DAVE, GOOD)),
    (Rule.THIRD_PARTY_FIELDS, third_party(DAVE, {"signed": {"mxid": DAVE, "token": 1}}), third_party(DAVE, GOOD)),
    (Rule.THIRD_PARTY_FIELDS, third_party(DAVE, {"signed": []}), third_party(DAVE, GOOD)),
    (Rule.THIRD_PARTY_MXID, third_party(EVE, GOOD), third_party(DAVE, GOOD)),
    (Rule.THIRD_PARTY_TOKEN, third_party(DAVE, GOOD, promised=False), third_party(DAVE, GOOD)),
    (Rule.THIRD_PARTY_SENDER, third_party(DAVE, GOOD, sender=ALICE), third_party(DAVE, GOOD)),
    (
        Rule.THIRD_PARTY_OTHERWISE,
        third_party(DAVE, third_party_signed(DAVE, "t", STRANGER)),
        third_party(DAVE, third_party_signed(DAVE, "t")),
    ),
    (
        Rule.THIRD_PARTY_OTHERWISE,
        third_party(DAVE, {"signed": {**GOOD["signed"], "more": 1}}),
        third_party(DAVE, {"signed": GOOD["signed"], "more": 1}),
    ),
    (
        Rule.INVITE_SENDER,
        member(BOB, "invite", DAVE, members={BOB: "leave"}),
        member(BOB, "invite", DAVE, members={BOB: "join"}),
    ),
    (
        Rule.INVITE_TARGET,
        member(ALICE, "invite", BOB, members={BOB: "join"}),
        member(ALICE, "invite", BOB, members={BOB: "leave"}),
    ),
    (
        Rule.INVITE_TARGET,
        member(ALICE, "invite", BOB, members={BOB: "ban"}),
        member(ALICE, "invite", BOB, members={BOB: "invite"}),
    ),
    (
        Rule.INVITE_OTHERWISE,
        member(BOB, "invite", DAVE, members=IN_ROOM, power={"invite": 50, **MOD}),
        member(CAROL, "invite", DAVE, members=IN_ROOM, power={"invite": 50, **MOD}),
    ),
    (Rule.LEAVE_SELF, member(BOB, "leave", BOB), member(BOB, "leave", BOB, members={BOB: "invite"})),
    (
        Rule.LEAVE_SELF,
        member(BOB, "leave", BOB, members={BOB: "ban"}),
        member(BOB, "leave", BOB, members={BOB: "join"}),
    ),
    (
        Rule.LEAVE_SENDER,
        member(CAROL, "leave", BOB, members={BOB: "join"}, power=MOD),
        member(CAROL, "leave", BOB, members=IN_ROOM, power=MOD),
    ),
    (
        Rule.LEAVE_UNBAN,
        member(CAROL, "leave", BOB, members=BANNED_BOB, power={"ban": 51, **MOD}),
        member(CAROL, "leave", BOB, members=BANNED_BOB, power={"ban": 50, **MOD}),
    ),
    (
        Rule.LEAVE_OTHERWISE,
        member(CAROL, "leave", BOB, members=IN_ROOM, power={"kick": 51, **MOD}),
        member(CAROL, "leave", BOB, members=IN_ROOM, power={"kick": 50, **MOD}),
    ),
    (
        Rule.LEAVE_OTHERWISE,
        member(CAROL, "leave", BOB, members=IN_ROOM, power={"users": {CAROL: 50, BOB: 50}}),
        member(CAROL, "leave", BOB, members=IN_ROOM, power={"users": {CAROL: 50, BOB: 49}}),
    ),
    (
        Rule.BAN_SENDER,
        member(CAROL, "ban", BOB, members={BOB: "join"}, power=MOD),
        member(CAROL, "ban", BOB, members=IN_ROOM, power=MOD),
    ),
    (
        Rule.BAN_OTHERWISE,
        member(CAROL, "ban", BOB, members=IN_ROOM, power={"ban": 51, **MOD}),
        member(CAROL, "ban", BOB, members=IN_ROOM, power={"ban": 50, **MOD}),
    ),
    (
        Rule.BAN_OTHERWISE,
        member(CAROL, "ban", BOB, members=IN_ROOM, power={"users": {CAROL: 50, BOB: 50}}),
        member(CAROL, "ban", BOB, members=IN_ROOM, power={"users": {CAROL: 50, BOB: 49}}),
    ),
    (Rule.KNOCK_RULE, member(BOB, "knock", BOB, join_rule="invite"), member(BOB, "knock", BOB, **KNOCK)),
    (Rule.KNOCK_SENDER, member(ALICE, "knock", BOB, **KNOCK), member(BOB, "knock", BOB, **KNOCK)),
    *(
        (
            Rule.KNOCK_OTHERWISE,
            member(BOB, "knock", BOB, members={BOB: membership}, **KNOCK),
            member(BOB, "knock", BOB, members={BOB: "leave"}, **KNOCK),
        )
        for membership in ("ban", "invite", "join")
    ),
    (Rule.MEMBERSHIP_UNKNOWN, member(BOB, "dance", BOB, **PUBLIC), member(BOB, "join", BOB, **PUBLIC)),
    (Rule.SENDER_JOINED, message(BOB, members={BOB: "invite"}), message(BOB, members={BOB: "join"})),
    (
        Rule.FEDERATE,
        message(CAROL, members=IN_ROOM, create={"m.federate": False}),
        message(BOB, members=IN_ROOM, create={"m.federate": False}),
    ),
    (
        Rule.ALIASES_STATE_KEY,
        Case("m.room.aliases", EVE, {"aliases": []}),
        Case("m.room.aliases", EVE, {"aliases": []}, "c.example"),
    ),
    (
        Rule.ALIASES_DOMAIN,
        Case("m.room.aliases", EVE, {"aliases": []}, "a.example"),
        Case("m.room.aliases", EVE, {"aliases": []}, "c.example"),
    ),
    (
        Rule.THIRD_PARTY_INVITE_LEVEL,
        Case("m.room.third_party_invite", BOB, {}, "t", scene={"members": IN_ROOM, "power": {"invite": 1}}),
        Case("m.room.third_party_invite", BOB, {}, "t", scene={"members": IN_ROOM, "power": {"invite": 0}}),
    ),
    (
        Rule.REQUIRED_LEVEL,
        Case("m.room.topic", BOB, {}, "", scene={"members": IN_ROOM, "power": MOD}),
        Case("m.room.topic", CAROL, {}, "", scene={"members": IN_ROOM, "power": MOD}),
    ),
    (
        Rule.STATE_KEY_OF_ANOTHER,
        Case("org.example", CAROL, {}, ALICE, scene={"members": IN_ROOM, "power": MOD}),
        Case("org.example", CAROL, {}, CAROL, scene={"members": IN_ROOM, "power": MOD}),
    ),
    (
        Rule.STATE_KEY_OF_ANOTHER,
        Case("org.example", CAROL, {}, f"{ALICE}_x", scene={"members": IN_ROOM, "power": MOD}),
        Case("org.example", CAROL, {}, CAROL, scene={"members": IN_ROOM, "power": MOD}),
    ),
    *(
        (
            Rule.STATE_KEY_OF_NOBODY,
            Case("org.example", ALICE, {}, odd, scene={"members": IN_ROOM, "power": MOD}),
            Case("org.example", ALICE, {}, f"{BOB}_{odd}", scene={"members": IN_ROOM, "power": MOD}),
        )
        for odd in ("@", "@bob", "@bob_x", f"{BOB}x:y", "@:_", "@bob:_", f"{BOB}:x_")
    ),
    *(
        (Rule.LEVELS_INTEGERS, levels(ALICE, {name: value}, None), levels(ALICE, {name: 5}, None))
        for name in "users_default events_default state_default ban redact kick invite".split()
        for value in ("5", None, 5.5, True, 2**53, -(2**53))
    ),
    *(
        (Rule.LEVELS_MAPS, levels(ALICE, {name: value}, None), levels(ALICE, {name: {"x": 5}}, None))
        for name in ("events", "notifications")
        for value in MAPS_OF_NO_LEVELS
    ),
    *(
        (Rule.LEVELS_USERS, levels(ALICE, {"users": {name: value}}, None), levels(ALICE, {"users": {BOB: 1}}, None))
        for name, value in (("bob", 1), ("@bob", 1), (BOB, None), (BOB, "high"), (BOB, True), (BOB, [1]))
    ),
    (
        Rule.LEVELS_CREATORS,
        levels(ALICE, {"users": {ALICE: 100}}, None),
        levels(ALICE, {"users": {BOB: 100}}, None),
    ),
    (
        Rule.LEVELS_CREATORS,
        levels(ALICE, {"users": {BOB: 1}}, None, create={"additional_creators": [BOB]}),
        levels(ALICE, {"users": {BOB: 1}}, None, create={"additional_creators": [DAVE]}),
    ),
    *(
        (
            Rule.LEVELS_CURRENT,
            levels(CAROL, {name: 50}, {name: 51, "events": {"m.room.power_levels": 50}}),
            levels(CAROL, {name: 49, "events": {"m.room.power_levels": 50}}, {name: 50}),
        )
        for name in "users_default events_default state_default ban redact kick invite".split()
    ),
    *(
        (
            Rule.LEVELS_NEW,
            levels(CAROL, {name: 51}, {name: 50}),
            levels(CAROL, {name: 50}, {name: 49}),
        )
        for name in "events_default state_default ban redact kick invite".split()
    ),
    (Rule.LEVELS_NEW, levels(CAROL, {"users_default": 51}, {}), levels(CAROL, {"users_default": 50}, {})),
    (
        Rule.LEVELS_MAP_CURRENT,
        levels(CAROL, {}, {"events": {"x": 51}}),
        levels(CAROL, {}, {"events": {"x": 50}}),
    ),
    (
        Rule.LEVELS_MAP_NEW,
        levels(CAROL, {"events": {"x": 51}}, {}),
        levels(CAROL, {"events": {"x": 50}}, {}),
    ),
    (
        Rule.LEVELS_USER_CURRENT,
        levels(CAROL, {}, {"users": {BOB: 50}}),
        levels(CAROL, {}, {"users": {BOB: 49}}),
    ),
    (
        Rule.LEVELS_USER_CURRENT,
        levels(CAROL, {"users": {BOB: 0}}, {"users": {BOB: 50}}),
        levels(CAROL, {"users": {CAROL: 0}}, {}),
    ),
    (
        Rule.LEVELS_USER_NEW,
        levels(CAROL, {"users": {BOB: 51}}, {}),
        levels(CAROL, {"users": {BOB: 50}}, {}),
    ),
    (
        Rule.LEVELS_USER_NEW,
        levels(CAROL, {"users": {CAROL: 51}}, {}),
        levels(CAROL, {"users": {CAROL: 49}}, {}),
    ),
    (
        Rule.REDACTION_OTHERWISE,
        Case("m.room.redaction", BOB, {}, more={"redacts": "$x:b.example"}, scene={"members": IN_ROOM}),
        Case("m.room.redaction", BOB, {}, more={"redacts": "$x:a.example"}, scene={"members": IN_ROOM}),
    ),
    (
        Rule.REDACTION_OTHERWISE,
        Case("m.room.redaction", BOB, {}, scene={"members": IN_ROOM}),
        Case("m.room.redaction", ALICE, {}, scene={"members": IN_ROOM}),
    ),
]
# Judged elsewhere in this file or in test_auth_events.py: rules about create events, citations and signatures.
ELSEWHERE = {
    Rule.CREATE_PREV_EVENTS,
    Rule.CREATE_ROOM_ID,
    Rule.CREATE_ROOM_VERSION,
    Rule.CREATE_CREATOR,
    Rule.CREATE_ADDITIONAL_CREATORS,
    Rule.ROOM_ID_IS_CREATE_EVENT,
    Rule.AUTH_EVENTS_DUPLICATE,
    Rule.AUTH_EVENTS_SELECTION,
    Rule.AUTH_EVENTS_REJECTED,
    Rule.AUTH_EVENTS_CREATE,
    Rule.AUTH_EVENTS_ROOM,
    Rule.MEMBER_AUTHORISER_SIGNATURE,
}


def broken_rule(event: Event, state: Mapping[StateKey, Event]) -> str | None:
    try:
        check_auth(event, state)
    except RuleBroken as refusal:
        return refusal.rule
    return None


@pytest.mark.parametrize(
    ("version", "rule", "refused", "allowed"),
    [
        pytest.param(version, rule, refused, allowed, id=f"v{version.id}-{rule.name}-{number}")
        for number, (rule, refused, allowed) in enumerate(PAIRS)
        for version in ROOM_VERSIONS.values()
        if rule in RULE_NUMBERS[version.id]
    ],
)
def test_each_rule_refuses_and_its_neighbour_passes(
    version: RoomVersion, rule: Rule, refused: Case, allowed: Case
) -> None:
    """T-C6, T-C9, T-C11, T-C16, T-C20, T-C21, T-C22, T-B11, T-B12."""
    assert broken_rule(*refused.build(version)) == RULE_NUMBERS[version.id][rule]
    assert broken_rule(*allowed.build(version)) is None


def test_no_rule_is_left_out() -> None:
    """T-C6."""
    assert {rule for rule, _refused, _allowed in PAIRS} | ELSEWHERE == set(Rule)


@pytest.mark.parametrize("version", ROOM_VERSIONS.values(), ids=lambda version: f"v{version.id}")
def test_create_events(version: RoomVersion) -> None:
    """T-C6, T-C16: rule 1."""
    assert broken_rule(make_create(version), {}) is None
    assert broken_rule(make_create(version, room_version="nobody's"), {}) == "1.3"
    assert broken_rule(make_create(version, room_version=7), {}) == "1.3"

    def variant(**changes: Any) -> Event:
        given: dict[str, Any] = {"room_id": None if version.room_id_from_create_event else "!room:a.example", **changes}
        content = {"room_version": version.id, "creator": ALICE}
        return make_event(version, type="m.room.create", sender=ALICE, content=content, state_key="", **given)

    assert broken_rule(variant(), {}) is None
    assert broken_rule(variant(prev=["$x:a.example"]), {}) == "1.1"
    assert broken_rule(variant(room_id="!room:b.example"), {}) == "1.2"


@pytest.mark.parametrize("version", ROOM_VERSIONS.values(), ids=lambda version: f"v{version.id}")
def test_create_events_name_their_creator_where_the_version_wants_it(version: RoomVersion) -> None:
    room_id = None if version.room_id_from_create_event else "!room:a.example"
    event = make_event(
        version, type="m.room.create", sender=ALICE, content={"room_version": version.id}, state_key="", room_id=room_id
    )
    assert broken_rule(event, {}) == ("1.4" if version.creator_in_create_content else None)


@pytest.mark.parametrize("creators", ["@bob:a.example", [1], ["bob"], {}, None, ["@b\x00:a.example"]])
def test_additional_creators_are_a_list_of_user_ids(creators: object) -> None:
    """T-C16: rule 1.4 of version 12; older versions don't look."""
    assert broken_rule(make_create(V12, additional_creators=creators), {}) == "1.4"
    assert broken_rule(make_create(V11, additional_creators=creators), {}) is None
    assert broken_rule(make_create(V12, additional_creators=[BOB]), {}) is None


def test_the_room_id_is_the_create_event() -> None:
    """T-C2, T-C16: rule 2 of version 12."""
    scene = Scene(V12, members={BOB: "join"})
    assert broken_rule(scene.event("m.room.message", BOB, {}), scene.state) is None
    foreign = scene.event("m.room.message", BOB, {}, room_id="!" + "A" * 43)
    assert broken_rule(foreign, scene.state) == "2"
    assert broken_rule(scene.event("m.room.message", BOB, {}), {}) == "2"


@pytest.mark.parametrize("version", ROOM_VERSIONS.values(), ids=lambda version: f"v{version.id}")
def test_only_the_creator_joins_first(version: RoomVersion) -> None:
    """Rule 5.2.1 and its likes: after the create event alone, its creator joins whatever the join rule is."""
    scene = Scene(version, members={ALICE: "leave"})

    def join(user: str) -> Event:
        return scene.event("m.room.member", user, {"membership": "join"}, user, prev=[scene.create.event_id])

    assert broken_rule(join(ALICE), scene.state) is None
    assert broken_rule(join(BOB), scene.state) == RULE_NUMBERS[version.id][Rule.JOIN_OTHERWISE]


def test_the_creator_is_who_the_version_says() -> None:
    """Up to version 10 `content.creator`, from version 11 on the sender."""
    for version, creator in ((V10, BOB), (V11, ALICE)):
        scene = Scene(version, members={ALICE: "leave"}, create={"creator": BOB})
        for user in (ALICE, BOB):
            join = scene.event("m.room.member", user, {"membership": "join"}, user, prev=[scene.create.event_id])
            assert (broken_rule(join, scene.state) is None) is (user == creator)


@pytest.mark.parametrize("version", ROOM_VERSIONS.values(), ids=lambda version: f"v{version.id}")
@pytest.mark.parametrize("rule", ["knock", "restricted", "knock_restricted"])
def test_join_rules_count_from_their_version_on(version: RoomVersion, rule: str) -> None:
    """T-C22. An unknown join rule lets nobody in, not even the invited."""
    since = {"knock": version.knocking, "restricted": version.restricted_joins}
    known = since.get(rule, version.knock_restricted)
    invited = member(DAVE, "join", DAVE, join_rule=rule, members={DAVE: "invite"})
    assert (broken_rule(*invited.build(version)) is None) is known
    knock = member(DAVE, "knock", DAVE, join_rule=rule)
    assert (broken_rule(*knock.build(version)) is None) is (known and rule != "restricted")
    leave = member(DAVE, "leave", DAVE, members={DAVE: "knock"})
    assert (broken_rule(*leave.build(version)) is None) is version.knocking


@pytest.mark.parametrize("version", ROOM_VERSIONS.values(), ids=lambda version: f"v{version.id}")
def test_notification_levels_are_guarded_from_version_6_on(version: RoomVersion) -> None:
    """T-B12."""
    raised = levels(CAROL, {"notifications": {"room": 51}}, {})
    lowered = levels(CAROL, {}, {"notifications": {"room": 51}})
    guarded = version.notifications_power_checked
    for case, rule in ((raised, Rule.LEVELS_MAP_NEW), (lowered, Rule.LEVELS_MAP_CURRENT)):
        assert broken_rule(*case.build(version)) == (RULE_NUMBERS[version.id][rule] if guarded else None)


def test_creators_are_above_every_level() -> None:
    """T-C16, T-B11: nobody removes a creator of a version 12 room, who removes everybody else."""
    top = {"users": {CAROL: 2**53 - 1}, "ban": 2**53 - 1, "kick": 2**53 - 1, "state_default": 2**53 - 1}
    extra: dict[str, Any] = {"members": IN_ROOM, "power": top, "create": {"additional_creators": [BOB]}}
    assert broken_rule(*member(CAROL, "ban", BOB, **extra).build(V12)) == "5.6.3"
    assert broken_rule(*member(BOB, "ban", CAROL, **extra).build(V12)) is None
    assert broken_rule(*member(BOB, "ban", ALICE, **extra).build(V12)) == "5.6.3"
    assert broken_rule(*Case("m.room.topic", BOB, {}, "", scene=extra).build(V12)) is None


def test_a_room_that_does_not_federate_may_still_invite_afar() -> None:
    """Rule 3 looks at senders alone, though some servers refuse the target too: the invited could never join."""
    scene: dict[str, Any] = {"create": {"m.federate": False}}
    for version in (V8, V9, V12):
        assert broken_rule(*member(ALICE, "invite", EVE, **scene).build(version)) is None
        joining = member(EVE, "join", EVE, join_rule="public", members={EVE: "invite"}, **scene)
        assert broken_rule(*joining.build(version)) == RULE_NUMBERS[version.id][Rule.FEDERATE]


def test_any_signature_by_any_key_of_the_promise_is_enough() -> None:
    """T-C20."""
    both = STRANGER.sign_json(third_party_signed(DAVE, "t")["signed"])
    blocks = {"a.stranger": {"ed25519:0": "AAAA"}, **both["signatures"]}
    case = third_party(DAVE, {"signed": {**both, "signatures": blocks}})
    assert broken_rule(*case.build(V12)) == "5.4.1.8"  # the stranger's signature replaced the identity server's
    good = third_party_signed(DAVE, "t")["signed"]
    blocks = {"a.stranger": {"ed25519:0": "AAAA", "rsa:1": "x"}, "b": 7, **good["signatures"]}
    assert broken_rule(*third_party(DAVE, {"signed": {**good, "signatures": blocks}}).build(V12)) is None


@pytest.mark.parametrize("promise", [{}, {"public_key": 5}, {"public_key": "!"}, {"public_keys": [5, {}, {"x": 1}]}])
def test_a_promise_without_keys_lets_nobody_in(promise: dict[str, Any]) -> None:
    """T-C20, T-B13."""
    case = Case("m.room.member", CAROL, {"membership": "invite", "third_party_invite": GOOD}, DAVE, promise=promise)
    assert broken_rule(*case.build(V12)) == "5.4.1.8"
