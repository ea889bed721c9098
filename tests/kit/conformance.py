"""Holds every answer of a server under test against the specification's definitions, where those are at hand.

An answer whose JSON isn't what its operation's schema says fails the test that asked. Paths that the specification
doesn't know pass, and so does everything where the definitions aren't there.
"""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any

import jsonschema_rs

from homeserver.core.errors import MatrixError
from homeserver.web.router import Router
from scripts.definitions import Operation, operations, shared_spec

ERROR = {
    "type": "object",
    "properties": {"errcode": {"type": "string", "pattern": "^[A-Z][A-Z_.0-9]*$"}, "error": {"type": "string"}},
    "required": ["errcode"],
}

# What differs from the definitions on purpose: the operation's path, the query and the problem, and why.
TOLERATED = (
    # Deployed servers say null where there is none, and Complement wants the key to be there.
    (
        "/_matrix/client/v3/rooms/{roomId}/joined_members",
        re.compile("joined/.*/(avatar_url|display_name): null is not"),
    ),
    # A filter with `event_fields` takes fields away that events else must have.
    ("/_matrix/client/v3/sync", re.compile("filter=.* rooms/.*/events/.* is a required property")),
    # Without a relay for calls there is nothing to tell; deployed servers answer an empty object, and clients know it.
    ("/_matrix/client/v3/voip/turnServer", re.compile("is a required property")),
    # An event that is sent later (MSC4140) has no id yet.
    *(
        (f"/_matrix/client/v3/rooms/{{roomId}}/{place}", re.compile(r"msc4140\.delay=.*event_id.* is a required"))
        for place in ("send/{eventType}/{txnId}", "state/{eventType}/{stateKey}")
    ),
    # Which algorithm clients back their keys up with is theirs to choose; the server only keeps it.
    ("/_matrix/client/v3/room_keys/version", re.compile("algorithm: ")),
    ("/_matrix/client/v3/room_keys/version/{version}", re.compile("algorithm: ")),
)

# Opened by a person's browser: what goes wrong later is said on a page.
FOR_BROWSERS = frozenset(("/_matrix/client/v3/login/sso/redirect", "/_matrix/client/v3/login/sso/redirect/{idpId}"))


def check_answer(method: str, path: str, status: int, content_type: str, body: bytes) -> None:
    """Raises AssertionError where the answer isn't as the specification has it."""
    operation = _operation(method, path.partition("?")[0])
    if operation is None or (not body and status == 200 and operation.responses.get("200") is None):
        return
    validator = _validator(operation.method, operation.path, status)
    if validator is None:
        return
    if operation.path in FOR_BROWSERS and content_type == "text/html":
        return
    assert content_type.startswith("application/json"), (method, path, status, content_type)
    problems = [
        f"{'/'.join(map(str, error.instance_path))}: {error.message[:300]}"
        for error in validator.iter_errors(json.loads(body))
    ]
    tolerated = [pattern for place, pattern in TOLERATED if place == operation.path]
    problems = [
        problem for problem in problems if not any(pattern.search(f"{path} {problem}") for pattern in tolerated)
    ]
    assert not problems, (method, path, status, problems[:5], body[:600])


def operation_of(method: str, path: str) -> Operation | None:
    """The operation of the client's API that a request is meant for."""
    return _operation(method, path)


@cache
def _router() -> Router[Operation] | None:
    spec = shared_spec()
    if spec is None:
        return None
    router: Router[Operation] = Router()
    for operation in operations(spec, "client-server"):
        router.add(operation.method, operation.path, operation)
    return router


def _operation(method: str, path: str) -> Operation | None:
    router = _router()
    if router is None:
        return None
    try:
        found, _ = router.find(method, path.replace("/_matrix/client/r0/", "/_matrix/client/v3/", 1))
    except MatrixError:
        return None
    return found if found.method == method else None


@cache
def _validator(method: str, path: str, status: int) -> Any:
    """What checks answers of this status; None where they are no JSON."""
    operation = _operation(method, path)
    assert operation is not None
    if str(status) in operation.responses:
        schema = operation.responses[str(status)]
        if schema is None and status >= 400:
            schema = ERROR
    else:
        schema = ERROR if status >= 400 else None
    if status == 401 and schema is not None:
        # A token that is missing or wrong, or a step of interactive authentication.
        schema = {"anyOf": [schema, ERROR, {"required": ["flows", "session"]}]}
    return None if schema is None else jsonschema_rs.Draft202012Validator(dict(schema))
