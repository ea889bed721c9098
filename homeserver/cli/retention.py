"""`hansa retention`: what expires."""

from __future__ import annotations

import click

from homeserver.cli.command import Group, config_of, examples, json_option, print_data, show_progress, wait

_DAY_S = 86_400


@click.group(
    "retention", cls=Group, epilog=examples("hansa retention preview", "hansa retention preview --most-days 365")
)
def retention_group() -> None:
    """Look at what expires."""


@retention_group.command(
    "preview",
    epilog="JSON: {rooms, events, bytes, files, oldest_ts, largest}; largest is a list of "
    "{room_id, events, bytes, files, oldest_ts, lifetime_ms}."
    "\n\n" + examples("hansa retention preview --most-days 365"),
)
@click.argument("room_id", required=False)
@click.option("--default-days", type=click.IntRange(0, 100_000), help="As if `rooms.retention_default_s` were this.")
@click.option("--least-days", type=click.IntRange(0, 100_000), help="As if `rooms.retention_least_s` were this.")
@click.option("--most-days", type=click.IntRange(0, 100_000), help="As if `rooms.retention_most_s` were this.")
@json_option
@click.pass_context
def retention_preview(
    ctx: click.Context,
    room_id: str | None,
    default_days: int | None,
    least_days: int | None,
    most_days: int | None,
    as_data: bool,
) -> None:
    """Say what would expire now, in one room or in all, by the rules in force or by others. Nothing is changed."""
    from homeserver.operator.retention import preview_retention
    from homeserver.runtime.clock import SystemClock

    async def report(done: int, total: int) -> None:
        show_progress("looking", min(done, total), total)

    found = wait(
        preview_retention(
            config_of(ctx),
            SystemClock(),
            room_id,
            default_s=_seconds(default_days),
            least_s=_seconds(least_days),
            most_s=_seconds(most_days),
            report=report,
        )
    )
    if as_data:
        print_data(found)
        return
    click.echo(f"{found['events']} messages ({found['bytes']} bytes, {found['files']} files) in {found['rooms']} rooms")
    for room in found["largest"]:
        click.echo(f"{room['events']:>10}  {room['room_id']}")


def _seconds(days: int | None) -> int | None:
    return days * _DAY_S if days is not None else None
