"""A folder for servers that own their database."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def folder() -> Iterator[Path]:
    """Made here and not below pytest's own folder, which PostgreSQL's user can't pass."""
    made = Path(tempfile.mkdtemp(prefix="hansa-storage-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made, ignore_errors=True)
