"""`hansa search`: the index of messages looked after."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from homeserver.cli.command import Failed, Group, config_of, examples, json_option, print_data, show_progress, wait

_NO_SERVER = Failed("no running server took this up", "it is done once the server runs: type `hansa run`")


@click.group(
    "search",
    cls=Group,
    epilog=examples("hansa search status", "hansa search reindex", "hansa search verify --repair"),
)
def search_group() -> None:
    """Look after the index of messages."""


@search_group.command(
    "status",
    epilog="JSON: {engine, generation, events, problem, health, events_behind, dead_letters, newest_letters, "
    "repairs_waiting, built}; newest_letters is a list of [event_id, reason, noted_ms]."
    "\n\n" + examples("hansa search status"),
)
@json_option
@click.pass_context
def search_status(ctx: click.Context, as_data: bool) -> int:
    """Say what the index holds, how far it is behind, and what it wouldn't take."""
    from homeserver.operator.search import index_status
    from homeserver.runtime.clock import SystemClock

    status = wait(index_status(config_of(ctx), SystemClock()))
    if as_data:
        print_data(asdict(status))
        return int(bool(status.problem))
    click.echo(f"engine        {status.engine}, generation {status.generation}")
    if status.health:
        click.echo(f"cluster       {status.health}")
    click.echo(f"events        {status.events if status.events is not None else 'unknown: ' + status.problem}")
    click.echo(f"behind        {status.events_behind} events")
    click.echo(f"dead letters  {status.dead_letters}")
    for event_id, reason, _ in status.newest_letters:
        click.echo(f"              {event_id} {reason}")
    if status.repairs_waiting:
        click.echo(f"repairs       {status.repairs_waiting} waiting")
    if status.built is not None:
        click.echo(f"new index     {status.built:.0%} built")
    return int(bool(status.problem))


@search_group.command("reindex", epilog=examples("hansa search reindex"))
@click.pass_context
def search_reindex(ctx: click.Context) -> None:
    """Build the index anew beside the old one, while the server runs, and switch to it.

    Stopping this command stops nothing: the server goes on, also after a restart. Type it again to watch.
    """
    from homeserver.operator.search import NoServer, reindex
    from homeserver.runtime.clock import SystemClock

    try:
        wait(reindex(config_of(ctx), SystemClock(), show_progress))
    except NoServer:
        raise _NO_SERVER from None
    click.echo("the new index answers", err=True)


@search_group.command(
    "verify",
    epilog="JSON: {groups, events, damages, left}; damages is a list of {month, room_id, missing, wrong, surplus}, "
    "left what --repair left of them; archive, where there is one and with --repair, what `hansa archive verify` says. "
    "Exit 1 if anything is wrong at the end."
    "\n\n" + examples("hansa search verify --repair"),
)
@click.option("--repair", is_flag=True, help="Let the server put right what is wrong.")
@json_option
@click.pass_context
def search_verify(ctx: click.Context, repair: bool, as_data: bool) -> int:
    """Compare the index with the database, room by room and month by month; with --repair, the archive too."""
    from homeserver.operator.search import NoServer, verify
    from homeserver.runtime.clock import SystemClock
    from search.tiers import TierFault

    try:
        verified = wait(verify(config_of(ctx), SystemClock(), show_progress, repairs=repair))
    except NoServer:
        raise _NO_SERVER from None
    except TierFault as fault:
        raise Failed(f"the index can't be read: {fault}", "type `hansa search status`") from None
    found, archived = verified.found, verified.archive
    left = found.damages if verified.left is None else verified.left.damages
    if archived is not None and "error" in archived:
        raise Failed(f"the archive can't be read: {archived['error']}", "type `hansa archive status`")
    if as_data:
        shown = [[asdict(damage) for damage in some] for some in (found.damages, left)]
        told = {"groups": found.groups, "events": found.events, "damages": shown[0], "left": shown[1]}
        print_data(told if archived is None else {**told, "archive": archived})
        return int(bool(left) or bool(archived and archived["lost"]))
    if archived is not None:
        click.echo(f"archive: {len(archived['repaired'])} of {archived['files']} files made anew", err=True)
        if archived["lost"]:
            raise Failed(f"{len(archived['lost'])} files of the archive are lost", "type `hansa archive verify`")
    for damage in found.damages:
        click.echo(
            f"{damage.month} {damage.room_id or 'a room that is gone'}: "
            f"{damage.missing} missing, {damage.wrong} wrong, {damage.surplus} too many"
        )
    if not found.damages:
        click.echo(f"{found.events} events of {found.groups} months of rooms are as the database has them", err=True)
    elif not left:
        click.echo(f"{len(found.repairs)} events were put right", err=True)
    else:
        raise Failed(f"{len(left)} months of rooms differ", "type `hansa search verify --repair`")
    return 0


@search_group.command(
    "explain",
    epilog="JSON: {tree, highlights, asked}; asked is the query in Elasticsearch's language, without who may see what."
    "\n\n" + examples("hansa search explain 'from:me \"red harbour\" -pier'"),
)
@click.argument("query")
@click.option("--me", default="@me:localhost", show_default=True, help="User id that `me` stands for.")
@json_option
def search_explain(query: str, me: str, as_data: bool) -> None:
    """Show what QUERY means: its parts, the words as they are looked up, and how the index is asked."""
    from homeserver.core.errors import InvalidParam
    from search.upkeep.explaining import explain

    try:
        explained = explain(query, me=me)
    except InvalidParam as error:
        raise Failed(error.message, "docs/operating/search.md has the query language") from None
    if explained is None:
        raise Failed("there is nothing to look for in this query", "type a word")
    if as_data:
        print_data(asdict(explained))
        return
    for line in explained.tree:
        click.echo(line)
    click.echo(json.dumps(explained.asked, ensure_ascii=False))
