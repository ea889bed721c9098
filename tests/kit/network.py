"""A network between servers of one process that loses, delays, repeats and parts, by a seed."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Mapping
from functools import partial
from typing import Any

from homeserver.web.outgoing import Outgoing, OutgoingAnswer, OutgoingError, OutgoingStream


class Network:
    """What lies between the servers. Quiet until told otherwise."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(f"network {seed}")
        self.lost = 0.0  # the part of requests that never arrives
        self.unanswered = 0.0  # the part that arrives, and whose answer is lost
        self.repeated = 0.0  # the part that arrives twice
        self.delay_s = 0.0  # the longest delay of a request
        self.parted: set[frozenset[str]] = set()
        self.counts = {"sent": 0, "lost": 0, "unanswered": 0, "repeated": 0}

    def heal(self) -> None:
        self.lost = self.unanswered = self.repeated = self.delay_s = 0.0
        self.parted.clear()

    def side_of(self, name: str, way_out: Outgoing) -> Outgoing:
        """The network as the server of this name sees it."""
        return _Side(self, name, way_out)

    async def pass_on(self, own: str, other: str) -> int:
        """How often a request goes through; 0 for one that is lost. Takes its time."""
        self.counts["sent"] += 1
        if self.delay_s:
            await asyncio.sleep(self.chance.random() * self.delay_s)
        if frozenset((own, other)) in self.parted or self.chance.random() < self.lost:
            self.counts["lost"] += 1
            return 0
        if self.chance.random() < self.repeated:
            self.counts["repeated"] += 1
            return 2
        return 1


class _Side:
    def __init__(self, network: Network, name: str, way_out: Outgoing) -> None:
        self._network = network
        self._name = name
        self._way_out = way_out

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        timeout_s: float,
        response_bytes_max: int,
        connect_to: tuple[str, int] | None = None,
        server_hostname: str | None = None,
        redirects_max: int = 0,
    ) -> OutgoingAnswer:
        network, other = self._network, url.split("/")[2]
        times = await network.pass_on(self._name, other)
        if not times:
            raise OutgoingError("unreachable", "the network lost it")
        request = partial(
            self._way_out.request, method, url, headers=headers, body=body, timeout_s=timeout_s,
            response_bytes_max=response_bytes_max, connect_to=connect_to, server_hostname=server_hostname,
            redirects_max=redirects_max,
        )  # fmt: skip
        for _ in range(times - 1):
            await request()
        answer = await request()
        if network.chance.random() < network.unanswered:
            network.counts["unanswered"] += 1
            raise OutgoingError("timeout", "the network lost the answer")
        return answer

    def stream(self, *args: Any, **kwargs: Any) -> contextlib.AbstractAsyncContextManager[OutgoingStream]:
        return self._way_out.stream(*args, **kwargs)

    async def close(self) -> None:
        await self._way_out.close()
