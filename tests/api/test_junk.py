"""Every endpoint there is, with what no client should send: the spec's errors, never a 5xx."""

from __future__ import annotations

import json
import random
import re
from typing import Any
from urllib.parse import quote

import pytest

from homeserver.core.events import parse_pdu, signed_form
from homeserver.core.room_versions import ROOM_VERSIONS
from homeserver.web.endpoint import Endpoint
from tests.kit.server import Client, RunningServer

ODD_STRINGS = [
    "",
    "\x00",
    "a\x00b",
    "@alice:hansa.test",
    "!x:hansa.test",
    "$y",
    "#z:hansa.test",
    "../..",
    "é😀",
    "a" * 5000,
    "%",
]
ODD_VALUES: list[Any] = [
    None, True, 0, -1, 2**53, 2**63, 10**30, 1.5, "", "x", "\x00", [], [[]], {}, {"a": {"b": []}}, [1, "a", None],
    "@alice:hansa.test", "!x:hansa.test", {"@alice:hansa.test": {"D": {}}}, {"\x00": "\x00"}, "m.room.message",
]  # fmt: skip
ODD_BODIES = [
    b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b'{"a":NaN}', b'{"a":1e999}', b'{"a":"\\ud800"}', b"{" * 2000,
    b'{"a":' * 3000 + b"1" + b"}" * 3000, b'{"a":' + b"9" * 5000 + b"}", b'{"a":1,"a":2}', b"\xef\xbb\xbf{}", b"{}" * 2,
]  # fmt: skip
# Names that requests really have, so that junk comes as far as it can.
FIELDS = """
    username password auth type identifier token device_id user_id room_id reason event_id membership content
    messages device_keys one_time_keys fallback_keys master_key self_signing_key algorithm auth_data rooms sessions
    session_data first_message_index filter limit since timeout presence status_msg typing displayname avatar_url
    name topic visibility preset invite initial_state power_level_content_override creation_content room_version
    new_version m.fully_read m.read m.read.private thread_id ignored_users order new_password devices display_name
    kind app_id pushkey data lang actions conditions pattern enabled erase refresh_token nonce mac admin
""".split()
# Answers that say, as the spec wants, that somebody else isn't there.
ELSEWHERE = frozenset({502, 504})


def filled(declared: Endpoint, chance: random.Random) -> str:
    path = chance.choice(declared.paths)
    return re.sub(r"\{[a-z_]+\}", lambda _: quote(chance.choice(ODD_STRINGS) or "x", safe=""), path)


def junk_object(chance: random.Random) -> bytes:
    names = chance.sample(FIELDS, chance.randrange(1, 6))
    return json.dumps({name: chance.choice(ODD_VALUES) for name in names}).encode()


def junk_query(chance: random.Random) -> dict[str, str]:
    names = "since from to limit dir filter timeout at ts version width height only".split()
    values = ("", "-1", "x", "t5", "s5", "b", "f", "9" * 40, "1.5", "{", '{"room":5}', "\x00", "true")
    return {name: chance.choice(values) for name in chance.sample(names, 3)}


def junk_form(chance: random.Random) -> bytes:
    names = (
        "grant_type code client_id redirect_uri code_verifier refresh_token device_code scope token user_code".split()
    )
    values = ("", "x", "authorization_code", "refresh_token", "\x00", "é" * 300, "%zz", "urn:matrix:client:api:*")
    return "&".join(f"{name}={chance.choice(values)}" for name in chance.choices(names, k=5)).encode()


