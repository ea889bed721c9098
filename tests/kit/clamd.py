"""A real clamd that knows one virus: a text of ours."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.kit.programs import program

READY_S = 60.0
VIRUS = b"HANSA-TEST-VIRUS-SIGNATURE"


@asynccontextmanager
async def clamd() -> AsyncIterator[str]:
    """Where it listens, as `media.scanner.address` wants it."""
    with tempfile.TemporaryDirectory(prefix="hansa-clamd-") as name:
        folder = Path(name)
        (folder / "db").mkdir()
        (folder / "db" / "test.ndb").write_text(f"HansaTest:0:*:{VIRUS.hex()}\n")
        config, listening = folder / "clamd.conf", folder / "clamd.socket"
        config.write_text(
            f"LocalSocket {listening}\nDatabaseDirectory {folder / 'db'}\nTemporaryDirectory {folder}\n"
            "Foreground yes\nStreamMaxLength 1M\n"
        )
        silent = asyncio.subprocess.DEVNULL
        process = await asyncio.create_subprocess_exec(
            program("clamd"), f"--config-file={config}", stdout=silent, stderr=silent
        )
        try:
            async with asyncio.timeout(READY_S):
                while True:
                    if listening.exists():
                        break
                    await asyncio.sleep(0.05)
            yield f"unix:{listening}"
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
