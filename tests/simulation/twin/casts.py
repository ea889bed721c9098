"""Casts as PostgreSQL does them; what has no meaning here is refused, never passed through."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import asyncpg

from tests.simulation.twin.lexing import NotUnderstood

# Of whole numbers, by type.
BITS = {"smallint": 15, "integer": 31, "int": 31, "bigint": 63}
_TRUTHS = {"true": True, "t": True, "false": False, "f": False}


def in_range(value: Any, bits: int = 63) -> Any:
    """The same value. Raises what PostgreSQL raises for a whole number that is too large."""
    if type(value) is int and not -(2**bits) <= value < 2**bits:
        raise asyncpg.NumericValueOutOfRangeError("out of range")
    return value


def as_text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes):
        return "\\x" + value.hex()
    if isinstance(value, (str, int, Decimal)):
        return str(value)
    raise NotUnderstood(f"{type(value).__name__} as text")


def _whole(bits: int) -> Callable[[Any], int]:
    def converted(value: Any) -> int:
        if isinstance(value, str):
            try:
                value = int(value)
            except ValueError:
                raise asyncpg.InvalidTextRepresentationError(f"no whole number: {value!r}") from None
        elif isinstance(value, Decimal):
            value = int(value.quantize(Decimal(1), ROUND_HALF_UP))
        elif int(value) != value:
            raise NotUnderstood("a float with a fraction as a whole number")
        return int(in_range(int(value), bits))

    return converted


def _boolean(value: Any) -> bool:
    if not isinstance(value, str):
        return bool(value)
    if value not in _TRUTHS:
        raise asyncpg.InvalidTextRepresentationError(f"no boolean: {value!r}")
    return _TRUTHS[value]


def _bytea(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    if value.startswith("\\x"):
        return bytes.fromhex(value[2:])
    if "\\" in value:
        raise NotUnderstood("escapes in bytea")
    return bytes(value, "utf-8")


def _json(value: Any) -> str:
    try:
        json.loads(value)
    except ValueError:
        raise asyncpg.InvalidTextRepresentationError("no JSON") from None
    return str(value)


def _list_of(convert: Callable[[Any], Any]) -> Callable[[Any], list[Any]]:
    def converted(value: Any) -> list[Any]:
        if isinstance(value, str):
            if value == "{}":
                return []
            raise NotUnderstood("an array written as text")
        return [None if one is None else convert(one) for one in value]

    return converted


_CONVERTS: dict[str, Callable[[Any], Any]] = {
    **{name: _whole(bits) for name, bits in BITS.items()},
    "numeric": Decimal, "text": as_text, "boolean": _boolean, "bytea": _bytea, "json": _json,
}  # fmt: skip
# What the driver takes for a parameter of a type.
_TAKES: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(BITS, int), "text": str, "json": str, "boolean": bool, "bytea": (bytes, bytearray, memoryview),
    "uuid": (uuid.UUID, str),
}  # fmt: skip


def cast_to(type_name: str) -> Callable[[Any], Any]:
    """Converts what isn't NULL. Raises NotUnderstood for a type that the twin doesn't have."""
    base = type_name.removesuffix("[]")
    if base not in _CONVERTS:
        raise NotUnderstood(f"no cast to {type_name}")
    return _CONVERTS[base] if base == type_name else _list_of(_CONVERTS[base])


def parameter_of(type_name: str) -> Callable[[Any], Any]:
    """A cast of a parameter is its type: the driver refuses what isn't of it. Raises as `cast_to`."""
    base = type_name.removesuffix("[]")
    if base not in _TAKES:
        return cast_to(type_name)
    takes, bits = _TAKES[base], BITS.get(base)

    def one(value: Any) -> Any:
        if not isinstance(value, takes) or (bits is not None and not -(2**bits) <= value < 2**bits):
            raise asyncpg.exceptions.DataError(f"a parameter isn't {base}")
        return int(value) if isinstance(value, bool) and bits is not None else value

    def many(values: Any) -> Any:
        if not isinstance(values, (list, tuple)):
            raise asyncpg.exceptions.DataError(f"a parameter isn't {type_name}")
        for value in values:
            if value is not None:
                one(value)
        return values

    return one if base == type_name else many
