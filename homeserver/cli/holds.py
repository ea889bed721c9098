"""`hansa hold`: legal holds."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from homeserver.cli.command import Group, Misused, config_of, examples, json_option, print_data, wait

if TYPE_CHECKING:
    from homeserver.storage.legal_holds import Hold, Kind


@click.group(
    "hold",
    cls=Group,
    epilog=examples("hansa hold set '@alice:example.org' --because 'case 12/2025'", "hansa hold list --json"),
)
def hold_group() -> None:
    """Keep rooms and users from being erased, also while the server runs."""


@hold_group.command("set", epilog=examples("hansa hold set '!room:example.org' --because 'case 12/2025'"))
@click.argument("target")
@click.option("--because", required=True, help="Why: it stands in the audit log.")
@click.pass_context
def hold_set(ctx: click.Context, target: str, because: str) -> None:
    """Keep all that a room or a user (by its id) has said, and print the hold's id."""
    from homeserver.operator.holds import BY_COMMAND, operator_holds
    from homeserver.runtime.clock import SystemClock
    from homeserver.runtime.ids import SystemRandomness

    config, kind = config_of(ctx), _kind_of(target)

    async def keep() -> str:
        async with operator_holds(config, SystemClock(), SystemRandomness()) as holds:
            return (await holds.set(kind, target, because, by=BY_COMMAND)).hold_id

    click.echo(wait(keep()))


@hold_group.command("release", epilog=examples("hansa hold release fXkQzrTnWmVbYsAe --because 'case closed'"))
@click.argument("hold_id")
@click.option("--because", required=True, help="Why: it stands in the audit log.")
@click.pass_context
def hold_release(ctx: click.Context, hold_id: str, because: str) -> None:
    """Let what is due be erased again."""
    from homeserver.operator.holds import BY_COMMAND, operator_holds
    from homeserver.runtime.clock import SystemClock
    from homeserver.runtime.ids import SystemRandomness

    config = config_of(ctx)

    async def let_go() -> str:
        async with operator_holds(config, SystemClock(), SystemRandomness()) as holds:
            return (await holds.release(hold_id, because, by=BY_COMMAND)).target

    click.echo(f"{wait(let_go())} is held no more", err=True)


@hold_group.command(
    "list",
    epilog="JSON: a list of {id, kind, target, reason, set_by, set_ts, released_by, released_ts}; times in ms."
    "\n\n" + examples("hansa hold list --json"),
)
@click.option("--released", is_flag=True, help="Those that were released as well.")
@json_option
@click.pass_context
def hold_list(ctx: click.Context, released: bool, as_data: bool) -> None:
    """List the holds, the newest first."""
    from admin.api.legal_holds import as_json
    from homeserver.operator.holds import BY_COMMAND, operator_holds
    from homeserver.runtime.clock import SystemClock
    from homeserver.runtime.ids import SystemRandomness

    config = config_of(ctx)

    async def read() -> list[Hold]:
        async with operator_holds(config, SystemClock(), SystemRandomness()) as holds:
            return await holds.page(in_force=not released, limit=1_000, by=BY_COMMAND)

    found = wait(read())
    if as_data:
        print_data([as_json(hold) for hold in found])
        return
    for hold in found:
        until = f", released {day(hold.released_ts)}" if hold.released_ts is not None else ""
        click.echo(f"{hold.hold_id}  {hold.target}  since {day(hold.set_ts)}{until}  {hold.reason}")


def _kind_of(target: str) -> Kind:
    if target.startswith("@"):
        return "user"
    if target.startswith("!"):
        return "room"
    raise Misused(f"`{target}` is no id of a room or a user", "quote an id that begins with ! or @")


def day(ts_ms: int) -> str:
    """The day of a time in milliseconds, UTC."""
    return datetime.fromtimestamp(ts_ms / 1000, UTC).strftime("%Y-%m-%d")
