"""A real S3 API over a folder: the Versity gateway."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from tests.kit.ports import free_port
from tests.kit.programs import program

READY_S = 60.0
ACCESS, SECRET, BUCKET = "hansa", "a secret of the store", "media"


@dataclass(frozen=True, slots=True)
class Store:
    """A running store. What it keeps lies in `folder`."""

    endpoint: str
    folder: Path


@asynccontextmanager
async def s3_store() -> AsyncIterator[Store]:
    port = free_port()
    with (
        tempfile.TemporaryDirectory(prefix="hansa-s3-") as name,
        tempfile.TemporaryDirectory(prefix="hansa-s3-") as metadata,
    ):
        folder = Path(name)
        (folder / BUCKET).mkdir()
        listening = f"127.0.0.1:{port}"
        command = [program("versitygw"), "--access", ACCESS, "--secret", SECRET, "--port", listening]
        command += ["posix", "--sidecar", metadata, name]
        environment = {"PATH": os.environ["PATH"], "HOME": name}
        silent = asyncio.subprocess.DEVNULL
        process = await asyncio.create_subprocess_exec(*command, stdout=silent, stderr=silent, env=environment)
        try:
            endpoint = f"http://127.0.0.1:{port}"
            await _ready(endpoint)
            yield Store(endpoint, folder / BUCKET)
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


async def _ready(endpoint: str) -> None:
    async with asyncio.timeout(READY_S), aiohttp.ClientSession() as session:
        while True:
            try:
                async with session.get(endpoint + "/") as answer:
                    await answer.read()
                    return
            except aiohttp.ClientConnectionError:
                await asyncio.sleep(0.05)
