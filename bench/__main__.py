"""Runs every benchmark of this package, or those that are named. `--help` lists them, or tells one's options."""

from __future__ import annotations

import importlib
import itertools
import pkgutil
import sys

import bench


def main(arguments: list[str]) -> None:
    """Raises SystemExit for a name that there is not."""
    # What follows is options of those that are named.
    names = [*itertools.takewhile(lambda one: not one.startswith("-"), arguments)]
    modules = {name: importlib.import_module(f"bench.{name}") for name in _names()}
    known = {name: module for name, module in modules.items() if hasattr(module, "run")}
    if unknown := [name for name in names if name not in known]:
        sys.exit(f"error: there is no benchmark {', '.join(unknown)}\nhint: one of {', '.join(known)}")
    if not names and arguments:
        lines = (f"{name:22} {(module.__doc__ or '').splitlines()[0]}" for name, module in known.items())
        sys.stdout.write("usage: python -m bench [NAME ... [OPTIONS]]\n\n" + "\n".join(lines) + "\n")
        return
    for name in names or known:
        known[name].run()


def _names() -> list[str]:
    found = sorted(module.name for module in pkgutil.iter_modules(bench.__path__))
    return [name for name in found if not name.startswith("_") and name != "harness"]


if __name__ == "__main__":
    main(sys.argv[1:])
