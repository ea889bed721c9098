"""`hansa audit`: what operators did."""

from __future__ import annotations

from dataclasses import asdict

import click

from homeserver.cli.command import (
    Group,
    config_of,
    examples,
    json_option,
    print_data,
    wait,
)


@click.group("audit", cls=Group, epilog=examples("hansa audit verify", "hansa audit verify --json"))
def audit_group() -> None:
    """Look at what operators did."""


@audit_group.command(
    "verify",
    epilog="JSON: {entries, head, broken_at, problem}; head is the newest entry's hash."
    "\n\n" + examples("hansa audit verify --json"),
)
@json_option
@click.pass_context
def audit_verify(ctx: click.Context, as_data: bool) -> int:
    """Prove that no entry of the audit log was changed, removed or put in between; note the head for the next time."""
    from homeserver.operator.audit import verify_audit_log
    from homeserver.runtime.clock import SystemClock

    verdict = wait(verify_audit_log(config_of(ctx), SystemClock()))
    if as_data:
        print_data(asdict(verdict))
    elif verdict.problem is not None:
        click.echo(f"error: {verdict.problem}\nhint: compare with a backup of the table audit_log", err=True)
    else:
        click.echo(f"{verdict.entries} entries, unbroken; head {verdict.head}")
    return int(verdict.problem is not None)
