"""Our decisions against Synapse's, on random rooms of every version: verdicts, resolutions, and any order of input."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from homeserver.core.auth_rules import check_auth, check_auth_events
from homeserver.core.errors import RuleBroken
from homeserver.core.events import Event
from homeserver.core.room_versions import ROOM_VERSIONS, RoomVersion, StateResolution
from homeserver.core.state_resolution import resolve_states
from tests.kit.dag import Node, RandomRoom, State
from tests.peers.oracle import Oracle, running_oracle

PEER_PYTHON = Path(__file__).resolve().parents[3] / ".venv-peer" / "bin" / "python"
STEPS = 45
# Errors by which the peer refuses an event whose content isn't what it takes for granted.
_STUMBLES = ("KeyError", "AttributeError", "TypeError")
VERSIONS = [pytest.param(version, id=f"v{name}") for name, version in ROOM_VERSIONS.items()]

pytestmark = pytest.mark.peer


@pytest.fixture(scope="module")
def oracle() -> Iterator[Oracle]:
    with running_oracle(Path(os.environ.get("HANSA_PEER_PYTHON") or PEER_PYTHON)) as process:
        yield process


@pytest.mark.slow
@pytest.mark.parametrize("version", VERSIONS)
def test_decisions_equal_the_peers(version: RoomVersion, oracle: Oracle) -> None:
    """T-C1, T-C3, T-C4, T-C6, T-C8, T-C30. Some hundreds of cases a version."""
    assert sum(compare(version, seed, oracle) for seed in range(3)) > 300


@pytest.mark.deep
@pytest.mark.parametrize("version", VERSIONS)
def test_decisions_equal_the_peers_in_many_rooms(version: RoomVersion, oracle: Oracle) -> None:
    """T-C1, T-C3, T-C4, T-C6, T-C8, T-C30. More than 20,000 cases a version, thousands of them resolutions."""
    assert sum(compare(version, seed, oracle) for seed in range(1_000, 1_125)) > 20_000


def compare(version: RoomVersion, seed: int, oracle: Oracle) -> int:
    """Grows one room and holds every decision about it against the oracle's. How many there were."""
    room = RandomRoom(version, seed).grow(STEPS)
    honest = oracle.ask(_question(room, room.rejected, verdicts=True))
    assert honest["ids"] == list(room.events)
    failures = [*_verdict_failures(room, honest), *_resolution_failures(room, room.rejected, honest)]
    if version.state_resolution is not StateResolution.V1:  # the peer's version 1 knows nothing of rejected events
        tainted = _tainted(room)
        failures += _resolution_failures(room, tainted, oracle.ask(_question(room, tainted, verdicts=False)))
    assert not failures, f"version {version.id}, seed {seed}:\n" + "\n".join(failures)
    return 3 * len(room.nodes) + 2 * len(room.forks)


def _tainted(room: RandomRoom) -> set[Any]:
    """Some accepted events, called rejected: so that the resolutions meet rejected candidates and auth events."""
    candidates = [node.event.event_id for node in room.nodes[2:]]
    return room.rejected | set(room.chance.sample(candidates, min(4, len(candidates))))


def _question(room: RandomRoom, rejected: set[Any], *, verdicts: bool) -> dict[str, Any]:
    judged = room.nodes if verdicts else []
    return {
        "version": room.version.id,
        "events": [{"pdu": event.pdu, "rejected": event.event_id in rejected} for event in room.events.values()],
        "auth": [
            {"event": node.event.event_id, "state": ids}
            for node in judged
            for ids in (
                list(room.check_question(node.event, node.state_before).values()),
                [event.event_id for event in room.cited_state(node.event).values()],
            )
        ],
        "independent": [node.event.event_id for node in judged],
        "resolve": [[[[*key, event_id] for key, event_id in state.items()] for state in fork] for fork in room.forks],
    }


def _verdict_failures(room: RandomRoom, answer: dict[str, Any]) -> Iterator[str]:
    by_state = iter(answer["auth"])
    for node, independent in zip(room.nodes, answer["independent"], strict=True):
        before = room.state_of(room.check_question(node.event, node.state_before))
        for kind, ours, theirs in (
            ("state before", _refusal(check_auth, node.event, before), next(by_state)),
            ("own auth events", _refusal(check_auth, node.event, room.cited_state(node.event)), next(by_state)),
            ("citations", _refusal(_check_cited, room, node), independent),
        ):
            if node.event.type == "m.room.create" and kind != "citations":
                continue  # the peer judges create events where it judges citations
            if theirs is not None and theirs.startswith(_STUMBLES) and node.broken is not None:
                continue  # over a form that we refuse by another rule: either way the event is out
            if (ours is None) != (theirs is None):
                yield f"{kind} of {node.event.pdu}: ours {ours}, theirs {theirs}"


def _check_cited(room: RandomRoom, node: Node) -> None:
    """What does not depend on the state: the create event's rules, and those about citations."""
    event: Event = node.event
    if event.type == "m.room.create":
        check_auth(event, {})
    check_auth_events(event, [room.events[name] for name in event.auth_event_ids], rejected=room.rejected)


def _refusal(check: Callable[..., None], *values: Any) -> str | None:
    try:
        check(*values)
    except RuleBroken as refusal:
        return str(refusal)
    return None


def _resolution_failures(room: RandomRoom, rejected: set[Any], answer: dict[str, Any]) -> Iterator[str]:
    for number, (fork, theirs) in enumerate(zip(room.forks, answer["resolve"], strict=True)):
        ours = resolve_states(room.version, fork, room.events, rejected=rejected)
        expected = {(event_type, state_key): event_id for event_type, state_key, event_id in theirs}
        if ours != expected:
            yield f"fork {number}: " + _difference(ours, expected)
        shuffled = list(fork)
        room.chance.shuffle(shuffled)
        other = [dict(room.chance.sample(sorted(state.items()), len(state))) for state in shuffled]
        if resolve_states(room.version, other, room.events, rejected=rejected) != ours:
            yield f"fork {number}: another order of the input, another result"


def _difference(ours: State, theirs: State) -> str:
    keys = sorted(key for key in {*ours, *theirs} if ours.get(key) != theirs.get(key))
    return "; ".join(f"{key}: ours {ours.get(key)}, theirs {theirs.get(key)}" for key in keys)
