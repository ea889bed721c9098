"""`hansa export`: what a room or a user said, and all that is kept of a user."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import click

from homeserver.cli.command import Group, config_of, examples, json_option, print_data, show_progress, wait


@click.group(
    "export",
    cls=Group,
    epilog=examples(
        "hansa export room '!room:example.org' --to case12 --format html --because 'case 12/2025'",
        "hansa export user '@alice:example.org' --to alice --files --because 'asked for it'",
        "python3 docs/verify_export.py case12",
    ),
)
def export_group() -> None:
    """Take out rooms and users, with proof that it is whole and unchanged."""


def _options(command: Any) -> Any:
    day = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"])
    for option in (
        click.option("--to", "folder", required=True, type=click.Path(path_type=Path), help="The folder to make."),
        click.option("--because", required=True, help="Why: it stands in the audit log."),
        click.option(
            "--format",
            "formats",
            multiple=True,
            type=click.Choice(["jsonl", "html", "text", "parquet"]),
            help="A form to read, beside the JSON lines; as often as you like.",
        ),
        click.option("--since", type=day, help="From this time on (UTC)."),
        click.option("--until", type=day, help="Up to this time (UTC)."),
        click.option("--as-sent", is_flag=True, help="What redacted events had said too, where it is still kept."),
        json_option,
    ):
        command = option(command)
    return command


@export_group.command(
    "room",
    epilog="JSON: the manifest, as in manifest.json."
    "\n\n" + examples("hansa export room '!room:example.org' --to case12 --because 'case 12/2025'"),
)
@click.argument("room_id")
@_options
@click.option("--from-event", help="The first event.")
@click.option("--to-event", help="The last event.")
@click.pass_context
def export_room(ctx: click.Context, /, room_id: str, **options: Any) -> None:
    """Take out what was said in a room."""
    _export(ctx, "room", room_id, files=False, **options)


@export_group.command(
    "user",
    epilog="JSON: the manifest, as in manifest.json."
    "\n\n" + examples("hansa export user '@alice:example.org' --to alice --files --because 'asked for it'"),
)
@click.argument("user_id")
@_options
@click.option("--files", is_flag=True, help="The files that the user uploaded, too.")
@click.pass_context
def export_user(ctx: click.Context, /, user_id: str, files: bool, **options: Any) -> None:
    """Take out all that is kept of a user: user.json, what they said, and their files if you say so."""
    _export(ctx, "user", user_id, files=files, from_event=None, to_event=None, **options)


def _export(
    ctx: click.Context,
    kind: Literal["room", "user"],
    target: str,
    *,
    folder: Path,
    because: str,
    formats: tuple[str, ...],
    since: datetime | None,
    until: datetime | None,
    as_sent: bool,
    as_data: bool,
    files: bool,
    from_event: str | None,
    to_event: str | None,
) -> None:
    from admin.exporting.exporter import ExportWish
    from homeserver.operator.exporting import export
    from homeserver.runtime.clock import SystemClock
    from homeserver.runtime.ids import SystemRandomness

    wish = ExportWish(
        kind=kind,
        target=target,
        formats=list(formats) or ["jsonl"],
        since_ms=_ms(since),
        until_ms=_ms(until),
        from_event=from_event,
        to_event=to_event,
        as_sent=as_sent,
        files=files,
    )

    async def report(done: int, total: int) -> None:
        show_progress("exporting", min(done, total), total)

    manifest = wait(export(config_of(ctx), SystemClock(), SystemRandomness(), wish, folder, because, report))
    if as_data:
        print_data(manifest)
    click.echo(f"{manifest['events']} events in {folder}; Merkle root {manifest['merkle_root']}", err=True)
    click.echo(f"check it anywhere with: python3 verify_export.py {folder}", err=True)


def _ms(time: datetime | None) -> int | None:
    return int(time.replace(tzinfo=UTC).timestamp() * 1000) if time is not None else None
