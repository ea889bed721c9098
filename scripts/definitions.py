"""The OpenAPI definitions of the Matrix specification, read from the `shared` folder beside this repository.

Where that folder isn't there, whoever asks says so and goes without: docs/endpoints.tsv has the list of operations.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
APIS = ("client-server", "server-server", "application-service", "push-gateway")
_METHODS = ("get", "put", "post", "delete", "patch")
_OUTSIDE_ANCHORS = re.compile(r"[^\w-]")

Schema = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a path, a query or the headers."""

    name: str
    place: str
    is_required: bool
    schema: Schema


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One endpoint of the specification. References in its schemas are resolved."""

    api: str
    method: str
    path: str
    deprecated: bool
    parameters: Sequence[Parameter]
    body: Schema | None  # of a JSON body
    takes_bytes: bool
    responses: Mapping[str, Schema | None]  # status → schema of a JSON answer, None where it is no JSON
    needs_token: bool

    @property
    def anchor(self) -> str:
        """Where the specification's page tells of it: `client-server-api/#get_matrixclientv3sync`."""
        return f"{self.api}-api/#{_OUTSIDE_ANCHORS.sub('', (self.method + self.path).lower())}"


def shared_spec() -> Path | None:
    """The folder `spec` of the shared material: HANSA_SHARED, or `shared` beside one of the folders we lie in."""
    named = os.environ.get("HANSA_SHARED")
    candidates = [Path(named)] if named else [parent / "shared" for parent in ROOT.parents]
    return next((place / "spec" for place in candidates if (place / "spec" / "api").is_dir()), None)


def operations(spec: Path, api: str) -> list[Operation]:
    """All operations of an API, ordered by path and method. About a second for the client's."""
    found: dict[tuple[str, str], Operation] = {}
    for file in sorted((spec / "api" / api).glob("*.yaml")):
        for operation in _operations_of(_Document(spec), api, file):
            place = operation.path, operation.method
            before = found.get(place)
            if before is not None:
                # Told twice, with different bodies: an invite by user id, and one by e-mail address.
                operation = replace(operation, body={"oneOf": [before.body or {}, operation.body or {}]})
            found[place] = operation
    return [found[place] for place in sorted(found)]


def event_contents(spec: Path) -> dict[str, Schema]:
    """The schema of the content of each type of event that the specification knows."""
    document, found = _Document(spec), dict[str, Schema]()
    for file in sorted((spec / "event-schemas" / "schema").glob("m.*.yaml")):
        whole = document.resolved(document.load(file), file)
        parts = [whole, *(whole.get("allOf") or [])]
        content = [part["properties"]["content"] for part in parts if "content" in (part.get("properties") or {})]
        if content:
            found[file.stem.partition("$")[0]] = content[-1]
    return found


def _operations_of(document: _Document, api: str, file: Path) -> Iterator[Operation]:
    whole = document.load(file)
    base = ((whole.get("servers") or [{}])[0].get("variables") or {}).get("basePath", {}).get("default", "")
    for path, methods in (whole.get("paths") or {}).items():
        common = methods.get("parameters") or []
        for method in _METHODS:
            if method in methods:
                declared = document.resolved(methods[method], file)
                given = [*document.resolved(common, file), *(declared.get("parameters") or [])]
                yield _operation(api, method.upper(), base + path.strip(), declared, given)


def _operation(
    api: str, method: str, path: str, declared: Mapping[str, Any], parameters: Sequence[Mapping[str, Any]]
) -> Operation:
    body = (declared.get("requestBody") or {}).get("content") or {}
    as_json = body.get("application/json")
    return Operation(
        api=api,
        method=method,
        path=path,
        deprecated=bool(declared.get("deprecated")),
        parameters=[
            Parameter(one["name"], one["in"], bool(one.get("required")), one.get("schema") or {}) for one in parameters
        ],
        body=(as_json.get("schema") or {}) if as_json is not None else None,
        takes_bytes=bool(body) and as_json is None,
        responses={str(status): _answer(answer) for status, answer in (declared.get("responses") or {}).items()},
        needs_token=bool(declared.get("security")),
    )


def _answer(answer: Mapping[str, Any]) -> Schema | None:
    as_json = (answer.get("content") or {}).get("application/json")
    return None if as_json is None else as_json.get("schema") or {}


class _Document:
    """Files of the definitions with their references put in place; a schema within itself becomes "anything"."""

    def __init__(self, spec: Path) -> None:
        self._spec = spec

    @staticmethod
    @cache
    def load(file: Path) -> Any:
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        return yaml.load(file.read_text("utf-8"), Loader=loader)

    def resolved(self, value: Any, file: Path, within: tuple[str, ...] = ()) -> Any:
        """`value` of `file` without references."""
        if isinstance(value, list):
            return [self.resolved(entry, file, within) for entry in value]
        if not isinstance(value, dict):
            return value
        reference = value.get("$ref")
        if not isinstance(reference, str):
            return {key: self.resolved(entry, file, within) for key, entry in value.items() if key != "examples"}
        place, _, pointer = reference.partition("#")
        target = (file.parent / place).resolve() if place else file
        name = f"{target}#{pointer}"
        if name in within:
            return {}
        if target.suffix not in (".yaml", ".json"):
            return {}
        found = self.load(target)
        for key in pointer.split("/")[1:]:
            found = found[key.replace("~1", "/").replace("~0", "~")]
        rest = {key: entry for key, entry in value.items() if key not in ("$ref", "examples")}
        inner = self.resolved(found, target, (*within, name))
        return {**inner, **self.resolved(rest, file, within)} if rest and isinstance(inner, dict) else inner
