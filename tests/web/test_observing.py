"""What an operator sees: request ids in log lines, failures counted, latencies by endpoint, use of the pool."""

from __future__ import annotations

import asyncio
import io
import json
import re

from homeserver.runtime.logging import configure_logging
from tests.kit.server import RunningServer, running_server
from tests.kit.until import SOON_S


async def test_a_request_has_an_id_in_the_log(server: RunningServer) -> None:
    """One request, one id: also where several are under way at once; what serves many carries none."""
    alice = await server.user("alice")
    room = await alice.create_room()
    lines = io.StringIO()
    configure_logging(format="json", level="debug", value_chars_max=2000, stream=lines)
    await asyncio.gather(*(alice.send(room, f"message {number}") for number in range(10)))
    said = [json.loads(line) for line in lines.getvalue().splitlines()]
    handled = [line for line in said if line["event"] == "request_handled"]
    ids = [line["request_id"] for line in handled]
    assert len(ids) == len(set(ids)) == 10
    assert all(re.fullmatch(r"[A-Za-z]{6}-\d+", number) for number in ids)
    assert len({number.partition("-")[0] for number in ids}) == 1, "they begin with what names the process"


async def test_what_people_say_and_what_lets_them_in_is_in_no_line(server: RunningServer) -> None:
    """T-O10: a canary in each place where secrets and content come by, at the most talkative level."""
    lines = io.StringIO()
    configure_logging(format="json", level="debug", value_chars_max=100_000, stream=lines)
    canary = "Canary7Bird"
    alice = await server.user("alice", canary + "password")
    other = await server.login("alice", canary + "password", initial_device_display_name=canary)
    await server.anonymous().post(
        "/login", body={"type": "m.login.password", "user": "alice", "password": canary + "wrong"}
    )
    room_id = await alice.create_room(name=canary, topic=canary, room_version="11")
    event_id = await alice.send(room_id, canary)
    (await alice.put("/rooms/{}/redact/{}/1", room_id, event_id, body={"reason": canary})).ok()
    (await alice.put("/rooms/{}/state/org.x/{}", room_id, "k", body={"x": canary})).ok()
    (await alice.put("/user/{}/account_data/org.x", alice.user_id, body={"x": canary})).ok()
    (await alice.put("/profile/{}/displayname", alice.user_id, body={"displayname": canary})).ok()
    messages = {alice.user_id: {other.device_id: {"x": canary}}}
    (await alice.put("/sendToDevice/org.x/1", body={"messages": messages})).ok()
    stored = {"algorithm": "m.megolm_backup.v1.curve25519-aes-sha2", "auth_data": {"public_key": canary}}
    (await alice.post("/room_keys/version", body=stored)).ok()
    (await alice.post("/search", body={"search_categories": {"room_events": {"search_term": canary}}})).ok()
    await alice.get("/account/whoami", access_token=canary)
    await alice.post("/user_directory/search", body={"search_term": canary})
    await alice.request("POST", "/_matrix/media/v3/upload", data=canary.encode(), query={"filename": canary})
    await alice.request("PUT", f"/user/{alice.user_id}/account_data/org.x", data=canary.encode())
    await alice.sync()
    text = lines.getvalue()
    assert text.count("request_handled") > 15
    secrets = [canary, alice.token or "", other.token or ""]
    assert all(len(secret) > 8 for secret in secrets)
    assert [line for line in text.splitlines() if any(secret in line for secret in secrets)] == []


async def test_failures_of_tasks_are_counted(server: RunningServer) -> None:
    """T-O19: a task that dies is seen, and one that runs for ever begins again."""
    begun = asyncio.Event()
    times = 0

    async def fails() -> None:
        nonlocal times
        times += 1
        if times > 1:
            begun.set()
            await asyncio.Event().wait()
        raise ValueError("a fault")

    lines = io.StringIO()
    configure_logging(format="json", level="info", value_chars_max=2000, stream=lines)
    server.hansa.tasks.forever(fails, name="a_task_of_a_test")
    async with asyncio.timeout(SOON_S):
        await begun.wait()
    assert server.hansa.metrics.value("hansa_task_failures_total", task="a_task_of_a_test") == 1
    failed = [json.loads(line) for line in lines.getvalue().splitlines() if "task_failed" in line]
    assert failed[0]["task"] == "a_task_of_a_test" and "a fault" in failed[0]["exception"]
    assert "request_id" not in failed[0]


async def test_what_is_measured(server: RunningServer) -> None:
    """T-O11: by endpoint, never by what a caller chose."""
    alice = await server.user("alice")
    await alice.get("/account/whoami")
    await alice.get("/profile/{}", "@mallory:hansa.test")
    await alice.get("/nothing/of/the/kind")
    text = server.hansa.metrics.render().decode()
    assert 'hansa_request_seconds_bucket{endpoint="/_matrix/client/v3/account/whoami",le="0.5"} 1.0' in text
    assert 'hansa_requests_total{endpoint="unknown",method="GET",status="404"} 1.0' in text
    assert re.search(r'hansa_database_connections\{state="open"\} [1-9]', text)
    assert re.search(r'hansa_connections\{state="open"\} [1-9]', text)
    assert re.search(r'hansa_disk_free_bytes\{of="data"\} [1-9]', text)
    consumers = re.findall(r'hansa_consumer_lag_positions\{consumer="(\w+)"\} [0-9]', text)
    assert {"unread", "user_directory", "media_links", "search"} <= set(consumers)
    assert "mallory" not in text and "kind" not in text


async def test_nobody_reads_metrics_or_health_where_clients_come(database_dsn: str) -> None:
    """T-O11: the usual listener of clients doesn't serve metrics."""
    async with running_server(database_dsn) as server:
        stranger = server.anonymous()
        (await stranger.request("GET", "/.well-known/../metrics")).refused(404, "M_UNRECOGNIZED")
        paths = {path for declared in server.hansa.endpoints for path in declared.paths}
        assert "/metrics" not in paths
