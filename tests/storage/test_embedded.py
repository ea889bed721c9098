"""The database that Hansa owns: who may reach it, how it is made, and that it ends with its owner."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest

from homeserver.runtime.clock import SystemClock
from homeserver.storage.embedded import SYSTEM_USER, EmbeddedPostgres
from homeserver.storage.migrate import WrongDatabase

pytestmark = pytest.mark.slow

OWNER_PROGRAM = """
import asyncio, sys
from pathlib import Path
from homeserver.runtime.clock import SystemClock
from homeserver.storage.embedded import EmbeddedPostgres

async def main():
    print(await EmbeddedPostgres(Path(sys.argv[1]), SystemClock()).start(), flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Made here and not below pytest's own folder, which other users can't pass."""
    made = Path(tempfile.mkdtemp(prefix="hansa-embedded-"))
    yield made / "postgres"
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture
async def cluster(folder: Path) -> AsyncIterator[tuple[EmbeddedPostgres, str]]:
    server = EmbeddedPostgres(folder, SystemClock())
    dsn = await server.start()
    try:
        yield server, dsn
    finally:
        await server.stop()


async def test_it_keeps_what_it_acknowledged(cluster: tuple[EmbeddedPostgres, str]) -> None:
    """T-O6, T-O2: fsync and checksums are on, the collation is C, the encoding UTF8."""
    connection = await asyncpg.connect(cluster[1])
    settings = {
        name: await connection.fetchval("SELECT current_setting($1)", name)
        for name in ("fsync", "synchronous_commit", "full_page_writes", "data_checksums", "listen_addresses")
    }
    row = await connection.fetchrow(
        "SELECT pg_encoding_to_char(encoding) AS e, datcollate AS c FROM pg_database WHERE datname = current_database()"
    )
    await connection.close()
    on = dict.fromkeys(("fsync", "synchronous_commit", "full_page_writes", "data_checksums"), "on")
    assert settings == {**on, "listen_addresses": ""}
    assert row is not None and tuple(row) == ("UTF8", "C")


async def test_only_its_owner_reaches_it(cluster: tuple[EmbeddedPostgres, str], folder: Path) -> None:
    """T-O8: no port, a folder for its owner only, and peer authentication even for who gets to the socket."""
    assert folder.stat().st_mode & 0o077 == 0
    assert "trust" not in (folder / "pg_hba.conf").read_text()
    with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError):
        await asyncpg.connect(cluster[1].replace("//hansa@", "//postgres@"))


async def test_others_find_it_while_it_runs(cluster: tuple[EmbeddedPostgres, str], folder: Path) -> None:
    other = EmbeddedPostgres(folder, SystemClock())
    assert other.running_dsn() == cluster[1]
    await cluster[0].stop()
    assert other.running_dsn() is None
    assert await other.start() == cluster[1]
    await other.stop()


async def test_it_ends_when_its_owner_is_killed(folder: Path) -> None:
    """T-O8: no orphan after `kill -9`, and the next start waits for what is left of it."""
    owner = subprocess.Popen([sys.executable, "-c", OWNER_PROGRAM, str(folder)], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    dsn = await asyncio.to_thread(owner.stdout.readline)
    postmaster = int((folder / "postmaster.pid").read_text().split()[0])
    os.kill(owner.pid, signal.SIGKILL)
    owner.wait()
    owner.stdout.close()
    again = EmbeddedPostgres(folder, SystemClock())
    assert await again.start() == dsn.strip()
    assert int((folder / "postmaster.pid").read_text().split()[0]) != postmaster
    await again.stop()


async def test_a_lock_left_by_a_crash_is_no_obstacle(folder: Path) -> None:
    """T-O8: the process number in an old lock may belong to any program by now."""
    server = EmbeddedPostgres(folder, SystemClock())
    await server.start()
    lock = (folder / "postmaster.pid").read_text().splitlines()
    await server.stop()
    (folder / "postmaster.pid").write_text("\n".join([str(os.getpid()), *lock[1:]]) + "\n")
    assert server.running_dsn() is None
    assert await server.start()
    await server.stop()


async def test_another_major_version_is_refused(folder: Path) -> None:
    """T-O8: says how to come from an older one, and touches nothing."""
    server = EmbeddedPostgres(folder, SystemClock())
    version = folder / "PG_VERSION"
    if not version.exists():  # whichever test comes first
        await server.start()
        await server.stop()
    present = version.read_text()
    version.write_text("17\n")
    try:
        with pytest.raises(WrongDatabase, match=r"is of PostgreSQL 17.*dump it"):
            await server.start()
    finally:
        version.write_text(present)


@pytest.mark.parametrize("length", [150])
async def test_a_long_path_is_no_obstacle(folder: Path, length: int) -> None:
    """Socket paths end at 108 bytes; then the socket lies elsewhere, in a folder as private."""
    long = folder.parent / ("x" * length)
    server = EmbeddedPostgres(long, SystemClock())
    dsn = await server.start()
    socket_folder = Path(dsn.partition("host=")[2])
    await server.stop()
    assert socket_folder.stat().st_mode & 0o077 == 0
    assert SYSTEM_USER in (long / "pg_ident.conf").read_text() or os.geteuid() != 0
    socket_folder.rmdir()
