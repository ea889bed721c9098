"""`hansa run` in a process of its own, which a test can kill."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import aiohttp

from tests.kit.ports import free_port

REPOSITORY = Path(__file__).resolve().parent.parent.parent
READY_S = 150.0  # a machine under load: PostgreSQL makes its folder first
_TAIL = 9_000


class ServerProcess:
    """`hansa run` as an operator starts it, with the database that it owns."""

    def __init__(self, folder: Path, toml: str = "", *, server_name: str = "localhost") -> None:
        """`toml` is put before the listeners of its configuration."""
        self.folder = folder
        self.port = free_port()
        self.base_url = f"http://127.0.0.1:{self.port}"
        self._process: asyncio.subprocess.Process | None = None
        config = folder / "hansa.toml"
        config.write_text(
            f'server_name = "{server_name}"\ndata_dir = "{folder / "data"}"\n{toml}\n'
            f'[[listeners]]\nbind = "127.0.0.1"\nport = {self.port}\napis = ["client", "health"]\n'
            '[registration]\nmode = "open"\n[password]\ntime_cost = 1\nmemory_kib = 8\n[rate_limits]\nenabled = false\n'
        )
        config.chmod(0o600)

    async def start(self) -> None:
        command = [sys.executable, "-m", "homeserver", "--config", str(self.folder / "hansa.toml"), "run"]
        log = (self.folder / "hansa.log").open("ab")
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
        self._process = await asyncio.create_subprocess_exec(
            *command, stdout=log, stderr=log, cwd=self.folder, env=environment
        )
        await self.ready()

    async def run_for(self, seconds: float) -> None:
        """Lets it work for a while."""
        await asyncio.sleep(seconds)

    async def ready(self, within_s: float = READY_S) -> None:
        """Returns once it answers. Fails the test with what it logged if it has ended or doesn't serve in time."""
        try:
            async with asyncio.timeout(within_s), aiohttp.ClientSession() as session:
                while not await self._answers(session):
                    code = self._process.returncode if self._process else None
                    assert code is None or code < 0, self._last_words("ended by itself")
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(self._last_words(f"does not serve after {within_s:g} s")) from None

    async def _answers(self, session: aiohttp.ClientSession) -> bool:
        try:
            async with session.get(self.base_url + "/_matrix/client/versions") as answer:
                return answer.status == 200
        except aiohttp.ClientConnectionError:
            return False

    def _last_words(self, what: str) -> str:
        """What went wrong, the exit code (None: it still runs) and the end of its log."""
        code = self._process.returncode if self._process else None
        return f"{self.base_url} {what}, exit code {code}, log:\n{self.log[-_TAIL:]}"

    async def terminate(self) -> tuple[int, float]:
        """Asks it to end; its exit code, and the seconds that it took."""
        assert self._process is not None
        loop = asyncio.get_running_loop()
        asked = loop.time()
        self._process.terminate()
        return await self._process.wait(), loop.time() - asked

    def hurt_database(self, signal_number: int) -> None:
        """Sends a signal to the PostgreSQL that it owns."""
        os.kill(int((self.folder / "data" / "postgres" / "postmaster.pid").read_text().split()[0]), signal_number)

    @property
    def resident_bytes(self) -> int:
        """What it holds of this machine's memory now."""
        assert self._process is not None
        told = Path(f"/proc/{self._process.pid}/status").read_text()
        return 1024 * next(int(line.split()[1]) for line in told.splitlines() if line.startswith("VmRSS:"))

    @property
    def log(self) -> str:
        return (self.folder / "hansa.log").read_text(errors="replace")

    async def kill(self) -> None:
        """The server has no chance to finish anything."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        await self._process.wait()

    async def stop(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()
            await self._process.wait()
