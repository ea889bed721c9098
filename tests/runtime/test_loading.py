"""What most servers never need isn't loaded when they start."""

from __future__ import annotations

import subprocess
import sys

_LOADED = "import sys, homeserver.cli.server, homeserver.app; print(*(sys.modules.keys() & set(sys.argv[1:])))"


def test_a_start_loads_no_columns_of_an_archive() -> None:
    """Some 30 MiB of memory; `msgspec` shows that the question is answered."""
    asked = [sys.executable, "-c", _LOADED, "pyarrow", "msgspec"]
    assert subprocess.run(asked, check=True, capture_output=True, text=True).stdout.split() == ["msgspec"]
