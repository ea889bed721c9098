"""`hansa federation` and `hansa signing-key`: what other servers see."""

from __future__ import annotations

import click

from homeserver.cli.command import (
    Failed,
    Group,
    Misused,
    config_of,
    examples,
    json_option,
    print_data,
    print_findings,
)


@click.group(
    "federation", cls=Group, epilog=examples("hansa federation check example.org", "hansa federation check --json")
)
def federation_group() -> None:
    """Look at other servers, and at how they see this one."""


@federation_group.command(
    "check",
    epilog="JSON: a list of {check, verdict, message, hint}; verdict is ok, warning, failed or skipped."
    "\n\n" + examples("hansa federation check example.org"),
)
@json_option
@click.argument("name", required=False)
@click.pass_context
def federation_check(ctx: click.Context, name: str | None, as_data: bool) -> int:
    """Say how the server NAME (this one, without) is found, and whether certificate, keys and version are good."""
    from federation.check import NoServerName
    from homeserver.assembly.federation_check import check_federation
    from homeserver.runtime.clock import SystemClock
    from homeserver.runtime.ids import SystemRandomness

    config = config_of(ctx)
    findings = check_federation(config, SystemClock(), SystemRandomness(), name or config.server_name)
    try:
        return print_findings(findings, as_data=as_data)
    except NoServerName as error:
        raise Misused(str(error), "type the part of a user id after the colon, like `example.org`") from None


@click.group("signing-key", cls=Group, epilog=examples("hansa signing-key rotate"))
def signing_key_group() -> None:
    """Look after the key that signs for this server."""


@signing_key_group.command(
    "rotate", epilog="JSON: {old_key_id, new_key_id, kept_at}.\n\n" + examples("hansa signing-key rotate")
)
@json_option
@click.pass_context
def signing_key_rotate(ctx: click.Context, as_data: bool) -> None:
    """Make a new key. From the next start on it signs, and others are told until when the old one did."""
    from homeserver.core.identifiers import ServerName
    from homeserver.runtime.ids import SystemRandomness
    from homeserver.runtime.signing_key import WrongSigningKey, rotate

    config = config_of(ctx)
    try:
        done = rotate(config.signing_key_path, ServerName(config.server_name), SystemRandomness())
    except (WrongSigningKey, OSError) as error:
        raise Failed(str(error), "look at `signing_key_path`, as the user that runs the server") from None
    if as_data:
        print_data({"old_key_id": done.old_key_id, "new_key_id": done.new_key_id, "kept_at": str(done.kept_at)})
        return
    click.echo(f"{done.new_key_id} takes the place of {done.old_key_id}, which is kept as {done.kept_at}", err=True)
    click.echo("restart the server to use it; delete the old key once all is well", err=True)
