"""The first page: how the server is doing, and what is to be done."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from admin.console.desk import HOME, OWN_SITE, Desk, Table, Visit
from admin.console.page import page
from admin.storage import console_reads
from homeserver.core.operators import Permission
from homeserver.runtime.clock import Clock
from homeserver.storage.database import Database
from homeserver.web.endpoint import Answer, Reach

_LAST_S = 253_402_300_799  # the end of the year 9999
_LAG_MUCH = 1_000
# What can be wrong, the worst first, and the page that says more.
_ALERTS = {
    "disk": "/admin/media",
    "lag": "#lags",
    "search": "/admin/search",
    "rules": "/admin/spam?state=shadow",
    "cases": "/admin/cases",
    "approvals": "/admin/approvals",
    "jobs": "/admin/jobs?state=failed",
    "federation": "/admin/federation",
}
_FREE_LITTLE_BYTES = 2 * 1024**3


@dataclass(frozen=True, slots=True)
class Gauges:
    """What is read from memory: how far behind each consumer of the journal is, the disk's free bytes, and of the
    search's hot tier its engine, and events and bytes (None while it doesn't answer)."""

    lags: Callable[[], Mapping[str, float]]
    free_bytes: Callable[[], float]
    engine: str
    hot: Callable[[], Awaitable[tuple[int, int] | None]]


class OverviewPages:
    """/admin and its live figures."""

    def __init__(self, desk: Desk, db: Database, clock: Clock, gauges: Gauges) -> None:
        self.desk = desk
        self._db = db
        self._clock = clock
        self._gauges = gauges

    @page("GET", HOME, needs=Permission.READ_SERVER, reach=Reach.SERVER)
    async def overview(self, visit: Visit) -> Answer:
        values = await self._values()
        tables = {
            "tiers": _rows(("tier", "what", "messages", "bytes"), values["tiers"]),
            "space": _rows(("kind", "bytes"), values["space"]),
            "lags": _rows(("consumer", "behind"), values["lags"].items()),
        }
        return self.desk.tables(visit, "overview", values, tables)

    @page("GET", "/admin/overview.json", needs=Permission.READ_SERVER, reach=Reach.SERVER)
    async def live(self, visit: Visit) -> Answer:
        values = await self._values()
        body = json.dumps({"figures": values["figures"], "lags": values["lags"]}, default=str).encode()
        return Answer(body, headers={**OWN_SITE, "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"})

    async def _values(self) -> dict[str, Any]:
        figures = await console_reads.figures(self._db, self._clock.now_ms())
        free = int(self._gauges.free_bytes())
        lags = {name: int(lag) for name, lag in sorted(self._gauges.lags().items())}
        shown = {
            "users": f"{figures['users']:,}",
            "users_day": f"{figures['users_day']:,}",
            "rooms": f"{figures['rooms']:,}",
            "events": f"{figures['events']:,}",
            "events_per_s": f"{figures['events_per_s']:,}",
            "cases": f"{figures['cases']:,}",
            "reports_day": f"{figures['reports_day']:,}",
            "approvals": f"{figures['approvals']:,}",
            "failed_jobs": f"{figures['failed_jobs']:,}",
            "unreachable": f"{figures['unreachable']:,}",
            "lag": f"{max(lags.values(), default=0):,}",
            "database_bytes": size(figures["database_bytes"]),
            "events_bytes": size(figures["events_bytes"]),
            "media_bytes": size(figures["media_bytes"]),
            "free_bytes": size(free),
        }
        wrong = {
            "disk": free < _FREE_LITTLE_BYTES,
            "lag": any(lag > _LAG_MUCH for lag in lags.values()),
            "search": any(lag > _LAG_MUCH for name, lag in lags.items() if name.startswith("search")),
            "rules": figures["stopped_rules"] > 0,
            "cases": figures["cases"] > 0,
            "approvals": figures["approvals"] > 0,
            "jobs": figures["failed_jobs"] > 0,
            "federation": figures["unreachable"] > 0,
        }
        alerts = [(f"alert_{name}", where) for name, where in _ALERTS.items() if wrong[name]]
        space = [(f"kind_{kind}", size(held)) for kind, held in (await console_reads.space(self._db)).items()]
        tiers = await self._tiers()
        return {"tiers": tiers, "figures": shown, "lags": lags, "alerts": alerts, "space": space}

    async def _tiers(self) -> list[tuple[str, str, str, str]]:
        """(tier, what it is, messages, bytes) of the search; "–" for what can't be told now."""
        weighed = await self._gauges.hot()
        events, held = weighed if weighed is not None else (None, None)
        archive = await console_reads.archive_total(self._db)
        return [
            ("tier_hot", self._gauges.engine, f"{events:,}" if events is not None else "–", size(held)),
            ("tier_archive", f"{archive['months']:,}", f"{archive['messages']:,}", size(archive["bytes"])),
        ]


def _rows(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    return columns, [dict(zip(columns, row, strict=True)) for row in rows]


def iso(ms: int) -> str:
    """A moment as people read it anywhere, to the second."""
    return datetime.fromtimestamp(min(max(ms, 0) / 1000, _LAST_S), UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def size(count: int | None) -> str:
    """Bytes as people read them."""
    if count is None:
        return "–"
    amount, units = float(count), ["B", "KiB", "MiB", "GiB", "TiB"]
    while amount >= 1024 and len(units) > 1:
        amount, units = amount / 1024, units[1:]
    return f"{amount:.1f} {units[0]}" if units[0] != "B" else f"{count} B"
