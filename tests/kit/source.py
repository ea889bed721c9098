"""The source as data, for the rules that the repository has about itself."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PRODUCT = ("homeserver", "federation", "search", "admin")


@dataclass(frozen=True)
class Module:
    """One Python file of the repository."""

    path: Path
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, filename=str(self.path))

    @property
    def name(self) -> str:
        """Its dotted name; a package has that of its folder."""
        parts = self.path.relative_to(ROOT).with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    @property
    def is_product(self) -> bool:
        return self.name.split(".")[0] in PRODUCT

    def place(self, node: ast.AST | None = None) -> str:
        """File and line, as an editor takes them."""
        where = str(self.path.relative_to(ROOT))
        return f"{where}:{node.lineno}" if isinstance(node, ast.stmt | ast.expr) else where

    def is_in(self, *packages: str) -> bool:
        return any(self.name == package or self.name.startswith(package + ".") for package in packages)

    def functions(self) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
        return (node for node in ast.walk(self.tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))

    def classes(self) -> Iterator[ast.ClassDef]:
        return (node for node in ast.walk(self.tree) if isinstance(node, ast.ClassDef))

    def imports(self) -> Iterator[tuple[ast.stmt, str]]:
        """Every imported name in full: `from a import b` gives `a.b`."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from ((node, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                base = "." * node.level + (node.module or "")
                yield from ((node, f"{base}.{alias.name}") for alias in node.names)

    def uses(self) -> Iterator[tuple[ast.expr, str]]:
        """Every dotted name that is used: `asyncio.sleep`, `os.environ.get`."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Attribute | ast.Name) and (name := dotted(node)):
                yield node, name


def dotted(node: ast.expr) -> str:
    """The name that an expression spells; empty for any other expression."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (base := dotted(node.value)):
        return f"{base}.{node.attr}"
    return ""


@cache
def files() -> tuple[Path, ...]:
    """What belongs to the repository: tracked, or new and not ignored."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    return tuple(ROOT / name for name in sorted(set(listed.stdout.split("\0"))) if name and (ROOT / name).is_file())


@cache
def modules() -> tuple[Module, ...]:
    """Every Python module of the repository."""
    return tuple(Module(path, path.read_text("utf-8")) for path in files() if path.suffix == ".py")


def product_modules() -> tuple[Module, ...]:
    """Those that users run."""
    return tuple(module for module in modules() if module.is_product)


def modules_of_tests() -> tuple[Module, ...]:
    return tuple(module for module in modules() if module.name.startswith("tests."))
