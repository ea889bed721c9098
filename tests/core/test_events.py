"""Events: the spec's signing vectors, forms by room version, hashes and ids."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeserver.core import canonical_json
from homeserver.core.errors import InvalidEvent
from homeserver.core.events import (
    check_form,
    content_hash,
    event_id_of,
    is_content_intact,
    parse_pdu,
    references,
    sign_event,
    signed_form,
)
from homeserver.core.identifiers import EventId, ServerName
from homeserver.core.room_versions import ROOM_VERSIONS, V1, V3, V5, V6, V11, V12, EventIdFormat, RoomVersion
from homeserver.core.signing import Signer, decode_base64, encode_base64, is_signature_valid, signed_bytes

# spec: appendices/#cryptographic-test-vectors
SIGNER = Signer(ServerName("domain"), "ed25519:1", decode_base64("YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1"))

ALL = list(ROOM_VERSIONS.values())
HASH = "a" * 43


def pdu_of(version: RoomVersion, **changes: Any) -> dict[str, Any]:
    """A message in the form of this room version."""
    pdu: dict[str, Any] = {
        "type": "m.room.message",
        "sender": "@alice:example.org",
        "room_id": "!" + HASH if version.room_id_from_create_event else "!room:example.org",
        "content": {"body": "hello"},
        "origin_server_ts": 1_000_000,
        "depth": 12,
        "prev_events": references(version, [(EventId("$" + HASH), HASH)]),
        "auth_events": references(version, [(EventId("$" + HASH), HASH)]),
        "hashes": {"sha256": HASH},
        "signatures": {"example.org": {"ed25519:1": "x"}},
    }
    if version.event_id_format is EventIdFormat.IN_EVENT:
        pdu["event_id"] = "$event:example.org"
    for key, value in changes.items():
        if value is ABSENT:
            pdu.pop(key, None)
        else:
            pdu[key] = value
    return pdu


ABSENT = object()


@pytest.mark.parametrize(
    ("value", "signature"),
    [
        ({}, "K8280/U9SSy9IVtjBuVeLr+HpOB4BQFWbg+UZaADMtTdGYI7Geitb76LTrr5QV/7Xg4ahLwYGYZzuHGZKM5ZAQ"),
        (
            {"one": 1, "two": "Two"},
            "KqmLSbO39/Bzb0QIYE82zqLwsA+PDzYIpIRA2sRQ4sL53+sN6/fpNSoqE7BP7vBZhG6kYdD13EIMJpvhJI+6Bw",
        ),
    ],
)
def test_json_signing_vectors(value: dict[str, Any], signature: str) -> None:
    signed = SIGNER.sign_json(value)
    assert signed == {**value, "signatures": {"domain": {"ed25519:1": signature}}}
    assert is_signature_valid(signed_bytes(signed), signature, SIGNER.verify_key)
    assert not is_signature_valid(signed_bytes({**signed, "one": 2}), signature, SIGNER.verify_key)


@pytest.mark.parametrize(
    ("pdu", "sha256", "signature"),
    [
        (
            {
                "room_id": "!x:domain",
                "sender": "@a:domain",
                "origin": "domain",
                "origin_server_ts": 1000000,
                "signatures": {},
                "hashes": {},
                "type": "X",
                "content": {},
                "prev_events": [],
                "auth_events": [],
                "depth": 3,
                "unsigned": {"age_ts": 1000000},
            },
            "5jM4wQpv6lnBo7CLIghJuHdW+s2CMBJPUOGOC89ncos",
            "KxwGjPSDEtvnFgU00fwFz+l6d2pJM6XBIaMEn81SXPTRl16AqLAYqfIReFGZlHi5KLjAWbOoMszkwsQma+lYAg",
        ),
        (
            {
                "content": {"body": "Here is the message content"},
                "event_id": "$0:domain",
                "origin": "domain",
                "origin_server_ts": 1000000,
                "type": "m.room.message",
                "room_id": "!r:domain",
                "sender": "@u:domain",
                "signatures": {},
                "unsigned": {"age_ts": 1000000},
            },
            "onLKD1bGljeBWQhWZ1kaP9SorVmRQNdN5aM2JYU2n/g",
            "Wm+VzmOUOz08Ds+0NTWb1d4CZrVsJSikkeRxh6aCcUwu6pNC78FunoD7KNWzqFn241eYHYMGCA5McEiVPdhzBA",
        ),
    ],
)
def test_event_signing_vectors(pdu: dict[str, Any], sha256: str, signature: str) -> None:
    assert content_hash(pdu, V1) == content_hash(pdu) == sha256
    assert SIGNER.signature(signed_form(V1, {**pdu, "hashes": {"sha256": sha256}})) == signature


@pytest.mark.parametrize("version", ALL, ids=lambda version: version.id)
def test_what_we_sign_has_the_form_its_hash_and_its_id(version: RoomVersion) -> None:
    pdu = pdu_of(version, hashes=ABSENT, signatures=ABSENT)
    event = sign_event(version, pdu, SIGNER)
    check_form(version, event.pdu)
    assert is_content_intact(version, event.pdu)
    assert parse_pdu(version, json.loads(event.canonical)) == event
    assert is_signature_valid(
        signed_form(version, event.pdu), event.pdu["signatures"]["domain"]["ed25519:1"], SIGNER.verify_key
    )
    assert event.redacted().event_id == event_id_of(version, event.redacted().pdu) == event.event_id


def test_event_ids_by_version() -> None:
    """Chosen by the sender, then the hash in base64, then in its URL-safe alphabet."""
    assert event_id_of(V1, pdu_of(V1)) == "$event:example.org"
    for number in range(200):
        pdu = pdu_of(V3, depth=number)
        assert event_id_of(V5, pdu) == event_id_of(V3, pdu).replace("+", "-").replace("/", "_")
    create = {**pdu_of(V12, type="m.room.create", state_key="", room_id=ABSENT), "prev_events": [], "auth_events": []}
    assert parse_pdu(V12, create).room_id == "!" + event_id_of(V12, create)[1:]


WRONG: list[tuple[str, dict[str, Any]]] = [
    ("type missing", {"type": ABSENT}),
    ("type no string", {"type": 1}),
    ("T-B21 type of 256 bytes", {"type": "x" * 256}),
    ("T-B17 NUL in type", {"type": "a\0"}),
    ("T-B21 state_key of 256 bytes", {"state_key": "a" * 256}),
    ("T-B17 NUL in state_key", {"state_key": "\0"}),
    ("state_key null", {"state_key": None}),
    ("sender missing", {"sender": ABSENT}),
    ("T-B22 sender without domain", {"sender": "@alice"}),
    ("T-B21 sender of 256 bytes", {"sender": "@" + "a" * 250 + ":b.cd"}),
    ("T-B22 NUL in sender", {"sender": "@a\0:b"}),
    ("room_id missing", {"room_id": ABSENT}),
    ("T-B22 room_id with a space in its domain", {"room_id": "!a:b c"}),
    ("T-B21 room_id of 256 bytes", {"room_id": "!" + "a" * 250 + ":b.cd"}),
    ("content missing", {"content": ABSENT}),
    ("content no object", {"content": [1]}),
    ("depth missing", {"depth": ABSENT}),
    ("T-B1 depth negative", {"depth": -1}),
    ("T-B1 depth 2^63", {"depth": 2**63}),
    ("T-B1 depth true", {"depth": True}),
    ("T-B1 depth float", {"depth": 1.0}),
    ("T-B1 timestamp 2^53", {"origin_server_ts": 2**53}),
    ("T-B15 timestamp float", {"origin_server_ts": 1.5}),
    ("timestamp a string", {"origin_server_ts": "1"}),
    ("T-B3 NaN in content", {"content": {"a": float("nan")}}),
    ("T-B3 infinity at the top", {"anything": float("inf")}),
    ("T-B16 lone surrogate", {"content": {"a": "\ud800"}}),
    ("T-B16 lone surrogate in a key", {"content": {"\ud800": 1}}),
    ("hashes missing", {"hashes": ABSENT}),
    ("hashes without sha256", {"hashes": {}}),
    ("hashes of another type", {"hashes": "x"}),
    ("signatures no object", {"signatures": []}),
    ("signatures of no object", {"signatures": {"example.org": "x"}}),
    ("prev_events no list", {"prev_events": {}}),
    ("prev_events of no ids", {"prev_events": [1]}),
    ("auth_events missing", {"auth_events": ABSENT}),
    ("T-B21 too large", {"content": {"body": "x" * 65_536}}),
    ("T-B21 too large by its signatures", {"signatures": {f"s{number:05}": {} for number in range(7_000)}}),
]


@pytest.mark.parametrize("version", ALL, ids=lambda version: version.id)
@pytest.mark.parametrize("changes", [pytest.param(changes, id=name) for name, changes in WRONG])
def test_malformed_in_every_version(version: RoomVersion, changes: dict[str, Any]) -> None:
    """T-B1, T-B3, T-B15, T-B16, T-B17, T-B21, T-B22: the whole PDU is checked, not just its content."""
    check_form(version, pdu_of(version))
    with pytest.raises(InvalidEvent):
        check_form(version, pdu_of(version, **changes))


def _deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


BY_VERSION: list[tuple[str, dict[str, Any], Callable[[RoomVersion], bool]]] = [
    ("T-B1 depth 2^53-1", {"depth": 2**53 - 1}, lambda version: True),
    ("T-B1 depth 2^53", {"depth": 2**53}, lambda version: not version.strict_canonical_json),
    ("T-B2 depth 2^63-1", {"depth": 2**63 - 1}, lambda version: not version.strict_canonical_json),
    ("T-B15 float", {"content": {"a": 1.5}}, lambda version: not version.strict_canonical_json),
    ("T-B15 large integer", {"content": {"a": 2**60}}, lambda version: not version.strict_canonical_json),
    ("T-B11 smallest level", {"content": {"ban": -(2**53) + 1}}, lambda version: True),
    ("T-B11 below it", {"content": {"ban": -(2**53)}}, lambda version: not version.strict_canonical_json),
    ("T-B1 large integer outside content", {"x": {"y": [2**53]}}, lambda version: not version.strict_canonical_json),
    ("room id without domain", {"room_id": "!" + HASH}, lambda version: version.room_id_from_create_event),
    ("room id with domain", {"room_id": "!r:example.org"}, lambda version: not version.room_id_from_create_event),
    ("T-B18 99 levels in content", {"content": {"a": _deep(99)}}, lambda version: True),
    ("T-B18 100 levels in content", {"content": {"a": _deep(100)}}, lambda version: False),
    ("T-B17 NUL in content", {"content": {"a\0": "\0"}}, lambda version: True),
    ("T-B22 historical sender", {"sender": "@A b/\n:example.org"}, lambda version: True),
    ("T-B22 empty localpart", {"sender": "@:example.org"}, lambda version: True),
    ("T-B21 65,536 bytes of unsigned", {"unsigned": {"a": "x" * 65_536}}, lambda version: True),
]


@pytest.mark.parametrize("version", ALL, ids=lambda version: version.id)
@pytest.mark.parametrize(("changes", "right"), [pytest.param(*row[1:], id=row[0]) for row in BY_VERSION])
def test_forms_that_differ_by_version(
    version: RoomVersion, changes: dict[str, Any], right: Callable[[RoomVersion], bool]
) -> None:
    """T-B1, T-B2, T-B11, T-B15, T-B17, T-B18, T-B21, T-B22"""
    pdu = pdu_of(version, **changes)
    if right(version):
        check_form(version, pdu)
        parse_pdu(version, pdu)
    else:
        with pytest.raises(InvalidEvent):
            check_form(version, pdu)


@pytest.mark.parametrize("version", ALL, ids=lambda version: version.id)
@pytest.mark.parametrize(("key", "most"), [("prev_events", 20), ("auth_events", 10)])
def test_number_of_references(version: RoomVersion, key: str, most: int) -> None:
    """T-B21"""
    one = (EventId("$" + HASH), HASH)
    check_form(version, pdu_of(version, **{key: references(version, [one] * most)}))
    with pytest.raises(InvalidEvent):
        check_form(version, pdu_of(version, **{key: references(version, [one] * (most + 1))}))
    other = V1 if version.event_id_format is not EventIdFormat.IN_EVENT else V3
    with pytest.raises(InvalidEvent):
        check_form(version, pdu_of(version, **{key: references(other, [one])}))


@pytest.mark.parametrize("version", ALL, ids=lambda version: version.id)
def test_size_counts_canonical_bytes_with_signatures(version: RoomVersion) -> None:
    """T-B21: 65,536 bytes are an event, one more is none; characters don't count."""
    room = 65_536 - len(canonical_json.encode(pdu_of(version, content={"body": ""})))
    check_form(version, pdu_of(version, content={"body": "ü" * (room // 2) + "x" * (room % 2)}))
    with pytest.raises(InvalidEvent):
        check_form(version, pdu_of(version, content={"body": "ü" * (room // 2) + "xx"}))


@pytest.mark.parametrize(
    "event_id", ["$a", "$:example.org", "$a b:example.org", "$a:exa/mple", "a:example.org", None, 1]
)
def test_event_ids_of_the_first_versions_name_a_server(event_id: object) -> None:
    """T-B22: that server has to sign the event."""
    if event_id == "$:example.org":
        check_form(V1, pdu_of(V1, event_id=event_id))  # the part before is opaque, and may be empty
        return
    with pytest.raises(InvalidEvent):
        check_form(V1, pdu_of(V1, event_id=event_id))


def test_create_of_version_12_has_no_room_id() -> None:
    """T-B22"""
    for room_id in ("!" + HASH, "!r:example.org", None):
        with pytest.raises(InvalidEvent):
            check_form(V12, pdu_of(V12, type="m.room.create", state_key="", room_id=room_id))
    check_form(V12, pdu_of(V12, type="m.room.create", state_key="", room_id=ABSENT))
    with pytest.raises(InvalidEvent):
        check_form(V11, pdu_of(V11, type="m.room.create", state_key="", room_id=ABSENT))


@pytest.mark.parametrize("version", ALL, ids=lambda version: version.id)
def test_a_wrong_content_hash_leaves_the_redacted_form(version: RoomVersion) -> None:
    """T-B25, T-B23: neither dropped nor trusted; the id stays, and the peer's `unsigned` goes."""
    pdu = pdu_of(version, unsigned={"redacted_because": {}, "age": 5})
    pdu["hashes"] = {"sha256": content_hash(pdu, version)}
    assert parse_pdu(version, pdu).content == {"body": "hello"}
    assert "unsigned" not in parse_pdu(version, pdu).pdu
    forged = {**pdu, "content": {"body": "forged"}}
    event = parse_pdu(version, forged)
    assert event.content == {}
    assert b"forged" not in event.canonical
    assert event.event_id == parse_pdu(version, pdu).event_id


def test_floats_of_old_rooms_hash_as_deployed_servers_do() -> None:
    """T-B15: 1e100 is written `1e+100` there, and 1.0 stays a float."""
    pdu = pdu_of(V5, content={"a": 1e100, "b": 1.0, "c": 1e-7})
    pdu["hashes"] = {"sha256": content_hash(pdu, V5)}
    event = parse_pdu(V5, pdu)
    assert b'{"a":1e+100,"b":1.0,"c":1e-07}' in event.canonical
    assert event.content == pdu["content"]


_JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
_KEYS = sorted({*pdu_of(V1), "state_key", "unsigned", "redacts", "x"})


@given(st.sampled_from(ALL), st.dictionaries(st.sampled_from(_KEYS), _JUNK, max_size=3))
def test_junk_is_an_event_or_invalid(version: RoomVersion, changes: dict[str, Any]) -> None:
    """T-B1, T-B4, T-B11: nothing but InvalidEvent is raised, so that one bad PDU never stops the others."""
    for pdu in (pdu_of(version, **changes), changes):
        try:
            event = parse_pdu(version, pdu)
        except InvalidEvent:
            continue
        assert len(event.canonical) <= 65_536


@given(st.text(max_size=90) | st.none() | st.integers(), st.binary(max_size=40))
def test_signatures_of_any_kind_are_only_valid_or_not(signature: object, key: bytes) -> None:
    """T-A19: failure is an answer, never an exception."""
    assert not is_signature_valid(b"{}", signature, key)
    assert not is_signature_valid(b"{}", signature, SIGNER.verify_key)


def test_base64_of_both_alphabets() -> None:
    data = bytes(range(251, 256)) * 3
    assert decode_base64(encode_base64(data)) == decode_base64(encode_base64(data).replace("+", "-").replace("/", "_"))
    for text in ("a", "ü", "a b", "a=b=", "$"):
        with pytest.raises(ValueError):
            decode_base64(text)


def test_versions_of_strict_json() -> None:
    assert [version.id for version in ALL if not version.strict_canonical_json] == ["1", "2", "3", "4", "5"]
    assert V6.strict_canonical_json


@pytest.mark.parametrize(("version", "is_right"), [("10", True), ("11", False)])
def test_limits_count_characters_before_version_11(version: str, is_right: bool) -> None:
    """T-B21: as every server does; an event that the others have must not be missing here."""
    pdu = {**pdu_of(ROOM_VERSIONS[version]), "type": "\u00fc" * 128}
    if is_right:
        check_form(ROOM_VERSIONS[version], pdu)
    else:
        with pytest.raises(InvalidEvent):
            check_form(ROOM_VERSIONS[version], pdu)
