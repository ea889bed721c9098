"""`hansa event`: what became of events."""

from __future__ import annotations

from dataclasses import asdict

import click

from homeserver.cli.command import (
    Failed,
    Group,
    config_of,
    examples,
    json_option,
    print_data,
    wait,
)


@click.group("event", cls=Group, epilog=examples("hansa event explain '$event_id'"))
def event_group() -> None:
    """Ask what became of events."""


@event_group.command(
    "explain",
    epilog="JSON: {event_id, room_id, room_version, what, fate, reason, auth_events, state_before}."
    "\n\n" + examples("hansa event explain '$event_id' --json"),
)
@click.argument("event_id")
@json_option
@click.pass_context
def event_explain(ctx: click.Context, event_id: str, as_data: bool) -> None:
    """Say whether an event was accepted, rejected or soft-failed, by which rule, and what it rests on."""
    from homeserver.core.identifiers import EventId
    from homeserver.operator.events import explain
    from homeserver.runtime.clock import SystemClock

    found = wait(explain(config_of(ctx), SystemClock(), EventId(event_id)))
    if found is None:
        raise Failed(f"this server doesn't have the event {event_id}", "quote the id: the shell reads $ otherwise")
    if as_data:
        print_data(asdict(found))
        return
    click.echo(f"{found.event_id}\n  {found.what}\n  room     {found.room_id} (version {found.room_version})")
    click.echo(f"  fate     {found.fate}" + (f": {found.reason}" if found.reason else ""))
    for title, cited in (("it cites", found.auth_events), ("state before", found.state_before)):
        for one in cited:
            click.echo(f"  {title:<13}{one.what}  {one.event_id}" + (f"  {one.fate}" if one.fate else ""))


@click.command(
    "trace",
    epilog="JSONL: {event_id, room_id, sender, type, step, state, what, at_ms, details}."
    "\n\n" + examples("hansa trace '$event_id'"),
)
@click.argument("event_id")
@json_option
@click.pass_context
def event_trace(ctx: click.Context, event_id: str, as_data: bool) -> None:
    """Say step by step what became of an event: judged, kept, indexed, pushed, acknowledged by which server."""
    from admin.trace import lines
    from homeserver.core.identifiers import EventId
    from homeserver.operator.trace import traced
    from homeserver.runtime.clock import SystemClock

    found = wait(traced(config_of(ctx), SystemClock(), EventId(event_id)))
    if found is None:
        raise Failed(f"this server never had the event {event_id}", "quote the id: the shell reads $ otherwise")
    if as_data:
        click.echo(lines(found), nl=False)
        return
    click.echo(f"{found.event_id}\n  {found.type} by {found.sender}\n  room  {found.room_id}")
    for step in found.steps:
        click.echo(f"  {step.state:<6}{step.step:<22}{step.what}")
