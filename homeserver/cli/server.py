"""`hansa run`, `hansa doctor` and the completion of shells."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from homeserver.cli.command import (
    Failed,
    config_of,
    examples,
    hansa,
    json_option,
    print_findings,
    show_progress,
    typed_again,
)


@click.command("completion", epilog=examples('eval "$(hansa completion bash)"'))
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of a shell."""
    found = get_completion_class(shell)
    assert found is not None
    click.echo(found(hansa, {}, "hansa", "_HANSA_COMPLETE").source())


@click.command("run", epilog=examples("hansa run", "HANSA_SERVER_NAME=example.org hansa run"))
@click.pass_context
def run(ctx: click.Context) -> None:
    """Run the server until Ctrl-C or SIGTERM."""
    from homeserver.runtime.memory import hold_circles, keep_little_free, let_circles_go

    hold_circles()

    import uvloop

    from homeserver import app
    from homeserver.appservices.registration import BadRegistration
    from homeserver.core.errors import Unavailable
    from homeserver.operator.welcome import welcome
    from homeserver.runtime.logging import configure_logging
    from homeserver.storage.migrate import WrongDatabase

    keep_little_free()
    config = config_of(ctx)
    configure_logging(format=config.log.format, level=config.log.level, value_chars_max=config.log.value_chars_max)

    def ready(first_start: bool) -> None:
        let_circles_go()
        click.echo(welcome(config, first_start=first_start, command=typed_again(ctx)), err=True)

    try:
        uvloop.run(app.run(config, ready=ready, progress=show_progress))
    except BadRegistration as error:
        raise Failed(str(error), "correct the file, or take it out of `appservices.registration_paths`") from None
    except WrongDatabase as error:
        raise Failed(str(error), "type `hansa doctor`") from None
    except Unavailable as error:
        raise Failed(f"{error.message}: {error.__cause__}", "start PostgreSQL, or type `hansa doctor`") from None
    except OSError as error:
        raise Failed(
            str(error), "another program may use the port: change `listeners`, or type `hansa doctor`"
        ) from None


@click.command(
    "doctor",
    epilog="JSON: a list of {check, verdict, message, hint}; verdict is ok, warning, failed or skipped."
    "\n\n" + examples("hansa doctor", "hansa doctor rtc --json"),
)
@json_option
@click.argument("about", type=click.Choice(["all", "rtc"]), default="all")
@click.pass_context
def doctor(ctx: click.Context, as_data: bool, about: str) -> int:
    """Look at configuration, folders, keys, database, names and clock, and say what to do; `rtc`: at calls."""
    from homeserver.operator.calls import call_findings
    from homeserver.operator.doctor import examine
    from homeserver.runtime.clock import SystemClock
    from homeserver.runtime.probes import SystemProbes

    looked = call_findings if about == "rtc" else examine
    return print_findings(looked(config_of(ctx), SystemProbes(), SystemClock()), as_data=as_data)
