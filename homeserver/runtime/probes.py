"""Looking at the world around the server: names, addresses, certificates, disk. For `hansa doctor` only.

The server itself talks to others through its guarded client; these look only where the operator's own configuration
points.
"""

from __future__ import annotations

import asyncio
import email.utils
import resource
import shutil
import socket
import ssl
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

ANSWER_BYTES_MAX = 1024 * 1024
_WAIT_S = 8.0


class Unreachable(Exception):
    """There was no usable answer; the text says why."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """An HTTP answer. `date_ms` is what the other side's clock said."""

    status: int
    body: bytes
    date_ms: int | None


class Probes(Protocol):
    async def addresses(self, name: str) -> list[str]:
        """The addresses of a host. Raises Unreachable."""
        ...

    async def fetch(self, url: str, *, ca_path: Path | None = None) -> Fetched:
        """A GET with certificate checks, redirects followed. Raises Unreachable."""
        ...

    def free_disk_bytes(self, path: Path) -> int: ...

    def open_files_max(self) -> int: ...


class SystemProbes:
    """The machine's own."""

    async def addresses(self, name: str) -> list[str]:
        try:
            found = await asyncio.get_running_loop().getaddrinfo(name, None, type=socket.SOCK_STREAM)
        except OSError as error:
            raise Unreachable(error.strerror or str(error)) from None
        return sorted({str(entry[4][0]) for entry in found})

    async def fetch(self, url: str, *, ca_path: Path | None = None) -> Fetched:
        return await asyncio.to_thread(_fetch, url, ca_path)

    def free_disk_bytes(self, path: Path) -> int:
        while not path.exists() and path != path.parent:
            path = path.parent
        return shutil.disk_usage(path).free

    def open_files_max(self) -> int:
        return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def _fetch(url: str, ca_path: Path | None) -> Fetched:
    context = ssl.create_default_context()
    try:
        if ca_path is not None:
            context.load_verify_locations(ca_path)
        with urllib.request.urlopen(url, timeout=_WAIT_S, context=context) as answer:
            return _fetched(answer.status, answer.read(ANSWER_BYTES_MAX), answer.headers.get("Date"))
    except urllib.error.HTTPError as error:
        return _fetched(error.code, error.read(ANSWER_BYTES_MAX), error.headers.get("Date"))
    except urllib.error.URLError as error:
        raise Unreachable(str(error.reason)) from None
    except (OSError, ValueError) as error:
        raise Unreachable(str(error)) from None


def _fetched(status: int, body: bytes, date: str | None) -> Fetched:
    try:
        date_ms = int(email.utils.parsedate_to_datetime(date).timestamp() * 1000) if date else None
    except ValueError:
        date_ms = None
    return Fetched(status, body, date_ms)
