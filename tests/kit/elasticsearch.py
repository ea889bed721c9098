"""A real Elasticsearch for tests: one for a whole run, or one of a test's own that may be killed and come back."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import os
import shutil
import signal
import ssl
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
from tests.kit.authority import Authority
from tests.kit.ports import free_port
from tests.kit.programs import program

READY_S = 120.0
HEAP = "512m"
NOBODY = 65_534

_SETTINGS = """
cluster.name: hansa-tests
node.name: one
discovery.type: single-node
cluster.routing.allocation.disk.threshold_enabled: false
http.host: 127.0.0.1
transport.host: 127.0.0.1
"""


_OPEN = "xpack.security.enabled: false\n"
_GUARDED = """
xpack.security.enabled: true
xpack.security.enrollment.enabled: false
xpack.security.authc.api_key.enabled: true
xpack.security.http.ssl.enabled: true
xpack.security.http.ssl.certificate: node.crt
xpack.security.http.ssl.key: node.key
"""
OPERATOR, PASSWORD = "operator", "correct horse battery"
# Users of a guarded node, each with the privileges that docs/operating/search-index.md asks for, on indices of its own.
# (Its API keys would be in an index that this distribution of Elasticsearch lacks an analyser for.)
OURS, OTHERS = "hansa", "others"
ROLES = {
    user: {
        "cluster": ["manage_index_templates", "monitor"],
        "indices": [
            {
                "names": [f"{user}-*"],
                "privileges": [
                    "create_index",
                    "delete_index",
                    "index",
                    "delete",
                    "read",
                    "monitor",
                    "maintenance",
                    "manage",
                ],
            }
        ],
    }
    for user in (OURS, OTHERS)
}


class ElasticsearchServer:
    """One node. Its data lives in `folder` until the end of the test, so that it may stop and start; or in `data`,
    which is kept.

    With an authority it is guarded: TLS, and whoever has no name of it is turned away.
    """

    def __init__(
        self, folder: Path, *, heap: str = HEAP, authority: Authority | None = None, data: Path | None = None
    ) -> None:
        self._folder = folder
        self.data = data or folder / "data"  # the files that it keeps
        self._heap = heap
        self._authority = authority
        self._process: subprocess.Popen[bytes] | None = None
        self.port, transport_port = free_port(), free_port()
        self._command = _reachable(Path(program("elasticsearch")), folder)
        home = next(self._command.parent.glob("elasticsearch-*"))
        shutil.copytree(home / "config", folder / "config")
        paths = f"path.data: {self.data}\npath.logs: {folder}/logs\n"
        ports = f"http.port: {self.port}\ntransport.port: {transport_port}\n"
        guard = _OPEN if authority is None else _GUARDED
        (folder / "config" / "elasticsearch.yml").write_text(_SETTINGS + guard + paths + ports)
        if authority is not None:
            self._guard(authority)
        for path in (self.data, folder / "logs", folder / "tmp"):
            path.mkdir(exist_ok=True)
        if os.geteuid() == 0:
            os.chown(self.data, NOBODY, NOBODY)
            for path in (folder, *folder.rglob("*")):
                if path.parent != self._command.parent and not path.is_relative_to(self._command.parent):
                    os.chown(path, NOBODY, NOBODY)

    @property
    def url(self) -> str:
        return f"{'http' if self._authority is None else 'https'}://127.0.0.1:{self.port}"

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
            return bool(self._asked("/_cluster/health?wait_for_status=yellow&timeout=1s"))
        except (OSError, urllib.error.HTTPError):
            return False

    def _asked(self, path: str) -> bytes:
        """As the operator of a guarded node, as anybody of another."""
        request = urllib.request.Request(f"{self.url}{path}")
        context = None
        if self._authority is not None:
            name = base64.b64encode(f"{OPERATOR}:{PASSWORD}".encode()).decode()
            request.add_header("Authorization", f"Basic {name}")
            context = ssl.create_default_context(cafile=str(self._authority.ca_path))
        with urllib.request.urlopen(request, timeout=5, context=context) as answer:
            found: bytes = answer.read()
            return found

    def _said(self) -> str:
        return (self._folder / "output").read_text(errors="replace")[-4_000:]

    def _guard(self, authority: Authority) -> None:
        """Its certificate, and the users that it knows by itself."""
        config = self._folder / "config"
        certificate, key = authority.server_files("127.0.0.1")
        shutil.copy(certificate, config / "node.crt")
        shutil.copy(key, config / "node.key")
        names = {OPERATOR: "superuser", **{user: user for user in ROLES}}
        (config / "users").write_text("".join(f"{name}:{_hashed(PASSWORD)}\n" for name in names))
        (config / "users_roles").write_text("".join(f"{role}:{name}\n" for name, role in names.items()))
        (config / "roles.yml").write_text(json.dumps(ROLES))


def _hashed(password: str) -> str:
    salt = os.urandom(32)
    made = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, 10_000, dklen=32)
    return "{PBKDF2}10000$" + "$".join(base64.b64encode(part).decode() for part in (salt, made))


@contextmanager
def running_elasticsearch(
    *, heap: str = HEAP, authority: Authority | None = None, data: Path | None = None
) -> Iterator[ElasticsearchServer]:
    """A node that is gone afterwards; with its data, unless those are to be in a folder that is there."""
    with tempfile.TemporaryDirectory(prefix="hansa-elasticsearch-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)
        server = ElasticsearchServer(folder, heap=heap, authority=authority, data=data)
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
