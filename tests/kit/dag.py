"""Random rooms from a seed: forks, bans, power fights, every join rule, refused events; and builders of single events.

Nothing is signed but third-party invites: signatures are checked before authorisation, and elsewhere.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from homeserver.core.auth_rules import (
    CREATE,
    JOIN_RULES,
    POWER_LEVELS,
    PowerLevels,
    auth_keys,
    check_auth,
    check_auth_events,
    keys_for_check,
)
from homeserver.core.errors import RuleBroken
from homeserver.core.events import Event, StateKey, content_hash, event_id_of, references
from homeserver.core.identifiers import EventId, ServerName, domain_of
from homeserver.core.room_versions import EventIdFormat, RoomVersion
from homeserver.core.signing import Signer, encode_base64
from homeserver.core.state_resolution import resolve_states

State = Mapping[StateKey, EventId]

ALICE, BOB = "@alice:a.example", "@bob:a.example"
CAROL, DAVE = "@carol:b.example", "@dave:b.example"
EVE, MALLORY = "@eve:c.example", "@mallory:c.example"
USERS = (ALICE, BOB, CAROL, DAVE, EVE, MALLORY)
IDENTITY = Signer(ServerName("id.example"), "ed25519:0", bytes(range(32)))
STRANGER = Signer(ServerName("id.example"), "ed25519:0", bytes(32))


def make_event(
    version: RoomVersion,
    *,
    type: str,
    sender: str,
    content: Mapping[str, Any],
    state_key: str | None = None,
    room_id: str | None = "!room:a.example",
    event_id: str | None = None,
    prev: Sequence[str] = (),
    auth: Sequence[str] = (),
    depth: int = 1,
    ts: int = 1,
    redacts: str | None = None,
) -> Event:
    """An unsigned event in the form of its version. `event_id` counts in versions 1 and 2 only."""
    pdu: dict[str, Any] = {
        "type": type,
        "sender": sender,
        "content": dict(content),
        "depth": depth,
        "origin_server_ts": ts,
        "prev_events": references(version, [(EventId(name), "0") for name in prev]),
        "auth_events": references(version, [(EventId(name), "0") for name in auth]),
        "signatures": {},
    }
    if room_id is not None:
        pdu["room_id"] = room_id
    if state_key is not None:
        pdu["state_key"] = state_key
    if redacts is not None:
        pdu["redacts"] = redacts
        if version.redacts_in_content:
            pdu["content"]["redacts"] = pdu.pop("redacts")
    if version.event_id_format is EventIdFormat.IN_EVENT:
        pdu["event_id"] = event_id or _name(type, sender, state_key, depth, ts)
    pdu["hashes"] = {"sha256": content_hash(pdu)}
    return Event(version, pdu, event_id_of(version, pdu))


def _name(type: str, sender: str, state_key: str | None, depth: int, ts: int) -> str:
    """An event id that says what the event is, with the one colon that it must have."""
    said = f"{type}-{sender}-{state_key}-{depth}-{ts}".replace(":", "-")
    return f"${said}:{domain_of(sender)}"


def make_create(version: RoomVersion, sender: str = ALICE, **content: Any) -> Event:
    """The create event of a room, of which `sender` is the creator."""
    full = {"room_version": version.id, **content}
    if version.creator_in_create_content:
        full.setdefault("creator", sender)
    room_id = None if version.room_id_from_create_event else "!room:" + domain_of(sender)
    return make_event(
        version,
        type="m.room.create",
        sender=sender,
        content=full,
        state_key="",
        room_id=room_id,
        depth=0,
        event_id="$create:" + domain_of(sender),
    )


def third_party_signed(target: str, token: str, signer: Signer = IDENTITY) -> dict[str, Any]:
    """`content.third_party_invite` for this user, signed by the identity server."""
    return {"display_name": "x", "signed": signer.sign_json({"mxid": target, "token": token})}


@dataclass
class Node:
    """An event in its place, and what we decided about it."""

    event: Event
    state_before: State
    state_after: State
    broken: RuleBroken | None


@dataclass
class RandomRoom:
    """A room that grows from a seed. Every choice comes from it, so that a failure needs only the seed to come back."""

    version: RoomVersion
    seed: int
    events: dict[EventId, Event] = field(default_factory=dict)
    nodes: list[Node] = field(default_factory=list)
    rejected: set[EventId] = field(default_factory=set)
    forks: list[list[State]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.chance = random.Random(f"{self.version.id}/{self.seed}")
        self._tips: list[Node] = []
        self._found()

    def grow(self, steps: int) -> RandomRoom:
        for _ in range(steps):
            self._step()
        return self

    def state_of(self, ids: State) -> dict[StateKey, Event]:
        return {key: self.events[event_id] for key, event_id in ids.items()}

    def check_question(self, event: Event, state: State) -> dict[StateKey, EventId]:
        """The part of a state that the rules look at for this event."""
        return {key: state[key] for key in keys_for_check(event) if key in state}

    # How the room begins

    def _found(self) -> None:
        chance, version = self.chance, self.version
        content: dict[str, Any] = {}
        if chance.random() < 0.05:
            content["m.federate"] = False
        if version.creators_have_infinite_power and chance.random() < 0.6:
            content["additional_creators"] = chance.sample(USERS[1:], chance.randint(0, 2))
        create = make_create(version, **content)
        self.room_id = create.room_id
        self.federates = content.get("m.federate", True)
        self._place(create, {}, None)
        self._send("m.room.member", ALICE, {"membership": "join"}, ALICE, self._tips[:1])
        if chance.random() < 0.9:
            users = {user: level for user, level in ((ALICE, 100), (BOB, 50), (CAROL, 50)) if chance.random() < 0.8}
            if version.creators_have_infinite_power:
                users = {user: level for user, level in users.items() if user not in (ALICE, *self._additional())}
            self._send(*POWER_LEVELS[:1], ALICE, {"users": users}, "", self._tips[:1])
        rule = "public" if chance.random() < 0.7 else chance.choice(["invite", "knock", "restricted"])
        self._send("m.room.join_rules", ALICE, {"join_rule": rule}, "", self._tips[:1])
        for user in chance.sample(USERS[1:], 3):
            self._send("m.room.member", user, {"membership": "join"}, user, self._tips[:1])

    def _additional(self) -> list[str]:
        listed: list[str] = self.nodes[0].event.content.get("additional_creators", [])
        return listed

    # How it goes on

    def _step(self) -> None:
        prev = self._choose_prev()
        states = [node.state_after for node in prev]
        distinct = [state for index, state in enumerate(states) if state not in states[:index]]
        if len(distinct) > 1:
            self.forks.append(list(distinct))
            state: State = resolve_states(self.version, distinct, self.events, rejected=self.rejected)
        else:
            state = distinct[0]
        action = self.chance.choices(_ACTIONS, _WEIGHTS)[0]
        act = action(self, state)
        if act is not None:
            self._send(*act, prev, state)

    def _choose_prev(self) -> list[Node]:
        chance = self.chance
        roll = chance.random()
        if roll < 0.45:
            return [chance.choice(self._tips)]
        if roll < 0.75 and len(self._tips) > 1:
            return chance.sample(self._tips, min(len(self._tips), chance.choice([2, 2, 3])))
        recent = self.nodes[max(1, len(self.nodes) - 15) :]
        return chance.sample(recent, min(len(recent), chance.choice([1, 1, 2])))

    def _send(
        self,
        type: str,
        sender: str,
        content: Mapping[str, Any],
        state_key: str | None,
        prev: Sequence[Node],
        state: State | None = None,
    ) -> None:
        chance, version = self.chance, self.version
        before = prev[0].state_after if state is None else state
        auth = [
            before[key]
            for key in auth_keys(version, type=type, sender=sender, state_key=state_key, content=content)
            if key in before
        ]
        if len(self.nodes) > 6 and chance.random() < 0.06:
            auth = self._spoilt(auth)
        depth = 1 + max(node.event.depth for node in prev)
        redacts = content.get("redacts") if type == "m.room.redaction" else None
        event = make_event(
            version,
            type=type,
            sender=sender,
            content={key: value for key, value in content.items() if redacts is None or key != "redacts"},
            state_key=state_key,
            room_id=self.room_id,
            event_id=f"$e{len(self.nodes)}x{chance.randint(0, 999)}:{domain_of(sender)}",
            prev=[node.event.event_id for node in prev],
            auth=auth,
            depth=chance.randint(1, 30) if chance.random() < 0.05 else depth,
            ts=chance.randint(1, 20) if chance.random() < 0.5 else len(self.nodes) + 20,
            redacts=redacts,
        )
        if event.event_id not in self.events:
            self._place(event, before, prev)

    def _spoilt(self, auth: Sequence[EventId]) -> list[EventId]:
        """The list as a careless or lying server would send it: one too few, one too many, one exchanged."""
        chance = self.chance
        spoilt = list(auth)
        if spoilt and chance.random() < 0.6:
            spoilt.pop(chance.randrange(len(spoilt)))
        if chance.random() < 0.7:
            # The peer doesn't survive a cited create event in version 12: our tables have that case.
            first = 1 if self.version.room_id_from_create_event else 0
            spoilt.append(chance.choice(self.nodes[first:]).event.event_id)
        return spoilt

    def _place(self, event: Event, before: State, prev: Sequence[Node] | None) -> None:
        broken = self._verdict(event, before)
        after = before
        if event.is_state and broken is None:
            after = {**before, event.key: event.event_id}
        node = Node(event, before, after, broken)
        self.events[event.event_id] = event
        self.nodes.append(node)
        if broken is not None:
            self.rejected.add(event.event_id)
            return
        gone = {id(one) for one in prev or ()}
        self._tips = [tip for tip in self._tips if id(tip) not in gone or self.chance.random() < 0.15][-4:]
        self._tips.append(node)

    def _verdict(self, event: Event, before: State) -> RuleBroken | None:
        cited = [self.events[event_id] for event_id in event.auth_event_ids]
        try:
            check_auth_events(event, cited, rejected=self.rejected)
            check_auth(event, self.cited_state(event))
            check_auth(event, self.state_of(self.check_question(event, before)))
        except RuleBroken as refusal:
            return refusal
        return None

    def cited_state(self, event: Event) -> dict[StateKey, Event]:
        """The state that the event's own auth events make; in version 12 with the create event."""
        cited = [self.events[event_id] for event_id in event.auth_event_ids]
        state = {one.key: one for one in cited if one.is_state}
        if self.version.room_id_from_create_event and self.nodes:
            state[CREATE] = self.nodes[0].event
        return state

    # What the actions ask

    def members(self, state: State, *memberships: str) -> list[str]:
        found = []
        for user in USERS:
            event_id = state.get(("m.room.member", user))
            membership = self.events[event_id].membership if event_id else "leave"
            if membership in memberships:
                found.append(user)
        return found

    def levels(self, state: State) -> PowerLevels:
        power = state.get(POWER_LEVELS)
        return PowerLevels(self.events[state[CREATE]], self.events[power] if power else None)

    def somebody(self, state: State) -> str:
        """Mostly a member, and of those mostly one with power; now and then anybody."""
        members = self.members(state, "join")
        if not members or self.chance.random() < 0.08:
            return self.chance.choice(USERS)
        levels = self.levels(state)
        weights = [1 + 4 * (levels.user(user) >= 50) for user in members]
        return self.chance.choices(members, weights)[0]

    def target(self) -> str:
        """Anybody; in a room that doesn't federate only users of its server (see the test of that difference)."""
        users = USERS if self.federates else USERS[:2]
        return self.chance.choice(users)


