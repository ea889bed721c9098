"""Which endpoints of the specification there are, where, and which tests call them: docs/reference/coverage.md."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

from homeserver.web.endpoint import Endpoint
from scripts.definitions import APIS, ROOT
from scripts.spec_lists import ListedEndpoint, listed_endpoints

MISSING = ROOT / "docs" / "endpoints_missing.txt"

_INTRODUCTION = """\
# Endpoints of the specification

Made by `make docs` from `docs/endpoints.tsv`, from what the code declares, and from the paths that stand in the tests.
What is not there yet is named in `docs/endpoints_missing.txt`, which only ever gets shorter. The push gateway's one
endpoint and the application services' are called by us, not served.
"""
_TESTS_SHOWN = 3
_CLIENT = "/_matrix/client/v3"
# What the test client's methods call, which have names of their own.
_HELPERS = {
    "sync": ("GET", "/sync"),
    "send": ("PUT", "/rooms/{}/send/{}/{}"),
    "create_room": ("POST", "/createRoom"),
    "join": ("POST", "/join/{}"),
    "login": ("POST", "/login"),
    "user": ("POST", "/register"),
}
_METHODS = {"GET", "PUT", "POST", "DELETE"}
_PARAMETER = re.compile(r"\{[^}]*\}")

Place = tuple[str, str]  # method and path with nameless parameters


def nameless(path: str) -> str:
    """A path whose parameters have no names, so that `{roomId}` and `{room_id}` are the same."""
    return _PARAMETER.sub("{}", path)


@cache
def declared_endpoints() -> Mapping[Place, tuple[str, Endpoint]]:
    """Each endpoint that the code declares, with the module that does."""
    found: dict[Place, tuple[str, Endpoint]] = {}
    for package in ("homeserver", "federation", "search", "admin"):
        for name in _modules(package):
            module = importlib.import_module(name)
            for thing in vars(module).values():
                if isinstance(thing, type) and thing.__module__ == name:
                    for declared in _declared_by(thing):
                        for path in declared.paths:
                            found[declared.method, nameless(path)] = name, declared
    return found


def _modules(package: str) -> Iterator[str]:
    if (ROOT / package / "__init__.py").is_file():
        folder = [str(ROOT / package)]
        yield from (
            found.name
            for found in pkgutil.walk_packages(folder, package + ".")
            if not found.ispkg and "__main__" not in found.name and ".migrations" not in found.name
        )


def _declared_by(owner: type) -> Iterator[Endpoint]:
    for function in vars(owner).values():
        yield from getattr(function, "__endpoints__", ())


def missing_endpoints() -> list[str]:
    """`METHOD path` of each endpoint of the specification that servers serve and the code doesn't declare."""
    declared = declared_endpoints()
    return [
        f"{listed.method} {listed.path}"
        for listed in listed_endpoints()
        if is_served_by_servers(listed) and (listed.method, nameless(listed.path)) not in declared
    ]


def still_missing() -> str:
    """The text of docs/endpoints_missing.txt without what is there by now; nothing is ever added to it."""
    missing = set(missing_endpoints())
    return "".join(line + "\n" for line in MISSING.read_text("utf-8").splitlines() if line in missing)


def is_served_by_servers(listed: ListedEndpoint) -> bool:
    """Application services and push gateways serve theirs; homeservers call them."""
    return listed.api in ("client-server", "server-server")


@cache
def tests_by_endpoint() -> Mapping[Place, list[str]]:
    """For each endpoint the test files that call it, most calls first: the paths that stand in their code."""
    calls: dict[Place, dict[str, int]] = {}
    known = {nameless(listed.path) for listed in listed_endpoints()}
    for file in sorted((ROOT / "tests").rglob("test_*.py")):
        name = str(file.relative_to(ROOT / "tests"))
        for place in _calls(file, known):
            counted = calls.setdefault(place, {})
            counted[name] = counted.get(name, 0) + 1
    return {place: sorted(counted, key=lambda name: (-counted[name], name)) for place, counted in sorted(calls.items())}


def _calls(file: Path, known: set[str]) -> Iterator[Place]:
    tree = ast.parse(file.read_text("utf-8"))
    constants = _constants(tree)
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call | ast.Tuple):
            continue
        parts = node.args if isinstance(node, ast.Call) else node.elts
        called = node.func.attr if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) else ""
        texts = [text for part in parts if (text := _text(part, constants)) is not None]
        named = [text for text in texts if text in _METHODS]
        paths = [text for text in texts if text.startswith("/")]
        if called in _HELPERS and not paths:
            method, path = _HELPERS[called]
            yield method, _CLIENT + path
        method = named[0] if named else called.upper()
        if method in _METHODS:
            for path in paths:
                full = path.partition("?")[0]
                full = nameless(full if full.startswith(("/_", "/.")) else _CLIENT + full)
                yield method, full if full in known else _matching(full, known)


def _matching(path: str, known: set[str]) -> str:
    """The known path that this one fills in; the path itself if there is none."""
    segments = path.split("/")
    for candidate in known:
        wanted = candidate.split("/")
        if len(wanted) == len(segments) and all(
            want in ("{}", have) for want, have in zip(wanted, segments, strict=True)
        ):
            return candidate
    return path


def _constants(tree: ast.Module) -> Mapping[str, str]:
    """Names that are given a path, anywhere in the file."""
    return {
        target.id: text
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name) and (text := _text(node.value, {})) is not None and text.startswith("/")
    }


def _text(node: ast.expr, constants: Mapping[str, str]) -> str | None:
    """A string as it stands in the code, `{}` for what is filled in."""
    if isinstance(node, ast.Name):
        return constants.get(node.id)
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(
            str(part.value)
            if isinstance(part, ast.Constant)
            else (_text(part.value, constants) if isinstance(part, ast.FormattedValue) else None) or "{}"
            for part in node.values
        )
    return None


def coverage_page() -> str:
    """The page: per API one table of endpoint, module, tests."""
    declared, tests, listed = declared_endpoints(), tests_by_endpoint(), listed_endpoints()
    lines = [_INTRODUCTION]
    for api in APIS:
        rows = [row for row in listed if row.api == api]
        if not is_served_by_servers(rows[0]):
            continue
        served = sum((row.method, nameless(row.path)) in declared for row in rows)
        lines += [f"## {api}", "", f"{served} of {len(rows)}.", "", "| endpoint | module | tests |", "|---|---|---|"]
        for row in rows:
            place = (row.method, nameless(row.path))
            shown = ", ".join(f"`{name}`" for name in tests.get(place, [])[:_TESTS_SHOWN])
            mark = " (deprecated)" if row.is_deprecated else ""
            module = f"`{declared[place][0]}`" if place in declared else "**missing**"
            lines.append(f"| {row.method} `{row.path}`{mark} | {module} | {shown} |")
        lines.append("")
    return "\n".join(lines)