async def throw(client: Client, declared: Endpoint, chance: random.Random) -> None:
    data = chance.choice(ODD_BODIES) if chance.random() < 0.4 else junk_object(chance)
    path, query = filled(declared, chance), junk_query(chance)
    if "timeout" in query:
        query["timeout"] = "0"
    query["timeout_ms"] = "0"
    headers = {}
    if declared.raw_body and path.startswith("/_hansa/"):
        data, headers = junk_form(chance), {"Content-Type": "application/x-www-form-urlencoded"}
    answer = await client.request(declared.method, path, data=data, query=query, headers=headers, follow=False)
    assert answer.status < 500 or answer.status in ELSEWHERE, (declared.method, path, query, data[:200], answer.body)
    # Pages are for people, OAuth and tus have errors of their own, and HEAD has no body.
    content_type = answer.headers.get("Content-Type", "")
    if path.startswith("/_hansa/") or declared.method == "HEAD" or "json" not in content_type:
        return
    if declared.method == "HEAD":  # has no body to say why
        return
    # The challenge of interactive authentication has no errcode of its own.
    if answer.status >= 400 and declared.method != "HEAD" and not (answer.status == 401 and "flows" in answer.json):
        # OAuth 2.0 has its own form of errors. RFC 6749, section 5.2
        name = "error" if "oauth" in declared.paths[0] else "errcode"
        assert isinstance(answer.json[name], str) and isinstance(answer.json.get("error", ""), str)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
async def test_junk_is_refused_cleanly(server: RunningServer, seed: int) -> None:
    """T-B16, T-B17, T-B18, T-B19, T-O1: strings, depths and numbers that break parsers and databases."""
    chance = random.Random(seed)
    alice = await server.user("alice")
    token = alice.token
    assert len(server.hansa.endpoints) > 100
    for declared in server.hansa.endpoints:
        for _ in range(6):
            alice.token = token if chance.random() < 0.9 else chance.choice([None, "x", "\u00ff" * 20])
            await throw(alice, declared, chance)
            if declared.limit is None and "logout" in declared.paths[0]:
                token = (await server.login("alice")).token
            if any(word in declared.paths[0] for word in ("deactivate", "logout", "/devices", "delete_devices")):
                alice.token = token
                if (await alice.get("/account/whoami")).status != 200:
                    token = (await server.login("alice")).token


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/_matrix/client/v3/nothing", 404),
        ("GET", "/_matrix/client/v3/account/whoami/", 404),
        ("GET", "/_matrix/client/v3//account/whoami", 404),
        ("GET", "/x/_matrix/client/v3/account/whoami", 404),
        ("DELETE", "/_matrix/client/v3/account/whoami", 405),
        ("POST", "/_matrix/client/versions", 405),
    ],
)
async def test_paths_match_exactly(server: RunningServer, method: str, path: str, status: int) -> None:
    """T-M4, T-M5: no segment more or less, no other method."""
    (await server.anonymous().request(method, path)).refused(status, "M_UNRECOGNIZED")


async def test_a_large_body_is_refused(server: RunningServer) -> None:
    """T-M6: before it is parsed, whatever it says it is."""
    alice = await server.user("alice")
    body = b'{"a":"' + b"x" * 3_000_000 + b'"}'
    answer = await alice.request("POST", "/createRoom", data=body, headers={"Content-Type": "multipart/form-data"})
    answer.refused(413, "M_TOO_LARGE")


async def test_a_name_that_comes_twice_has_one_meaning(server: RunningServer) -> None:
    """T-B14: what is hashed and signed, kept and shown is the same one value, whichever it is."""
    alice = await server.user("alice")
    room_id = await alice.create_room(room_version="11")
    path = f"/rooms/{quote(room_id)}/state/m.room.topic"
    (await alice.request("PUT", path, data=b'{"topic":"first","x":{"y":1,"y":2},"topic":"second"}')).ok()
    kept = (await alice.get("/rooms/{}/state/m.room.topic", room_id)).ok()
    assert kept == {"topic": "second", "x": {"y": 2}}
    wanted = json.dumps({"event_format": "federation"})
    timeline = (await alice.sync(filter=wanted))["rooms"]["join"][room_id]["timeline"]["events"]
    pdu = {key: value for key, value in timeline[-1].items() if key != "unsigned"}
    event = parse_pdu(ROOM_VERSIONS["11"], pdu)
    assert event.content == kept, "the hash is that of what is shown"
    verify = server.hansa.signer
    assert pdu["signatures"] == {verify.server_name: {verify.key_id: verify.signature(signed_form(event.version, pdu))}}
