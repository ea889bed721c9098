"""Names in the DNS that aren't addresses: where a service of a domain is. Behind a Protocol, for simulations."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import aiodns
import pycares
from aiodns import error as codes

_WAIT_S = 5.0
_RECORDS_MAX = 20
_NOBODY = (codes.ARES_ENODATA, codes.ARES_ENOTFOUND, codes.ARES_EBADNAME)


class DnsFault(Exception):
    """The DNS didn't say: neither that there is an answer nor that there is none."""


@dataclass(frozen=True, slots=True)
class Service:
    """One SRV record."""

    host: str
    port: int
    priority: int
    weight: int
    ttl_s: int


class Dns(Protocol):
    async def services(self, name: str) -> Sequence[Service]:
        """The SRV records of a name like `_matrix-fed._tcp.example.org`; none where there are none. Raises DnsFault."""
        ...

    async def addresses(self, host: str) -> Sequence[str]:
        """The IP addresses of a host, for people to see. Raises DnsFault."""
        ...


class SystemDns:
    """Implements Dns by the name servers of this machine."""

    def __init__(self, nameservers: Sequence[str] | None = None) -> None:
        self._nameservers = nameservers
        self._resolver: aiodns.DNSResolver | None = None

    async def services(self, name: str) -> Sequence[Service]:
        if self._resolver is None:
            self._resolver = aiodns.DNSResolver(self._nameservers, timeout=_WAIT_S / 2, tries=2)
        try:
            async with asyncio.timeout(_WAIT_S):
                answer = await self._resolver.query_dns(name, "SRV")
        except aiodns.error.DNSError as error:
            if error.args and error.args[0] in _NOBODY:
                return []
            raise DnsFault(f"no answer for the SRV record of {name}") from None
        except TimeoutError:
            raise DnsFault(f"no answer in time for the SRV record of {name}") from None
        return [
            Service(data.target.rstrip("."), data.port, data.priority, data.weight, record.ttl)
            for record in answer.answer[:_RECORDS_MAX]
            if isinstance(data := record.data, pycares.SRVRecordData)
        ]

    async def addresses(self, host: str) -> Sequence[str]:
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise DnsFault(f"{host} has no address: {error}") from None
        return sorted({str(entry[4][0]) for entry in found})

    async def close(self) -> None:
        if self._resolver is not None:
            await self._resolver.close()
