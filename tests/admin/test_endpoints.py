"""Every row of the list of what existing tools call has its endpoint, and nobody but operators gets through."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.admin.peer.calls import CALLS
from tests.admin.people import Crew
from tests.kit.server import RunningServer

LIST = Path(__file__).parents[2] / "docs" / "admin-endpoints.tsv"
SHARED = Path(__file__).parents[3] / "shared" / "admin-endpoints.md"
_ROW = re.compile(r"- `([A-Z |]+)` `(\S+)`")
# Who registers with the shared secret has no account yet.
_OPEN = {"/_synapse/admin/v1/register"}


def listed() -> list[tuple[str, str]]:
    lines = LIST.read_text().splitlines()[1:]
    return [(method, path) for method, path, _ in (line.split("\t") for line in lines)]


def _shape(path: str) -> str:
    return re.sub(r"\{[^}]*\}", "{}", path)


def test_the_list_is_what_tools_call() -> None:
    if not SHARED.exists():
        pytest.skip("the list that it was taken from isn't here")
    wanted = set()
    for methods, path in _ROW.findall(SHARED.read_text()):
        spellings = [re.sub(r"\[.*\]", "", path), path.replace("[", "").replace("]", "")]
        wanted |= {(method, spelling) for method in methods.split(" | ") for spelling in spellings}
    assert set(listed()) == wanted


async def test_every_row_has_an_endpoint(server: RunningServer) -> None:
    served = {(one.method, _shape(path)) for one in server.hansa.endpoints for path in one.paths}
    missing = [f"{method} {path}" for method, path in listed() if (method, _shape(path)) not in served]
    assert not missing


def test_every_row_is_asked_of_both_servers() -> None:
    """What each answers, to good calls and to wrong ones, is compared with Synapse's (tests/admin/peer)."""
    asked = [(method, path.partition("?")[0]) for _, method, path, *_ in CALLS]
    missing = []
    for method, path in listed():
        form = re.compile(re.sub(r"\\\{[^}]*\\\}", "[^/]+", re.escape(path.removeprefix("/_synapse/admin"))))
        if not any(method == verb and form.fullmatch(place) for verb, place in asked):
            missing.append((method, path))
    assert missing == []


async def test_no_row_answers_strangers(server: RunningServer, crew: Crew) -> None:
    """T-J4: no token, and a token of somebody who runs nothing, get the same two refusals everywhere."""
    for method, path in listed():
        if path in _OPEN:
            continue
        filled = re.sub(r"\{[^}]*\}", "x", path)
        assert (await server.anonymous().request(method, filled)).status == 401, (method, path)
        assert (await crew.user.request(method, filled)).status == 403, (method, path)
