"""From the command to the first answer, with the database that the server owns: in a fresh folder, and at a restart."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path

from bench.harness import report
from tests.kit.process import ServerProcess

ROUNDS = 3


async def start_again(folder: Path) -> list[float]:
    """Seconds of each start; the first one makes the database."""
    server = ServerProcess(folder)
    loop = asyncio.get_running_loop()
    taken = []
    for _ in range(ROUNDS):
        began = loop.time()
        await server.start()
        taken.append(loop.time() - began)
        await server.stop()
    await server.start()
    await server.kill()
    began = loop.time()
    await server.start()
    taken.append(loop.time() - began)
    await server.stop()
    return taken


def run() -> None:
    folder = Path(tempfile.mkdtemp(prefix="hansa-cold-"))
    try:
        folder.chmod(0o755)
        fresh, *again, killed = asyncio.run(start_again(folder))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    report("cold start: fresh data folder, s", 1, fresh, "s")
    report("cold start: existing data folder, s", len(again), sorted(again)[len(again) // 2], "s")
    report("cold start: after kill -9, s", 1, killed, "s")
