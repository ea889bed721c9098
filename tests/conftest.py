"""Fixtures for every test, and what a missing part means: a skip with its reason, in CI a failure."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from homeserver.storage.database import Database
from tests.kit.postgres import PostgresForTests, running_postgres
from tests.kit.programs import found

REPOSITORY = Path(__file__).resolve().parent.parent
PEER_PYTHON = Path(os.environ.get("HANSA_PEER_PYTHON") or REPOSITORY / ".venv-peer" / "bin" / "python")
RUST_SCENE = REPOSITORY / "tests" / "clients" / "rust" / "target" / "debug" / "hansa-scene"
BRIDGE = Path(os.environ.get("HANSA_BRIDGE") or REPOSITORY / ".venv-bridge" / "bin" / "heisenbridge")
SYGNAL_PYTHON = os.environ.get("HANSA_SYGNAL_PYTHON", "")
CLIENT_MODULES = REPOSITORY / "tests" / "clients" / "node_modules"

# The same examples in every run: CI says yes or no for a reason. Deep tests raise their own numbers.
settings.register_profile("repeatable", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("repeatable")


def _missing(marker: str) -> str | None:
    """Why tests with this marker can't run here, and what to type; nothing when they can."""
    if marker == "peer" and not PEER_PYTHON.exists():
        return "the environment of the peer is missing: type `scripts/bootstrap peer`"
    if marker == "bridge" and not BRIDGE.exists():
        return "the environment of the bridge is missing: type `scripts/bootstrap bridge`"
    if marker == "clients" and not (shutil.which("node") and CLIENT_MODULES.exists()):
        return "node or the clients are missing: install node, then type `scripts/bootstrap clients`"
    return None


def _may_mount() -> bool:
    """Whether this process is root with the right to mount, which containers often take away."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    rights = next((int(line.split()[1], 16) for line in lines if line.startswith("CapEff:")), 0)
    return os.geteuid() == 0 and bool(rights >> 21 & 1)


def _missing_program(item: pytest.Item) -> str | None:
    marker = item.get_closest_marker("programs")
    absent = [name for name in (marker.args if marker else ()) if found(name) is None]
    group = next((name for name in ("elasticsearch", "hdfs") if name in absent), "programs")
    return f"{', '.join(absent)} not found: type `scripts/bootstrap {group}`" if absent else None


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    reasons = [_missing(marker) for marker in ("peer", "bridge", "clients", "rust") if item.get_closest_marker(marker)]
    if item.get_closest_marker("root") and not _may_mount():
        pytest.skip("only root can mount a small disk; tests/web/test_disk.py has PostgreSQL's error without one")
    if item.get_closest_marker("sygnal") and not SYGNAL_PYTHON:
        pytest.skip("no registry of packages has Sygnal: HANSA_SYGNAL_PYTHON names no Python that has it")
    for reason in (*reasons, _missing_program(item)):
        if reason is not None:
            if os.environ.get("CI") == "true":
                pytest.fail(f"{reason} (in CI nothing is skipped)", pytrace=False)
            pytest.skip(reason)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A second try for what depends on real processes and their timing. Pure tests and long proofs get none."""
    for item in items:
        is_real = item.get_closest_marker("slow") or "postgres" in getattr(item, "fixturenames", ())
        if is_real and not item.get_closest_marker("deep"):
            item.add_marker(pytest.mark.flaky(reruns=1))


class SecondTries:
    """Fails the run when more than a few tests needed their second try: then it is the product, not the machine."""

    def __init__(self, at_most: int) -> None:
        self._at_most = at_most
        self._tests: dict[str, pytest.TestReport] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Notes a test whose first try failed, but not one that fails again: that is told of as a failure."""
        if str(report.outcome) == "rerun":
            self._tests[report.nodeid] = report
        elif report.failed:
            self._tests.pop(report.nodeid, None)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Too many of them are a failure."""
        if len(self._tests) > self._at_most and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Names them, with what went wrong at first."""
        for report in self._tests.values():
            terminalreporter.write_sep("-", f"needed a second try (at most {self._at_most} may): {report.nodeid}")
            terminalreporter.write_line(report.longreprtext)


def pytest_configure(config: pytest.Config) -> None:
    """Counts second tries."""
    config.pluginmanager.register(SecondTries(at_most=3))


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresForTests]:
    """The server of this run. Most tests want `database_dsn`."""
    with running_postgres() as server:
        yield server


@pytest.fixture
async def database_dsn(postgres: PostgresForTests) -> AsyncIterator[str]:
    """A database with the newest schema that no other test sees."""
    async with postgres.fresh() as dsn:
        yield dsn


@pytest.fixture
async def empty_database_dsn(postgres: PostgresForTests) -> AsyncIterator[str]:
    """A database without any table that no other test sees."""
    async with postgres.empty() as dsn:
        yield dsn


@pytest.fixture
async def database(database_dsn: str) -> AsyncIterator[Database]:
    """Connections to a database with the newest schema."""
    pool = await Database.connect(database_dsn, size_min=1, size_max=4)
    try:
        yield pool
    finally:
        await pool.close()
