"""Saved searches tell a program of their owner's: signed, in order, until acknowledged, and nothing closed since."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.kit.server import Client, RunningServer, running_server
from tests.kit.until import until
from tests.kit.webhook_receiver import WebhookReceiver, webhook_receiver
from tests.search.test_saved_searches import SAVED, Told, save

pytestmark = pytest.mark.slow
# Receivers of tests listen on the loopback.
LOOPBACK = '[federation]\nallow_ip_ranges = ["127.0.0.0/8"]\n'


@pytest.fixture
async def open_server(database_dsn: str) -> AsyncIterator[RunningServer]:
    """It may call programs on the loopback."""
    async with running_server(database_dsn, toml=LOOPBACK) as running:
        yield running


@pytest.fixture
async def receiver() -> AsyncIterator[WebhookReceiver]:
    async with webhook_receiver() as listening:
        yield listening


async def pier(alice: Client, bob: Client) -> str:
    """A room of both."""
    room = await bob.create_room(preset="public_chat")
    await alice.join(room)
    return room


async def test_a_program_is_told(open_server: RunningServer, receiver: WebhookReceiver) -> None:
    """T-G8: in order, with the same number until it is acknowledged; what was redacted while the receiver was away is
    told no more, and never what anybody said."""
    alice, bob = await open_server.user("alice"), await open_server.user("bob")
    room = await pier(alice, bob)
    saved = await save(alice, "harbour", name="Mine", webhook_url=receiver.url)
    receiver.secret = saved["webhook_secret"]
    receiver.statuses = [500]
    first = await bob.send(room, "red harbour")
    number, told = await receiver.next()
    assert number == f"{saved['search_id']}-1" and [one["event_id"] for one in told["events"]] == [first]
    assert (told["name"], told["delivery"]) == ("Mine", 1)
    one = told["events"][0]
    assert (one["room_id"], one["sender"]) == (room, bob.user_id) and "red" not in str(told)
    assert await receiver.next() == (number, told)
    receiver.statuses = [503] * 1_000
    second = await bob.send(room, "green harbour")
    number, told = await receiver.next()
    assert number.endswith("-2") and [one["event_id"] for one in told["events"]] == [second]
    (await bob.put("/rooms/{}/redact/{}/1", room, second)).ok()
    receiver.statuses.clear()
    third = await bob.send(room, "blue harbour")
    while number.endswith("-2"):
        number, told = await receiver.next()
    assert number.endswith("-3") and [one["event_id"] for one in told["events"]] == [third]
    changed = (
        await alice.put(f"{SAVED}/{saved['search_id']}", body={"term": "pier", "webhook_url": receiver.url})
    ).ok()
    assert changed["webhook_secret"] == saved["webhook_secret"]
    fourth = await bob.send(room, "the pier")
    number, told = await receiver.next()
    assert number.endswith("-4") and [one["event_id"] for one in told["events"]] == [fourth]
    assert "webhook_secret" not in str((await alice.get(SAVED)).ok())


async def test_a_receiver_that_is_gone_for_good(open_server: RunningServer, receiver: WebhookReceiver) -> None:
    """Its owner is told so, and of what it wasn't told, and from then on by notices."""
    alice, bob = await open_server.user("alice"), await open_server.user("bob")
    room = await pier(alice, bob)
    receiver.statuses = [410]
    saved = await save(alice, "harbour", webhook_url=receiver.url)
    receiver.secret = saved["webhook_secret"]
    told = Told(alice)
    await told.events()
    first = await bob.send(room, "red harbour")
    await receiver.next()
    await told.until([first])
    assert "webhook_url" not in (await alice.get(SAVED)).ok()["saved_searches"][0]
    second = await bob.send(room, "green harbour")
    await told.until([first, second])


async def test_no_program_inside_is_called(server: RunningServer, receiver: WebhookReceiver) -> None:
    """T-L3: an address of the server's own network is never reached, and what can't be a URL is refused."""
    alice, bob = await server.user("alice"), await server.user("bob")
    for bad in ("file:///etc/passwd", "ftp://x", "javascript:x", "https://x/\n", "http://" + "x" * 2_000):
        (await alice.post(SAVED, body={"term": "word", "webhook_url": bad})).refused(400, "M_INVALID_PARAM")
    room = await pier(alice, bob)
    saved = await save(alice, "harbour", webhook_url=receiver.url)
    await bob.send(room, "red harbour")

    async def has_failed() -> bool:
        return bool(
            await server.db.fetchval("SELECT failures FROM saved_searches WHERE search_id = $1", saved["search_id"])
        )

    await until(has_failed)
    assert receiver.deliveries.empty()
