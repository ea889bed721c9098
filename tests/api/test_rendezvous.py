"""Meeting points of two devices (MSC4108): written, read, replaced in turn, and gone after a minute."""

from __future__ import annotations

from tests.kit.clock import FakeClock
from tests.kit.server import Answered, Client, RunningServer, running_server

PATH = "/_matrix/client/unstable/org.matrix.msc4108/rendezvous"
TEXT = {"Content-Type": "text/plain"}


def etag(answered: Answered) -> str:
    return next(value for name, value in answered.headers.items() if name.lower() == "etag")


async def created(client: Client, payload: bytes = b"one") -> tuple[str, Answered]:
    answered = await client.request("POST", PATH, data=payload, headers=TEXT)
    assert answered.status == 201, answered.body
    return answered.json["url"].removeprefix(client.base_url), answered


async def test_two_devices_write_in_turn(server: RunningServer) -> None:
    new, known = server.anonymous(), server.anonymous()
    path, answered = await created(new)
    path = path[path.index("/_matrix") :]
    first = etag(answered)
    read = await known.get(path)
    assert (read.status, read.body, read.headers["Content-Type"]) == (200, b"one", "text/plain")
    again = await known.request("GET", path, headers={"If-None-Match": first})
    assert (again.status, again.body) == (304, b"")
    written = await known.request("PUT", path, data=b"two", headers={**TEXT, "If-Match": first})
    assert written.status == 202 and etag(written) != first
    late = await new.request("PUT", path, data=b"three", headers={**TEXT, "If-Match": first})
    assert late.refused(412, "M_UNKNOWN")["org.matrix.msc4108.errcode"] == "M_CONCURRENT_WRITE"
    assert (await new.get(path)).body == b"two"
    assert (await new.delete(path)).status == 204
    (await known.get(path)).refused(404, "M_NOT_FOUND")


async def test_refusals(server: RunningServer) -> None:
    client = server.anonymous()
    (await client.request("POST", PATH, data=b"x" * 4_097, headers=TEXT)).refused(413, "M_TOO_LARGE")
    (await client.request("POST", PATH, data=b"x", headers={"Content-Type": "text/html"})).refused(
        400, "M_INVALID_PARAM"
    )
    path = (await created(client))[0]
    path = path[path.index("/_matrix") :]
    (await client.request("PUT", path, data=b"x", headers=TEXT)).refused(400, "M_MISSING_PARAM")
    (await client.get(PATH + "/{}", "guess")).refused(404, "M_NOT_FOUND")


async def test_a_meeting_point_ends_after_a_minute(database_dsn: str) -> None:
    clock = FakeClock()
    async with running_server(database_dsn, clock=clock) as server:
        client = server.anonymous()
        path = (await created(client))[0]
        path = path[path.index("/_matrix") :]
        clock.advance(59)
        assert (await client.get(path)).status == 200
        clock.advance(2)
        (await client.get(path)).refused(404, "M_NOT_FOUND")
