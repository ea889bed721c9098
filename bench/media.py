"""Media: a large file in and out over HTTP, the memory that takes, and thumbnails of a 12-megapixel picture."""

from __future__ import annotations

import asyncio
import io
import os
from collections.abc import AsyncIterator
from pathlib import Path
from time import perf_counter

import aiohttp
import uvloop
from PIL import Image

from bench.harness import report
from homeserver.media.sandbox import Sandbox, SandboxLimits
from tests.kit.postgres import running_postgres
from tests.kit.server import Client, RunningServer, running_server

SIZE = 100 * 1024 * 1024
PIECE = 1024 * 1024
ROUNDS = 5


async def pieces() -> AsyncIterator[bytes]:
    piece = os.urandom(PIECE)
    for _ in range(SIZE // PIECE):
        yield piece


class Memory:
    """The most that this process holds while something runs, beyond what it held before. In MiB."""

    def __init__(self) -> None:
        self.most = 0.0

    async def watch(self) -> None:
        before = resident()
        while True:
            self.most = max(self.most, resident() - before)
            await asyncio.sleep(0.005)


def resident() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


async def transfers(server: RunningServer, client: Client) -> None:
    ups, downs = [], []
    memory = Memory()
    headers = {"Authorization": f"Bearer {client.token}"}
    async with aiohttp.ClientSession(headers=headers, read_bufsize=PIECE) as session:
        await one(session, server, [], [])
        watching = asyncio.create_task(memory.watch())
        for _ in range(ROUNDS):
            await one(session, server, ups, downs)
        watching.cancel()
    report("upload of 100 MiB, client in this process", SIZE, max(ups), "MB/s")
    report("download of 100 MiB, client in this process", SIZE, max(downs), "MB/s")
    report("memory that grew meanwhile, client included", SIZE, memory.most, "MiB")


async def one(session: aiohttp.ClientSession, server: RunningServer, ups: list[float], downs: list[float]) -> None:
    start = perf_counter()
    async with session.post(server.base_url + "/_matrix/media/v3/upload", data=pieces()) as answer:
        uri = (await answer.json())["content_uri"]
    ups.append(SIZE / (perf_counter() - start) / 1e6)
    start, size = perf_counter(), 0
    path = "/_matrix/client/v1/media/download/" + uri.removeprefix("mxc://")
    async with session.get(server.base_url + path) as answer:
        async for piece in answer.content.iter_any():
            size += len(piece)
    assert size == SIZE
    downs.append(SIZE / (perf_counter() - start) / 1e6)


def photo() -> bytes:
    """12 megapixels with as much detail as a camera's picture has."""
    noise = Image.frombytes("RGB", (800, 600), os.urandom(800 * 600 * 3))
    output = io.BytesIO()
    noise.resize((4000, 3000), Image.Resampling.BICUBIC).save(output, "JPEG", quality=85)
    return output.getvalue()


async def thumbnails() -> None:
    data = photo()
    sandbox = Sandbox(SandboxLimits(processes=1))
    for width, height, method in ((32, 32, "crop"), (320, 240, "scale"), (800, 600, "scale")):
        job = {"job": "thumbnail", "width": width, "height": height, "method": method, "animated": False}
        taken = []
        for _ in range(8):
            start = perf_counter()
            await sandbox.run({**job, "pixels_max": 40_000_000}, whole(data), len(data))
            taken.append((perf_counter() - start) * 1000)
        report(f"thumbnail {width}x{height} of a 12-megapixel JPEG", len(data), sorted(taken)[len(taken) // 2], "ms")
    await sandbox.close()


async def whole(data: bytes) -> AsyncIterator[bytes]:
    yield data


async def measured() -> None:
    await thumbnails()
    toml = f"[media]\nupload_bytes_max = {SIZE}\n"
    with running_postgres() as postgres:
        async with postgres.fresh() as dsn, running_server(dsn, toml=toml) as server:
            await transfers(server, await server.user("alice"))


def run() -> None:
    uvloop.run(measured())
