"""Notifications through a real Sygnal to the push service of a browser."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kit.authority import Authority
from tests.kit.server import running_server
from tests.kit.sygnal import sygnal
from tests.kit.until import until

pytestmark = [pytest.mark.slow, pytest.mark.sygnal]


async def test_sygnal_takes_what_we_send_and_its_rejection_removes_the_pusher(
    database_dsn: str, tmp_path: Path
) -> None:
    """T-L11: events, badges, and a browser that has unsubscribed."""
    authority = Authority(tmp_path)
    toml = f'[federation]\nca_path = "{authority.ca_path}"\nallow_ip_ranges = ["127.0.0.0/8", "::1/128"]\n'
    async with sygnal(tmp_path, authority) as gateway, running_server(database_dsn, toml=toml) as server:
        alice, bob = await server.user("alice"), await server.user("bob")
        room_id = await alice.create_room(preset="public_chat", name="Harbour")
        await bob.join(room_id)
        laptop, gone = gateway.pusher("laptop"), gateway.pusher("gone")
        (await bob.post("/pushers/set", body=laptop)).ok()
        event_id = await alice.send(room_id, "ahoy")
        assert (await gateway.next()) == ("laptop", "normal")
        (await bob.post("/rooms/{}/receipt/m.read/{}", room_id, event_id)).ok()
        assert (await gateway.next()) == ("laptop", "low")
        gateway.gone.add("gone")
        gone["data"]["format"] = "event_id_only"
        (await bob.post("/pushers/set", body={**gone, "append": True})).ok()
        await alice.send(room_id, "and again")
        assert {(await gateway.next())[0] for _ in range(2)} == {"laptop", "gone"}

        async def is_removed() -> bool:
            pushers = (await bob.get("/pushers")).ok()["pushers"]
            return [pusher["pushkey"] for pusher in pushers] == [laptop["pushkey"]]

        await until(is_removed)
