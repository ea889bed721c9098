"""What holds our requests to other services against the definitions lets nothing ill-formed through."""

from __future__ import annotations

import json

import pytest

from scripts.definitions import shared_spec
from tests.kit.requests_heard import RequestsHeard

HEADERS = {"Authorization": "Bearer secret", "Content-Type": "application/json"}
EVENT = {
    "event_id": "$one",
    "room_id": "!room",
    "type": "m.room.message",
    "sender": "@alice:hansa.test",
    "origin_server_ts": 1,
    "content": {},
}
TRANSACTIONS = "/_matrix/app/v1/transactions/1"
NOTIFY = "/_matrix/push/v1/notify"
DEVICE = {"app_id": "org.example.app", "pushkey": "key"}
IDENTITY = "/_matrix/identity/v2"

if shared_spec() is None:
    pytest.skip("the specification's definitions aren't here", allow_module_level=True)


@pytest.mark.parametrize(
    ("api", "method", "path", "body"),
    [
        ("application-service", "PUT", TRANSACTIONS, {"events": [EVENT]}),
        ("application-service", "PUT", TRANSACTIONS, {"events": [], "org.example.more": 1, "to_device": []}),
        ("application-service", "PUT", "/transactions/1", {"events": [EVENT]}),
        ("application-service", "POST", "/_matrix/app/v1/ping", {}),
        ("application-service", "GET", "/_matrix/app/v1/users/%40a%3Ab", None),
        ("application-service", "GET", "/_matrix/app/v1/thirdparty/user/irc?nick=a", None),
        ("push-gateway", "POST", NOTIFY, {"notification": {"devices": [DEVICE], "counts": {"unread": 1}}}),
        ("identity", "GET", IDENTITY + "/pubkey/isvalid?public_key=abc", None),
        ("identity", "POST", IDENTITY + "/lookup", {"addresses": ["a"], "algorithm": "sha256", "pepper": "p"}),
    ],
)
def test_what_the_specification_has_passes(api: str, method: str, path: str, body: object) -> None:
    heard = RequestsHeard(api)
    heard.hear(method, path, b"" if body is None else json.dumps(body).encode(), HEADERS)
    heard.check()


@pytest.mark.parametrize(
    ("api", "method", "path", "body"),
    [
        ("application-service", "PUT", TRANSACTIONS, {}),
        ("application-service", "PUT", TRANSACTIONS, {"events": [{**EVENT, "sender": None}]}),
        ("application-service", "PUT", TRANSACTIONS, {"events": [], "more": 1}),
        ("application-service", "PUT", TRANSACTIONS, {"events": [], "ephemeral": [{"type": "m.typing"}]}),
        ("application-service", "POST", TRANSACTIONS, {"events": []}),
        ("application-service", "POST", "/_matrix/app/v1/ping", {"transaction_id": 1}),
        ("application-service", "GET", "/_matrix/app/v1/users/%40a%3Ab", {}),
        ("application-service", "GET", "/_matrix/app/v1/nothing", None),
        ("push-gateway", "POST", NOTIFY, {"notification": {}}),
        ("push-gateway", "POST", NOTIFY, {"notification": {"devices": [{"app_id": "a"}]}}),
        ("push-gateway", "POST", NOTIFY, {"notification": {"devices": [DEVICE], "prio": "urgent"}}),
        ("identity", "GET", IDENTITY + "/pubkey/isvalid", None),
        ("identity", "POST", IDENTITY + "/3pid/bind", {"sid": "s", "client_secret": "c"}),
    ],
)
def test_what_it_has_otherwise_fails(api: str, method: str, path: str, body: object) -> None:
    heard = RequestsHeard(api)
    heard.hear(method, path, b"" if body is None else json.dumps(body).encode(), HEADERS)
    with pytest.raises(AssertionError):
        heard.check()


def test_the_token_and_the_type_of_the_body_belong_to_it() -> None:
    for missing in HEADERS:
        heard = RequestsHeard("application-service")
        headers = {name: value for name, value in HEADERS.items() if name != missing}
        heard.hear("PUT", TRANSACTIONS, b'{"events": []}', headers)
        with pytest.raises(AssertionError):
            heard.check()
