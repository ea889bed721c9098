"""Writes what this repository keeps of the specification: the list of its endpoints, and the anchors of its pages.

`python -m scripts.spec_lists` writes docs/endpoints.tsv from the definitions of the shared folder; with the folder
`content` of a checkout of the specification's prose as argument it writes docs/spec_anchors.txt too.
"""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from scripts.definitions import APIS, ROOT, operations, shared_spec

ENDPOINTS = ROOT / "docs" / "endpoints.tsv"
ANCHORS = ROOT / "docs" / "spec_anchors.txt"

_HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*(?:\{(?:#|id=\")([\w-]+)\"?\})?\s*$")
_LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")
_FRAGMENT = re.compile(r"{{[<%]\s*rver-fragment\s+name=\"([\w-]+)\"")
_MODULE = re.compile(r"{{%\s*cs-module\s+name=\"[^\"]*\"\s+filename=\"([\w-]+)\"")
_EVENT = re.compile(r"{{[<%]\s*event(?:-group)?\s+(?:[\w-]+=\"[^\"]*\"\s+)*(?:event|group_name)=\"([^\"]+)\"")
_SPEC_LINK = re.compile(
    r"\b((?:client-server-api|server-server-api|application-service-api|push-gateway-api|appendices|rooms(?:/v\d+)?)"
    r"/#[\w-]+)"
)
_DEFINED = re.compile(r"(?:id|name)=\"([\w-]+)\"")


class ListedEndpoint(NamedTuple):
    """One line of docs/endpoints.tsv."""

    api: str
    method: str
    path: str
    is_deprecated: bool


def defined_endpoints(spec: Path) -> list[ListedEndpoint]:
    """Every endpoint of the definitions."""
    return [
        ListedEndpoint(api, operation.method, operation.path, operation.deprecated)
        for api in APIS
        for operation in operations(spec, api)
    ]


def listed_endpoints() -> list[ListedEndpoint]:
    """Every endpoint of docs/endpoints.tsv."""
    with ENDPOINTS.open(encoding="utf-8", newline="") as file:
        lines = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        next(lines)
        return [ListedEndpoint(api, method, path, mark == "deprecated") for api, method, path, mark in lines]


def lost_links(spec: Path) -> list[str]:
    """Every link into the specification that leads nowhere: in `spec=` of endpoints, docstrings and comments."""
    known = set(ANCHORS.read_text("utf-8").split())
    anchors = {operation.anchor for api in APIS for operation in operations(spec, api)}
    # The page of application services tells of the client API's endpoints that are for them alone.
    known |= anchors | {anchor.replace("client-server", "application-service", 1) for anchor in anchors}
    return [
        f"{file.relative_to(ROOT)}: {link}"
        for folder in ("homeserver", "federation", "search", "admin", "tests", "scripts")
        for file in sorted((ROOT / folder).rglob("*.py"))
        for link in _SPEC_LINK.findall(file.read_text("utf-8"))
        if link not in known
    ]


def anchors_of(content: Path) -> list[str]:
    """`page/#anchor` for each heading and event of the prose, sorted."""
    pages = {
        "appendices": "appendices.md",
        "client-server-api": "client-server-api/_index.md",
        "server-server-api": "server-server-api.md",
        "application-service-api": "application-service-api.md",
        "push-gateway-api": "push-gateway-api.md",
        "rooms": "rooms/_index.md",
        **{f"rooms/{file.stem}": f"rooms/{file.name}" for file in sorted((content / "rooms").glob("v*.md"))},
    }
    found = {f"{page}/#{anchor}" for page, name in pages.items() for anchor in _anchors(content, content / name)}
    return sorted(found)


def _anchors(content: Path, file: Path) -> Iterator[str]:
    seen: dict[str, int] = {}
    for line in _lines(content, file):
        heading = _HEADING.match(line)
        if heading:
            anchor = heading[2] or _anchorized(heading[1])
            again = seen[anchor] = seen.get(anchor, -1) + 1
            yield f"{anchor}-{again}" if again else anchor
        for event in _EVENT.finditer(line):
            yield _anchorized(event[1])
        for defined in _DEFINED.finditer(line):
            yield defined[1]


def _lines(content: Path, file: Path) -> Iterator[str]:
    for line in file.read_text("utf-8").splitlines():
        yield line
        if fragment := _FRAGMENT.search(line):
            yield from _lines(content, content / "rooms" / "fragments" / f"{fragment[1]}.md")
        if module := _MODULE.search(line):
            yield from _lines(content, content / "client-server-api" / "modules" / f"{module[1]}.md")


def _anchorized(heading: str) -> str:
    """A heading's anchor as the specification's site makes it."""
    text = _LINK.sub(r"\1", heading).replace("`", "").strip().lower()
    return re.sub(r"[^\w\- ]", "", text).replace(" ", "-")


def main(arguments: list[str]) -> int:
    """Writes the lists whose sources are here."""
    spec = shared_spec()
    if spec is not None:
        lines = ["api\tmethod\tpath\tdeprecated"]
        for api, method, path, is_deprecated in defined_endpoints(spec):
            lines.append(f"{api}\t{method}\t{path}\t{'deprecated' if is_deprecated else ''}")
        ENDPOINTS.write_text("\n".join(lines) + "\n", encoding="utf-8")
    if arguments:
        ANCHORS.write_text("\n".join(anchors_of(Path(arguments[0]))) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
