"""The inner loops of the pure core: canonical JSON, hash, sign, strict reading, push rules, visibility."""

from __future__ import annotations

import functools
from typing import Any

from bench.harness import measure
from homeserver.core import canonical_json
from homeserver.core.events import check_form, content_hash, parse_pdu, sign_event
from homeserver.core.identifiers import ServerName
from homeserver.core.push_rules import NO_EDITS, EventView, PushEdits, compile_ruleset, effective, put_rule
from homeserver.core.room_versions import V12
from homeserver.core.signing import Signer
from homeserver.core.visibility import VisibilityTimeline

SIGNER = Signer(ServerName("example.org"), "ed25519:1", bytes(32))
MEMBERS = 100


def pdu_of(body_bytes: int) -> dict[str, Any]:
    """A message of a room of version 12, without hashes and signatures."""
    return {
        "type": "m.room.message",
        "sender": "@alice:example.org",
        "room_id": "!" + "a" * 43,
        "content": {"msgtype": "m.text", "body": "x" * body_bytes},
        "origin_server_ts": 1_000_000,
        "depth": 12,
        "prev_events": ["$" + "a" * 43],
        "auth_events": ["$" + letter * 43 for letter in "abc"],
    }


def run() -> None:
    for size in (100, 10_000):
        pdu = pdu_of(size)
        event = sign_event(V12, pdu_of(size), SIGNER)
        measure("canonical JSON of an event", size, functools.partial(canonical_json.encode, event.pdu))
        measure("content hash", size, functools.partial(content_hash, pdu, V12))
        measure("hash, id and signature", size, lambda pdu=pdu: sign_event(V12, dict(pdu), SIGNER))
        measure("form of a PDU", size, functools.partial(check_form, V12, event.pdu))
        measure("PDU to event, hash checked", size, functools.partial(parse_pdu, V12, event.pdu))
    _reading()
    _push()
    _visibility()


def _reading() -> None:
    one = sign_event(V12, pdu_of(100), SIGNER).canonical
    brackets = b"[" * 50 + b",".join([b"[]"] * 340_000) + b"]" * 50
    for name, text in (
        ("a PDU", one),
        ("50 PDUs", b"[" + b",".join([one] * 50) + b"]"),
        ("1 MB of brackets", brackets),
        ("1 MB of strings", b"[" + b",".join([b'"a\\"b"'] * 140_000) + b"]"),
        ("1 MB in one string", b'"' + b"x" * 1_000_000 + b'"'),
    ):
        measure(f"nesting of {name}", len(text), functools.partial(canonical_json.nesting_of, text))
        measure(f"strict reading of {name}", len(text), functools.partial(canonical_json.parse_strict, text))


def _push() -> None:
    keywords: PushEdits = NO_EDITS
    for number in range(20):
        keywords = put_rule(keywords, "content", str(number), {"pattern": f"word{number}", "actions": ["notify"]})
    for name, edits in (("default rules", NO_EDITS), ("20 keywords", keywords)):
        compiled = compile_ruleset(effective(edits))

        def ask(compiled: Any = compiled) -> None:
            view = EventView({**pdu_of(100), "event_id": "$e"})
            for number in range(MEMBERS):
                compiled.actions(
                    view,
                    user_id=f"@user{number}:example.org",
                    display_name="User",
                    member_count=MEMBERS,
                    sender_power=0,
                    power_levels=None,
                )

        measure(f"push, per member, {name}", MEMBERS, ask, units=MEMBERS)


def _visibility() -> None:
    timeline = VisibilityTimeline([(1, "shared"), (500, "joined")], [(100, "join"), (700, "leave"), (900, "join")])
    measure("visibility, per event", 1_000, lambda: timeline.verdicts(range(1_000)), units=1_000)
