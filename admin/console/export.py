"""Lists as files: CSV that a spreadsheet doesn't run, or JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

from homeserver.web.endpoint import Answer

ROWS_MAX = 10_000
# Of reports, on the page of what they are about.
REPORT_COLUMNS = ("report_id", "kind", "target", "reporter", "reason", "received_ts")
# Spreadsheets take a cell that begins so for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "|", "%", "＝", "＋", "－", "＠")


def limit_of(format: str, otherwise: int) -> int:
    """How many rows are shown, or exported."""
    return ROWS_MAX if format in ("csv", "json") else otherwise


def export(name: str, columns: Sequence[str], rows: Sequence[Mapping[str, Any]], format: str) -> Answer:
    """These columns of the rows as a file to keep. `format` is csv or json."""
    if format == "csv":
        text = io.StringIO()
        writer = csv.writer(text, quoting=csv.QUOTE_ALL)
        writer.writerow(columns)
        writer.writerows([_cell(row.get(column)) for column in columns] for row in rows)
        body, kind = text.getvalue().encode("utf-8", "replace"), "text/csv; charset=utf-8"
    else:
        listed = [{column: row.get(column) for column in columns} for row in rows]
        body, kind = json.dumps(listed, ensure_ascii=False, default=str).encode("utf-8", "replace"), "application/json"
    return Answer(
        body,
        200,
        kind,
        {
            "Content-Disposition": f'attachment; filename="{name}.{format}"',
            "X-Content-Type-Options": "nosniff",
            "Content-Security-Policy": "default-src 'none'; sandbox",
            "Cache-Control": "no-store",
            "Cross-Origin-Resource-Policy": "same-origin",
        },
    )


def _cell(value: object) -> str:
    text = "" if value is None else str(value)
    return f"'{text}" if text.lstrip(" ").startswith(_FORMULA) or text.startswith(_FORMULA) else text
