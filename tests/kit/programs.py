"""Real programs that tests work with: installed, or built into this repository's `.tools`."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

TOOLS = Path(__file__).resolve().parent.parent.parent / ".tools"


def found(name: str) -> str | None:
    """Where a program is."""
    return shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", str(TOOLS)]))


def program(name: str) -> str:
    """The same; fails the test where it isn't. Mark the test with `programs(name)`, so that it says so."""
    path = found(name)
    assert path is not None, f"{name} not found: type `scripts/bootstrap programs`"
    return path
