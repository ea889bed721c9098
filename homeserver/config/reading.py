"""A configuration from a TOML file and the environment: all that is wrong with it is said at once, with its line."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args, get_origin

from homeserver.config.options import Option, Secret, is_section, options_of
from homeserver.config.problems import ConfigError, Problem
from homeserver.config.rules import broken_rules, settle
from homeserver.config.schema import Config
from homeserver.config.toml_lines import lines_of
from homeserver.config.values import (
    FromEnvironment,
    WrongValue,
    check_private,
    from_text,
    plain_value,
    secret_from_file,
    without_none,
)

PREFIX = "HANSA_"
# Names the file itself; read by the command line.
FILE_VARIABLE = "HANSA_CONFIG"

Trail = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration, and where each value that isn't a default was given."""

    config: Config
    origins: Mapping[Trail, str]


def load_config(path: Path | None, env: Mapping[str, str]) -> Config:
    """The configuration in `path` (none: defaults) with what `env` says on top. Raises ConfigError."""
    return read_config(path, env).config


def read_config(path: Path | None, env: Mapping[str, str]) -> Loaded:
    """As `load_config`, with the origin of each value. Raises ConfigError."""
    text = _read_file(path)
    reader = _Reader(path, lines_of(text) if text else {})
    tree = _parse(path, text)
    reader.add_environment(tree, env)
    config = reader.section(Config, Config(), tree, ())
    if reader.problems:
        raise ConfigError(reader.problems)
    config = settle(_expand(config, config.data_dir), frozenset(reader.origins))
    reader.problems += [Problem(wrong, hint, reader.where(trail)) for trail, wrong, hint in broken_rules(config)]
    if reader.problems:
        raise ConfigError(reader.problems)
    return Loaded(config, reader.origins)


def _read_file(path: Path | None) -> str:
    if path is None:
        return ""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ConfigError([Problem("the file is not UTF-8 text", "save it as UTF-8", str(path))]) from None
    except OSError as error:
        hint = "name a file that exists, or leave it out to run with the defaults"
        raise ConfigError([Problem(f"the file can't be read: {error.strerror}", hint, str(path))]) from None


