"""Search in messages: the tier that keeps their words, what keeps the tier, and saved searches."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from homeserver.accounts.server_notices import ServerNotices
from homeserver.assembly.base import Base
from homeserver.assembly.rooms import RoomParts
from homeserver.config.search import Elasticsearch
from homeserver.core.folding import warm_up
from homeserver.rooms.families import RoomFamilies
from search.erasing import IndexKeeper
from search.hot.elastic import Cluster, ElasticIndex
from search.hot.embedded import EmbeddedIndex
from search.indexer import Indexer
from search.saved.api import SavedSearchEndpoints
from search.saved.service import SavedSearches, SavedSearchTeller
from search.saved.watch import SavedSearchWatch
from search.service import TierSearch


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchParts:
    search: TierSearch
    indexer: Indexer


async def build_search(base: Base, parts: RoomParts, families: RoomFamilies) -> SearchParts:
    chosen = base.config.search
    index: ElasticIndex | EmbeddedIndex
    if chosen.engine == "elasticsearch":
        # Whether it is there, and whole, shows when it is first used: a cluster that is away stops no start.
        index, consumer, is_kept = ElasticIndex(cluster_of(chosen.elasticsearch)), "search-elasticsearch", True
    else:
        index, consumer = EmbeddedIndex(base.config.data_dir / "search"), "search"
        is_kept = await index.open()
    indexer = Indexer(base.world.db, parts.journal, base.world.clock, index, consumer)
    await indexer.start(is_empty=not is_kept)
    base.metrics.watch(
        "hansa_search_indexer",
        "The index of messages: seconds it is behind, events it won't take, rounds that failed in a row.",
        "figure",
        lambda: {
            "lag_seconds": indexer.lag_s,
            "dead_letters": indexer.dead_letters,
            "failures": indexer.failures,
        },
    )
    base.tasks.at_end(index.close)
    base.tasks.forever(indexer.run, name="search")
    base.keepers["search_index"] = IndexKeeper(indexer, base.world.clock)
    base.tasks.start(asyncio.to_thread(warm_up), name="search_tables")
    return SearchParts(search=TierSearch(base.world.db, index, indexer, families), indexer=indexer)


async def build_saved_searches(base: Base, parts: RoomParts, search: SearchParts, notices: ServerNotices) -> object:
    """The endpoints of saved searches, which begin to tell their owners."""
    clock, reads = base.world.clock, parts.relation_reads
    watch = SavedSearchWatch(reads, parts.ignore_lists, search.search.parsed, clock)
    watch.silent = frozenset({notices.sender})
    await watch.start()
    search.indexer.followers.append(watch.hear)
    base.tasks.forever(SavedSearchTeller(reads, watch, notices, clock).run, name="saved_searches")
    searches = SavedSearches(reads, watch, parts.journal, clock, base.world.randomness)
    return SavedSearchEndpoints(searches, parts.views)


def cluster_of(chosen: Elasticsearch) -> Cluster:
    """As the index takes it. Secrets are revealed here."""
    password = chosen.password.reveal() if chosen.password is not None else ""
    return Cluster(
        urls=chosen.urls,
        api_key=chosen.api_key.reveal() if chosen.api_key is not None else None,
        user=(chosen.username, password) if chosen.username is not None and chosen.api_key is None else None,
        ca_path=str(chosen.ca_path) if chosen.ca_path is not None else None,
        prefix=chosen.index_prefix,
        replicas_max=chosen.replicas_max,
        timeout_s=chosen.timeout_s,
    )
