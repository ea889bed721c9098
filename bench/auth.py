"""What one decision of the authorisation rules costs."""

from __future__ import annotations

from bench.harness import measure
from homeserver.core.auth_rules import auth_keys_of, check_auth
from homeserver.core.events import Event, StateKey
from homeserver.core.room_versions import V6, V12
from homeserver.core.signing import encode_base64
from tests.kit.dag import ALICE, BOB, CAROL, EVE, IDENTITY, third_party_signed
from tests.kit.scene import Scene


def run() -> None:
    for version in (V6, V12):
        for users in (3, 1_000):
            powers = {"users": {BOB: 50, **{f"@user{number}:a.example": 1 for number in range(users - 1)}}}
            scene = Scene(version, members={BOB: "join", CAROL: "join"}, power=powers, join_rule="public")
            promise = {"public_key": encode_base64(IDENTITY.verify_key)}
            scene.add("m.room.third_party_invite", CAROL, promise, "t")
            changed = {"users": {**powers["users"], BOB: 51}}
            invite = {"membership": "invite", "third_party_invite": third_party_signed(EVE, "t")}
            events = {
                "message": scene.event("m.room.message", CAROL, {"body": "x"}),
                "join": scene.event("m.room.member", EVE, {"membership": "join"}, EVE),
                "ban": scene.event("m.room.member", ALICE, {"membership": "ban"}, BOB),
                "power levels": scene.event("m.room.power_levels", ALICE, scene.with_alice(changed), ""),
                "third-party invite": scene.event("m.room.member", CAROL, invite, EVE),
            }
            for name, event in events.items():
                _measure(f"auth v{version.id}: {name}", users, event, scene.state)


def _measure(name: str, users: int, event: Event, state: dict[StateKey, Event]) -> None:
    check_auth(event, state)

    def work() -> None:
        for _ in range(20):
            auth_keys_of(event)
            check_auth(event, state)

    measure(name, users, work, units=20, seconds=0.2)
