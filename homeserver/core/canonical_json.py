"""Canonical JSON, fast to write and strict to read. spec: appendices/#canonical-json

`canonicaljson` stays the reference: property tests hold `encode` equal to it for every value that `check_values`
admits, and `encode_lenient` for what rooms of versions 1 to 5 may hold beside.
"""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

import numpy as np
import orjson

from homeserver.core.errors import BadJson, NotJson

INT_MAX = 2**53 - 1
INT_MIN = -INT_MAX
# What room versions 1 to 5 may hold, and a database's column as well.
LENIENT_INT_MAX = 2**63 - 1
LENIENT_INT_MIN = -(2**63)
# Deeper than any event a client makes, and far from the limits of parsers (orjson stops at 1,024 and writes 254).
DEPTH_MAX = 100
# What peers send and answer holds events, each as deep as one may be: one that is deeper costs itself, not the others.
PEERS_DEPTH_MAX = 200
NUMBER_CHARS_MAX = 64

_OPTIONS = orjson.OPT_SORT_KEYS
_LENIENT = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), sort_keys=True)

_BRACKETS = b"[]{}"
_NO_BRACKETS = bytes(byte for byte in range(256) if byte not in _BRACKETS)
# Read as signed bytes: +1 for each opening bracket, -1 for each closing one.
_STEPS = bytes.maketrans(_BRACKETS, b"\x01\xff\x01\xff")


def encode(value: Any) -> bytes:
    """The canonical bytes of a value made of dicts with string keys, lists, strings, bools, None and ints.

    Doesn't check the values: that is `check_values`. Raises BadJson for what JSON can't say.
    """
    try:
        return orjson.dumps(value, option=_OPTIONS)
    except (orjson.JSONEncodeError, RecursionError) as error:
        raise BadJson(f"not representable as JSON: {error}") from None


def encode_lenient(value: Any) -> bytes:
    """The canonical bytes as deployed servers write them where floats may occur, in rooms of versions 1 to 5.

    About ten times slower than `encode`. Raises BadJson for what JSON can't say.
    """
    try:
        return _LENIENT.encode(value).encode("utf-8")
    except (ValueError, TypeError, RecursionError):
        raise BadJson("not representable as JSON") from None


def decode(data: bytes) -> Any:
    """The value of a JSON text that we wrote ourselves: no checks beyond the parser's own.

    Raises ValueError for one that was damaged since: no caller's mistake, so never answered as one.
    """
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise ValueError(f"what was kept is not valid JSON: {error}") from None


def check_values(value: Any, *, depth_max: int = DEPTH_MAX, lenient: bool = False) -> int:
    """How many members the objects in it have, in sum. Raises BadJson for a value that canonical JSON doesn't have.

    That is: a number which is no integer within ±(2^53-1), or nesting of more than `depth_max`. `lenient` admits what
    rooms of versions 1 to 5 may hold: floats, and integers of 64 bits. Cost: one visit per value, no recursion.
    """
    lowest, highest = (LENIENT_INT_MIN, LENIENT_INT_MAX) if lenient else (INT_MIN, INT_MAX)
    level: list[Any] = [value]
    depth = members = 0
    while level:
        deeper: list[Any] = []
        containers = False
        for item in level:
            kind = type(item)
            if kind is str or kind is bool or item is None:
                continue
            if kind is int:
                if not lowest <= item <= highest:
                    raise BadJson("integers must be within -(2^53-1) and 2^53-1")
            elif kind is dict:
                containers = True
                members += len(item)
                deeper.extend(item.values())
            elif kind is list:
                containers = True
                deeper.extend(item)
            elif kind is float:
                if not lenient or not math.isfinite(item):
                    raise BadJson("numbers must be integers")
            else:
                raise BadJson(f"{kind.__name__} is no JSON type")
        depth += containers
        if depth > depth_max:
            raise BadJson(f"JSON may be nested at most {depth_max} deep")
        level = deeper
    return members


def parse_strict(data: bytes, *, depth_max: int = DEPTH_MAX) -> Any:
    """A JSON text from outside, parsed as canonical JSON's value space demands.

    Refuses what parsers disagree on: duplicate keys, NaN and Infinity, floats, integers beyond 2^53-1, lone surrogates,
    byte order marks, encodings other than UTF-8, and nesting deeper than `depth_max`.
    Raises NotJson where it is no JSON, BadJson where it is JSON that we don't take.
    """
    return _parse(data, depth_max, lenient=False)


def parse_lenient(data: bytes, *, depth_max: int = PEERS_DEPTH_MAX) -> Any:
    """As `parse_strict`, but admits floats and integers of 64 bits, which rooms of versions 1 to 5 may hold, and deeper
    nesting: for what peers send.

    spec: appendices/#canonical-json (the warning there)
    """
    return _parse(data, depth_max, lenient=True)


def _parse(data: bytes, depth_max: int, *, lenient: bool) -> Any:
    outside = _outside_strings(data)
    if _deepest(outside) > depth_max:
        raise BadJson(f"JSON may be nested at most {depth_max} deep")
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError:
        _name_fault(data)
    members = check_values(value, depth_max=depth_max, lenient=lenient)
    # The text has one colon for each member; the parser kept the last of those with the same key.
    if members != outside.count(b":"):
        raise BadJson("an object has the same key twice")
    return value


def _name_fault(data: bytes) -> NoReturn:
    """Raises the error for a text that the fast parser refused: whether it is no JSON, or JSON that we don't take."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise NotJson("JSON must be UTF-8") from None
    try:
        json.loads(text, parse_int=_number, parse_float=_number, parse_constant=_refuse_number)
    except (json.JSONDecodeError, RecursionError) as error:
        raise NotJson(f"not valid JSON: {error}") from None
    raise BadJson("strings must not hold lone surrogates, nor numbers exceed 64 bits")


def _number(digits: str) -> int:
    if len(digits) > NUMBER_CHARS_MAX:
        raise BadJson("integers must be within -(2^53-1) and 2^53-1")
    return 0


def _refuse_number(_text: str) -> NoReturn:
    raise BadJson("numbers must be integers")


def nesting_of(data: bytes) -> int:
    """The deepest nesting of a JSON text, read from its brackets outside of strings. About 3 ms per MB, no recursion.

    Where the text is no JSON, it is at least the nesting of the part before the fault.
    """
    return _deepest(_outside_strings(data))


def _outside_strings(data: bytes) -> bytes:
    """The text without what its strings hold."""
    if b"\\" in data:
        # Escapes from the left, so that a quote that remains is the end or the start of a string.
        data = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    return b"".join(data.split(b'"')[::2])


def _deepest(outside: bytes) -> int:
    steps = outside.translate(_STEPS, _NO_BRACKETS)
    if not steps:
        return 0
    return max(0, int(np.frombuffer(steps, dtype=np.int8).cumsum(dtype=np.int64).max()))
