"""`hansa archive`: months that leave the hot index."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from homeserver.cli.command import (
    Failed,
    Group,
    Misused,
    config_of,
    examples,
    json_option,
    print_data,
    show_progress,
    wait,
)

if TYPE_CHECKING:
    from homeserver.operator.archive import MonthState
    from search.archive.jobs import Job


@click.group(
    "archive",
    cls=Group,
    epilog=examples("hansa archive run --now", "hansa archive status", "hansa archive restore 2025-03"),
)
def archive_group() -> None:
    """Move months of messages to the cold archive, look after it, and bring them back. The running server does it."""


def _done(
    ctx: click.Context, kind: str, *, month: str | None = None, is_forced: bool = False, as_data: bool = False
) -> Job:
    """The job, when it has ended well."""
    from homeserver.operator.archive import NobodyWorks, do
    from homeserver.runtime.clock import SystemClock

    config = config_of(ctx)
    try:
        job = wait(do(config, SystemClock(), show_progress, kind, month=month, is_forced=is_forced))
    except NobodyWorks as error:
        hint = "start the server with `hansa run`: it does what was asked for as soon as it can"
        raise Failed(str(error), hint) from None
    result = job.result or {}
    if "error" in result:
        raise Failed(str(result["error"]), "look at the server's log, and at `hansa archive status`")
    if as_data:
        print_data(dict(result))
    return job


@archive_group.command(
    "run",
    epilog="JSON: {months: {month: messages}, messages}."
    "\n\n" + examples("hansa archive run", "hansa archive run --now --month 2025-03"),
)
@click.option("--now", is_flag=True, help="Whatever its age, the present month too.")
@click.option("--month", help="This one alone, like 2025-03.")
@json_option
@click.pass_context
def archive_run(ctx: click.Context, now: bool, month: str | None, as_data: bool) -> None:
    """Archive the months that are due by `archive.after_days`, or those asked for."""
    job = _done(ctx, "run", month=month, is_forced=now or month is not None, as_data=as_data)
    if not as_data:
        months = (job.result or {}).get("months", {})
        for one, messages in months.items():
            click.echo(f"{one}  {messages} messages")
        if not months:
            click.echo("nothing was due", err=True)


@archive_group.command(
    "status",
    epilog="JSON: a list of {month, files, messages, bytes, hidden, moving, damage, …}."
    "\n\n" + examples("hansa archive status --json"),
)
@json_option
@click.pass_context
def archive_status(ctx: click.Context, as_data: bool) -> int:
    """List the archive's months; exit 1 if a file is damaged."""
    from homeserver.operator.archive import status
    from homeserver.runtime.clock import SystemClock

    states = wait(status(config_of(ctx), SystemClock()))
    if as_data:
        print_data([asdict(state) for state in states])
    else:
        for state in states:
            click.echo(_line(state))
    return int(any(state.damage for state in states))


def _line(state: MonthState) -> str:
    if state.stays_hot and not state.files:
        return f"{state.month}  restored: it stays in the hot index"
    each = state.bytes / max(1, state.messages)
    line = f"{state.month}  {state.messages} messages in {state.files} files, {state.bytes} bytes ({each:.0f} each)"
    parts = [f"{state.hidden} hidden"] if state.hidden else []
    parts += [f"{state.moving} files still leave the hot index"] if state.moving else []
    parts += [f"DAMAGED {damage}" for damage in state.damage]
    return "; ".join([line, *parts])


@archive_group.command(
    "verify", epilog="JSON: {files, bytes, damaged, repaired, manifests, lost}.\n\n" + examples("hansa archive verify")
)
@json_option
@click.pass_context
def archive_verify(ctx: click.Context, as_data: bool) -> None:
    """Read every file again, and make anew from the database what is damaged or missing."""
    job = _done(ctx, "verify", as_data=as_data)
    if not as_data:
        result = job.result or {}
        for damage in result.get("damaged", ()):
            click.echo(f"damaged: {damage}")
        for lost in result.get("lost", ()):
            click.echo(f"bring its object back from a backup: {lost}")
        click.echo(
            f"{result['files']} files, {result['bytes']} bytes read; {len(result['repaired'])} files and "
            f"{len(result['manifests'])} manifests made anew"
        )


@archive_group.command("compact", epilog="JSON: {files}.\n\n" + examples("hansa archive compact"))
@json_option
@click.pass_context
def archive_compact(ctx: click.Context, as_data: bool) -> None:
    """Rewrite the files in which anything is hidden, so that no byte of it is left."""
    job = _done(ctx, "compact", is_forced=True, as_data=as_data)
    if not as_data:
        click.echo(f"{(job.result or {})['files']} files rewritten")


@archive_group.command("restore", epilog="JSON: {messages}.\n\n" + examples("hansa archive restore 2025-03"))
@click.argument("month")
@json_option
@click.pass_context
def archive_restore(ctx: click.Context, month: str, as_data: bool) -> None:
    """Bring MONTH (like 2025-03) back to the hot index, where it stays until `archive run --month` moves it again."""
    job = _done(ctx, "restore", month=month, as_data=as_data)
    if not as_data:
        click.echo(f"{(job.result or {})['messages']} messages are back in the hot index")


@archive_group.command(
    "explain",
    epilog="JSON: {count, is_partial, bytes, bytes_by_file, missed}."
    "\n\n" + examples("hansa archive explain 'red harbour'"),
)
@click.argument("query")
@json_option
@click.pass_context
def archive_explain(ctx: click.Context, query: str, as_data: bool) -> None:
    """Ask the archive QUERY, in all rooms, and show how much of which file that reads; nothing of a message."""
    from homeserver.operator.archive import explain
    from homeserver.runtime.clock import SystemClock

    cost = wait(explain(config_of(ctx), SystemClock(), query))
    if cost is None:
        raise Failed("there is nothing to look for in this query", "type a word")
    if as_data:
        print_data(asdict(cost))
        return
    click.echo(f"{cost.count} messages; {cost.bytes} bytes read of {len(cost.bytes_by_file)} files")
    for name, count in cost.bytes_by_file.items():
        click.echo(f"  {name}  {count}")
    for name in cost.missed:
        click.echo(f"  {name}  can't be asked")


@archive_group.command("room", epilog=examples("hansa archive room '!room:example.org' --after 30"))
@click.argument("room_id")
@click.option("--after", "after_days", type=click.IntRange(min=0), help="Days after a month's end.")
@click.option("--never", is_flag=True, help="It stays in the hot index.")
@click.option("--as-others", is_flag=True, help="As `archive.after_days` says.")
@click.pass_context
def archive_room(ctx: click.Context, room_id: str, after_days: int | None, never: bool, as_others: bool) -> None:
    """Say when ROOM_ID is archived, if not as the others."""
    from homeserver.operator.archive import set_room_age
    from homeserver.runtime.clock import SystemClock

    if (after_days is not None) + never + as_others != 1:
        raise Misused("one of --after, --never and --as-others is needed", "type `hansa archive room --help`")
    wait(set_room_age(config_of(ctx), SystemClock(), room_id, after_days, as_others=as_others))
    click.echo("known to the server from its next look on", err=True)
