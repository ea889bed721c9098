"""A real Chromium: the distribution's, driven by Playwright. A test that can't have it skips and says why."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from homeserver.config import Listener
from tests.kit.ports import free_port
from tests.kit.server import RunningServer, config_for_tests, running_server

PATIENCE_MS = 60_000
_FLAGS = """
    --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
    --disable-component-update --disable-sync
""".split()


@asynccontextmanager
async def chromium(language: str = "en", *, scripts: bool = True) -> AsyncIterator[Any]:
    """A fresh browser context in this language; HANSA_CHROMIUM names another program than `chromium`."""
    playwright = pytest.importorskip("playwright.async_api", reason="Playwright is missing: install `playwright`")
    program = os.environ.get("HANSA_CHROMIUM") or shutil.which("chromium")
    if program is None:
        pytest.skip("there is no Chromium: install it, or name it in HANSA_CHROMIUM")
    playwright.expect.set_options(timeout=PATIENCE_MS)
    async with playwright.async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=program, args=_FLAGS, timeout=PATIENCE_MS)
        try:
            context = await browser.new_context(locale=language, java_script_enabled=scripts)
            context.set_default_timeout(PATIENCE_MS)
            yield context
        finally:
            await browser.close()


@asynccontextmanager
async def server_for_browsers(
    database_dsn: str, folder: Path, *, host: str = "127.0.0.1", toml: str = "", registration: str = ""
) -> AsyncIterator[RunningServer]:
    """A server whose own address is the one that the browser sees: by this name of the loopback."""
    port = free_port()
    config = replace(
        config_for_tests(folder, toml, registration),
        listeners=(Listener(port=port),),
        public_base_url=f"http://{host}:{port}",
    )
    async with running_server(database_dsn, config=config) as running:
        yield running
