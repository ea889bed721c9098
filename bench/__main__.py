"""Runs every benchmark of this package, or those that are named."""

from __future__ import annotations

import importlib
import itertools
import pkgutil
import sys

import bench


def main(names: list[str]) -> None:
    for module in sorted(found.name for found in pkgutil.iter_modules(bench.__path__)):
        if module.startswith("_") or module == "harness" or (names and module not in names):
            continue
        run = getattr(importlib.import_module(f"bench.{module}"), "run", None)
        if run is not None:
            run()


if __name__ == "__main__":
    # What follows is options of those that are named.
    main([*itertools.takewhile(lambda one: not one.startswith("-"), sys.argv[1:])])
