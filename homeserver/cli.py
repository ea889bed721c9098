"""The command line: data to standard output, the rest to standard error; exit 0, 1 (failed) or 2 (misused).

Imports that take time stand in the commands, so that `--help` and completion answer at once.
"""

from __future__ import annotations

import asyncio
import difflib
import json
import os
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.shell_completion import get_completion_class

from homeserver.config import Config, ConfigError, Loaded, read_config
from homeserver.config.pages import as_json, in_force, reference_page

if TYPE_CHECKING:
    from homeserver.operator.findings import Finding

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


class _Group(click.Group):
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


def main() -> None:
    """The entry point `hansa`."""
    sys.exit(run_command(sys.argv[1:]))


def run_command(arguments: list[str]) -> int:
    """Runs one command and gives its exit code; errors become `error:` and `hint:` on standard error."""
    try:
        code = hansa.main(arguments, prog_name="hansa", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except ConfigError as error:
        for problem in error.problems:
            _say_error(f"{problem.where}: {problem.message}" if problem.where else problem.message, problem.hint)
        return 1
    except Failed as error:
        _say_error(error.message, error.hint)
        return 2 if isinstance(error, Misused) else 1
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else "hansa"
        _say_error(error.format_message(), f"type `{path} --help`")
        return 2
    except (click.Abort, KeyboardInterrupt):
        _say_error("stopped", "type the command again to go on")
        return 1


def _say_error(message: str, hint: str) -> None:
    click.echo(f"error: {message}\nhint: {hint}", err=True)


def _examples(*lines: str) -> str:
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


@click.group(
    cls=_Group,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=_examples("hansa run", "hansa --config /etc/hansa.toml config check", "hansa user create --admin alice"),
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


def loaded_config(ctx: click.Context) -> Loaded:
    """The configuration that this call of the program names. Raises ConfigError."""
    file = ctx.obj
    if file is None and DEFAULT_FILE.exists():
        file = DEFAULT_FILE
    return read_config(file, os.environ)


def _config(ctx: click.Context) -> Config:
    return loaded_config(ctx).config


def _wait(coroutine: Coroutine[Any, Any, T]) -> T:
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


def _print_data(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


@hansa.group("config", cls=_Group, epilog=_examples("hansa config check", "hansa config show --json"))
def config_group() -> None:
    """Look at the configuration."""


@config_group.command("check")
@click.pass_context
def config_check(ctx: click.Context) -> None:
    """Say whether the configuration can be used, and what is wrong."""
    config = _config(ctx)
    click.echo(f"the configuration of {config.server_name} can be used", err=True)


@config_group.command("show", epilog="JSON: one object, its keys as in the TOML file; secrets are `<secret>`.")
@json_option
@click.pass_context
def config_show(ctx: click.Context, as_data: bool) -> None:
    """Print every value in force, and where it was given."""
    loaded = loaded_config(ctx)
    if as_data:
        _print_data(as_json(loaded.config))
    else:
        click.echo(in_force(loaded), nl=False)


@config_group.command("docs")
def config_docs() -> None:
    """Print the reference of all options (Markdown)."""
    click.echo(reference_page(), nl=False)


@hansa.command("completion", epilog=_examples('eval "$(hansa completion bash)"'))
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of a shell."""
    found = get_completion_class(shell)
    assert found is not None
    click.echo(found(hansa, {}, "hansa", "_HANSA_COMPLETE").source())


@hansa.command("run", epilog=_examples("hansa run", "HANSA_SERVER_NAME=example.org hansa run"))
@click.pass_context
def run(ctx: click.Context) -> None:
    """Run the server until Ctrl-C or SIGTERM."""
    import uvloop

    from homeserver import app
    from homeserver.appservices.registration import BadRegistration
    from homeserver.core.errors import Unavailable
    from homeserver.operator.welcome import welcome
    from homeserver.runtime.logging import configure_logging
    from homeserver.storage.migrate import WrongDatabase

    config = _config(ctx)
    configure_logging(format=config.log.format, level=config.log.level, value_chars_max=config.log.value_chars_max)

    def ready(first_start: bool) -> None:
        click.echo(welcome(config, first_start=first_start), err=True)

    try:
        uvloop.run(app.run(config, ready=ready, progress=show_progress))
    except BadRegistration as error:
        raise Failed(str(error), "correct the file, or take it out of `appservices.registration_paths`") from None
    except WrongDatabase as error:
        raise Failed(str(error), "type `hansa doctor`") from None
    except Unavailable as error:
        raise Failed(f"{error.message}: {error.__cause__}", "start PostgreSQL, or type `hansa doctor`") from None
    except OSError as error:
        raise Failed(
            str(error), "another program may use the port: change `listeners`, or type `hansa doctor`"
        ) from None


@hansa.command(
    "doctor", epilog="JSON: a list of {check, verdict, message, hint}; verdict is ok, warning, failed or skipped."
)
@json_option
@click.argument("about", type=click.Choice(["all", "rtc"]), default="all")
@click.pass_context
def doctor(ctx: click.Context, as_data: bool, about: str) -> int:
    """Look at configuration, folders, keys, database, names and clock, and say what to do; `rtc`: at calls."""
    from homeserver.operator.calls import call_findings
    from homeserver.operator.doctor import examine
    from homeserver.runtime.clock import SystemClock
    from homeserver.runtime.probes import SystemProbes

    looked = call_findings if about == "rtc" else examine
    return _tell(looked(_config(ctx), SystemProbes(), SystemClock()), as_data=as_data)


def _tell(findings: AsyncIterator[Finding], *, as_data: bool) -> int:
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

    found = _wait(look())
    if as_data:
        _print_data([asdict(finding) for finding in found])
    return int(any(finding.verdict == "failed" for finding in found))


@hansa.group(
    "federation", cls=_Group, epilog=_examples("hansa federation check example.org", "hansa federation check --json")
)
def federation_group() -> None:
    """Look at other servers, and at how they see this one."""


@federation_group.command(
    "check", epilog="JSON: a list of {check, verdict, message, hint}; verdict is ok, warning, failed or skipped."
)
@json_option
@click.argument("name", required=False)
@click.pass_context
def federation_check(ctx: click.Context, name: str | None, as_data: bool) -> int:
    """Say how the server NAME (this one, without) is found, and whether certificate, keys and version are good."""
    from homeserver.operator.federation import NoServerName, check_federation
    from homeserver.runtime.clock import SystemClock
    from homeserver.runtime.ids import SystemRandomness

    config = _config(ctx)
    findings = check_federation(config, SystemClock(), SystemRandomness(), name or config.server_name)
    try:
        return _tell(findings, as_data=as_data)
    except NoServerName as error:
        raise Misused(str(error), "type the part of a user id after the colon, like `example.org`") from None


@hansa.group("signing-key", cls=_Group, epilog=_examples("hansa signing-key rotate"))
def signing_key_group() -> None:
    """Look after the key that signs for this server."""


@signing_key_group.command("rotate", epilog="JSON: {old_key_id, new_key_id, kept_at}.")
@json_option
@click.pass_context
def signing_key_rotate(ctx: click.Context, as_data: bool) -> None:
    """Make a new key. From the next start on it signs, and others are told until when the old one did."""
    from homeserver.core.identifiers import ServerName
    from homeserver.runtime.ids import SystemRandomness
    from homeserver.runtime.signing_key import WrongSigningKey, rotate

    config = _config(ctx)
    try:
        done = rotate(config.signing_key_path, ServerName(config.server_name), SystemRandomness())
    except (WrongSigningKey, OSError) as error:
        raise Failed(str(error), "look at `signing_key_path`, as the user that runs the server") from None
    if as_data:
        _print_data({"old_key_id": done.old_key_id, "new_key_id": done.new_key_id, "kept_at": str(done.kept_at)})
        return
    click.echo(f"{done.new_key_id} takes the place of {done.old_key_id}, which is kept as {done.kept_at}", err=True)
    click.echo("restart the server to use it; delete the old key once all is well", err=True)


@hansa.group("db", cls=_Group, epilog=_examples("hansa db status", "hansa db migrate"))
def db_group() -> None:
    """Look after the database's schema."""


@db_group.command("status", epilog="JSON: a list of {number, name, applied}.")
@json_option
@click.pass_context
def db_status(ctx: click.Context, as_data: bool) -> None:
    """List the migrations and whether this database has had them."""
    from homeserver.operator.database import MigrationState, connected, migration_states
    from homeserver.runtime.clock import SystemClock

    config = _config(ctx)

    async def look() -> list[MigrationState]:
        async with connected(config, SystemClock()) as db:
            return await migration_states(db)

    states = _wait(look())
    if as_data:
        _print_data([asdict(state) for state in states])
        return
    for state in states:
        click.echo(f"{state.number:04}  {'applied' if state.applied else 'missing'}  {state.name}")


@db_group.command("migrate")
@click.pass_context
def db_migrate(ctx: click.Context) -> None:
    """Apply the migrations that are missing. The server does it at its start as well."""
    from homeserver.operator.database import connected
    from homeserver.runtime.clock import SystemClock
    from homeserver.storage.migrate import Migration, migrate

    config = _config(ctx)

    async def apply() -> list[Migration]:
        async with connected(config, SystemClock(), show_progress) as db:
            return await migrate(db, show_progress)

    for migration in _wait(apply()):
        click.echo(f"applied {migration.number:04} {migration.name}", err=True)
    click.echo("the schema is up to date", err=True)


@hansa.group(
    "user",
    cls=_Group,
    epilog=_examples("hansa user create --admin alice", "hansa user reset-password alice", "hansa user list --json"),
)
def user_group() -> None:
    """Make and mend accounts, also while the server runs."""


stdin_option: Callable[[Any], Any] = click.option(
    "--password-stdin", is_flag=True, help="Take the password from the first line of standard input."
)


def _password(from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline().rstrip("\n")
    asked: str = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    return asked


@user_group.command("create", epilog=_examples("hansa user create --admin alice"))
@click.argument("name")
@click.option("--admin", is_flag=True, help="Let this user administrate the server.")
@stdin_option
@click.pass_context
def user_create(ctx: click.Context, name: str, admin: bool, password_stdin: bool) -> None:
    """Make the account NAME (the part before the colon) and print its user id."""
    from homeserver.operator.users import operator_users
    from homeserver.runtime.clock import SystemClock

    config, password = _config(ctx), _password(password_stdin)

    async def create() -> str:
        async with operator_users(config, SystemClock()) as users:
            return await users.create(name, password, is_admin=admin)

    click.echo(_wait(create()))


@user_group.command("reset-password", epilog=_examples("hansa user reset-password alice"))
@click.argument("name")
@stdin_option
@click.pass_context
def user_reset_password(ctx: click.Context, name: str, password_stdin: bool) -> None:
    """Give NAME (a localpart or a user id) a new password, and log them out everywhere."""
    from homeserver.operator.users import operator_users
    from homeserver.runtime.clock import SystemClock

    config, password = _config(ctx), _password(password_stdin)

    async def reset() -> str:
        async with operator_users(config, SystemClock()) as users:
            user_id = users.user_id_of(name)
            await users.set_password(user_id, password, logs_out=True)
            return user_id

    click.echo(f"{_wait(reset())} has a new password, and is logged out everywhere", err=True)


@user_group.command("forget-factor", epilog=_examples("hansa user forget-factor alice"))
@click.argument("name")
@click.pass_context
def user_forget_factor(ctx: click.Context, name: str) -> None:
    """Let NAME, who lost their authenticator app, set up another at the next log-in to the console."""
    from homeserver.operator.users import forget_factor
    from homeserver.runtime.clock import SystemClock

    user_id = _wait(forget_factor(_config(ctx), SystemClock(), name))
    if user_id is None:
        raise Failed(f"{name} has no second factor", "the console asks for one at the first log-in")
    click.echo(f"{user_id} sets up another second factor at the next log-in to the console", err=True)


@user_group.command(
    "list", epilog="JSON: a list of {user_id, created_ts, admin, guest, deactivated, locked, suspended}."
)
@json_option
@click.pass_context
def user_list(ctx: click.Context, as_data: bool) -> None:
    """List the accounts."""
    from homeserver.operator.users import all_users, operator_users
    from homeserver.runtime.clock import SystemClock
    from homeserver.storage.users import UserRow

    config = _config(ctx)

    async def read() -> list[UserRow]:
        async with operator_users(config, SystemClock()) as users:
            return [row async for row in all_users(users)]

    rows = _wait(read())
    marks = ("admin", "guest", "deactivated", "locked", "suspended")
    if as_data:
        flags = [{mark: getattr(row, f"is_{mark}") for mark in marks} for row in rows]
        _print_data(
            [
                {"user_id": row.user_id, "created_ts": row.created_ts, **flag}
                for row, flag in zip(rows, flags, strict=True)
            ]
        )
        return
    for row in rows:
        click.echo(" ".join([row.user_id, *(mark for mark in marks if getattr(row, f"is_{mark}"))]))


@hansa.group("event", cls=_Group, epilog=_examples("hansa event explain '$event_id'"))
def event_group() -> None:
    """Ask what became of events."""


@event_group.command(
    "explain", epilog="JSON: {event_id, room_id, room_version, what, fate, reason, auth_events, state_before}."
)
@click.argument("event_id")
@json_option
@click.pass_context
def event_explain(ctx: click.Context, event_id: str, as_data: bool) -> None:
    """Say whether an event was accepted, rejected or soft-failed, by which rule, and what it rests on."""
    from homeserver.core.identifiers import EventId
    from homeserver.operator.events import explain
    from homeserver.runtime.clock import SystemClock

    found = _wait(explain(_config(ctx), SystemClock(), EventId(event_id)))
    if found is None:
        raise Failed(f"this server doesn't have the event {event_id}", "quote the id: the shell reads $ otherwise")
    if as_data:
        _print_data(asdict(found))
        return
    click.echo(f"{found.event_id}\n  {found.what}\n  room     {found.room_id} (version {found.room_version})")
    click.echo(f"  fate     {found.fate}" + (f": {found.reason}" if found.reason else ""))
    for title, cited in (("it cites", found.auth_events), ("state before", found.state_before)):
        for one in cited:
            click.echo(f"  {title:<13}{one.what}  {one.event_id}" + (f"  {one.fate}" if one.fate else ""))


@hansa.group("audit", cls=_Group, epilog=_examples("hansa audit verify", "hansa audit verify --json"))
def audit_group() -> None:
    """Look at what operators did."""


@audit_group.command("verify", epilog="JSON: {entries, head, broken_at, problem}; head is the newest entry's hash.")
@json_option
@click.pass_context
def audit_verify(ctx: click.Context, as_data: bool) -> int:
    """Prove that no entry of the audit log was changed, removed or put in between; note the head for the next time."""
    from homeserver.operator.audit import verify_audit_log
    from homeserver.runtime.clock import SystemClock

    verdict = _wait(verify_audit_log(_config(ctx), SystemClock()))
    if as_data:
        _print_data(asdict(verdict))
    elif verdict.problem is not None:
        click.echo(f"error: {verdict.problem}\nhint: compare with a backup of the table audit_log", err=True)
    else:
        click.echo(f"{verdict.entries} entries, unbroken; head {verdict.head}")
    return int(verdict.problem is not None)
