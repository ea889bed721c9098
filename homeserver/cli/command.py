"""What every command of the program is made with: the group `hansa`, its options, errors and ways to print."""

from __future__ import annotations

import asyncio
import difflib
import json
import os
import shlex
import shutil
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from homeserver.config import Config, Loaded, read_config

if TYPE_CHECKING:
    from homeserver.runtime.findings import Finding

T = TypeVar("T")

DEFAULT_FILE = Path("hansa.toml")
_MARKS = {"ok": "ok      ", "warning": "warning ", "failed": "FAILED  ", "skipped": "skipped "}


class Failed(Exception):
    """A command that can't do its work: what is wrong, and what to type."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class Misused(Failed):
    """The same for what was typed wrongly: exit 2."""


class Group(click.Group):
    """A group that keeps the examples' lines and names the nearest command."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0] if args else ""
        if name and not name.startswith("-") and self.get_command(ctx, name) is None:
            near = difflib.get_close_matches(name, self.list_commands(ctx), n=1)
            hint = f"did you mean `{ctx.command_path} {near[0]}`?" if near else f"type `{ctx.command_path} --help`"
            raise Misused(f"`{ctx.command_path} {name}` is not a command", hint)
        return super().resolve_command(ctx, args)


def say_error(message: str, hint: str) -> None:
    click.echo(f"error: {message}\nhint: {hint}", err=True)


def examples(*lines: str) -> str:
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


@click.group(
    cls=Group,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=examples("hansa run", "hansa --config /etc/hansa.toml config check", "hansa user create --admin alice"),
)
@click.option(
    "--config",
    "file",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="HANSA_CONFIG",
    help="Configuration file (TOML). Default: hansa.toml here, if there is one.",
)
@click.version_option(package_name="hansa", message="%(prog)s %(version)s")
@click.pass_context
def hansa(ctx: click.Context, file: Path | None) -> None:
    """Hansa, a Matrix homeserver with memory."""
    ctx.obj = file


def typed_again(ctx: click.Context) -> str:
    """What to type for `hansa` so that the next command means this server: the program as it was called, where the
    shell wouldn't find it by its name, and the configuration file that was named."""
    called = Path(sys.argv[0])
    if called.name == "__main__.py":
        words = [sys.executable, "-m", "homeserver"]
    else:
        found = shutil.which("hansa")
        is_found = found is not None and called.exists() and Path(found).resolve() == called.resolve()
        words = ["hansa" if is_found or called.name != "hansa" else str(called)]
    if ctx.obj is not None:
        words += ["--config", str(ctx.obj)]
    return shlex.join(words)


def loaded_config(ctx: click.Context) -> Loaded:
    """The configuration that this call of the program names. Raises ConfigError."""
    file = ctx.obj
    if file is None and DEFAULT_FILE.exists():
        file = DEFAULT_FILE
    return read_config(file, os.environ)


def config_of(ctx: click.Context) -> Config:
    return loaded_config(ctx).config


def wait(coroutine: Coroutine[Any, Any, T]) -> T:
    """Runs one command's coroutine. What the database can't do becomes an error with a hint."""
    from homeserver.core.errors import MatrixError, Unavailable
    from homeserver.storage.migrate import WrongDatabase

    try:
        return asyncio.run(coroutine)
    except Unavailable as error:
        raise Failed(error.message, "type `hansa doctor`") from None
    except MatrixError as error:
        raise Failed(error.message, "correct the value and type the command again") from None
    except WrongDatabase as error:
        raise Failed(str(error), "type `hansa doctor`") from None


def show_progress(what: str, done: int, total: int) -> None:
    """A bar on standard error, where a person sees it; it leaves no trace."""
    if not sys.stderr.isatty():
        return
    width = 30
    full = width * done // total
    bar = f"{what} [{'#' * full}{'-' * (width - full)}] {done}/{total}"
    click.echo("\r\x1b[K" + ("" if done == total else bar), nl=False, err=True)


json_option: Callable[[Any], Any] = click.option("--json", "as_data", is_flag=True, help="Print data for programs.")


def print_data(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def print_findings(findings: AsyncIterator[Finding], *, as_data: bool) -> int:
    """Prints findings as they come, or all as data; the exit code."""

    async def look() -> list[Finding]:
        found = []
        async for finding in findings:
            found.append(finding)
            if not as_data:
                click.echo(f"{_MARKS[finding.verdict]} {finding.check}: {finding.message}")
                if finding.hint:
                    click.echo(f"         hint: {finding.hint}")
        return found

    found = wait(look())
    if as_data:
        print_data([asdict(finding) for finding in found])
    return int(any(finding.verdict == "failed" for finding in found))
