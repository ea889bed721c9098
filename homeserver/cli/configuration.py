"""`hansa config`: the configuration looked at."""

from __future__ import annotations

import click

from homeserver.cli.command import (
    Group,
    config_of,
    examples,
    json_option,
    loaded_config,
    print_data,
)
from homeserver.config.pages import as_json, in_force, reference_page


@click.group("config", cls=Group, epilog=examples("hansa config check", "hansa config show --json"))
def config_group() -> None:
    """Look at the configuration."""


@config_group.command("check", epilog=examples("hansa --config /etc/hansa.toml config check"))
@click.pass_context
def config_check(ctx: click.Context) -> None:
    """Say whether the configuration can be used, and what is wrong."""
    config = config_of(ctx)
    click.echo(f"the configuration of {config.server_name} can be used", err=True)


@config_group.command(
    "show",
    epilog="JSON: one object, its keys as in the TOML file; secrets are `<secret>`."
    "\n\n" + examples("hansa config show", "hansa config show --json"),
)
@json_option
@click.pass_context
def config_show(ctx: click.Context, as_data: bool) -> None:
    """Print every value in force, and where it was given."""
    loaded = loaded_config(ctx)
    if as_data:
        print_data(as_json(loaded.config))
    else:
        click.echo(in_force(loaded), nl=False)


@config_group.command("docs", epilog=examples("hansa config docs > config.md"))
def config_docs() -> None:
    """Print the reference of all options (Markdown)."""
    click.echo(reference_page(), nl=False)
