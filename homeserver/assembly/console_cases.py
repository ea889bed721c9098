"""Cases, and the search over everything, with their pages, plugged together."""

from __future__ import annotations

from admin.actions.appeals import Appeals
from admin.actions.case_acts import CaseActs, CaseHands, CaseWork
from admin.actions.cases import Cases, CaseTools
from admin.actions.content_search import ContentSearch
from admin.api.cases import AppealEndpoints, CaseActEndpoints, CaseEndpoints
from admin.api.content_search import ContentSearchEndpoint
from admin.console.cases import CasePages
from admin.console.overview import Gauges, OverviewPages
from admin.console.searching import SearchGauges, SearchPages
from homeserver.assembly.admin import AdminParts
from homeserver.assembly.base import Base
from homeserver.assembly.people import PeopleParts
from homeserver.assembly.relations import RelationParts
from homeserver.assembly.rooms import RoomParts
from homeserver.assembly.spam import SpamParts


def case_pages(base: Base, admin: AdminParts, people: PeopleParts, spam: SpamParts) -> list[object]:
    """Cases are opened by themselves from now on."""
    db, clock = base.world.db, base.world.clock
    tools = CaseTools(db, clock, admin.audit)
    cases = Cases(tools, admin.roles, people.notices, base.complaints)
    base.tasks.forever(cases.run, name="cases")
    hands = CaseHands(
        rooms=admin.rooms.hand,
        blocking=admin.rooms.actions,
        sanctions=admin.sanctions,
        media=admin.oversight.media,
        redaction=admin.evidence.redaction,
        roles=admin.roles,
    )
    work = CaseWork(cases, CaseActs(db, hands), Appeals(tools, spam.reviewing, people.notices))
    return [CasePages(admin.desk, db, work), CaseEndpoints(db, work), CaseActEndpoints(work), AppealEndpoints(work)]


def search_pages(base: Base, admin: AdminParts, parts: RoomParts, relations: RelationParts) -> list[object]:
    """The search's page, and the overview, which shows its tiers."""
    content = ContentSearch(base.world.db, admin.audit, admin.four_eyes, relations.everywhere)
    names = ("lag_seconds", "dead_letters", "failures")

    def figures() -> dict[str, float]:
        behind = max((lag for name, lag in parts.journal.lags().items() if name.startswith("search")), default=0)
        of_index = {name: base.metrics.value("hansa_search_indexer", figure=name) for name in names}
        return {"positions_behind": behind, **of_index}

    engine, db = base.config.search.engine, base.world.db
    gauges = Gauges(
        lags=parts.journal.lags,
        free_bytes=lambda: base.metrics.value("hansa_disk_free_bytes", of="data"),
        engine=engine,
        hot=relations.hot.weighed,
    )
    return [
        ContentSearchEndpoint(content),
        SearchPages(admin.desk, db, SearchGauges(engine, figures), content),
        OverviewPages(admin.desk, db, base.world.clock, gauges),
    ]
