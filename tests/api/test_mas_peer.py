"""The back channel of a Matrix Authentication Service, as Synapse has it: the same calls, the same answers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.kit.authority import Authority
from tests.kit.mas import SECRET, MasServer, call, mas_server
from tests.kit.server import Answered, delegated_config, running_server
from tests.kit.synapse import running_synapse

pytestmark = [pytest.mark.slow, pytest.mark.peer]

# In this order: later calls see what earlier ones did. (method, path, body)
# Not compared: reactivating an account, where this Synapse fails with a 500 (tests/api/test_mas.py has it).
CALLS: list[tuple[str, str, Any]] = [
    ("GET", "query_user", None),
    ("GET", "query_user?localpart=alice", None),
    ("GET", "is_localpart_available", None),
    ("GET", "is_localpart_available?localpart=alice", None),
    ("GET", "is_localpart_available?localpart=Alice", None),
    ("GET", "is_localpart_available?localpart=a%20b", None),
    ("GET", "is_localpart_available?localpart=_alice", None),
    ("GET", "is_localpart_available?localpart=" + "a" * 300, None),
    ("POST", "provision_user", {}),
    ("POST", "provision_user", {"localpart": 1}),
    ("POST", "provision_user", {"localpart": "alice", "set_displayname": "A", "unset_displayname": True}),
    ("POST", "provision_user", {"localpart": "alice", "set_emails": ["a@b.c"], "unset_emails": False}),
    ("POST", "provision_user", {"localpart": "alice", "locked": "yes"}),
    ("POST", "provision_user", {"localpart": "alice", "set_displayname": "Alice", "set_emails": ["a@example.org"]}),
    ("GET", "query_user?localpart=alice", None),
    ("GET", "is_localpart_available?localpart=alice", None),
    ("POST", "provision_user", {"localpart": "alice"}),
    ("POST", "provision_user", {"localpart": "alice", "unset_displayname": True, "unset_emails": True}),
    ("GET", "query_user?localpart=alice", None),
    ("POST", "provision_user", {"localpart": "alice", "locked": True, "future": 1}),
    ("POST", "provision_user", {"localpart": "alice", "locked": False}),
    ("POST", "set_displayname", {"localpart": "nobody", "displayname": "N"}),
    ("POST", "set_displayname", {"localpart": "alice"}),
    ("POST", "set_displayname", {"localpart": "alice", "displayname": "Alice L."}),
    ("GET", "query_user?localpart=alice", None),
    ("POST", "unset_displayname", {"localpart": "alice"}),
    ("POST", "unset_displayname", {"localpart": "nobody"}),
    ("GET", "query_user?localpart=alice", None),
    ("POST", "upsert_device", {"localpart": "nobody", "device_id": "ONE"}),
    ("POST", "upsert_device", {"localpart": "alice"}),
    ("POST", "upsert_device", {"localpart": "alice", "device_id": "ONE", "display_name": "First"}),
    ("POST", "upsert_device", {"localpart": "alice", "device_id": "ONE", "display_name": "Again"}),
    ("POST", "upsert_device", {"localpart": "alice", "device_id": "TWO"}),
    ("POST", "update_device_display_name", {"localpart": "alice", "device_id": "ONE", "display_name": "First"}),
    ("POST", "update_device_display_name", {"localpart": "alice", "device_id": "GONE", "display_name": "G"}),
    ("POST", "update_device_display_name", {"localpart": "alice", "device_id": "ONE"}),
    ("POST", "delete_device", {"localpart": "alice", "device_id": "TWO"}),
    ("POST", "delete_device", {"localpart": "alice", "device_id": "GONE"}),
    ("POST", "delete_device", {"localpart": "nobody", "device_id": "ONE"}),
    ("POST", "sync_devices", {"localpart": "alice", "devices": ["ONE", "THREE"]}),
    ("POST", "sync_devices", {"localpart": "alice", "devices": []}),
    ("POST", "sync_devices", {"localpart": "alice", "devices": "ONE"}),
    ("POST", "sync_devices", {"localpart": "nobody", "devices": []}),
    ("POST", "allow_cross_signing_reset", {"localpart": "alice"}),
    ("POST", "allow_cross_signing_reset", {"localpart": "nobody"}),
    ("POST", "delete_user", {"localpart": "alice"}),
    ("POST", "delete_user", {"localpart": "alice", "erase": "yes"}),
    ("POST", "delete_user", {"localpart": "nobody", "erase": True}),
    ("POST", "delete_user", {"localpart": "alice", "erase": True}),
    ("POST", "delete_user", {"localpart": "alice", "erase": True}),
    ("GET", "query_user?localpart=alice", None),
    ("GET", "is_localpart_available?localpart=alice", None),
    ("POST", "reactivate_user", {"localpart": "nobody"}),
    ("POST", "query_user", {}),
    ("GET", "provision_user", None),
]
# What clients ask without a token where people sign in elsewhere. Otherwise on purpose: POST /account/3pid is a 405, as
# the path is there for GET; the older `auth_issuer` is answered.
ASKED: list[tuple[str, str, Any]] = [
    ("GET", "/login", None),
    ("POST", "/login", {"type": "m.login.password"}),
    ("POST", "/logout", {}),
    ("POST", "/logout/all", {}),
    ("POST", "/refresh", {"refresh_token": "x"}),
    ("POST", "/register", {"username": "x", "password": "correct horse"}),
    ("POST", "/register", {"username": "x", "type": "m.login.application_service"}),
    ("GET", "/register/available?username=x", None),
    ("GET", "/login/sso/redirect?redirectUrl=https%3A%2F%2Fapp.example.org", None),
    ("POST", "/account/password", {"new_password": "correct horse"}),
    ("POST", "/account/deactivate", {}),
    ("POST", "/account/3pid/add", {}),
    ("POST", "/account/3pid/delete", {}),
    ("POST", "/account/password/email/requestToken", {}),
    ("POST", "/delete_devices", {"devices": []}),
    ("GET", "/_matrix/client/v1/auth_metadata", None),
    ("GET", "/_matrix/client/unstable/org.matrix.msc2965/auth_metadata", None),
    ("GET", "/account/whoami", None),
]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
async def mas() -> AsyncIterator[MasServer]:
    async with mas_server() as running:
        yield running


def shown(answer: Answered, name: str) -> tuple[int, Any]:
    """Status and body; of an error its code, since its words are ours."""
    if answer.status == 204 or not answer.body:
        return answer.status, None
    try:
        said = answer.json
    except ValueError:
        return answer.status, "no JSON"
    if "errcode" in said:
        return answer.status, said["errcode"]
    if "user_id" in said:
        said["user_id"] = said["user_id"].removesuffix(f":{name}")
    return answer.status, said


async def test_the_back_channel_answers_as_synapse(
    database_dsn: str, mas: MasServer, tmp_path: Path, authority: Authority
) -> None:
    """Also what is left of sign-in, and tokens: on both the same requests in the same order."""
    changes: dict[str, object] = {
        "enable_registration": False,
        "enable_registration_without_verification": False,
        "matrix_authentication_service": {"enabled": True, "endpoint": mas.endpoint, "secret": SECRET},
    }
    (tmp_path / "hansa").mkdir()
    config = delegated_config(tmp_path / "hansa", mas.endpoint, SECRET)
    async with (
        running_synapse(tmp_path / "synapse", authority, changes) as synapse,
        running_server(database_dsn, config=config) as server,
    ):
        theirs, ours = synapse.anonymous(), server.anonymous()
        differences = []
        for method, path, body in CALLS:
            one, other = [
                shown(await call(client, method, path, body), name)
                for client, name in ((theirs, synapse.name), (ours, "hansa.test"))
            ]
            if one != other:
                differences.append((method, path, body, one, other))
        for secret in (None, "wrong"):
            one, other = [
                shown(await call(client, "GET", "query_user", secret=secret), "") for client in (theirs, ours)
            ]
            if one != other:
                differences.append(("GET", "query_user", secret, one, other))
        for method, path, body in ASKED:
            one, other = [shown(await client.request(method, path, body=body), "") for client in (theirs, ours)]
            if one != other:
                differences.append((method, path, body, one, other))
        assert not differences, "\n".join(map(str, differences))
