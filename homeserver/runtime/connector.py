"""Plain connections to programs of the operator's own, as a parameter."""

from __future__ import annotations

import asyncio
from typing import Protocol

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Connector(Protocol):
    async def connect(self, address: str) -> Streams:
        """`unix:/path/of.socket`, or `host:port`. Raises OSError."""
        ...


class SystemConnector:
    """The machine's own network."""

    async def connect(self, address: str) -> Streams:
        if address.startswith("unix:"):
            return await asyncio.open_unix_connection(address.removeprefix("unix:"))
        host, _, port = address.rpartition(":")
        return await asyncio.open_connection(host.strip("[]"), int(port))
