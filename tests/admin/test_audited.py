"""Each call that changes something leaves a row in the audit log, by whichever tool it is made."""

from __future__ import annotations

import pytest

from tests.admin.peer.calls import CALLS
from tests.admin.peer.scene import Scene
from tests.kit.server import SHARED_SECRET, RunningServer

# Of what is asked for, all was so before, or there was nothing to be done: these are answered, and change nothing.
NOTHING_CHANGED = [
    "PUT /v2/users/@dave:{server} {}",
    "POST /v2/users/{bob}/devices {'device_id': 'NEW'}",  # the second time
    "POST /v1/media/delete?before_ts=4000000000000&size_gt=1000000 {}",
    "POST /v1/media/{server}/delete?before_ts=4000000000000&size_gt=1000000 {}",
    "DELETE /v1/rooms/{den}/forward_extremities None",
]

NEWER = "SELECT actor, target, request_id FROM audit_log WHERE entry_nid > $1"


@pytest.mark.slow
async def test_every_change_is_in_the_audit_log(server: RunningServer) -> None:
    """T-J16: who, what and whom, of all calls that existing tools make."""
    scene = Scene("hansa.test", server.anonymous(), SHARED_SECRET)
    await scene.furnish()
    missing = list[str]()
    changes = 0
    for who, method, path, body, *kept in CALLS:
        if method == "GET":
            continue
        before = await newest(server)
        answer = await scene.call(who, method, path, body)
        for key, name in kept:
            scene.keep(name, key, answer)
        if answer.status not in (200, 201):
            continue
        changes += 1
        found = await server.db.fetch(NEWER, before)
        if not found:
            missing.append(f"{method} {path} {body}")
        assert all(row["actor"] == scene.names["owner"] and row["target"] and row["request_id"] for row in found)
    assert changes > 60
    assert missing == NOTHING_CHANGED, "\n".join(missing)


async def newest(server: RunningServer) -> int:
    number: int = await server.db.fetchval("SELECT coalesce(max(entry_nid), 0) FROM audit_log")
    return number
