"""Who may say that a request is theirs: the header's grammar, and what a signature has to cover."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.request_signing import (
    BadAuthorization,
    authorization_header,
    parse_authorization,
    signed_request,
)
from homeserver.core import canonical_json
from tests.kit.authority import Authority
from tests.kit.federation import signer_of
from tests.kit.peer import Peer, running_peer
from tests.kit.server import RunningServer

PROFILE = "/_matrix/federation/v1/query/profile?user_id=%40nobody%3Ahere"


@pytest.fixture
async def peer(authority: Authority) -> AsyncIterator[Peer]:
    async with running_peer(authority) as running:
        yield running


@pytest.mark.parametrize(
    "header",
    [
        'X-Matrix origin="a.test",destination="b.test",key="ed25519:1",sig="abc/+"',
        'X-Matrix origin=a.test,destination=b.test,key="ed25519:1",sig="abc/+"',
        "X-Matrix origin=a.test,destination=b.test,key=ed25519:1,sig=abc/+",
        'x-matrix  Origin="a.test" ,\tDESTINATION=b.test , key=ed25519:1,sig="abc/+"',
        'X-Matrix sig="abc\\/+",key=ed25519:1,unknown="a \\"quoted, thing\\"",origin=a.test,,destination=b.test',
    ],
)
def test_all_forms_of_the_header_mean_the_same(header: str) -> None:
    """T-A15: quoted or not, in any order and case, with unknown parameters."""
    found = parse_authorization(header)
    assert (found.origin, found.destination, found.key_id, found.signature) == (
        "a.test",
        "b.test",
        "ed25519:1",
        "abc/+",
    )


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer token",
        "X-Matrix",
        "X-Matrix origin=a.test",
        'X-Matrix origin="a.test",key="ed25519:1"',
        'X-Matrix origin=a.test,origin=b.test,key="ed25519:1",sig="x"',
        'X-Matrix origin=a.test,key="ed25519:1",key="ed25519:2",sig="x"',
        'X-Matrix origin=a.test,key="ed25519:1",sig="x",SIG="y"',
        'X-Matrix origin="a.test,key="ed25519:1",sig="x"',
        'X-Matrix origin=a.test key="ed25519:1" sig="x"',
        'X-Matrix origin=a/b,key="ed25519:1",sig="x"',
        'X-Matrix origin="a.test\x00",key="ed25519:1",sig="x"',
        'X-Matrix origin=a.test,key="rsa:1",sig="x"',
        'X-Matrix origin=a.test,key="ed25519:",sig="x"',
        'X-Matrix origin=a.test,key="ed25519:a b",sig="x"',
        'X-Matrix origin=a.test,key="ed25519:1",sig="' + "x" * 5000 + '"',
    ],
)
def test_other_headers_are_refused(header: str) -> None:
    """T-A15, T-A19: duplicates, gaps, other schemes, keys of other kinds."""
    with pytest.raises(BadAuthorization):
        parse_authorization(header)


@given(st.text(max_size=300))
def test_any_text_gives_a_value_or_one_error(text: str) -> None:
    """T-A15: fuzzing."""
    for header in (text, "X-Matrix " + text, f'X-Matrix origin=a.test,key="ed25519:1",sig="{text}"'):
        try:
            parse_authorization(header)
        except BadAuthorization:
            continue


@given(
    st.dictionaries(
        st.text(max_size=5), st.one_of(st.integers(-(2**53) + 1, 2**53 - 1), st.text(max_size=8)), max_size=5
    )
)
def test_the_spliced_form_is_the_canonical_one(content: dict[str, object]) -> None:
    """T-A16: what we sign without encoding the body again is what others compute."""
    whole = {"method": "PUT", "uri": "/a?b=c", "origin": "a.test", "destination": "b.test", "content": content}
    assert signed_request("PUT", "/a?b=c", "a.test", "b.test", canonical_json.encode(content)) == canonical_json.encode(
        whole
    )


async def test_a_signed_request_is_believed(here: RunningServer, peer: Peer) -> None:
    name = here.hansa.config.server_name
    answer = await peer.ask("GET", name, PROFILE)
    assert (answer.status, json.loads(answer.body)["errcode"]) == (400, "M_INVALID_PARAM")  # past the door


@pytest.mark.parametrize("case", ["path", "method", "destination", "origin", "key", "none", "other key", "two origins"])
async def test_a_signature_is_for_one_request_alone(here: RunningServer, peer: Peer, case: str) -> None:
    """T-A16: replayed to another path, method or server, or as another's, it is worth nothing."""
    name, signer = here.hansa.config.server_name, peer.signer
    headers = {
        "path": authorization_header(signer, name, "GET", PROFILE + "x", None),
        "method": authorization_header(signer, name, "POST", PROFILE, None),
        "destination": authorization_header(signer, "other.test", "GET", PROFILE, None),
        "origin": authorization_header(signer, name, "GET", PROFILE, None).replace(peer.name, "localhost:1"),
        "key": authorization_header(signer, name, "GET", PROFILE, None).replace("ed25519:test", "ed25519:more"),
        "none": "Bearer nothing",
        "other key": authorization_header(signer_of(peer.name, "stolen"), name, "GET", PROFILE, None),
        "two origins": "X-Matrix origin=a.test,origin=b.test,key=ed25519:a,sig=x",
    }
    answer = await peer.ask("GET", name, PROFILE, authorization=headers[case])
    assert (answer.status, json.loads(answer.body)["errcode"]) == (401, "M_UNAUTHORIZED")


async def test_the_body_is_the_one_that_was_signed(here: RunningServer, peer: Peer) -> None:
    """T-A16, T-B3: another body is refused, and so is one that parsers disagree on."""
    name, target = here.hansa.config.server_name, "/_matrix/federation/v1/user/keys/query"
    header = authorization_header(peer.signer, name, "POST", target, b'{"device_keys":{}}')
    same = await peer.ask("POST", name, target, authorization=header, content=b'{ "device_keys": {} }')
    assert same.status != 401
    for other in (b'{"device_keys":{"a":[]}}', b"{}"):
        assert (await peer.ask("POST", name, target, authorization=header, content=other)).status == 401
    for broken in (b'{"device_keys":{},"device_keys":{}}', b'{"a":NaN}', b"[]", b"\xff", b"[" * 5000):
        assert (await peer.ask("POST", name, target, authorization=header, content=broken)).status == 400


async def test_servers_that_are_denied_are_refused(postgres: object, authority: Authority, database_dsn: str) -> None:
    from tests.kit.federation import federated_server

    async with (
        running_peer(authority) as peer,
        federated_server(database_dsn, authority, federation=f'deny_servers = ["{peer.name.upper()}"]') as server,
    ):
        answer = await peer.ask("GET", server.hansa.config.server_name, PROFILE)
        assert (answer.status, json.loads(answer.body)["errcode"]) == (403, "M_FORBIDDEN")
        assert peer.asked == []
