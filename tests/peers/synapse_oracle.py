"""Answers, with Synapse's own functions, what Synapse would decide. Run by the peer environment's Python.

Reads one JSON object a line (a room: its version, its events, questions about them) and writes one answer a line. It
imports nothing of this repository, and the product imports nothing of it.

A room is {"version", "events": [{"pdu", "rejected"}], "auth": [{"event", "state": [ids]}], "independent": [ids],
"resolve": [[[type, state_key, id]...]...]}. The answer has "ids" (of the events, in order), "auth" and "independent"
(null where allowed, else the refusal) and "resolve" (a list of [type, state_key, id] for each question).
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import synapse.event_auth as event_auth  # first: the other modules need it to be imported before them
from synapse.api.room_versions import KNOWN_ROOM_VERSIONS
from synapse.events import make_event_from_dict
from synapse.state import v1, v2
from synapse.storage.databases.main.event_federation import StateDifference

# Synapse walks the auth chains of events in flight without remembering where it was: only where that is cheap.
WALK_MAX = 20_000


class Store:
    """The events of one room, as the algorithms ask for them."""

    def __init__(self, events: dict[str, Any]) -> None:
        self.events = events

    async def get_events(self, event_ids: Any, *_: Any, **__: Any) -> dict[str, Any]:
        return {event_id: self.events[event_id] for event_id in event_ids if event_id in self.events}

    async def get_auth_chain_difference(
        self, room_id: str, state_sets: Any, conflicted_state: Any, additional: Any
    ) -> StateDifference:
        chains = [self.reachable(state_set) for state_set in state_sets]
        difference = chains[0].union(*chains) - chains[0].intersection(*chains)
        if conflicted_state is None:
            return StateDifference(difference, None)
        citing: dict[str, set[str]] = {}
        for event_id in self.reachable(conflicted_state):
            for auth_id in self.events[event_id].auth_event_ids():
                citing.setdefault(auth_id, set()).add(event_id)
        forwards: set[str] = set()
        waiting = list(conflicted_state)
        while waiting:
            event_id = waiting.pop()
            if event_id not in forwards:
                forwards.add(event_id)
                waiting.extend(citing.get(event_id, ()))
        return StateDifference(difference, forwards)

    def reachable(self, starts: Any) -> set[str]:
        seen: set[str] = set()
        waiting = list(starts)
        while waiting:
            event_id = waiting.pop()
            if event_id not in seen:
                seen.add(event_id)
                waiting.extend(self.events[event_id].auth_event_ids())
        return seen


class NoClock:
    async def sleep(self, duration: Any) -> None:
        pass


def refusal_of(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def state_verdict(store: Store, question: dict[str, Any]) -> str | None:
    try:
        event_auth.check_state_dependent_auth_rules(
            store.events[question["event"]], [store.events[event_id] for event_id in question["state"]]
        )
    except Exception as error:
        return refusal_of(error)
    return None


async def independent_verdict(store: Store, event_id: str) -> str | None:
    try:
        await event_auth.check_state_independent_auth_rules(store, store.events[event_id])
    except Exception as error:
        return refusal_of(error)
    return None


def in_flight(store: Store) -> dict[str, Any] | None:
    """All events of a small room, so that Synapse's own arithmetic of auth chains is at work; else nothing."""
    paths: dict[str, int] = {}
    total = 0
    for event_id, event in store.events.items():  # in an order in which what is cited comes first
        paths[event_id] = 1 + sum(paths[auth_id] for auth_id in event.auth_event_ids())
        total += paths[event_id]
        if total > WALK_MAX:
            return None
    return dict(store.events)


async def resolution(version: Any, store: Any, states: Any) -> list[list[str]]:
    room_id = next(iter(store.events.values())).room_id
    maps = [{(event_type, state_key): event_id for event_type, state_key, event_id in state} for state in states]
    if version.identifier == "1":
        resolved = await v1.resolve_events_with_store(room_id, version, maps, None, store.get_events)
    else:
        clock: Any = NoClock()
        resolved = await v2.resolve_events_with_store(clock, room_id, version, maps, in_flight(store), store)
    return [[event_type, state_key, event_id] for (event_type, state_key), event_id in resolved.items()]


async def answer(room: dict[str, Any]) -> dict[str, Any]:
    version = KNOWN_ROOM_VERSIONS[room["version"]]
    ids: list[str] = []
    events: dict[str, Any] = {}
    for entry in room["events"]:
        event = make_event_from_dict(entry["pdu"], version, rejected_reason="rejected" if entry["rejected"] else None)
        ids.append(event.event_id)
        events[event.event_id] = event
    store = Store(events)
    return {
        "ids": ids,
        "auth": [state_verdict(store, question) for question in room["auth"]],
        "independent": [await independent_verdict(store, event_id) for event_id in room["independent"]],
        "resolve": [await resolution(version, store, states) for states in room["resolve"]],
    }


async def serve() -> None:
    for line in sys.stdin:
        sys.stdout.write(json.dumps(await answer(json.loads(line))) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(serve())
