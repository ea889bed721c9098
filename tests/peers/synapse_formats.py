"""Says, with Synapse's own functions, how events are named, hashed and redacted, and which push conditions hold.

Run by the peer environment's Python. Reads one JSON object a line and writes one answer a line. It imports nothing of
this repository, and the product imports nothing of it.

{"version", "pdu"} gets {"event_id", "content_hash", "redacted"}; {"event", "condition", "recipient"} gets {"holds"}.
"""

from __future__ import annotations

import hashlib
import json
import sys
from typing import Any

import synapse.event_auth  # noqa: F401 - first: the other modules need it to be imported before them
from synapse.api.room_versions import KNOWN_ROOM_VERSIONS
from synapse.crypto.event_signing import compute_content_hash
from synapse.events import make_event_from_dict
from synapse.events.utils import prune_event
from synapse.push.bulk_push_rule_evaluator import _flatten_dict
from synapse.synapse_rust.push import PushRuleEvaluator
from unpaddedbase64 import encode_base64


def event_format(question: dict[str, Any]) -> dict[str, Any]:
    event = make_event_from_dict(question["pdu"], KNOWN_ROOM_VERSIONS[question["version"]])
    redacted = prune_event(event).get_pdu_json()
    redacted.pop("unsigned", None)
    return {
        "event_id": event.event_id,
        "content_hash": encode_base64(compute_content_hash(question["pdu"], hashlib.sha256)[1]),
        "redacted": redacted,
    }


def condition_holds(question: dict[str, Any]) -> dict[str, Any]:
    recipient = question["recipient"]
    evaluator = PushRuleEvaluator(
        _flatten_dict(question["event"]),
        False,
        recipient["member_count"],
        recipient["sender_power"],
        recipient["notifications"],
        {},
        False,
        [],
        False,
        False,
        False,
    )
    return {"holds": evaluator.matches(question["condition"], recipient["user_id"], recipient["display_name"], None)}


def serve() -> None:
    for line in sys.stdin:
        question = json.loads(line)
        answer = event_format(question) if "pdu" in question else condition_holds(question)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    serve()
