"""Files pass a virus scanner, a real one, before anybody gets them."""

from __future__ import annotations

import pytest

from tests.api.test_media import download, upload
from tests.api.test_media_kept import count, objects
from tests.kit.clamd import VIRUS, clamd
from tests.kit.server import Client, RunningServer, running_server

pytestmark = pytest.mark.programs("clamd")


def settings(address: str, when_unreachable: str = "refuse") -> str:
    return f'[media.scanner]\naddress = "{address}"\nwhen_unreachable = "{when_unreachable}"\ntimeout_s = 10\n'


async def refused(server: RunningServer, client: Client, data: bytes, status: int, errcode: str) -> None:
    answer = await client.request("POST", "/_matrix/media/v3/upload", data=data)
    answer.refused(status, errcode)
    assert objects(server) == [] and await count(server, "media_leftovers") == 0


async def test_harmful_files_are_refused_and_leave_nothing(database_dsn: str) -> None:
    """T-K9: whatever they say they are; and a file that the scanner won't read isn't let through."""
    async with clamd() as address, running_server(database_dsn, toml=settings(address)) as server:
        alice = await server.user("alice")
        await refused(server, alice, b"x" * 300_000 + VIRUS + b"x", 403, "M_FORBIDDEN")
        await refused(server, alice, b"x" * 2_000_000, 503, "M_UNKNOWN")
        created = (await alice.post("/_matrix/media/v1/create")).ok()["content_uri"].removeprefix("mxc://")
        answer = await alice.request("PUT", f"/_matrix/media/v3/upload/{created}", data=VIRUS)
        answer.refused(403, "M_FORBIDDEN")
        assert (await download(alice, *(await upload(alice, b"harmless", "text/plain")))).body == b"harmless"


async def test_without_a_scanner_the_operator_decides(database_dsn: str) -> None:
    async with running_server(database_dsn, toml=settings("unix:/nowhere/clamd.socket")) as server:
        await refused(server, await server.user("alice"), b"harmless", 503, "M_UNKNOWN")
    async with running_server(database_dsn, toml=settings("127.0.0.1:9", "allow")) as server:
        alice = await server.login("alice")
        assert (await download(alice, *(await upload(alice, b"harmless", "text/plain")))).body == b"harmless"
