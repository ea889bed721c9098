"""What other servers ask of large rooms stalls nobody else."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from homeserver.core.identifiers import RoomId
from homeserver.core.state_resolution.sets import reachable
from homeserver.rooms import graph_reads
from homeserver.storage import events
from tests.federation.test_hostile_peers import joined
from tests.kit.authority import Authority
from tests.kit.peer import running_peer
from tests.kit.peer_room import PeerRoom
from tests.kit.server import RunningServer

MEMBERS = 3_000


@pytest.mark.slow
async def test_a_large_state_is_put_together_beside_the_loop(
    here: RunningServer, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """T-E1, T-H16: the events of a state, and the chain behind them, are read and looked through in threads."""
    beside: list[bool] = []

    def seen(work: Callable[..., Any]) -> Callable[..., Any]:
        def seen_work(*given: Any) -> Any:
            beside.append(threading.current_thread() is not threading.main_thread())
            return work(*given)

        return seen_work

    async with running_peer(authority) as peer:

        def filled(room: PeerRoom) -> None:
            for number in range(MEMBERS):
                user = f"@{number}:{peer.name}"
                room.add("m.room.member", {"membership": "join"}, user, sender=user)

        _, room = await joined(here, peer, filled=filled)
        reads, rooms = here.hansa.rooms.graph_reads, here.hansa.rooms.rooms
        told = await reads.room(RoomId(room.room_id))
        assert told is not None
        known = await rooms.whole(told)
        here.hansa.rooms.store._by_nid.clear()
        here.hansa.rooms.store._nids.clear()
        monkeypatch.setattr(events, "_readable", seen(events._readable))
        state = await rooms.full_state(known)
        assert len(state) > MEMBERS and beside == [True]
        await reads._graphs.of(known.nid, known.version)
        beside.clear()
        monkeypatch.setattr(graph_reads, "reachable", seen(reachable))
        assert len(await reads.auth_chain(known, [one.event.event_id for one in state])) > MEMBERS
        assert beside[0]