Act = tuple[str, str, Mapping[str, Any], str | None]
Action = Callable[[RandomRoom, State], Act | None]


def _topic(room: RandomRoom, state: State) -> Act:
    kind = room.chance.choice(["m.room.topic", "m.room.name", "org.example.thing"])
    sender = room.somebody(state)
    key = "" if kind != "org.example.thing" else room.chance.choice(["", sender, room.chance.choice(USERS), "a"])
    return kind, sender, {"text": room.chance.randint(0, 9)}, key


def _message(room: RandomRoom, state: State) -> Act:
    return "m.room.message", room.somebody(state), {"body": "x"}, None


def _join(room: RandomRoom, state: State) -> Act:
    user = room.target()
    sender = user if room.chance.random() < 0.95 else room.somebody(state)
    return "m.room.member", sender, {"membership": "join"}, user


def _restricted_join(room: RandomRoom, state: State) -> Act:
    user = room.target()
    content: dict[str, Any] = {"membership": "join", "join_authorised_via_users_server": room.somebody(state)}
    if room.chance.random() < 0.05:
        content["join_authorised_via_users_server"] = 5
    return "m.room.member", user, content, user


def _leave(room: RandomRoom, state: State) -> Act:
    user = room.target()
    return "m.room.member", user, {"membership": "leave"}, user


