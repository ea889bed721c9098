"""The command line: data to standard output, the rest to standard error; exit 0, 1 (failed) or 2 (misused).

A module for each group of commands. Imports that take time stand in the commands, so that `--help` and completion
answer at once.
"""

from __future__ import annotations

import sys

import click

from homeserver.cli.archive import archive_group
from homeserver.cli.audit import audit_group
from homeserver.cli.command import Failed, Misused, hansa, say_error
from homeserver.cli.configuration import config_group
from homeserver.cli.database import db_group
from homeserver.cli.erasing import erase_user
from homeserver.cli.events import event_group, event_trace
from homeserver.cli.exporting import export_group
from homeserver.cli.federation import federation_group, signing_key_group
from homeserver.cli.holds import hold_group
from homeserver.cli.operators import operator_group
from homeserver.cli.retention import retention_group
from homeserver.cli.search import search_group
from homeserver.cli.server import completion, doctor, run
from homeserver.cli.users import user_group
from homeserver.cli.webhooks import webhook_group
from homeserver.config import ConfigError

for _command in (
    run,
    doctor,
    completion,
    config_group,
    db_group,
    user_group,
    webhook_group,
    event_group,
    event_trace,
    audit_group,
    search_group,
    archive_group,
    hold_group,
    operator_group,
    erase_user,
    export_group,
    retention_group,
    federation_group,
    signing_key_group,
):
    hansa.add_command(_command)


def main() -> None:
    """The entry point `hansa`."""
    sys.exit(run_command(sys.argv[1:]))


def run_command(arguments: list[str]) -> int:
    """Runs one command and gives its exit code; errors become `error:` and `hint:` on standard error."""
    try:
        code = hansa.main(arguments, prog_name="hansa", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except ConfigError as error:
        for problem in error.problems:
            say_error(f"{problem.where}: {problem.message}" if problem.where else problem.message, problem.hint)
        return 1
    except Failed as error:
        say_error(error.message, error.hint)
        return 2 if isinstance(error, Misused) else 1
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else "hansa"
        say_error(error.format_message(), f"type `{path} --help`")
        return 2
    except (click.Abort, KeyboardInterrupt):
        say_error("stopped", "type the command again to go on")
        return 1
