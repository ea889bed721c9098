"""Writes the pages that are made from the code: the options, the endpoints, and which test holds which threat off."""

from __future__ import annotations

import ast
import csv
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
CONFIG_REFERENCE = ROOT / "docs" / "reference" / "config.md"
THREATS = ROOT / "docs" / "threats.md"
COVERAGE = ROOT / "docs" / "reference" / "coverage.md"

_ROW = re.compile(r"\bT-[A-Z]\d+\b")

_INTRODUCTION = """\
# Threats, and the tests that hold them off

Made from `docs/threats.tsv` and the docstrings of the tests by `make docs`. A test that needs a row's defence names
the row in its docstring (`T-B14`), and fails without that defence.
"""


class Row(NamedTuple):
    """One threat: what must hold whatever the input."""

    number: str
    severity: str
    property: str


def known_rows() -> Mapping[str, Row]:
    """The rows of docs/threats.tsv by number."""
    with (ROOT / "docs" / "threats.tsv").open(encoding="utf-8", newline="") as file:
        lines = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        next(lines)
        return {number: Row(number, severity, text) for number, severity, text in lines}


def tests_by_row() -> Mapping[str, list[str]]:
    """For each row the tests whose docstrings name it; a module's docstring stands for all its tests."""
    found: dict[str, list[str]] = {}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        tree = ast.parse(path.read_text("utf-8"))
        name = str(path.relative_to(ROOT))
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                inner = "" if isinstance(node, ast.Module) else f"::{node.name}"
                for row in sorted(set(_ROW.findall(ast.get_docstring(node) or ""))):
                    found.setdefault(row, []).append(name + inner)
    for path in sorted((ROOT / "tests").rglob("*.test.*js")):
        if "node_modules" not in path.parts:
            for row in sorted(set(_ROW.findall(path.read_text("utf-8")))):
                found.setdefault(row, []).append(str(path.relative_to(ROOT)))
    return found


def threat_page() -> str:
    """Row, severity, what must hold, tests; then the rows that no test names yet."""
    rows, tests = known_rows(), tests_by_row()
    covered = [row for row in rows.values() if row.number in tests]
    lines = [_INTRODUCTION, f"{len(covered)} of {len(rows)} rows have a test.", ""]
    lines += ["| row | severity | what must hold | tests |", "|---|---|---|---|"]
    for row in covered:
        listed = "<br>".join(f"`{test.removeprefix('tests/')}`" for test in tests[row.number])
        lines.append(f"| {row.number} | {row.severity} | {row.property.replace('|', chr(92) + '|')} | {listed} |")
    lines += [
        "",
        "## Without a test",
        "",
        "They belong to parts that are not built yet, or to those who come next.",
        "",
    ]
    for letter in sorted({row.number[2] for row in rows.values()}):
        missing = [row.number for row in rows.values() if row.number[2] == letter and row.number not in tests]
        if missing:
            lines.append(f"- {', '.join(missing)}")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Writes the pages."""
    from homeserver.config.pages import reference_page
    from scripts.coverage import MISSING, coverage_page, still_missing

    pages = (
        (CONFIG_REFERENCE, reference_page()),
        (THREATS, threat_page()),
        (COVERAGE, coverage_page()),
        (MISSING, still_missing()),
    )
    for path, text in pages:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        print(path.relative_to(ROOT), file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
