"""`hansa erase`: everything of a user."""

from __future__ import annotations

import json

import click

from homeserver.cli.command import config_of, examples, print_data, show_progress, wait


@click.command(
    "erase",
    epilog=examples("hansa erase '@alice:example.org' --because 'asked for it on 3 May' > receipt.json"),
)
@click.argument("user_id")
@click.option("--because", required=True, help="Why: it stands in the audit log.")
@click.option("--room-names", is_flag=True, help="Also what the user called rooms that others are still in.")
@click.option("--no-wait", is_flag=True, help="Don't wait for the end.")
@click.pass_context
def erase_user(ctx: click.Context, user_id: str, because: str, room_names: bool, no_wait: bool) -> None:
    """Erase a user for good: account, messages, files, from every place. The running server does it.

    Prints the signed receipt (JSON). A user whom a legal hold keeps waits until it is released.
    """
    from homeserver.operator.erasing import erase
    from homeserver.runtime.clock import SystemClock
    from homeserver.runtime.ids import SystemRandomness

    config = config_of(ctx)

    async def follow() -> None:
        said = False
        steps = erase(
            config, SystemClock(), SystemRandomness(), user_id, because=because, room_names=room_names, wait=not no_wait
        )
        async for row, done, total in steps:
            if row.state == "waiting" and not said:
                click.echo("waiting for the running server, or for the end of a legal hold", err=True)
                said = True
            if total:
                show_progress("erasing", done, total)
            if row.receipt is not None:
                print_data(json.loads(row.receipt))

    wait(follow())
