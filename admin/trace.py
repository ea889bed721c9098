"""What became of one event, step by step: received, signed, judged, kept, taken in, pushed, sent and acknowledged.

Says nothing of what the event says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import orjson

from admin.spam.rules import DENYING
from admin.storage import traces
from homeserver.core.identifiers import ServerName, domain_of
from homeserver.core.policy_server import KEY_ID
from homeserver.storage.database import Reader, Row
from homeserver.storage.events import REJECTED, SOFT_FAILED

GOOD, WAITS, BAD = "good", "waits", "bad"
# Which durable consumer stands for which step.
_STEPS = {"federation": "handed_to_federation", "unread": "counted"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing that happened, or is still to happen. `state` is good, waits or bad; times in milliseconds."""

    step: str
    state: str
    what: str
    at_ms: int | None = None
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """An event's steps in their order."""

    event_id: str
    room_id: str
    sender: str
    type: str
    steps: Sequence[Step]


async def trace(db: Reader, server_name: ServerName, event_id: str) -> Trace | None:
    """None for an event that this server never had. Seven queries."""
    row = await traces.event(db, event_id)
    if row is None:
        return await _staged(db, event_id)
    decided = await traces.decisions(db, row["sender"], event_id, row["room_id"], row["received_ms"])
    consumers = await traces.consumers(db)
    is_ours = domain_of(row["sender"]) == server_name
    steps = [_received(row, is_ours), _signed(row), _judged(row)]
    steps += [_decided(one) for one in decided if _is_about(one)] or [
        Step(step="rules", state=GOOD, what="no rule held")
    ]
    steps.append(_kept(row))
    if row["redacted_by"] is not None:
        steps.append(Step(step="redacted", state=BAD, what=f"by {row['redacted_by']}"))
    is_followed = row["ordering"] is not None and row["ordering"] > 0
    if is_followed:
        steps += [_taken(name, position, row) for name, position in consumers.items() if _step_of(name)]
        steps.append(_others(consumers, row["event_nid"]))
        waiting = await traces.pushes(db, row["event_nid"])
        steps += [_push(one) for one in waiting] or [Step(step="pushed", state=GOOD, what="no notification waits")]
    if is_followed and is_ours:
        handed = consumers.get("federation", 0)
        steps += [_sent(one, row, handed) for one in await traces.destinations(db, row["room_nid"], server_name)]
    found = row["source"]
    return Trace(
        event_id=event_id, room_id=row["room_id"], sender=row["sender"], type=str(found.get("type", "")), steps=steps
    )


def lines(found: Trace) -> str:
    """As JSONL: a line for each step."""
    about = {"event_id": found.event_id, "room_id": found.room_id, "sender": found.sender, "type": found.type}
    return "".join(orjson.dumps({**about, **asdict(step)}).decode() + "\n" for step in found.steps)


async def _staged(db: Reader, event_id: str) -> Trace | None:
    row = await traces.staged(db, event_id)
    if row is None:
        return None
    details = {"origin": row["origin"], "tries": row["tries"]}
    came = Step(step="received", state=GOOD, what=f"from {row['origin']}", at_ms=row["received_ms"], details=details)
    waits = Step(
        step="authorised",
        state=WAITS,
        what="it waits for events before it that aren't here yet",
        at_ms=row["due_ms"] or None,
        details=details,
    )
    return Trace(event_id=event_id, room_id=row["room_id"], sender="", type="", steps=[came, waits])


def _received(row: Mapping[str, Any], is_ours: bool) -> Step:
    what = "sent here" if is_ours else f"came from {domain_of(row['sender'])}, or a server that had it"
    details = {"origin_server_ts": row["origin_server_ts"], "device_id": row["device_id"], "depth": row["depth"]}
    return Step(step="received", state=GOOD, what=what, at_ms=row["received_ms"], details=details)


def _signed(row: Mapping[str, Any]) -> Step:
    signatures = row["source"].get("signatures", {})
    keys = {server: sorted(named) for server, named in signatures.items() if isinstance(named, dict)}
    by_policy = [server for server, named in keys.items() if KEY_ID in named]
    what = "by " + ", ".join(keys) if keys else "by nobody"
    if by_policy:
        what += f"; by the policy server {by_policy[0]}"
    return Step(step="signed", state=GOOD if keys else BAD, what=what, details={"keys": keys})