def _knock(room: RandomRoom, state: State) -> Act:
    user = room.target()
    sender = user if room.chance.random() < 0.9 else room.somebody(state)
    return "m.room.member", sender, {"membership": "knock"}, user


def _invite(room: RandomRoom, state: State) -> Act:
    return "m.room.member", room.somebody(state), {"membership": "invite"}, room.target()


def _kick(room: RandomRoom, state: State) -> Act:
    return "m.room.member", room.somebody(state), {"membership": "leave"}, room.target()


def _ban(room: RandomRoom, state: State) -> Act:
    return "m.room.member", room.somebody(state), {"membership": "ban"}, room.target()


def _odd_member(room: RandomRoom, state: State) -> Act:
    contents: list[dict[str, Any]] = [{}, {"membership": "dance"}, {"membership": 3}, {"membership": "join"}]
    content = room.chance.choice(contents)
    key = room.chance.choice([None, "nobody", room.target()])
    return "m.room.member", room.somebody(state), content, key


def _join_rules(room: RandomRoom, state: State) -> Act:
    rules = ["public", "public", "invite", "knock", "restricted", "knock_restricted", "private", "odd"]
    return JOIN_RULES[0], room.somebody(state), {"join_rule": room.chance.choice(rules)}, ""


def _power(room: RandomRoom, state: State) -> Act:
    chance = room.chance
    sender = room.somebody(state)
    current = state.get(POWER_LEVELS)
    content: dict[str, Any] = {
        key: dict(value) if isinstance(value, dict) else value
        for key, value in (room.events[current].content if current else {}).items()
    }
    for _ in range(chance.choice([1, 1, 2, 3])):
        level = chance.choice([-1, 0, 25, 49, 50, 51, 75, 99, 100, 101])
        _change_levels(room, content, level)
    return POWER_LEVELS[0], sender, content, ""


