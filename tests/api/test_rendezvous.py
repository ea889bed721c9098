"""Meeting points of two devices (MSC4108, MSC4388): written, read, replaced in turn, and gone after two minutes."""

from __future__ import annotations

import pytest

from homeserver.accounts import rendezvous
from tests.kit.clock import JumpingClock
from tests.kit.server import Answered, Client, RunningServer, running_server

PATH = "/_matrix/client/unstable/org.matrix.msc4108/rendezvous"
DATA_PATH = "/_matrix/client/unstable/io.element.msc4388/rendezvous"
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
    """T-I25: some kilobytes of what is shown to nobody as a page, at addresses that nobody guesses."""
    client = server.anonymous()
    (await client.request("POST", PATH, data=b"x" * 4_097, headers=TEXT)).refused(413, "M_TOO_LARGE")
    (await client.request("POST", PATH, data=b"x", headers={"Content-Type": "text/html"})).refused(
        400, "M_INVALID_PARAM"
    )
    path = (await created(client))[0]
    path = path[path.index("/_matrix") :]
    (await client.request("PUT", path, data=b"x", headers=TEXT)).refused(400, "M_MISSING_PARAM")
    (await client.get(PATH + "/{}", "guess")).refused(404, "M_NOT_FOUND")


async def test_meeting_points_are_few(database_dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """T-I25: the oldest gives way to one too many, and nobody makes many in a short time."""
    monkeypatch.setattr(rendezvous, "SESSIONS_MAX", 3)
    async with running_server(
        database_dsn, toml="[rate_limits]\nrendezvous = {per_second = 0.001, burst = 5}\n"
    ) as server:
        client = server.anonymous()
        made = [(await created(client, b"%d" % number))[0] for number in range(5)]
        seen = [(await client.get(path[path.index("/_matrix") :])).status for path in made]
        assert seen == [404, 404, 200, 200, 200]
        (await client.request("POST", PATH, data=b"x", headers=TEXT)).refused(429, "M_LIMIT_EXCEEDED")


async def test_a_meeting_point_ends_after_two_minutes(database_dsn: str) -> None:
    """T-I25, T-O13: also when the machine's clock is set back meanwhile."""
    clock = JumpingClock()
    async with running_server(database_dsn, clock=clock) as server:
        client = server.anonymous()
        path = (await created(client))[0]
        path = path[path.index("/_matrix") :]
        clock.advance(119)
        clock.jump(-86_400)
        assert (await client.get(path)).status == 200
        clock.advance(2)
        (await client.get(path)).refused(404, "M_NOT_FOUND")


async def test_two_devices_write_json_in_turn(server: RunningServer) -> None:
    """T-I25: as Element X and matrix-js-sdk do since MSC4388."""
    new, known = server.anonymous(), server.anonymous()
    assert (await new.get("/_matrix/client/versions")).json["unstable_features"]["io.element.msc4388"] is True
    assert (await new.get(DATA_PATH)).json == {"create_available": True}
    made = (await new.post(DATA_PATH, body={"data": "one"})).json
    assert 119_000 < made["expires_in_ms"] <= 120_000 and made["expires_ts"] > 1_600_000_000_000
    path, first = f"{DATA_PATH}/{made['id']}", made["sequence_token"]
    read = (await known.get(path)).json
    assert (read["data"], read["sequence_token"], read["expires_ts"]) == ("one", first, made["expires_ts"])
    written = await known.put(path, body={"data": "tw\u00f6", "sequence_token": first})
    assert written.status == 200 and set(written.json) == {"sequence_token"} and written.json["sequence_token"] != first
    late = await new.put(path, body={"data": "three", "sequence_token": first})
    late.refused(409, "IO_ELEMENT_MSC4388_CONCURRENT_WRITE")
    assert (await new.get(path)).json["data"] == "tw\u00f6"
    assert (await new.delete(path)).json == {}
    (await known.get(path)).refused(404, "M_NOT_FOUND")
    (await known.put(path, body={"data": "x", "sequence_token": first})).refused(404, "M_NOT_FOUND")
    (await known.delete(path)).refused(404, "M_NOT_FOUND")


async def test_json_refusals(server: RunningServer) -> None:
    """T-I25: too much, nothing, and a browser's window that is led to what somebody wrote."""
    client = server.anonymous()
    (await client.post(DATA_PATH, body={"data": "x" * 4_097})).refused(413, "M_TOO_LARGE")
    assert (await client.post(DATA_PATH, body={})).status == 400
    assert (await client.post(DATA_PATH, body={"data": 7})).status == 400
    made = (await client.post(DATA_PATH, body={"data": "x" * 4_096})).json
    path = f"{DATA_PATH}/{made['id']}"
    for seen in ({"Sec-Fetch-Mode": "navigate"}, {"Sec-Fetch-Dest": "document"}):
        (await client.request("GET", path, headers=seen)).refused(403, "M_FORBIDDEN")
    assert (await client.request("GET", path, headers={"Sec-Fetch-Dest": "empty"})).status == 200
    body = {"data": "y" * 4_097, "sequence_token": made["sequence_token"]}
    (await client.put(path, body=body)).refused(413, "M_TOO_LARGE")
    # A meeting point of one kind isn't one of the other.
    (await client.get(path.replace("io.element.msc4388", "org.matrix.msc4108"))).refused(404, "M_NOT_FOUND")
