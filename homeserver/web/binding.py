"""From a handler's signature to the values it is called with: path, query and body parsed into types.

Built once per endpoint at start; a call then costs one dictionary and the parsing itself.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, get_type_hints

import msgspec
import orjson

from homeserver.core import canonical_json
from homeserver.core.errors import BadJson, InvalidParam, MatrixError, MissingParam, NotJson
from homeserver.core.identifiers import (
    DeviceId,
    EventId,
    RoomAlias,
    RoomId,
    ServerName,
    UserId,
    parse_event_id,
    parse_room_alias,
    parse_room_id,
    parse_server_name,
    parse_user_id,
)
from homeserver.web.endpoint import Access, Caller, Endpoint, Handler, Request

PATH_SEGMENT_BYTES_MAX = 1024
# What `origin_server_ts` may be.
Timestamp = Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1)]
# For how long an event sticks (MSC4354); what is more than an hour counts as one.
StickyMs = Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1)]
_PARAMETER = re.compile(r"\{([a-z_]+)\}")
_MISSING_FIELD = re.compile(r"missing required field `([^`]+)`")


@functools.cache
def _signature(function: Callable[..., Any]) -> tuple[tuple[str, ...], Mapping[str, Any]]:
    """The names of its parameters and their types: read once for all servers of a process."""
    names = tuple(name for name in inspect.signature(function).parameters if name != "self")
    return names, get_type_hints(function)


def _plain(value: str) -> str:
    if "\x00" in value:
        raise InvalidParam("a path must not hold NUL")
    return value


_PATH_PARSERS: Mapping[Any, Callable[[str], Any]] = {
    RoomId: parse_room_id,
    UserId: parse_user_id,
    RoomAlias: parse_room_alias,
    EventId: parse_event_id,
    ServerName: parse_server_name,
    DeviceId: lambda value: DeviceId(_plain(value)),
}


class Binding:
    """What one handler wants, and how to get it out of a request."""

    __slots__ = (
        "_body",
        "_depth_max",
        "_path",
        "_query",
        "wants_body",
        "wants_caller",
        "wants_operator",
        "wants_origin",
        "wants_request",
    )

    def __init__(self, declared: Endpoint, handler: Handler, depth_max: int = canonical_json.DEPTH_MAX) -> None:
        self._depth_max = depth_max
        names, hints = _signature(getattr(handler, "__func__", handler))
        in_path = set(_PARAMETER.findall(declared.paths[0]))
        self.wants_caller = "caller" in names
        self.wants_operator = "operator" in names
        self.wants_origin = "origin" in names
        self.wants_request = "request" in names
        self.wants_body = "body" in names
        self._query = hints.get("query")
        self._body: Any = hints.get("body")
        self._path = {name: _PATH_PARSERS.get(hints.get(name), _plain) for name in in_path & set(names)}
        unknown = set(names) - in_path - {"caller", "operator", "origin", "request", "body", "query"}
        if unknown:
            raise TypeError(f"{handler.__qualname__}: nothing gives the parameters {sorted(unknown)}")
        if self.wants_origin > (declared.access is Access.SERVER) or (self.wants_origin and self.wants_caller):
            raise TypeError(f"{handler.__qualname__}: only Access.SERVER gives `origin`, and only the others `caller`")
        if self.wants_operator and declared.access is not Access.ADMIN:
            raise TypeError(f"{handler.__qualname__}: only Access.ADMIN gives `operator`")
        if declared.needs is not None and declared.access is not Access.ADMIN:
            raise TypeError(f"{handler.__qualname__}: only Access.ADMIN asks for a permission")

    def named(self, path: Mapping[str, str]) -> dict[str, str]:
        """What the path names, as the handler gets it. Raises MatrixError for what doesn't parse."""
        return {name: str(parse(path[name])) for name, parse in self._path.items()}

    def arguments(
        self, path: Mapping[str, str], query: Mapping[str, str], caller: Caller | None, request: Request
    ) -> dict[str, Any]:
        """All arguments but the body. Raises MatrixError for what doesn't parse."""
        arguments: dict[str, Any] = {name: parse(path[name]) for name, parse in self._path.items()}
        if self.wants_caller:
            arguments["caller"] = caller
        if self.wants_request:
            arguments["request"] = request
        if self._query is not None:
            arguments["query"] = parse_query(self._query, query)
        return arguments

    def parse_body(self, data: bytes) -> Any:
        """The body as the handler wants it. An empty body counts as an empty object."""
        return parse_json(data or b"{}", self._body, self._depth_max)

    def convert_body(self, value: Any) -> Any:
        """A body that was parsed before, as the handler wants it."""
        return convert_json(value, self._body)


def parse_json(data: bytes, wanted: Any, depth_max: int = canonical_json.DEPTH_MAX) -> Any:
    """A JSON body as a struct or a plain object, strictly: UTF-8, no NaN, no lone surrogates, bounded depth.

    Raises NotJson (no JSON), BadJson (the wrong type), MissingParam (a required field isn't there).
    """
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        if "depth limit" in str(error):
            raise BadJson(f"JSON may be nested at most {depth_max} deep") from None
        raise NotJson("the body is not valid JSON") from None
    if len(data) > 2 * depth_max and canonical_json.nesting_of(data) > depth_max:
        raise BadJson(f"JSON may be nested at most {depth_max} deep")
    return convert_json(value, wanted)


def convert_json(value: Any, wanted: Any) -> Any:
    """A parsed JSON value as a struct or a plain object. Raises BadJson or MissingParam."""
    if not isinstance(value, dict):
        raise BadJson("the body must be a JSON object")
    if wanted is None or getattr(wanted, "__origin__", wanted) is dict:
        return value
    try:
        return msgspec.convert(value, wanted, strict=True)
    except msgspec.ValidationError as error:
        raise as_matrix_error(error) from None


def parse_query(wanted: type[Any], query: Mapping[str, str]) -> Any:
    """Query parameters as a struct: numbers and booleans are read from their text. Raises MatrixError."""
    for value in query.values():
        if "\x00" in value:
            raise InvalidParam("a query parameter must not hold NUL")
    try:
        return msgspec.convert(dict(query), wanted, strict=False)
    except msgspec.ValidationError as error:
        missing = _MISSING_FIELD.search(str(error))
        if missing:
            raise MissingParam(f"the query parameter {missing[1]} is missing") from None
        raise InvalidParam(f"query: {error}") from None


def as_matrix_error(error: msgspec.ValidationError) -> MatrixError:
    """The spec's error for a body that doesn't have the shape an endpoint wants."""
    missing = _MISSING_FIELD.search(str(error))
    if missing:
        return MissingParam(f"the field {missing[1]} is missing")
    return BadJson(str(error))