def _change_levels(room: RandomRoom, content: dict[str, Any], level: int) -> None:
    chance, version = room.chance, room.version
    value: Any = level
    if not version.strict_canonical_json and chance.random() < 0.1:
        value = level + 0.5 if level >= 0 else level
    if chance.random() < (0.15 if not version.integer_power_levels_only else 0.02):
        value = chance.choice([str(level), f" {level} ", f"00{level}" if level >= 0 else str(level)])
    roll = chance.random()
    if roll < 0.5:
        users = content.setdefault("users", {})
        candidates = [user for user in USERS if user not in _infinite(room) or chance.random() < 0.1]
        user = chance.choice(candidates or USERS[:1])
        if user in users and chance.random() < 0.3:
            del users[user]
        else:
            users[user] = value
        if chance.random() < 0.02:
            users["nobody"] = 0
    elif roll < 0.75:
        name = chance.choice("users_default events_default state_default ban redact kick invite".split())
        if name in content and chance.random() < 0.3:
            del content[name]
        else:
            content[name] = value
    else:
        name = chance.choice(["events", "events", "notifications"])
        levels = content.setdefault(name, {})
        kinds = ["room", "x"] if name == "notifications" else ["m.room.topic", "m.room.power_levels", "m.room.message"]
        kind = chance.choice(kinds)
        if kind in levels and chance.random() < 0.3:
            del levels[kind]
        else:
            levels[kind] = value


def _infinite(room: RandomRoom) -> Iterable[str]:
    return (ALICE, *room._additional()) if room.version.creators_have_infinite_power else ()


def _third_party(room: RandomRoom, state: State) -> Act:
    key = encode_base64(IDENTITY.verify_key)
    content: dict[str, Any] = {"display_name": "x", "key_validity_url": "https://id.example/v"}
    if room.chance.random() < 0.5:
        content["public_key"] = key
    else:
        content |= {"public_key": encode_base64(STRANGER.verify_key), "public_keys": [{"public_key": key}]}
    return "m.room.third_party_invite", room.somebody(state), content, room.chance.choice(["t1", "t2"])


def _third_party_accept(room: RandomRoom, state: State) -> Act:
    chance, target, token = room.chance, room.target(), room.chance.choice(["t1", "t1", "t2"])
    promise = state.get(("m.room.third_party_invite", token))
    sender = room.events[promise].sender if promise and chance.random() < 0.8 else room.somebody(state)
    invite = third_party_signed(target, token, IDENTITY if chance.random() < 0.8 else STRANGER)
    if chance.random() < 0.1:
        invite["signed"]["mxid"] = chance.choice(USERS)
    return "m.room.member", sender, {"membership": "invite", "third_party_invite": invite}, target


def _redaction(room: RandomRoom, state: State) -> Act:
    victim = room.chance.choice(room.nodes).event.event_id
    return "m.room.redaction", room.somebody(state), {"redacts": victim}, None


def _aliases(room: RandomRoom, state: State) -> Act:
    sender = room.chance.choice(USERS)
    key = room.chance.choice([domain_of(sender), domain_of(sender), "b.example", None, ""])
    return "m.room.aliases", sender, {"aliases": []}, key


def _second_create(room: RandomRoom, state: State) -> Act | None:
    if room.version.room_id_from_create_event:
        return None
    return "m.room.create", room.somebody(state), {"creator": BOB, "room_version": room.version.id}, ""


_TABLE: tuple[tuple[Action, float], ...] = (
    (_topic, 4),
    (_message, 1),
    (_join, 4),
    (_restricted_join, 2),
    (_leave, 1.5),
    (_knock, 1.5),
    (_invite, 2),
    (_kick, 2),
    (_ban, 2),
    (_odd_member, 0.3),
    (_join_rules, 2),
    (_power, 4),
    (_third_party, 0.7),
    (_third_party_accept, 1),
    (_redaction, 0.4),
    (_aliases, 0.4),
    (_second_create, 0.1),
)
_ACTIONS = [action for action, _weight in _TABLE]
_WEIGHTS = [weight for _action, weight in _TABLE]
