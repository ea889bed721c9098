"""The configuration for people: the reference page, and the values in force with their origins."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args, get_origin

from homeserver.config.options import Option, Secret, is_section, options_of
from homeserver.config.reading import Loaded
from homeserver.config.schema import Config
from homeserver.config.values import bounds_text, type_text, without_none

_INTRODUCTION = """\
# Options

Made from the code by `make docs`; `hansa config docs` prints it.

Hansa reads `hansa.toml` in the working directory (or the file given by `--config` or `HANSA_CONFIG`), and then the
environment: `HANSA_DATABASE__DSN` is `database.dsn`. Lists are separated by commas there, tables are JSON. Nothing has
to be set. `hansa config check` says what is wrong, `hansa config show` what is in force and why.

A secret can be kept in a file of its own: give `NAME_path` instead of `NAME`. A file with a secret must be readable by
its owner only. Relative paths start at the working directory.
"""


def reference_page() -> str:
    """Every option with its type, default and sentence, as Markdown."""
    parts = [_INTRODUCTION]
    plain = [option for option in options_of(Config) if _section_in(option) is None]
    parts.append(_table("## At the top", "", plain, ""))
    for option in options_of(Config):
        kind = _section_in(option)
        if kind is not None:
            parts.extend(_section_pages(option, kind, option.name))
    return "\n".join(parts)


def _section_in(option: Option) -> type | None:
    """The section that an option holds, one or a list of them."""
    kind, _ = without_none(option.type)
    if get_origin(kind) is tuple:
        kind = get_args(kind)[0]
    return kind if is_section(kind) else None


def _section_pages(option: Option, kind: type, name: str) -> Iterator[str]:
    is_list = get_origin(option.type) is tuple
    title = f"## `[[{name}]]`" if is_list else f"## `[{name}]`"
    # A section may begin with other values than its kind does elsewhere.
    inner = [
        field if is_list else replace(field, default=getattr(option.default, field.name)) for field in options_of(kind)
    ]
    limits = [field for field in inner if name == "rate_limits" and _section_in(field) is not None]
    yield _table(title, option.rule.sentence, [field for field in inner if _section_in(field) is None], name)
    if limits:
        yield _limits(limits, name)
    for field in inner:
        below = _section_in(field)
        if below is not None and field not in limits:
            yield from _section_pages(field, below, f"{name}.{field.name}")


def _table(title: str, sentence: str, listed: list[Option], prefix: str) -> str:
    lines = [title, ""]
    if sentence:
        lines += [sentence, ""]
    lines += ["| option | type | default | |", "|---|---|---|---|"]
    for option in listed:
        kind = type_text(option.type)
        bounds = bounds_text(option.rule.low, option.rule.high)
        text = f"{kind}, {bounds}" if bounds else kind
        secret = " Or `" + option.name + "_path`." if without_none(option.type)[0] is Secret else ""
        lines.append(f"| `{option.name}` | {text} | {_default(option)} | {option.rule.sentence}{secret} |")
    return "\n".join([*lines, ""])


def _limits(listed: list[Option], name: str) -> str:
    lines = [
        f"Each is a table `[{name}.NAME]` with `enabled`, `per_second` and `burst`; `NAME = false` switches it off.",
        "",
        "| limit | per_second | burst | |",
        "|---|---|---|---|",
    ]
    for option in listed:
        limit = option.default
        lines.append(f"| `{option.name}` | {limit.per_second:g} | {limit.burst} | {option.rule.sentence} |")
    return "\n".join([*lines, ""])


def _default(option: Option) -> str:
    if option.rule.default_text is not None:
        return option.rule.default_text
    if option.default is None:
        return "none"
    return f"`{toml_value(option.default)}`"


def toml_value(value: Any) -> str:
    """A value as TOML writes it; a secret as `<secret>`."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(key)} = {toml_value(inner)}" for key, inner in sorted(value.items())) + "}"
    if isinstance(value, tuple | list):
        return "[" + ", ".join(toml_value(element) for element in value) + "]"
    if is_section(type(value)):
        return toml_value({option.name: getattr(value, option.name) for option in options_of(type(value))})
    return '""' if value is None else json.dumps(str(value), ensure_ascii=False)


def in_force(loaded: Loaded) -> str:
    """All values as TOML, each with where it was given when it isn't a default."""
    lines: list[str] = []
    _show(loaded, loaded.config, (), lines)
    return "\n".join(lines) + "\n"


def _show(loaded: Loaded, value: Any, trail: tuple[str | int, ...], lines: list[str]) -> None:
    if trail:
        name = ".".join(str(part) for part in trail if isinstance(part, str))
        lines += ["", f"[[{name}]]" if isinstance(trail[-1], int) else f"[{name}]"]
    inner = options_of(type(value))
    for option in inner:
        if _section_in(option) is None:
            lines.append(_line(loaded, option.name, getattr(value, option.name), (*trail, option.name)))
    for option in inner:
        if _section_in(option) is None:
            continue
        below = getattr(value, option.name)
        if isinstance(below, tuple):
            for index, element in enumerate(below):
                _show(loaded, element, (*trail, option.name, index), lines)
        else:
            _show(loaded, below, (*trail, option.name), lines)


def _line(loaded: Loaded, name: str, value: Any, trail: tuple[str | int, ...]) -> str:
    text = f"# {name} is not set" if value is None else f"{name} = {toml_value(value)}"
    origin = next((loaded.origins[trail[:n]] for n in range(len(trail), 0, -1) if trail[:n] in loaded.origins), None)
    return f"{text}  # {origin}" if origin else text


def as_json(value: Any) -> Any:
    """The same for programs: tables as objects, paths as strings, secrets as `<secret>`."""
    if is_section(type(value)):
        return {option.name: as_json(getattr(value, option.name)) for option in options_of(type(value))}
    if isinstance(value, tuple):
        return [as_json(element) for element in value]
    if isinstance(value, Mapping):
        return {key: as_json(inner) for key, inner in value.items()}
    if isinstance(value, Path | Secret):
        return str(value)
    return value
