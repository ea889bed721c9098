"""A real Elasticsearch for tests: one for a whole run, or one of a test's own that may be killed and come back."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from search.hot.elastic import Cluster
from tests.kit.ports import free_port
from tests.kit.programs import program

READY_S = 120.0
HEAP = "512m"
NOBODY = 65_534

_SETTINGS = """
cluster.name: hansa-tests
node.name: one
discovery.type: single-node
xpack.security.enabled: false
cluster.routing.allocation.disk.threshold_enabled: false
http.host: 127.0.0.1
transport.host: 127.0.0.1
"""


class ElasticsearchServer:
    """One node. Its data lives in `folder` until the end of the test, so that it may stop and start."""

    def __init__(self, folder: Path, *, heap: str = HEAP) -> None:
        self._folder = folder
        self._heap = heap
        self._process: subprocess.Popen[bytes] | None = None
        self.port, transport_port = free_port(), free_port()
        self._command = _reachable(Path(program("elasticsearch")), folder)
        home = next(self._command.parent.glob("elasticsearch-*"))
        shutil.copytree(home / "config", folder / "config")
        paths = f"path.data: {folder}/data\npath.logs: {folder}/logs\n"
        ports = f"http.port: {self.port}\ntransport.port: {transport_port}\n"
        (folder / "config" / "elasticsearch.yml").write_text(_SETTINGS + paths + ports)
        for name in ("data", "logs", "tmp"):
            (folder / name).mkdir()
        if os.geteuid() == 0:
            for path in (folder, *folder.rglob("*")):
                if path.parent != self._command.parent and not path.is_relative_to(self._command.parent):
                    os.chown(path, NOBODY, NOBODY)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def data(self) -> Path:
        """The files that it keeps."""
        return self._folder / "data"

    def cluster(self, *, timeout_s: float = 10.0, prefix: str | None = None) -> Cluster:
        """How to reach it, with indices that no other test has."""
        return Cluster(urls=(self.url,), prefix=prefix or f"t{uuid.uuid4().hex[:12]}", timeout_s=timeout_s)

    def start(self) -> None:
        """Returns when it answers."""
        is_root = os.geteuid() == 0
        other = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if is_root else {}
        with (self._folder / "output").open("ab") as output:
            self._process = subprocess.Popen(
                [str(self._command)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={
                    "PATH": os.environ["PATH"],
                    "HOME": str(self._folder / "tmp"),
                    "ES_TMPDIR": str(self._folder / "tmp"),
                    "ES_PATH_CONF": str(self._folder / "config"),
                    "ES_JAVA_OPTS": f"-Xms{self._heap} -Xmx{self._heap}",
                },
                **other,  # type: ignore[call-overload]
            )
        end = time.monotonic() + READY_S
        while not self._answers():
            assert self._process is not None and self._process.poll() is None, self._said()
            assert time.monotonic() < end, self._said()
            time.sleep(0.2)

    def kill(self) -> None:
        """As when the machine loses power."""
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def freeze(self) -> None:
        """It takes connections, and answers nothing."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGCONT)

    async def restart(self) -> None:
        await asyncio.to_thread(self.start)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(
                f"{self.url}/_cluster/health?wait_for_status=yellow&timeout=1s", timeout=5
            ) as it:
                return bool(it.status == 200)
        except (OSError, urllib.error.HTTPError):
            return False

    def _said(self) -> str:
        return (self._folder / "output").read_text(errors="replace")[-4_000:]


@contextmanager
def running_elasticsearch(*, heap: str = HEAP) -> Iterator[ElasticsearchServer]:
    """A node that is gone afterwards, with its data."""
    with tempfile.TemporaryDirectory(prefix="hansa-elasticsearch-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)
        server = ElasticsearchServer(folder, heap=heap)
        server.start()
        try:
            yield server
        finally:
            server.kill()


def _reachable(command: Path, folder: Path) -> Path:
    """The program where the user that runs it may come: a copy, if a folder above it is closed to others."""
    command = command.resolve()
    if os.geteuid() != 0 or all(parent.stat().st_mode & 0o005 == 0o005 for parent in command.parents):
        return command
    copied = folder / "program"
    copied.mkdir()
    shutil.copy(command, copied)
    home = next(command.parent.glob("elasticsearch-*"))
    shutil.copytree(home, copied / home.name)
    return copied / command.name
