"""What of the specification there is, and that what the code says of the specification is true."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.coverage import MISSING, coverage_page, declared_endpoints, missing_endpoints, nameless
from scripts.definitions import ROOT, operations, shared_spec
from scripts.spec_lists import defined_endpoints, listed_endpoints


@pytest.fixture
def spec() -> Path:
    """The folder of the definitions."""
    found = shared_spec()
    if found is None:
        pytest.skip("the definitions of the specification aren't here: name their folder in HANSA_SHARED")
    return found


def test_the_list_of_endpoints_is_the_definitions(spec: Path) -> None:
    assert listed_endpoints() == defined_endpoints(spec), "type `python -m scripts.spec_lists`"


def test_what_is_missing_is_listed() -> None:
    """The list only gets shorter: an endpoint that is there is struck off, a new hole isn't put on it."""
    assert missing_endpoints() == MISSING.read_text("utf-8").splitlines(), f"correct {MISSING.relative_to(ROOT)}"


def test_the_page_is_fresh() -> None:
    page = ROOT / "docs" / "reference" / "coverage.md"
    assert page.read_text("utf-8") == coverage_page(), "type `make docs`"


def test_an_endpoint_names_its_own_place(spec: Path) -> None:
    """What the specification has links to itself, or to its section; never to its neighbour."""
    anchors = {
        (operation.method, nameless(operation.path)): operation.anchor
        for api in ("client-server", "server-server")
        for operation in operations(spec, api)
    }
    wrong, of_others = [], set(anchors.values())
    for place, (module, declared) in declared_endpoints().items():
        own = {anchors.get((declared.method, nameless(path))) for path in declared.paths}
        if place in anchors and (not declared.spec or declared.spec in of_others - own):
            wrong.append(f"{module}: {place[0]} {place[1]} names {declared.spec}, not {anchors[place]}")
    assert not wrong
