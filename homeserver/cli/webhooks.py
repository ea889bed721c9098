"""`hansa webhook`: what other programs say in rooms, and rooms tell other programs."""

from __future__ import annotations

import sys

import click

from homeserver.cli.command import Failed, Group, config_of, examples, json_option, print_data, wait
from homeserver.webhooks.sources import Source


@click.group(
    "webhook",
    cls=Group,
    epilog=examples(
        "hansa webhook create '!room:example.org' --owner @alice:example.org --source github --name builds",
        "hansa webhook list",
    ),
)
def webhook_group() -> None:
    """Let other programs speak in rooms, also while the server runs."""


@webhook_group.command(
    "create",
    epilog=examples(
        "hansa webhook create '!room:example.org' --owner @alice:example.org --source alertmanager --name alerts"
    ),
)
@click.argument("room_id")
@click.option("--owner", required=True, help="A member of the room, who could bring the account of webhooks into it.")
@click.option("--source", type=click.Choice([one.value for one in Source]), required=True, help="What delivers.")
@click.option("--name", required=True, help="What people see over its messages.")
@click.option("--secret-stdin", is_flag=True, help="Take the secret that it signs with from standard input.")
@click.option("--in-the-clear", is_flag=True, help="Let it speak unencrypted in a room that is encrypted.")
@click.pass_context
def webhook_create(
    ctx: click.Context, room_id: str, owner: str, source: str, name: str, secret_stdin: bool, in_the_clear: bool
) -> None:
    """Make a webhook for ROOM_ID and print the URL at which its source delivers."""
    from homeserver.core.identifiers import RoomId, UserId, is_room_id, is_user_id
    from homeserver.operator.webhooks import make
    from homeserver.runtime.clock import SystemClock
    from homeserver.runtime.ids import SystemRandomness
    from homeserver.webhooks.registry import Wish

    if not is_room_id(room_id) or not is_user_id(owner):
        raise Failed(f"{room_id} is no room id, or {owner} no user id", "quote the room id: '!…'")
    secret = sys.stdin.readline().rstrip("\n") if secret_stdin else None
    wish = Wish(source=Source(source), name=name, signing_secret=secret, in_the_clear=in_the_clear)
    config = config_of(ctx)
    click.echo(wait(make(config, SystemClock(), SystemRandomness(), RoomId(room_id), UserId(owner), wish)))


@webhook_group.command(
    "tell",
    epilog=examples(
        "hansa webhook tell '!room:example.org' https://ledger.example.org/hook --owner @alice:example.org "
        "--name ledger --type m.room.message"
    ),
)
@click.argument("room_id")
@click.argument("url")
@click.option("--owner", required=True, help="A member of the room: what they may read is told.")
@click.option("--name", required=True, help="What the webhook is called in lists.")
@click.option("--type", "types", multiple=True, help="A type of events to tell of; may be given again. None: all.")
@click.pass_context
def webhook_tell(ctx: click.Context, room_id: str, url: str, owner: str, name: str, types: tuple[str, ...]) -> None:
    """Tell URL what happens in ROOM_ID from now on, and print the secret that deliveries are signed with."""
    from homeserver.core.identifiers import RoomId, UserId, is_room_id, is_user_id
    from homeserver.operator.webhooks import make_outbound
    from homeserver.runtime.clock import SystemClock
    from homeserver.runtime.ids import SystemRandomness

    if not is_room_id(room_id) or not is_user_id(owner):
        raise Failed(f"{room_id} is no room id, or {owner} no user id", "quote the room id: '!…'")
    clock, randomness = SystemClock(), SystemRandomness()
    made = make_outbound(config_of(ctx), clock, randomness, RoomId(room_id), UserId(owner), name, url, types)
    click.echo(wait(made))


@webhook_group.command("resume", epilog=examples("hansa webhook resume AbCdEfGhIjKl"))
@click.argument("webhook_id")
@click.pass_context
def webhook_resume(ctx: click.Context, webhook_id: str) -> None:
    """Go on telling a URL that was given up, from where it was; a running server does so within 30 seconds."""
    from homeserver.operator.webhooks import resume
    from homeserver.runtime.clock import SystemClock

    if not wait(resume(config_of(ctx), SystemClock(), webhook_id)):
        raise Failed(f"there is no webhook {webhook_id} that tells a URL", "type `hansa webhook list`")
    click.echo(f"{webhook_id} is on", err=True)


@webhook_group.command(
    "list",
    epilog="JSON: a list of {webhook_id, room_id, direction, source, name, owner, is_enabled}."
    "\n\n" + examples("hansa webhook list --json"),
)
@json_option
@click.pass_context
def webhook_list(ctx: click.Context, as_data: bool) -> None:
    """List the webhooks of all rooms, of both directions."""
    from homeserver.operator.webhooks import all_of_them
    from homeserver.runtime.clock import SystemClock

    told, tells = wait(all_of_them(config_of(ctx), SystemClock()))
    rows = [
        *((row.webhook_id, row.room_id, "in", row.source, row.name, row.owner, True) for row in told),
        *((row.webhook_id, row.room_id, "out", "", row.name, row.owner, row.is_enabled) for row in tells),
    ]
    if as_data:
        names = ("webhook_id", "room_id", "direction", "source", "name", "owner", "is_enabled")
        print_data([dict(zip(names, row, strict=True)) for row in rows])
        return
    for *words, is_enabled in rows:
        click.echo("  ".join(filter(None, [*map(str, words), "" if is_enabled else "switched off"])))


@webhook_group.command("remove", epilog=examples("hansa webhook remove AbCdEfGhIjKl"))
@click.argument("webhook_id")
@click.pass_context
def webhook_remove(ctx: click.Context, webhook_id: str) -> None:
    """Remove the webhook of this id, of either direction."""
    from homeserver.operator.webhooks import remove
    from homeserver.runtime.clock import SystemClock

    if not wait(remove(config_of(ctx), SystemClock(), webhook_id)):
        raise Failed(f"there is no webhook {webhook_id}", "type `hansa webhook list`")
    click.echo(f"{webhook_id} is removed", err=True)
