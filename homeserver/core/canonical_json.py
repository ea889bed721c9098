"""Canonical JSON, fast to write and strict to read. spec: appendices/#canonical-json

`canonicaljson` stays the reference: a property test holds `encode` equal to it for every value that `check_values` admits.
"""

from __future__ import annotations

import json
from typing import Any, NoReturn

import orjson

from homeserver.core.errors import BadJson, NotJson

INT_MAX = 2**53 - 1
INT_MIN = -INT_MAX
# Deeper than any event a client makes, and far from the limits of parsers (orjson stops at 1,024).
DEPTH_MAX = 100

_OPTIONS = orjson.OPT_SORT_KEYS


def encode(value: Any) -> bytes:
    """The canonical bytes of a value made of dicts with string keys, lists, strings, bools, None and ints.

    Doesn't check the values: that is `check_values`. Raises BadJson for what JSON can't say.
    """
    try:
        return orjson.dumps(value, option=_OPTIONS)
    except (orjson.JSONEncodeError, RecursionError) as error:
        raise BadJson(f"not representable as JSON: {error}") from None


def decode(data: bytes) -> Any:
    """The value of a JSON text that we wrote ourselves: no checks beyond the parser's own. Raises NotJson."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise NotJson(f"not valid JSON: {error}") from None


def check_values(value: Any, *, depth_max: int = DEPTH_MAX) -> None:
    """Raises BadJson unless every number is an integer within ±(2^53-1) and the nesting is at most `depth_max`.

    Cost: one visit per value, no recursion.
    """
    level: list[Any] = [value]
    depth = 0
    while level:
        if depth > depth_max:
            raise BadJson(f"JSON may be nested at most {depth_max} deep")
        deeper: list[Any] = []
        for item in level:
            kind = type(item)
            if kind is str or kind is bool or item is None:
                continue
            if kind is int:
                if not INT_MIN <= item <= INT_MAX:
                    raise BadJson("integers must be within -(2^53-1) and 2^53-1")
            elif kind is dict:
                deeper.extend(item.values())
            elif kind is list:
                deeper.extend(item)
            elif kind is float:
                raise BadJson("numbers must be integers")
            else:
                raise BadJson(f"{kind.__name__} is no JSON type")
        level = deeper
        depth += 1


def parse_strict(data: bytes, *, depth_max: int = DEPTH_MAX) -> Any:
    """A JSON text from outside, parsed as canonical JSON's value space demands.

    Refuses what parsers disagree on: duplicate keys, NaN and Infinity, floats, integers beyond 2^53-1, lone surrogates,
    byte order marks, encodings other than UTF-8, and nesting deeper than `depth_max`.
    Raises NotJson where it is no JSON, BadJson where it is JSON that we don't take.
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise NotJson("JSON must be UTF-8") from None
    if nesting_of(data) > depth_max:
        raise BadJson(f"JSON may be nested at most {depth_max} deep")
    try:
        value = json.loads(
            text,
            object_pairs_hook=_object,
            parse_int=_integer,
            parse_float=_refuse_number,
            parse_constant=_refuse_number,
        )
    except (json.JSONDecodeError, RecursionError) as error:
        raise NotJson(f"not valid JSON: {error}") from None
    try:
        orjson.dumps(value)  # the cheapest check for lone surrogates in any string or key
    except (orjson.JSONEncodeError, RecursionError):
        raise BadJson("strings must not hold lone surrogates") from None
    return value


def nesting_of(data: bytes) -> int:
    """The deepest nesting of a JSON text, read from its brackets outside of strings. O(n), no recursion."""
    deepest = depth = 0
    in_string = escaped = False
    for byte in data:
        if in_string:
            if escaped:
                escaped = False
            elif byte == 0x5C:
                escaped = True
            elif byte == 0x22:
                in_string = False
        elif byte == 0x22:
            in_string = True
        elif byte in (0x7B, 0x5B):
            depth += 1
            deepest = max(deepest, depth)
        elif byte in (0x7D, 0x5D):
            depth -= 1
    return deepest


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise BadJson("an object has the same key twice")
    return value


def _integer(digits: str) -> int:
    if len(digits) > 17:
        raise BadJson("integers must be within -(2^53-1) and 2^53-1")
    number = int(digits)
    if not INT_MIN <= number <= INT_MAX:
        raise BadJson("integers must be within -(2^53-1) and 2^53-1")
    return number


def _refuse_number(_text: str) -> NoReturn:
    raise BadJson("numbers must be integers")