def _judged(row: Mapping[str, Any]) -> Step:
    reason = row["reason"] or ""
    details = {"room_version": row["version"], "auth_events": row["source"].get("auth_events", [])}
    if row["flags"] & REJECTED:
        return Step(step="authorised", state=BAD, what=f"rejected: {reason}", details=details)
    if row["flags"] & SOFT_FAILED:
        return Step(step="authorised", state=BAD, what=f"soft-failed: {reason}", details=details)
    if row["ordering"] is None:
        return Step(step="authorised", state=GOOD, what="accepted, outside of the timeline", details=details)
    return Step(step="authorised", state=GOOD, what="accepted", details=details)


def _is_about(one: Row) -> bool:
    """What was refused before it had an id is no event: what is traced is another one, of the same moment."""
    refused = one["stage"] == "enforced" and any(kind in DENYING for kind in one["outcome"].split(","))
    return one["is_certain"] or not refused


def _decided(one: Row) -> Step:
    certain = "" if one["is_certain"] else ", going by sender, room and time"
    undone = ", undone since" if one["undone_ts"] else ""
    return Step(
        step="rules",
        state=BAD if one["stage"] == "enforced" and not one["undone_ts"] else GOOD,
        what=f"{one['rule_id']} v{one['rule_version']} ({one['stage']}): {one['outcome']}{undone}{certain}",
        at_ms=one["decided_ts"],
        details={"decision_id": one["decision_id"], "hook": one["hook"]},
    )


def _kept(row: Mapping[str, Any]) -> Step:
    details = {"position": row["event_nid"], "ordering": row["ordering"], "state": row["state_nid"]}
    what = f"at position {row['event_nid']}"
    if row["ordering"] is not None and row["ordering"] < 0:
        what += ", as history from before this server was in the room"
    return Step(step="persisted", state=GOOD, what=what, details=details)


def _taken(name: str, position: int, row: Mapping[str, Any]) -> Step:
    step = _step_of(name)
    has = position >= row["event_nid"]
    behind = row["event_nid"] - position
    what = f"{name} has it" if has else f"{name} is {behind} positions before it"
    return Step(step=step, state=GOOD if has else WAITS, what=what, details={"consumer": name, "position": position})


def _step_of(consumer: str) -> str:
    """Empty for a consumer that is no step of its own."""
    return _STEPS.get(consumer) or ("indexed" if consumer.startswith("search") else "")


def _others(consumers: Mapping[str, int], event_nid: int) -> Step:
    """Consumers that keep tables. Some note how far they are only now and then: being behind is no fault of theirs."""
    others = {name: position for name, position in consumers.items() if not _step_of(name)}
    have = [name for name, position in others.items() if position >= event_nid]
    what = f"by {', '.join(have)}" if have else "by none so far"
    return Step(step="taken_in", state=GOOD, what=what, details=others)


def _push(one: Row) -> Step:
    return Step(
        step="pushed",
        state=BAD if one["failures"] else WAITS,
        what=f"to {one['user_id']} waits" + (f", after {one['failures']} failures" if one["failures"] else ""),
        at_ms=one["decided_ts"],
        details={"app_id": one["app_id"], "retry_ts": one["retry_ts"]},
    )


def _sent(one: Row, row: Mapping[str, Any], handed: int) -> Step:
    has = handed >= row["event_nid"] and (one["sent_position"] is None or one["sent_position"] >= row["event_nid"])
    details = {"server": one["server"], "retry_at_ms": one["retry_at_ms"], "failures": one["failures"]}
    if has:
        return Step(step="sent", state=GOOD, what=f"{one['server']} acknowledged it", details=details)
    why = f": {one['reason']}" if one["reason"] else ""
    return Step(
        step="sent", state=BAD if one["reason"] else WAITS, what=f"{one['server']} hasn't got it{why}", details=details
    )
