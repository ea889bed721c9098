"""Holds what a server under test sends to services of the tests against the specification's definitions.

A service tells each request that it hears. What doesn't fit fails the test when the service ends: an error raised while
a request is answered would only become an answer of 500, which the server under test is made to bear.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any
from urllib.parse import parse_qs

import jsonschema_rs

from homeserver.core.errors import MatrixError
from homeserver.web.router import Router
from scripts.definitions import Operation, operations, shared_spec

# Of each API, what is at none of its paths on purpose, as paths begin: routes of earlier times.
_OLDER_ROUTES: Mapping[str, Sequence[str]] = {
    # spec: application-service-api/#legacy-routes
    "application-service": ("/transactions/", "/users/", "/rooms/", "/_matrix/app/unstable/thirdparty/"),
}
# Members of bodies beside the specification's and without a namespace of their own, and why.
_BESIDE = {
    # Read by mautrix under this name, as MSC4203 has it once it is stable.
    ("application-service", "/_matrix/app/v1/transactions/{txnId}"): frozenset(("to_device",)),
}
PROBLEMS_MAX = 20


class RequestsHeard:
    """The requests to one service. `api` is a folder of the definitions; without them all passes."""

    def __init__(self, api: str) -> None:
        self._api = api
        self._problems: list[str] = []
        self.count = 0

    def hear(self, method: str, path_and_query: str, body: bytes, headers: Mapping[str, str]) -> None:
        """Keeps what is wrong with a request. `path_and_query` as it stood in the request, percent-encoded."""
        self.count += 1
        path, _, query = path_and_query.partition("?")
        for problem in _problems(self._api, method, path, query, body, headers):
            if len(self._problems) < PROBLEMS_MAX:
                self._problems.append(f"{method} {path}: {problem}")

    def check(self) -> None:
        """Raises AssertionError if anything was heard that the definitions don't have so."""
        assert not self._problems, self._problems


def _problems(api: str, method: str, path: str, query: str, body: bytes, headers: Mapping[str, str]) -> list[str]:
    router = _router(api)
    if router is None:
        return []
    try:
        operation, _ = router.find(method, path)
    except MatrixError:
        is_older = path.startswith(tuple(_OLDER_ROUTES.get(api, ())))
        return [] if is_older else ["no operation of the specification"]
    found = [f"the query lacks {name}" for name in _needed(operation) if name not in parse_qs(query)]
    if operation.needs_token and "Authorization" not in headers:
        found.append("there is no Authorization")
    if operation.body is None:
        return [*found, *(["there is a body"] if body else [])]
    if not headers.get("Content-Type", "").startswith("application/json"):
        found.append(f"the body is {headers.get('Content-Type')}")
    try:
        told = json.loads(body)
    except ValueError:
        return [*found, "the body is no JSON"]
    found += [
        f"{'/'.join(map(str, error.instance_path))}: {error.message[:300]}"
        for error in _validator(api, operation.method, operation.path).iter_errors(told)
    ]
    return found + [f"{name} is not the specification's" for name in _unknown(operation, told)]


def _needed(operation: Operation) -> list[str]:
    return [one.name for one in operation.parameters if one.place == "query" and one.is_required]


def _unknown(operation: Operation, told: Any) -> list[str]:
    """Members of a body that the definition doesn't have, and that no namespace keeps apart from later ones."""
    declared = (operation.body or {}).get("properties") or {}
    beside = _BESIDE.get((operation.api, operation.path), frozenset())
    if not isinstance(told, dict) or not declared:
        return []
    return [name for name in told if name not in declared and name not in beside and "." not in name]


@cache
def _router(api: str) -> Router[Operation] | None:
    spec = shared_spec()
    if spec is None:
        return None
    router: Router[Operation] = Router()
    for operation in operations(spec, api):
        router.add(operation.method, operation.path, operation)
    return router


@cache
def _validator(api: str, method: str, path: str) -> Any:
    spec = shared_spec()
    assert spec is not None
    [schema] = [one.body for one in operations(spec, api) if (one.method, one.path) == (method, path)]
    return jsonschema_rs.Draft202012Validator(dict(schema or {}))
