"""Canonical JSON: the spec's examples, equality with the reference, and what strict reading refuses."""

from __future__ import annotations

import json
from typing import Any

import pytest
from canonicaljson import encode_canonical_json
from hypothesis import given
from hypothesis import strategies as st

from homeserver.core import canonical_json
from homeserver.core.canonical_json import INT_MAX, check_values, encode, encode_lenient, nesting_of, parse_strict
from homeserver.core.errors import BadJson, NotJson

_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
_SCALARS = st.none() | st.booleans() | st.integers(-INT_MAX, INT_MAX) | _TEXT
_FLOATS = st.floats(allow_nan=False, allow_infinity=False)


def _values(scalars: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.recursive(
        scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXT, inner, max_size=4), max_leaves=20
    )


# spec: appendices/#canonical-json, "Examples"
@pytest.mark.parametrize(
    ("given_json", "canonical"),
    [
        ("{}", "{}"),
        ('{"one": 1, "two": "Two"}', '{"one":1,"two":"Two"}'),
        ('{"b": "2", "a": "1"}', '{"a":"1","b":"2"}'),
        (
            '{"auth": {"success": true, "mxid": "@john.doe:example.com", "profile": {"display_name": "John Doe", '
            '"three_pids": [{"medium": "email", "address": "john.doe@example.org"}, '
            '{"medium": "msisdn", "address": "123456789"}]}}}',
            '{"auth":{"mxid":"@john.doe:example.com","profile":{"display_name":"John Doe","three_pids":'
            '[{"address":"john.doe@example.org","medium":"email"},{"address":"123456789","medium":"msisdn"}]},'
            '"success":true}}',
        ),
        ('{"a": "日本語"}', '{"a":"日本語"}'),
        ('{"本": 2, "日": 1}', '{"日":1,"本":2}'),
        ('{"a": "\\u65E5"}', '{"a":"日"}'),
        ('{"a": null}', '{"a":null}'),
        ('{"a": -0}', '{"a":0}'),
    ],
)
def test_examples_of_the_spec(given_json: str, canonical: str) -> None:
    assert encode(parse_strict(given_json.encode())) == canonical.encode()


@given(_values(_SCALARS))
def test_encode_is_the_reference_for_all_that_check_values_admits(value: Any) -> None:
    check_values(value)
    assert encode(value) == encode_lenient(value) == encode_canonical_json(value)
    assert parse_strict(encode(value)) == value


@given(_values(_SCALARS | _FLOATS | st.integers(-(2**63), 2**63 - 1)))
def test_lenient_encoding_is_the_reference_with_floats(value: Any) -> None:
    check_values(value, lenient=True)
    assert encode_lenient(value) == encode_canonical_json(value)
    assert encode_lenient(canonical_json.parse_lenient(encode_lenient(value))) == encode_lenient(value)


REFUSED = [
    pytest.param(b'{"a":NaN}', BadJson, id="T-B3 NaN"),
    pytest.param(b"Infinity", BadJson, id="T-B3 Infinity"),
    pytest.param(b"[-Infinity]", BadJson, id="T-B3 -Infinity"),
    pytest.param(b'{"a":1,"a":2}', BadJson, id="T-B14 same key"),
    pytest.param(b'{"x":{"a":1,"\\u0061":1}}', BadJson, id="T-B14 same key, escaped"),
    pytest.param(b'[{"a:\\"":1,"a:\\"":":"}]', BadJson, id="T-B14 same key with quotes and colons"),
    pytest.param(b"1.5", BadJson, id="T-B15 float"),
    pytest.param(b"1.0", BadJson, id="T-B15 float of an integer"),
    pytest.param(b"1e2", BadJson, id="T-B15 exponent"),
    pytest.param(b"1e999", BadJson, id="T-B15 overflowing float"),
    pytest.param(b"9007199254740992", BadJson, id="T-B15 2^53"),
    pytest.param(b"-9007199254740992", BadJson, id="T-B15 -2^53"),
    pytest.param(b"1180591620717411303424", BadJson, id="T-B15 2^70"),
    pytest.param(b'"\\ud800"', BadJson, id="T-B16 lone surrogate"),
    pytest.param(b'{"\\udc00":1}', BadJson, id="T-B16 lone surrogate in a key"),
    pytest.param(b'"\xed\xa0\x80"', NotJson, id="T-B16 surrogate as UTF-8"),
    pytest.param(b"[" * 101 + b"]" * 101, BadJson, id="T-B18 101 deep"),
    pytest.param(b"[" * 1_000_000, BadJson, id="T-B18 a million deep"),
    pytest.param(b'{"a":' * 100_000, BadJson, id="T-B18 objects"),
    pytest.param(b"9" * 5_000, BadJson, id="T-B19 5,000 digits"),
    pytest.param(b"-" + b"9" * 1_000_000, BadJson, id="T-B19 a million digits"),
    pytest.param(b"\xef\xbb\xbf{}", NotJson, id="T-B20 byte order mark"),
    pytest.param('{"a":1}'.encode("utf-16"), NotJson, id="T-B20 UTF-16"),
    pytest.param('{"a":1}'.encode("utf-16-le"), NotJson, id="T-B20 UTF-16 without mark"),
    pytest.param('{"a":1}'.encode("utf-32"), NotJson, id="T-B20 UTF-32"),
    pytest.param(b'"\xff"', NotJson, id="T-B20 no UTF-8"),
    pytest.param(b"", NotJson, id="empty"),
    pytest.param(b"{} {}", NotJson, id="two values"),
    pytest.param(b"{'a':1}", NotJson, id="single quotes"),
    pytest.param(b'{"a":01}', NotJson, id="leading zero"),
    pytest.param(b'"a\nb"', NotJson, id="control character in a string"),
    pytest.param(b'{"a":1,}', NotJson, id="trailing comma"),
]


