"""What nobody between them can read, shared with a real Synapse: two matrix-js-sdk clients, one on each server."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.clients.test_two_clients import PASSWORD, js_client
from tests.kit.authority import Authority
from tests.kit.server import RunningServer
from tests.kit.synapse import running_synapse

pytestmark = [pytest.mark.peer, pytest.mark.clients, pytest.mark.slow]


async def test_encrypted_talk_and_verified_devices(here: RunningServer, authority: Authority, tmp_path: Path) -> None:
    """Keys are found, claimed and sent across, in rooms of either side; both compare pictures, and trust each other."""
    async with (
        running_synapse(tmp_path / "synapse", authority) as synapse,
        js_client(here.base_url) as ours,
        js_client(synapse.base_url) as theirs,
    ):
        alice = await ours("register", name="alice", password=PASSWORD)
        bob = await theirs("register", name="bob", password=PASSWORD)
        sides = (("alice", alice, ours), ("bob", bob, theirs))
        for (host, _, hosts), (guest, who, guests) in (sides, sides[::-1]):
            room_id = (await hosts("createEncrypted", name=host, invite=[who["user_id"]]))["room_id"]
            await guests("waitInvited", name=guest, room_id=room_id)
            await guests("join", name=guest, room_id=room_id)
            for name, client in ((host, hosts), (guest, guests)):
                await client("waitMembers", name=name, room_id=room_id, count=2)
            for name, client, other, reader in ((host, hosts, guest, guests), (guest, guests, host, hosts)):
                sent = (await client("send", name=name, room_id=room_id, body=f"only for {other}"))["event_id"]
                read = await reader("read", name=other, room_id=room_id, event_id=sent)
                assert (read["body"], read["wire"]) == (f"only for {other}", "m.room.encrypted")

        for (one, mine, asking), (other, yours, asked) in (sides, sides[::-1]):
            told = {"user_id": yours["user_id"], "device_id": yours["device_id"]}
            found = await asking("waitDevice", name=one, user_id=yours["user_id"])
            assert found["device_ids"] == [yours["device_id"]]
            shown = await asyncio.gather(
                asking("verify", name=one, **told), asked("acceptVerification", name=other, user_id=mine["user_id"])
            )
            assert len(shown[0]["pictures"]) == 7 and shown[0] == shown[1]
            back = {"user_id": mine["user_id"], "device_id": mine["device_id"]}
            ends = await asyncio.gather(
                asking("confirmPictures", name=one, **told), asked("confirmPictures", name=other, **back)
            )
            assert list(ends) == [{"verified": True}, {"verified": True}]
