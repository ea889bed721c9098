"""Each admin endpoint, asked by everybody: who may not is told so before anything else happens."""

from __future__ import annotations

import re

from homeserver.core.operators import PERMISSIONS, Role
from homeserver.web.endpoint import Access, Endpoint
from tests.admin.people import Crew
from tests.kit.server import RunningServer

_FILLED = {
    "user_id": "@nobody:hansa.test",
    "room_id": "!none:hansa.test",
    "room_identifier": "!none:hansa.test",
    "event_id": "$none",
    "server_name": "elsewhere.test",
    "destination": "elsewhere.test",
}

# What is asked for is too much for a URL; nothing is changed.
READ_BY_POST = ("/_hansa/admin/v1/spam/try", "/_hansa/admin/v1/cases/{case_id}/evidence")


def path_of(declared: Endpoint) -> str:
    """The path with ids of what isn't there."""
    return re.sub(r"\{([a-z_]+)\}", lambda name: _FILLED.get(name[1], "none"), declared.paths[0])


def admin_endpoints(server: RunningServer) -> list[Endpoint]:
    return [declared for declared in server.hansa.endpoints if declared.access is Access.ADMIN]


async def test_each_endpoint_by_each_role(server: RunningServer, crew: Crew) -> None:
    """T-J1, T-J2, T-I1: no token, a plain user, an auditor, a moderator, an admin; and the owner is never refused so.

    What an operator is let into gets past the door: whatever it then says of things that aren't there is no refusal
    of the caller, and never a fault of the server's.
    """
    stranger = server.anonymous()
    asked = admin_endpoints(server)
    assert len(asked) > 40
    people = {
        Role.OWNER: crew.owner,
        Role.ADMIN: crew.admin,
        Role.MODERATOR: crew.moderator,
        Role.AUDITOR: crew.auditor,
    }
    for declared in asked:
        path, place = path_of(declared), f"{declared.method} {declared.paths[0]}"
        assert (await stranger.request(declared.method, path, data=b"{}")).status == 401, place
        refused = await crew.user.request(declared.method, path, data=b"{}")
        assert (refused.status, refused.json["errcode"]) == (403, "M_FORBIDDEN"), place
        for role, client in people.items():
            answer = await client.request(declared.method, path, data=b"{}")
            may = role is Role.OWNER if declared.needs is None else declared.needs in PERMISSIONS[role]
            assert answer.status < 500, (place, role, answer.body)
            message = "only server administrators may do this"
            assert (answer.status == 403 and answer.json["error"] == message) is not may, (place, role, answer.body)


async def test_what_changes_asks_for_more_than_reading(server: RunningServer, crew: Crew) -> None:
    """T-J2: no endpoint but those that read is open to whoever may only read."""
    for declared in admin_endpoints(server):
        reads = declared.method in ("GET", "HEAD") or declared.paths[0] in READ_BY_POST
        if not reads and declared.needs is not None:
            assert not declared.needs.startswith("read_"), declared.paths[0]
