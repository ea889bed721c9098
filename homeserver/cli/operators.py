"""`hansa operator`: who runs the server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from homeserver.cli.command import Group, Misused, config_of, examples, json_option, print_data, wait

if TYPE_CHECKING:
    from homeserver.core.identifiers import UserId
    from homeserver.core.operators import Bounds, Role


@click.group(
    "operator",
    cls=Group,
    epilog=examples(
        "hansa operator list", "hansa operator grant @alice:example.org moderator --room '!hall:example.org'"
    ),
)
def operator_group() -> None:
    """Give and take the roles of those who run the server, also while it runs."""


@operator_group.command(
    "grant",
    epilog=examples(
        "hansa operator grant @alice:example.org admin",
        "hansa operator grant @bob:example.org moderator --room '!space:example.org' --action read_reports",
    ),
)
@click.argument("user_id")
@click.argument("role", type=click.Choice(["owner", "admin", "moderator", "auditor"]))
@click.option("--room", "rooms", multiple=True, help="A moderator of this room, or this space's rooms, alone; repeats.")
@click.option("--action", "actions", multiple=True, help="A moderator with this permission alone; repeats.")
@click.option("--because", help="Why: it stands in the audit log.")
@click.pass_context
def operator_grant(
    ctx: click.Context, user_id: str, role: str, rooms: tuple[str, ...], actions: tuple[str, ...], because: str | None
) -> None:
    """Give an account a role, in place of the one that it has."""
    from homeserver.core.identifiers import parse_user_id
    from homeserver.core.operators import BINDABLE, Bounds, Role
    from homeserver.operator.operators import BY_COMMAND, operator_roles_of
    from homeserver.runtime.clock import SystemClock

    wrong = next((one for one in actions if one not in BINDABLE), None)
    if wrong is not None:
        raise Misused(f"`{wrong}` is no action of moderators", f"there are {', '.join(sorted(BINDABLE))}")
    bounds = Bounds(
        rooms=frozenset(rooms) if rooms else None,
        actions=frozenset(one for one in BINDABLE if one in actions) if actions else None,
    )
    config = config_of(ctx)

    async def give() -> None:
        async with operator_roles_of(config, SystemClock()) as roles:
            await roles.give(parse_user_id(user_id), Role(role), bounds, by=BY_COMMAND, reason=because)

    wait(give())
    click.echo(f"{user_id} is {role} now", err=True)


@operator_group.command("revoke", epilog=examples("hansa operator revoke @alice:example.org --because 'left the team'"))
@click.argument("user_id")
@click.option("--because", help="Why: it stands in the audit log.")
@click.pass_context
def operator_revoke(ctx: click.Context, user_id: str, because: str | None) -> None:
    """Make an operator's account a plain one."""
    from homeserver.core.identifiers import parse_user_id
    from homeserver.operator.operators import BY_COMMAND, operator_roles_of
    from homeserver.runtime.clock import SystemClock

    config = config_of(ctx)

    async def take() -> None:
        async with operator_roles_of(config, SystemClock()) as roles:
            await roles.take(parse_user_id(user_id), by=BY_COMMAND, reason=because)

    wait(take())
    click.echo(f"{user_id} runs this server no more", err=True)


@operator_group.command(
    "list",
    epilog="JSON: a list of {user_id, role, rooms, actions}; null where a role is bound to none."
    "\n\n" + examples("hansa operator list --json"),
)
@json_option
@click.pass_context
def operator_list(ctx: click.Context, as_data: bool) -> None:
    """List who runs the server, and what their roles are bound to."""
    from homeserver.operator.operators import operator_roles_of
    from homeserver.runtime.clock import SystemClock

    config = config_of(ctx)

    async def read() -> list[tuple[UserId, Role, Bounds]]:
        async with operator_roles_of(config, SystemClock()) as roles:
            return await roles.all_of_them()

    shown = [
        {
            "user_id": user_id,
            "role": role.value,
            "rooms": sorted(bounds.rooms) if bounds.rooms is not None else None,
            "actions": sorted(bounds.actions) if bounds.actions is not None else None,
        }
        for user_id, role, bounds in wait(read())
    ]
    if as_data:
        print_data(shown)
        return
    for one in shown:
        rooms = f"  in {' '.join(one['rooms'])}" if one["rooms"] else ""
        actions = f"  for {' '.join(one['actions'])}" if one["actions"] else ""
        click.echo(f"{one['user_id']}  {one['role']}{rooms}{actions}")
