"""`hansa user`: accounts made and mended."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

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


@click.group(
    "user",
    cls=Group,
    epilog=examples("hansa user create --admin alice", "hansa user reset-password alice", "hansa user list --json"),
)
def user_group() -> None:
    """Make and mend accounts, also while the server runs."""


stdin_option: Callable[[Any], Any] = click.option(
    "--password-stdin", is_flag=True, help="Take the password from the first line of standard input."
)


def _password(from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline().rstrip("\n")
    asked: str = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    return asked


@user_group.command("create", epilog=examples("hansa user create --admin alice"))
@click.argument("name")
@click.option("--admin", is_flag=True, help="Let this user administrate the server.")
@stdin_option
@click.pass_context
def user_create(ctx: click.Context, name: str, admin: bool, password_stdin: bool) -> None:
    """Make the account NAME (the part before the colon) and print its user id."""
    from homeserver.core.errors import MatrixError
    from homeserver.operator.users import check_new_name, operator_users
    from homeserver.runtime.clock import SystemClock

    config = config_of(ctx)
    try:
        check_new_name(config, name)
    except MatrixError as error:
        raise Failed(error.message, "type the command again with another name") from None
    password = _password(password_stdin)

    async def create() -> str:
        async with operator_users(config, SystemClock()) as users:
            return await users.create(name, password, is_admin=admin)

    click.echo(wait(create()))


@user_group.command("reset-password", epilog=examples("hansa user reset-password alice"))
@click.argument("name")
@stdin_option
@click.pass_context
def user_reset_password(ctx: click.Context, name: str, password_stdin: bool) -> None:
    """Give NAME (a localpart or a user id) a new password, and log them out everywhere."""
    from homeserver.operator.users import operator_users
    from homeserver.runtime.clock import SystemClock

    config, password = config_of(ctx), _password(password_stdin)

    async def reset() -> str:
        async with operator_users(config, SystemClock()) as users:
            user_id = users.user_id_of(name)
            await users.set_password(user_id, password, logs_out=True)
            return user_id

    click.echo(f"{wait(reset())} has a new password, and is logged out everywhere", err=True)


@user_group.command("forget-factor", epilog=examples("hansa user forget-factor alice"))
@click.argument("name")
@click.pass_context
def user_forget_factor(ctx: click.Context, name: str) -> None:
    """Let NAME, who lost their authenticator app, set up another at the next log-in to the console."""
    from homeserver.operator.users import forget_factor
    from homeserver.runtime.clock import SystemClock

    user_id = wait(forget_factor(config_of(ctx), SystemClock(), name))
    if user_id is None:
        raise Failed(f"{name} has no second factor", "the console asks for one at the first log-in")
    click.echo(f"{user_id} sets up another second factor at the next log-in to the console", err=True)


@user_group.command(
    "list",
    epilog="JSON: a list of {user_id, created_ts, admin, guest, deactivated, locked, suspended}."
    "\n\n" + examples("hansa user list --json"),
)
@json_option
@click.pass_context
def user_list(ctx: click.Context, as_data: bool) -> None:
    """List the accounts."""
    from homeserver.operator.users import all_users, operator_users
    from homeserver.runtime.clock import SystemClock
    from homeserver.storage.users import UserRow

    config = config_of(ctx)

    async def read() -> list[UserRow]:
        async with operator_users(config, SystemClock()) as users:
            return [row async for row in all_users(users)]

    rows = wait(read())
    marks = ("admin", "guest", "deactivated", "locked", "suspended")
    if as_data:
        flags = [{mark: getattr(row, f"is_{mark}") for mark in marks} for row in rows]
        print_data(
            [
                {"user_id": row.user_id, "created_ts": row.created_ts, **flag}
                for row, flag in zip(rows, flags, strict=True)
            ]
        )
        return
    for row in rows:
        click.echo(" ".join([row.user_id, *(mark for mark in marks if getattr(row, f"is_{mark}"))]))
