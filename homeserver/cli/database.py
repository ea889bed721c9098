"""`hansa db`: the schema looked after."""

from __future__ import annotations

from dataclasses import asdict

import click

from homeserver.cli.command import (
    Group,
    config_of,
    examples,
    json_option,
    print_data,
    show_progress,
    wait,
)


@click.group("db", cls=Group, epilog=examples("hansa db status", "hansa db migrate"))
def db_group() -> None:
    """Look after the database's schema."""


@db_group.command("status", epilog="JSON: a list of {number, name, applied}.\n\n" + examples("hansa db status --json"))
@json_option
@click.pass_context
def db_status(ctx: click.Context, as_data: bool) -> None:
    """List the migrations and whether this database has had them."""
    from homeserver.operator.database import MigrationState, connected, migration_states
    from homeserver.runtime.clock import SystemClock

    config = config_of(ctx)

    async def look() -> list[MigrationState]:
        async with connected(config, SystemClock()) as db:
            return await migration_states(db)

    states = wait(look())
    if as_data:
        print_data([asdict(state) for state in states])
        return
    for state in states:
        click.echo(f"{state.number:04}  {'applied' if state.applied else 'missing'}  {state.name}")


@db_group.command("migrate", epilog=examples("hansa db migrate"))
@click.pass_context
def db_migrate(ctx: click.Context) -> None:
    """Apply the migrations that are missing. The server does it at its start as well."""
    from homeserver.operator.database import connected
    from homeserver.runtime.clock import SystemClock
    from homeserver.storage.migrate import Migration, migrate

    config = config_of(ctx)

    async def apply() -> list[Migration]:
        async with connected(config, SystemClock(), show_progress) as db:
            return await migrate(db, show_progress)

    for migration in wait(apply()):
        click.echo(f"applied {migration.number:04} {migration.name}", err=True)
    click.echo("the schema is up to date", err=True)
