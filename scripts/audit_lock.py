"""Compares the locks, and the images that docker/ names, with the flaws that are known. Asks nobody.

`--sbom` prints what a running server consists of (CycloneDX, JSON).
"""

from __future__ import annotations

import json
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / "requirements"
DOCKER = ROOT / "docker"
FLAWS = REQUIREMENTS / "known_flaws.toml"
# What runs on an operator's machine comes first: with it flaws cost most.
LOCKS = ("runtime", "build", "dev", "peer", "bridge")
_PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)")
_IMAGE = re.compile(r"^\s*(?:image:|FROM)\s+([a-z0-9./_-]+):v?([^\s@]+)", re.MULTILINE)
_NUMBER = re.compile(r"\d+")


def pinned(lock: str) -> list[tuple[str, str]]:
    """Each package of a lock with its version."""
    lines = (REQUIREMENTS / f"{lock}.txt").read_text("utf-8").splitlines()
    return [(re.sub("[-_.]+", "-", match[1]).lower(), match[2]) for line in lines if (match := _PIN.match(line))]


def images() -> list[tuple[str, str]]:
    """Each image that the container files are built from or start, with its version; for some more than once."""
    texts = [(DOCKER / name).read_text("utf-8") for name in ("Dockerfile", "compose.yaml")]
    return [(name, tag.partition("-")[0]) for text in texts for name, tag in _IMAGE.findall(text)]


def findings(pins: Mapping[str, list[tuple[str, str]]], flaws: Mapping[str, Any]) -> Iterator[str]:
    """What stands in a lock although it has a flaw, with what to do."""
    for lock, packages in pins.items():
        for name, version in packages:
            if name in flaws["never"]:
                yield f"{lock}: {name} {flaws['never'][name]}"
            floor, flaw = flaws["floor"].get(name, ("0", ""))
            if _order(version) < _order(floor):
                yield f"{lock}: {name} {version} has {flaw}: take {floor} or newer"


def _order(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in _NUMBER.findall(version.partition("+")[0]))


def audit() -> list[str]:
    """The findings in all locks and container files."""
    flaws = known_flaws()
    found = list(findings({lock: pinned(lock) for lock in LOCKS}, flaws))
    return [*found, *findings({"docker": images()}, {"floor": flaws["image"], "never": {}})]


def known_flaws() -> dict[str, Any]:
    """The table of this repository."""
    return tomllib.loads(FLAWS.read_text("utf-8"))


def bill_of_materials() -> dict[str, Any]:
    """What a running server consists of."""
    components = [
        {"type": "library", "name": name, "version": version, "purl": f"pkg:pypi/{name}@{version}"}
        for name, version in pinned("runtime")
    ]
    return {"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1, "components": components}


def main(arguments: list[str]) -> int:
    if arguments == ["--sbom"]:
        print(json.dumps(bill_of_materials(), indent=2))
        return 0
    found = audit()
    for line in found:
        print(line, file=sys.stderr)
    print(f"{len(found)} packages and images with known flaws in {', '.join(LOCKS)}, docker", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
