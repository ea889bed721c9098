"""What people read is true: commands, options, files and links that the pages name are there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

import click
import pytest

from homeserver.cli.command import hansa
from homeserver.config import Config
from scripts.guide_pictures import IMAGES, PICTURES

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), ROOT / "changelog.d" / "README.md")
)
_COMMAND = re.compile(
    r"(?:(?<=`)|(?<=^    )|(?<=bin/)|(?<=exec hansa )|(?<=\$ ))hansa (?:--config \S+ )?([a-z].*)", re.M
)
_PATH = re.compile(r"`((?:homeserver|tests|federation|search|admin|docs|docker|scripts|bench)/[\w./-]+)`")
_OPTION = re.compile(r"`([a-z_]+(?:\.[a-z_0-9]+)+)(?: = [^`]*)?`")
_SECTION = re.compile(r"^\s*\[+([a-z_0-9.]+)\]+\s*$", re.M)
_LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")
_TARGET = re.compile(r"`make ([a-z-]+)`|^    make ([a-z-]+)", re.M)


def test_each_picture_of_the_guides_can_be_made_anew() -> None:
    assert {path.stem for path in IMAGES.iterdir()} == set(PICTURES)


def _options(kind: type[Any], before: str = "") -> Iterator[str]:
    hints = get_type_hints(kind)
    for field in fields(kind):
        yield before + field.name
        for inner in (hints[field.name], *get_args(hints[field.name])):
            if is_dataclass(inner) and isinstance(inner, type):
                yield from _options(inner, f"{before}{field.name}.")


OPTIONS = frozenset(_options(Config))
SECTIONS = frozenset(name.partition(".")[0] for name in OPTIONS if "." in name)


def _wrong_commands(text: str) -> Iterator[str]:
    for typed in _COMMAND.findall(text):
        command: click.Command = hansa
        for word in typed.split("`")[0].split():
            if not isinstance(command, click.Group):
                break
            if word not in command.commands:
                yield f"hansa {typed[:40]}"
                break
            command = command.commands[word]


def _wrong_options(text: str) -> Iterator[str]:
    for name in (*_OPTION.findall(text), *_SECTION.findall(text)):
        parts = name.split(".")
        is_module = any((ROOT / "/".join(parts[:2])).with_suffix(end).exists() for end in ("", ".py")) or any(
            (ROOT / "homeserver" / "/".join(parts[:2])).with_suffix(end).exists() for end in ("", ".py")
        )
        if parts[0] in SECTIONS and name not in OPTIONS and not is_module:
            yield name


def wrong(page: str, text: str) -> list[str]:
    """What a page names that isn't there."""
    folder, targets = (ROOT / page).parent, (ROOT / "Makefile").read_text(encoding="utf-8")
    found = [*_wrong_commands(text), *_wrong_options(text)]
    found += [path for path in _PATH.findall(text) if not (ROOT / path).exists()]
    found += [path for path in _LINK.findall(text) if not (folder / path).exists()]
    named = [one or other for one, other in _TARGET.findall(text)]
    return found + [f"make {one}" for one in named if not re.search(rf"^{one}:", targets, re.MULTILINE)]


# Rules of spam have settings of their own, and made pages are held by what makes them.
@pytest.mark.parametrize("page", [page for page in PAGES if page.split("/")[1:2] != ["reference"]])
def test_what_a_page_names_is_there(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8").replace("`federation.request_timeout`", "")
    assert not wrong(page, text), "say how it is now"


def test_what_is_not_there_is_found() -> None:
    text = "`hansa user crate`, `rooms.nothing`, `homeserver/none.py`\n[x](none.md), `make nothing`\n[limits.x]\n"
    named = ["rooms.nothing", "limits.x", "homeserver/none.py", "none.md", "make nothing"]
    assert [one.partition("`")[0] for one in wrong("README.md", text)] == ["hansa user crate", *named]