@pytest.mark.parametrize(("data", "error"), REFUSED)
def test_strict_reading_refuses(data: bytes, error: type[Exception]) -> None:
    """T-B3, T-B14, T-B15, T-B16, T-B18, T-B19, T-B20"""
    with pytest.raises(error):
        parse_strict(data)


@pytest.mark.parametrize(
    "data",
    [
        b"9007199254740991",
        b"-9007199254740991",
        b"[" * 100 + b"]" * 100,
        b'{"a":{"a":[{"a":1}]}}',
        b'{"a:":"::","b\\\\":"\\\\","c\\"":"{[\\"["}',
        b'"\\ud83d\\ude00"',
        b' \n{"a" : true}\t',
    ],
)
def test_strict_reading_takes_all_else(data: bytes) -> None:
    """T-B14, T-B16: what only looks like a duplicate or a lone surrogate is fine."""
    assert parse_strict(data) == json.loads(data)


def test_nul_survives_byte_for_byte() -> None:
    """T-B17: NUL in content is kept as it is, since hashes depend on it."""
    data = b'{"body":"a\\u0000b"}'
    assert parse_strict(data) == {"body": "a\0b"}
    assert encode(parse_strict(data)) == data == encode_canonical_json({"body": "a\0b"})


@pytest.mark.parametrize("value", [1.0, 2**53, -(2**53), float("nan"), [{"a": [0.5]}], {"a": 2**70}, {"a": (1,)}, b"x"])
def test_check_values_refuses(value: Any) -> None:
    """T-B15: a strict check of our own, since encoders take floats and any integer."""
    with pytest.raises(BadJson):
        check_values(value)


def test_depth_is_bounded_without_recursion() -> None:
    """T-B18: a value nested 100,000 deep is refused by the check, and by the encoder where nobody checked."""
    deep: Any = 1
    for _ in range(100_000):
        deep = [deep]
    for refuse in (check_values, encode, encode_lenient):
        with pytest.raises(BadJson):
            refuse(deep)
    while isinstance(deep, list):  # taken apart here, since freeing it at once recurses
        deep = deep.pop()


def _nesting_slowly(text: str) -> int:
    deepest = depth = 0
    in_string = escaped = False
    for char in text:
        if in_string:
            in_string = escaped or char != '"'
            escaped = char == "\\" and not escaped
        elif char == '"':
            in_string = True
        elif char in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif char in "]}":
            depth -= 1
    return deepest


@given(_values(_SCALARS | st.text('\\"[]{}:,', max_size=8)))
def test_nesting_is_that_of_the_text(value: Any) -> None:
    """T-B18: brackets and quotes in strings don't count."""
    text = json.dumps(value)
    assert nesting_of(text.encode()) == _nesting_slowly(text)


@given(st.binary(max_size=60) | st.text('{}[]":,\\0123456789.eE-+ntfu ', max_size=40).map(str.encode))
def test_any_bytes_give_a_value_or_our_error(data: bytes) -> None:
    """T-B18, T-B19, T-B20: nothing else is raised."""
    for parse in (parse_strict, canonical_json.parse_lenient):
        try:
            value = parse(data)
        except (BadJson, NotJson):
            continue
        assert value == json.loads(data)
    nesting_of(data)
