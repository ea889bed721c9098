"""The configuration as it is in force, with every secret hidden."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from admin.console.desk import Desk, Visit
from admin.console.page import page
from homeserver.config import Config
from homeserver.config.options import Secret
from homeserver.core.operators import Permission
from homeserver.web.endpoint import Answer, Reach

_HIDDEN = "••••••"
# Options that hold a secret within another text.
_SECRETIVE = ("dsn", "secret", "password", "token", "key")


class ConfigurationPages:
    """/admin/config."""

    def __init__(self, desk: Desk, config: Config) -> None:
        self.desk = desk
        self._config = config

    @page("GET", "/admin/config", needs=Permission.READ_SERVER, reach=Reach.SERVER)
    async def configuration(self, visit: Visit) -> Answer:
        sections: dict[str, list[tuple[str, str]]] = {}
        for name, value in options(self._config):
            section, _, rest = name.partition(".")
            sections.setdefault(section if rest else "", []).append((name, value))
        return self.desk.page(visit, "config", {"sections": sections})


def options(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Each option by its full name, as text."""
    if is_dataclass(value) and not isinstance(value, type | Secret):
        for one in fields(value):
            yield from options(getattr(value, one.name), f"{name}.{one.name}" if name else one.name)
    elif isinstance(value, tuple | list) and any(is_dataclass(part) for part in value):
        for index, part in enumerate(value):
            yield from options(part, f"{name}[{index}]")
    else:
        yield name, _text(name, value)


def _text(name: str, value: Any) -> str:
    if value is None:
        return "–"
    last = name.rpartition(".")[2]
    is_secret = isinstance(value, Secret) or (isinstance(value, str) and any(part in last for part in _SECRETIVE))
    if is_secret:
        return _HIDDEN
    if isinstance(value, tuple | list | set | frozenset):
        return ", ".join(str(part) for part in value) or "–"
    return str(value)
