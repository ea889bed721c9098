"""What most servers never need isn't loaded when they start."""

from __future__ import annotations

import subprocess
import sys

import pytest

_LOADED = "import sys, homeserver.cli.server, homeserver.app; print(*(sys.modules.keys() & set(sys.argv[1:])))"


@pytest.mark.parametrize("library", ["pyarrow", "ldap3", "lxml", "signxml"])
def test_a_start_loads_no_library_of_what_is_off(library: str) -> None:
    """Memory, and time until it answers; `msgspec` shows that the question is answered."""
    asked = [sys.executable, "-c", _LOADED, library, "msgspec"]
    assert subprocess.run(asked, check=True, capture_output=True, text=True).stdout.split() == ["msgspec"]
