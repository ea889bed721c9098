"""Search in messages: the tier that keeps their words, what keeps the tier, and saved searches."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from homeserver.accounts.server_notices import ServerNotices
from homeserver.assembly.archive import build_archive
from homeserver.assembly.base import Base
from homeserver.assembly.rooms import RoomParts
from homeserver.config import Config
from homeserver.config.search import Elasticsearch
from homeserver.core.folding import warm_up
from homeserver.rooms.families import RoomFamilies
from search.erasing import IndexKeeper
from search.hot.current import CurrentTier
from search.hot.embedded import EmbeddedIndex
from search.indexer import Indexer
from search.saved.calling import Calling, SavedSearchCaller
from search.saved.service import SavedSearches, SavedSearchTeller
from search.saved.watch import SavedSearchWatch
from search.service import TierSearch
from search.upkeep.counting import CountedTier
from search.upkeep.rebuilding import Engine, LiveIndex, Tidiness, Upkeep
from search.upkeep.storage import generations, live_number

if TYPE_CHECKING:
    from search.hot.elastic import Cluster


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchParts:
    search: TierSearch
    indexer: Indexer
    hot: CurrentTier


async def build_search(base: Base, parts: RoomParts, families: RoomFamilies) -> SearchParts:
    db, clock = base.world.db, base.world.clock
    archive = build_archive(base, parts.journal)
    engine = archive.beside(base.world.words or engine_of(base.config))
    generation = live_number(await generations(db, engine.name))
    opened = engine.open(generation, True)
    index = CurrentTier(opened)
    indexer = Indexer(db, parts.journal, clock, index, engine.consumer(generation))
    await indexer.start(is_empty=not await opened.open())
    live = LiveIndex(index, indexer)
    upkeep = Upkeep(db, parts.journal, clock, engine, live)
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
    base.tasks.at_end(upkeep.close)
    base.tasks.forever(indexer.run, name="search")
    base.tasks.forever(upkeep.run, name="search_upkeep")
    base.tasks.forever(Tidiness(clock, live).run, name="search_tidiness")
    archive.start(base, indexer)
    base.keepers["search_index"] = IndexKeeper(indexer, clock)
    base.tasks.start(asyncio.to_thread(warm_up), name="search_tables")
    return SearchParts(search=TierSearch(db, index, indexer, families), indexer=indexer, hot=index)


async def build_saved_searches(
    base: Base, parts: RoomParts, search: SearchParts, notices: ServerNotices
) -> SavedSearches:
    """Saved searches, which begin to tell their owners."""
    clock, reads = base.world.clock, parts.relation_reads
    watch = SavedSearchWatch(reads, parts.ignore_lists, search.search.parsed, clock)
    watch.silent = frozenset({notices.sender})
    await watch.start()
    search.indexer.followers.append(watch.hear)
    parts.journal.listen(watch.heed)
    base.tasks.forever(SavedSearchTeller(reads, watch, notices, clock).run, name="saved_searches")
    caller = SavedSearchCaller(reads, watch, Calling(base.outgoing, notices, base.tasks), clock)
    base.tasks.forever(caller.run, name="saved_search_webhooks")
    return SavedSearches(reads, watch, parts.journal, clock, base.world.randomness)


def engine_of(config: Config) -> Engine:
    """What keeps the index, as the configuration says."""
    chosen = config.search
    if chosen.engine == "elasticsearch":
        # Here alone: a server that needs no cluster starts without its client, which is a tenth of all imports.
        from search.hot.elastic import ElasticIndex

        cluster = cluster_of(chosen.elasticsearch)
        return Engine(chosen.engine, lambda number, is_live: ElasticIndex(cluster, number, is_live=is_live))
    return Engine(chosen.engine, lambda number, is_live: EmbeddedIndex(folder_of(config, number)))


def readers_of(config: Config) -> Callable[[int], CountedTier]:
    """How a generation is read beside the server that writes it, by its number."""
    chosen = config.search
    if chosen.engine == "elasticsearch":
        from search.hot.elastic import ElasticIndex

        cluster = cluster_of(chosen.elasticsearch)
        # Not as the one that answers: who only reads leaves the alias alone.
        return lambda number: ElasticIndex(cluster, number, is_live=False)
    return lambda number: EmbeddedIndex(folder_of(config, number), writes=False)


def folder_of(config: Config, number: int) -> Path:
    return config.data_dir / (f"search-{number}" if number else "search")


def cluster_of(chosen: Elasticsearch) -> Cluster:
    """As the index takes it. Secrets are revealed here."""
    from search.hot.elastic import Cluster

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
