"""Each path that existing tools call is served."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from scripts.definitions import shared_spec
from tests.kit.server import RunningServer

_PARAMETER = re.compile(r"\{[^}]+\}")


def rows(file: Path) -> list[tuple[str, str]]:
    """(method, path with nameless parameters) of every row of the list."""
    found = []
    for line in file.read_text().splitlines():
        match = re.fullmatch(r"- `([A-Z |]+)` `(.+)`", line)
        if match is None:
            continue
        whole = match[2].replace("[", "").replace("]", "")
        for path in {whole, match[2].partition("[")[0]}:
            found += [(method, _PARAMETER.sub("{}", path)) for method in match[1].split(" | ")]
    return found


async def test_every_row_is_served(server: RunningServer) -> None:
    spec = shared_spec()
    file = spec.parent / "admin-endpoints.md" if spec is not None else None
    if file is None or not file.exists():
        pytest.skip("the list of what tools call isn't at hand")
    served = {
        (declared.method, _PARAMETER.sub("{}", path)) for declared in server.hansa.endpoints for path in declared.paths
    }
    wanted = rows(file)
    assert len(wanted) > 100
    assert [row for row in wanted if row not in served] == []
