"""Objects in a real HDFS."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator

import pytest

from homeserver.core.errors import Unavailable
from homeserver.objects import hdfs
from homeserver.objects.hdfs import HdfsFolder, HdfsObjects
from homeserver.objects.store import NoSuchObject
from homeserver.runtime.clock import SystemClock
from homeserver.runtime.ids import SystemRandomness
from homeserver.web.addresses import AddressFilter
from homeserver.web.object_transport import ObjectTransport
from homeserver.web.outgoing import OutgoingClient
from tests.kit.clock import FakeClock
from tests.kit.hdfs import USER, running_hdfs

pytestmark = [pytest.mark.programs("hdfs"), pytest.mark.slow]


async def pieces(*data: bytes) -> AsyncIterator[bytes]:
    for piece in data:
        yield piece


async def read(objects: HdfsObjects, name: str, start: int = 0, end: int | None = None) -> bytes:
    return b"".join([piece async for piece in objects.get(name, start, end)])


async def test_objects_in_hdfs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole and in parts, in several pieces, replaced, deleted; a crash's leftovers go; one that is away says so."""
    monkeypatch.setattr(hdfs, "PART_BYTES", 100_000)
    transport = ObjectTransport(OutgoingClient(AddressFilter(deny=())))
    async with running_hdfs() as running:
        place = HdfsFolder(endpoint=running.endpoint, folder="/hansa/archive", user=USER)
        objects = HdfsObjects(transport, place, SystemClock(), SystemRandomness())
        assert await objects.sweep() == 0 and await objects.size("a/object") is None
        data = bytes(range(256)) * 1000
        written = await objects.put("a/object", pieces(data, b"", b"end"))
        assert (written.size_bytes, written.digest) == (len(data) + 3, hashlib.sha256(data + b"end").hexdigest())
        assert await read(objects, "a/object") == data + b"end"
        assert await read(objects, "a/object", 100, 300) == data[100:300]
        assert await read(objects, "a/object", len(data)) == b"end"
        assert await objects.size("a/object") == len(data) + 3
        await objects.put("a/object", pieces(b"new"))
        await objects.put("a/empty", pieces())
        assert await read(objects, "a/object") == b"new" and await read(objects, "a/empty") == b""

        async def broken() -> AsyncIterator[bytes]:
            yield data
            raise RuntimeError("the sender went away")

        with pytest.raises(RuntimeError):
            await objects.put("a/object", broken())
        assert await read(objects, "a/object") == b"new"
        await objects._send_bytes("PUT", "parts/left", {"op": "CREATE"}, b"x")
        late = HdfsObjects(transport, place, FakeClock(2**42), SystemRandomness())
        assert await objects.sweep() == 0 and await late.sweep() == 1
        await objects.delete("a/object")
        await objects.delete("a/object")
        with pytest.raises(NoSuchObject):
            await read(objects, "a/object")
        with pytest.raises(ValueError, match="not a name"):
            await objects.size("../outside")
    with pytest.raises(Unavailable):
        await objects.size("a/empty")
    await transport.close()
