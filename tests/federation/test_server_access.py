"""Which servers this one talks with."""

from __future__ import annotations

import pytest

from federation.server_access import ServerAccess
from homeserver.core.identifiers import RoomId, ServerName
from homeserver.rooms.residents import is_in
from tests.kit.server import RunningServer

DENIED = ["evil.test", "*.worse.test", "[2001:db8::1]"]


@pytest.mark.parametrize(
    ("server", "allowed"),
    [
        ("good.test", True),
        ("notevil.test", True),
        ("evil.test", False),
        ("EVIL.test", False),
        ("evil.test:8448", False),
        ("evil.test.", False),
        ("Evil.Test.:443", False),
        ("a.worse.test:1", False),
        ("[2001:db8::1]:8448", False),
        ("[2001:db8::2]:8448", True),
        ("own.test", False),
    ],
)
def test_who_is_denied_has_no_other_spelling(server: str, allowed: bool) -> None:
    """T-A20: case, a port and the dot at the end lead to the same machine."""
    assert ServerAccess(ServerName("own.test"), deny=DENIED).may_talk_with(server) is allowed


def test_who_is_allowed_is_so_by_the_whole_name() -> None:
    access = ServerAccess(ServerName("own.test"), allow=["good.test"])
    assert access.may_talk_with("Good.test") and not access.may_talk_with("good.test:8448")


async def test_a_port_is_no_servers_name(here: RunningServer) -> None:
    """T-A20: a server called like the end of another's name is not in the other's rooms."""
    alice = await here.user("alice")
    room_id = await alice.create_room()
    room = await here.hansa.rooms.rooms.get(RoomId(room_id))
    name = here.hansa.config.server_name
    assert room is not None and ":" in name
    assert is_in(room, ServerName(name))
    assert not is_in(room, ServerName(name.partition(":")[2]))