def _parse(path: Path | None, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        hint = "strings need quotation marks, tables begin with `[name]`; see https://toml.io"
        raise ConfigError([Problem(f"this is not TOML: {error}", hint, str(path))]) from None


class _Reader:
    """Walks the schema and the given values side by side, and collects what is wrong."""

    def __init__(self, path: Path | None, lines: Mapping[Trail, int]) -> None:
        self._path = path
        self._lines = lines
        self.origins: dict[Trail, str] = {}
        self.problems: list[Problem] = []

    def where(self, trail: Trail) -> str:
        """The variable or the line that gave this value, or the nearest thing around it."""
        for length in range(len(trail), 0, -1):
            origin = self.origins.get(trail[:length])
            if origin is not None:
                return origin
            if trail[:length] in self._lines:
                return f"{self._path}:{self._lines[trail[:length]]}"
        return str(self._path) if self._path else ""

    def add_environment(self, tree: dict[str, Any], env: Mapping[str, str]) -> None:
        """Puts `HANSA_DATABASE__DSN` in the place of `database.dsn`."""
        for name in sorted(env):
            if not name.startswith(PREFIX) or name == FILE_VARIABLE:
                continue
            trail = tuple(name[len(PREFIX) :].lower().split("__"))
            place: Any = tree
            for part in trail[:-1]:
                place = place.setdefault(part, {}) if isinstance(place, dict) else None
            if isinstance(place, dict):
                place[trail[-1]] = FromEnvironment(name, env[name])
            else:
                self._report(trail, "lies inside a value that the file gives as a whole", "give it in one place", name)

    def section(self, kind: type, base: Any, raw: Mapping[str, Any], trail: Trail) -> Any:
        """A section with the given options; the others are those of `base`."""
        changes: dict[str, Any] = {}
        options = {option.name: option for option in options_of(kind)}
        for name, value in raw.items():
            if name in options:
                if f"{name}_path" in raw and _is_secret(options[name]):
                    self._report((*trail, name), f"stands beside `{name}_path`", "give one of the two")
                self._set(changes, options[name], base, value, (*trail, name))
            elif name.endswith("_path") and _is_secret(options.get(name.removesuffix("_path"))):
                self._set_from_file(changes, options[name.removesuffix("_path")], value, (*trail, name))
            else:
                self._unknown(kind, value, (*trail, name))
        return replace(base, **changes)

    def _set(self, changes: dict[str, Any], option: Option, base: Any, raw: Any, trail: Trail) -> None:
        value = raw
        if isinstance(raw, FromEnvironment):
            self.origins[trail] = raw.name
            value = from_text(raw.text, bool if _switches_off(option, raw) else option.type)
        elif not isinstance(raw, dict) and trail in self._lines:
            self.origins[trail] = f"{self._path}:{self._lines[trail]}"
        try:
            changes[option.name] = self._value(option, getattr(base, option.name), value, trail)
        except WrongValue as wrong:
            self._report(trail, wrong.message, wrong.hint)

    def _value(self, option: Option, base: Any, value: Any, trail: Trail) -> Any:
        kind, _ = without_none(option.type)
        if is_section(kind):
            if isinstance(value, dict):
                return self.section(kind, base, value, trail)
            if isinstance(value, bool) and any(inner.name == "enabled" for inner in options_of(kind)):
                return replace(base, enabled=value)
            raise WrongValue("must be a table", f"write `[{_dotted(trail)}]` and the options below it")
        if get_origin(kind) is tuple and is_section(get_args(kind)[0]):
            return self._list_of_sections(get_args(kind)[0], value, trail)
        result = plain_value(value, option, option.type)
        if isinstance(result, Secret) and self._path is not None and self.where(trail).startswith(str(self._path)):
            check_private(self._path)
        return result

    def _list_of_sections(self, kind: type, value: Any, trail: Trail) -> tuple[Any, ...]:
        if not isinstance(value, list) or not all(isinstance(element, dict) for element in value):
            raise WrongValue("must be a list of tables", f"write `[[{_dotted(trail)}]]` above the options of each")
        return tuple(self.section(kind, kind(), element, (*trail, index)) for index, element in enumerate(value))

    def _set_from_file(self, changes: dict[str, Any], option: Option, raw: Any, trail: Trail) -> None:
        where = raw.name if isinstance(raw, FromEnvironment) else self.where(trail)
        self.origins[(*trail[:-1], option.name)] = self.origins[trail] = where
        path = raw.text if isinstance(raw, FromEnvironment) else raw
        try:
            if not isinstance(path, str):
                raise WrongValue("must be a path", f'write for example `{trail[-1]} = "/etc/hansa/{option.name}"`')
            changes[option.name] = secret_from_file(Path(path))
        except WrongValue as wrong:
            self._report(trail, wrong.message, wrong.hint)

    def _unknown(self, kind: type, raw: Any, trail: Trail) -> None:
        name = _dotted(trail)
        where = ""
        if isinstance(raw, FromEnvironment):
            where = raw.name
        elif isinstance(raw, dict) and (inner := _first_variable(raw)) is not None:
            where = inner.name
        self._report(trail, "is not an option", _nearest(kind, name, str(trail[-1])), where)

    def _report(self, trail: Trail, message: str, hint: str, where: str = "") -> None:
        self.problems.append(Problem(f"`{_dotted(trail)}` {message}", hint, where or self.where(trail)))


def _is_secret(option: Option | None) -> bool:
    return option is not None and without_none(option.type)[0] is Secret


def _switches_off(option: Option, raw: FromEnvironment) -> bool:
    return is_section(option.type) and not raw.text.lstrip().startswith("{")


def _first_variable(raw: Mapping[str, Any]) -> FromEnvironment | None:
    for value in raw.values():
        if isinstance(value, FromEnvironment):
            return value
        if isinstance(value, dict) and (inner := _first_variable(value)) is not None:
            return inner
    return None


def _dotted(trail: Trail) -> str:
    text = ""
    for part in trail:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _nearest(kind: type, name: str, last: str) -> str:
    """A hint with the option that was probably meant: of this section first, then of all."""
    here = {option.name for option in options_of(kind)}
    here |= {f"{option.name}_path" for option in options_of(kind) if _is_secret(option)}
    if near := difflib.get_close_matches(last, sorted(here), n=1, cutoff=0.6):
        prefix = name[: len(name) - len(last)]
        return f"did you mean `{prefix}{near[0]}`?"
    everywhere = {trail[-1]: ".".join(trail) for trail in _walk(Config, ())}
    if near := difflib.get_close_matches(last, sorted(everywhere), n=1, cutoff=0.7):
        return f"did you mean `{everywhere[near[0]]}`?"
    prefix = name[: len(name) - len(last)]
    near = difflib.get_close_matches(last, sorted(here), n=3, cutoff=0.0)
    return f"nearest are {', '.join(f'`{prefix}{one}`' for one in near)}; `hansa config docs` lists every option"


def _walk(kind: type, trail: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    for option in options_of(kind):
        inner, _ = without_none(option.type)
        here = (*trail, option.name)
        yield here
        if get_origin(inner) is tuple:
            inner = get_args(inner)[0]
        if is_section(inner):
            yield from _walk(inner, here)


def _expand(value: Any, data_dir: Path) -> Any:
    """The same section with `{data_dir}` replaced in every path."""
    if isinstance(value, Path):
        return Path(str(value).replace("{data_dir}", str(data_dir)))
    if isinstance(value, tuple):
        return tuple(_expand(element, data_dir) for element in value)
    if is_section(type(value)):
        changes = {option.name: _expand(getattr(value, option.name), data_dir) for option in options_of(type(value))}
        return replace(value, **changes)
    return value
