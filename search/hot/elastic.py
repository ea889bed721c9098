"""The hot tier of large servers: a cluster of Elasticsearch. Implements `search.tiers.Tier`.

It needs nothing that a cluster's owner may have to grant beyond its own indices: no plugin, no script, no life-cycle
policy, no query that deletes. Documents have the journal's positions as external versions, so that doing something
twice, or late, ends in the same place.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import orjson
import structlog
from elastic_transport import OrjsonSerializer
from elasticsearch import ApiError, AsyncElasticsearch, TransportError

from homeserver.storage.relations import EDITS_MAX
from search.hot import elastic_answers as answers_of
from search.hot import elastic_grid as grids
from search.hot import elastic_queries as queries
from search.hot.elastic_mapping import Names, id_of, stored, template, tombstone
from search.hot.elastic_tidying import Tidying
from search.tiers import Document, Findings, Gone, Hit, Question, Refused, TierFault, TierLost, merged
from search.upkeep.counting import Census, Held, Tally

log = structlog.get_logger()

# Of one request that writes.
BULK_BYTES_MAX = 5_000_000
BULK_DOCUMENTS_MAX = 2_000
WRITE_TIMEOUT_S = 60.0
SEARCHES_AT_ONCE = 20
_FORGOTTEN_AT_ONCE = 5_000
_CONFLICT, _NOT_FOUND = 409, 404
# All but what only says that something is gone.
_THERE: Mapping[str, Any] = {"bool": {"must_not": [{"term": {"room": 0}}]}}
_ROOMS = ("room", "old_room")
Json = dict[str, Any]


class _TooManyClauses(TierFault):
    """The cluster has too little memory for a search of so many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """How it is reached. Without an API key and a user it is asked without a name."""

    urls: tuple[str, ...]
    api_key: str | None = None
    user: tuple[str, str] | None = None
    ca_path: str | None = None
    prefix: str = "hansa"
    replicas_max: int = 1
    timeout_s: float = 10.0


class ElasticIndex:
    """One generation of the index, written by one process."""

    def __init__(self, cluster: Cluster, generation: int = 0, *, is_live: bool = True) -> None:
        self._cluster = cluster
        self._names = Names(cluster.prefix, generation)
        self._is_live = is_live
        serializer = OrjsonSerializer()
        trusted: dict[str, Any] = {"ca_certs": cluster.ca_path} if cluster.ca_path is not None else {}
        self._client = AsyncElasticsearch(
            list(cluster.urls),
            api_key=cluster.api_key,
            basic_auth=cluster.user,
            request_timeout=cluster.timeout_s,
            max_retries=max(1, len(cluster.urls) - 1),
            retry_on_timeout=False,
            serializers={"application/json": serializer, "application/vnd.elasticsearch+json": serializer},
            **trusted,
        )
        self._tidying = Tidying(self._client, self._names)
        self._months: set[str] | None = None  # names of the indices there are; None until they were looked up
        self._is_refreshed = False
        self._clauses_max = queries.CLAUSES_MAX  # what this cluster has taken so far
        self._changing = asyncio.Lock()
        self._refreshing = asyncio.Lock()

    async def open(self) -> bool:
        """True: a cluster that is away stops no start. Whether it has the index, and whole, shows at the first use."""
        return True

    async def clear(self) -> None:
        """Deletes it. Until `adopt` it counts as lost. Raises TierFault."""
        async with self._changing, _faults():
            self._months = None
            await self._client.options(ignore_status=_NOT_FOUND).indices.delete_index_template(name=self._names.stem)
            for name in await self._indices():
                await self._client.options(ignore_status=_NOT_FOUND).indices.delete(index=name)

    async def adopt(self) -> None:
        """From now on it is what was written into it: whoever fills it begins at the beginning. Raises TierFault."""
        async with self._changing, _faults():
            await self._define(set())
            self._months = set()

    async def promote(self) -> None:
        """From now on the alias has its indices, and no others. Raises TierFault."""
        async with self._changing, _faults():
            months = await self._opened()
            self._is_live = True
            await self._define(months)
            await self._take_alias()

    async def destroy(self) -> None:
        """Raises TierFault."""
        await self.clear()

    async def close(self) -> None:
        await self._client.close()

    async def write(self, documents: Sequence[Document], gone: Sequence[Gone]) -> Sequence[Refused]:
        """Durable on as many nodes as are there. Raises TierFault; TierLost where indices have vanished."""
        if not documents and not gone:
            return ()
        async with self._changing, _faults():
            months = await self._opened()
            places = await self._places(gone)
            wanted = {*map(self._index_of, documents), *(index for index, _ in places.values())}
            for name in sorted(wanted - months):
                await self._make(name)
            self._tidying.written |= wanted
            refused: list[Refused] = []
            try:
                for lines in await asyncio.to_thread(self._lines, documents, gone, places):
                    refused += await self._bulk(lines)
                event_ids = {str(one.event_nid): one.event_id for one in documents} if refused else {}
                refused = [Refused(event_ids.get(one.event_id.partition(".")[0], ""), one.reason) for one in refused]
            finally:
                # Afterwards: whoever searched meanwhile refreshed too early.
                self._is_refreshed = False
            return refused

    async def find(self, question: Question) -> Findings:
        """Exact counts; partial where a part of the cluster didn't answer in time. Raises TierFault."""
        if not question.scope:
            return Findings([], 0)
        async with _faults():
            await self._refresh()
            if not self._months:
                return Findings([], 0)
            while True:
                try:
                    return await self._found(question)
                except _TooManyClauses:
                    if self._clauses_max <= queries.CLAUSES_LEAST:
                        raise
                    self._clauses_max = max(queries.CLAUSES_LEAST, self._clauses_max // 2)

    async def _found(self, question: Question) -> Findings:
        """Most words are rare: then one request finds everything, whoever sees it, and what lies in rooms that are seen
        in parts is looked through here."""
        whole, parts = queries.parted(question.scope)
        asked, searches, cells = queries.asked(question), list[Json](), grids.CELLS
        if whole:
            searches = [self._searched(question, [one, *asked]) for one in queries.scopes(whole, {}, self._clauses_max)]
        is_glanced = 0 < len(parts) <= queries.VALUES_MAX
        glances = [queries.glance(question, list(parts), timeout_ms=self._timeout_ms)] if is_glanced else []
        answers = await self._ask([*searches, *glances])
        found = [self._findings(answer, question) for answer in answers[: len(searches)]]
        seen = self._visible(answers[-1:], question, parts) if is_glanced else None
        if seen is not None:
            found.append(seen)
        elif parts:
            if is_glanced:
                cells = grids.cells_for(answers[-1]["hits"]["total"]["value"])
            found += await self._parted(question, parts, cells)
        return merged(found, question.limit)

    async def _parted(self, question: Question, parts: Mapping[int, queries.Spans], cells: int) -> list[Findings]:
        if sum(map(queries.clauses_of, parts.values())) <= queries.CLAUSES_AT_ONCE:
            asking = self._search(question, queries.scopes((), parts, self._clauses_max))
            return await _together([asking, self._before_edits(question, parts)])
        changed: list[Findings] = []

        async def look() -> list[Findings]:
            changed.extend(await self._changed(question, parts))
            return changed

        found = await _together([look(), self._unedited(question, parts, cells)])
        if changed:
            return found
        return [*found, *await _together([self._edited(question, parts), self._before_edits(question, parts)])]

    async def _changed(self, question: Question, parts: Mapping[int, queries.Spans]) -> list[Findings]:
        """What is seen of what was ever edited; nothing where that is too much to be looked through."""
        if len(parts) > queries.VALUES_MAX:
            return []
        wanted = queries.changed(question, list(parts), timeout_ms=self._timeout_ms)
        found = self._visible(await self._ask([wanted]), question, parts)
        return [found] if found is not None else []

    async def _before_edits(self, question: Question, parts: Mapping[int, queries.Spans]) -> list[Findings]:
        """What was said before it was edited, where the edits aren't seen: little of what is ever said."""
        nids, seen, is_partial = list(parts), list[Hit](), False
        for at in range(0, len(nids), queries.VALUES_MAX):
            some = nids[at : at + queries.VALUES_MAX]
            wanted = queries.before_edits(question, some, timeout_ms=self._timeout_ms)
            for _ in range(queries.PAGES_MAX):
                (answer,) = await self._ask([wanted])
                seen += answers_of.seen(answer, question, parts)
                is_partial |= answers_of.is_partial(answer)
                if len(answer["hits"]["hits"]) < queries.LOOKED_THROUGH_MAX:
                    break
                wanted = queries.following(wanted, answer)
            else:
                is_partial = True
        return [answers_of.page_of(seen, question, is_partial=is_partial)]

    async def _unedited(self, question: Question, parts: Mapping[int, queries.Spans], cells: int) -> list[Findings]:
        for some in (cells, grids.CELLS_FINER):
            grid = await asyncio.to_thread(grids.grid_of, parts, some)
            found = await self._through(question, parts, grid.unedited, grid.unedited_ends)
            if found is not None:
                return [found]
        scopes = await asyncio.to_thread(list, queries.scopes((), parts, self._clauses_max))
        return await self._search(question, [queries.all_of([one, queries.UNEDITED]) for one in scopes])

    async def _edited(self, question: Question, parts: Mapping[int, queries.Spans]) -> list[Findings]:
        """Little is ever edited: most often it can all be looked through."""
        nids = list(parts)
        size = queries.VALUES_MAX
        rooms = [queries.in_rooms(nids[at : at + size]) for at in range(0, len(nids), size)]
        everything = [queries.all_of([one, queries.EDITED]) for one in rooms]
        found = await self._through(question, parts, lambda _: (), lambda _: everything)
        if found is None:
            grid = await asyncio.to_thread(grids.grid_of, parts, grids.CELLS)
            found = await self._through(question, parts, grid.edited, lambda most: grid.edited_ends(rooms, most))
        if found is not None:
            return [found]
        scopes = await asyncio.to_thread(list, queries.scopes((), parts, self._clauses_max))
        return await self._search(question, [queries.all_of([one, queries.EDITED]) for one in scopes])

    async def _through(
        self,
        question: Question,
        parts: Mapping[int, queries.Spans],
        sure: Callable[[int], Iterable[Json]],
        unsure: Callable[[int], Iterable[Json]],
    ) -> Findings | None:
        """What is seen for sure, and what is seen of what may be; None where that is more than is looked through.

        The scopes are disjoint, given how many clauses one may have.
        """
        asked, most = queries.asked(question), self._clauses_max
        searches = [self._searched(question, [one, *asked]) for one in sure(most)]
        looked = [queries.looked_through(question, [one, *asked], timeout_ms=self._timeout_ms) for one in unsure(most)]
        answers = await self._ask([*searches, *looked])
        found = self._visible(answers[len(searches) :], question, parts)
        if found is None:
            return None
        return merged(
            [found, *(self._findings(answer, question) for answer in answers[: len(searches)])], question.limit
        )

    async def forget_rooms(self, room_nids: Sequence[int]) -> None:
        """Raises TierFault."""
        async with self._changing, _faults():
            await self._opened()
            await self._refresh()
            body = {"size": _FORGOTTEN_AT_ONCE, "_source": False, "sort": ["_doc"], "query": {}}
            for at in range(0, len(room_nids), queries.VALUES_MAX):
                some = room_nids[at : at + queries.VALUES_MAX]
                body["query"] = queries.any_of([queries.in_rooms(some, field) for field in _ROOMS])
                while hits := (await self._client.search(index=self._target, body=body))["hits"]["hits"]:
                    ids = [{"delete": {"_index": hit["_index"], "_id": hit["_id"]}} for hit in hits]
                    await self._bulk([orjson.dumps(one) for one in ids])
                    await self._client.indices.refresh(index=self._names.pattern)

    async def let_go(self, documents: Sequence[Gone]) -> None:
        """Removes what these say now without a trace. Raises TierFault."""
        async with self._changing, _faults():
            months = await self._opened()
            places = await self._places(documents)
            # As of a version: else a deletion counts as newer than what is written again a moment later.
            gone = [
                {"_index": index, "_id": name, "version": one.version, "version_type": "external_gte"}
                for name, (index, one) in places.items()
                if "." not in name and index in months
            ]
            if gone:
                self._is_refreshed = False
                self._tidying.written.update(str(one["_index"]) for one in gone)
                await self._bulk([orjson.dumps({"delete": one}) for one in gone])

    async def drop_if_empty(self, month: str) -> None:
        """Its index costs something, whatever is in it; it is made again when something comes. Raises TierFault."""
        index = f"{self._names.stem}-{month}"
        async with self._changing, _faults():
            if index in await self._opened():
                await self._drop_empty(index)

    async def tidy(self) -> int:
        """Merges some of the months that aren't written any more: how many. Raises TierFault."""
        async with _faults():
            async with self._changing:
                due = await self._tidying.marked(await self._opened())
            for name in due:
                await self._tidying.merge(name)
        return len(due)

    async def _drop_empty(self, index: str) -> None:
        await self._client.indices.refresh(index=index)
        found = await self._client.search(index=index, body={"size": 0, "terminate_after": 1, "query": _THERE})
        if not found["hits"]["total"]["value"]:
            months = (self._months or set()) - {index}
            # In this order: what is listed and isn't there counts as lost.
            await self._define(months)
            self._months = months
            await self._client.options(ignore_status=_NOT_FOUND).indices.delete(index=index)

    async def count(self) -> int:
        """How many events it finds. Raises TierFault."""
        async with _faults():
            await self._refresh()
            body = {"bool": {"must_not": [{"term": {"room": 0}}, {"exists": {"field": "old_room"}}]}}
            return int((await self._client.count(index=self._names.pattern, query=body))["count"])

    async def size(self) -> int:
        """Bytes that its indices take, copies too. Raises TierFault."""
        async with _faults():
            told = await self._client.indices.stats(index=self._names.pattern, metric="store")
            return int(told["_all"]["total"].get("store", {}).get("size_in_bytes", 0))

    async def health(self) -> str:
        """The colour of its indices, and what they lack. Raises TierFault."""
        async with _faults():
            found = await self._client.cluster.health(index=self._names.pattern)
        shards = found["active_shards"] + found["unassigned_shards"] + found["initializing_shards"]
        words = f"{found['status']}, {found['number_of_data_nodes']} nodes"
        return f"{words}, {found['active_shards']} of {shards} copies of indices there"

    async def census(self) -> Census:
        """Raises TierFault."""
        tallies: dict[tuple[str, int], Tally] = {}
        async with _faults():
            await self._refresh()
            for name in sorted(self._months or ()):
                for field in _ROOMS:
                    async for bucket in self._rooms_in(name, field):
                        group = name.removeprefix(f"{self._names.stem}-"), bucket["key"]["room"]
                        known = tallies.get(group, Tally(0, 0))
                        count, sums = bucket["doc_count"], int(bucket["checksums"]["value"])
                        tallies[group] = Tally(known.documents + count, known.checksums + sums)
        return tallies

    async def held(self, month: str, room_nid: int) -> Sequence[Held]:
        """Raises TierFault."""
        found: list[Held] = []
        async with _faults():
            await self._refresh()
            if f"{self._names.stem}-{month}" not in (self._months or ()):
                return found
            body: Json = {
                "size": _FORGOTTEN_AT_ONCE,
                "_source": False,
                "docvalue_fields": ["nid", "check"],
                "query": queries.any_of([queries.in_rooms([room_nid], field) for field in _ROOMS]),
                "sort": [{"nid": "asc"}, {"check": "asc"}],
            }
            while True:
                answer = await self._client.search(index=f"{self._names.stem}-{month}", body=body)
                hits = answer["hits"]["hits"]
                found += [Held(hit["fields"]["nid"][0], "", hit["fields"]["check"][0]) for hit in hits]
                if len(hits) < _FORGOTTEN_AT_ONCE:
                    return found
                body["search_after"] = hits[-1]["sort"]

    async def _rooms_in(self, name: str, field: str) -> AsyncIterator[Json]:
        rooms: Json = {"size": 5_000, "sources": [{"room": {"terms": {"field": field}}}]}
        body: Json = {
            "size": 0,
            "query": _THERE,
            "aggs": {"rooms": {"composite": rooms, "aggs": {"checksums": {"sum": {"field": "check"}}}}},
        }
        while True:
            answer = (await self._client.search(index=name, body=body))["aggregations"]["rooms"]
            for bucket in answer["buckets"]:
                yield bucket
            if "after_key" not in answer:
                return
            rooms["after"] = answer["after_key"]

    @property
    def _timeout_ms(self) -> int:
        """For the cluster, which then tells what it has; a little less than we wait for that."""
        return int(self._cluster.timeout_s * 900)

    @property
    def _target(self) -> str:
        return self._names.alias if self._is_live else self._names.pattern

    def _index_of(self, document: Document) -> str:
        return self._names.index(document.received_ms)

    async def _opened(self) -> set[str]:
        """The names of its indices. Raises TierLost where it isn't there, or not whole."""
        if self._months is None:
            client = self._client.options(ignore_status=_NOT_FOUND)
            found = await client.indices.get_index_template(name=self._names.stem)
            if found.meta.status == _NOT_FOUND:
                raise TierLost("this cluster has no such index")
            listed = found["index_templates"][0]["index_template"].get("_meta", {}).get("months", [])
            there = await self._indices()
            if missing := set(listed) - there:
                raise TierLost(f"{len(missing)} indices of {len(listed)} are gone")
            if self._is_live and self._names.alias not in found["index_templates"][0]["index_template"]["template"].get(
                "aliases", {}
            ):
                await self._define(there)
                await self._take_alias()
            self._months = there
            self._is_refreshed = False
        return self._months

    async def _take_alias(self) -> None:
        """At once for whoever asks: our indices in the alias, and no others."""
        alias, ours = self._names.alias, await self._indices()
        found = await self._client.options(ignore_status=_NOT_FOUND).indices.get_alias(name=alias)
        others = set(found.body) - ours if found.meta.status != _NOT_FOUND else set()
        actions = [{"add": {"index": name, "alias": alias}} for name in sorted(ours)]
        actions += [{"remove": {"index": name, "alias": alias}} for name in sorted(others)]
        if actions:
            await self._client.indices.update_aliases(actions=actions)

    async def _indices(self) -> set[str]:
        found = await self._client.indices.get_alias(index=self._names.pattern, allow_no_indices=True)
        return set(found.body)

    async def _make(self, name: str) -> None:
        months = (self._months or set()) | {name}
        try:
            await self._client.indices.create(index=name)
        except ApiError as error:
            if "resource_already_exists" not in str(error.error):
                raise
        await self._define(months)
        self._months = months

    async def _define(self, months: set[str]) -> None:
        made = template(self._names, sorted(months), replicas_max=self._cluster.replicas_max, is_live=self._is_live)
        await self._client.indices.put_index_template(name=self._names.stem, body=made)

    async def _refresh(self) -> None:
        async with self._refreshing:
            await self._opened()
            if not self._is_refreshed:
                self._is_refreshed = True
                try:
                    await self._client.indices.refresh(index=self._names.pattern)
                except BaseException:
                    self._is_refreshed = False
                    raise

    async def _places(self, gone: Sequence[Gone]) -> dict[str, tuple[str, Gone]]:
        """The ids of documents of what is gone → the index where each is. Purged ones are looked up."""
        places = {
            id_of(one.event_nid, slot): (self._names.index(one.received_ms), one)
            for one in gone
            if one.received_ms is not None
            for slot in range(one.slots + 1)
        }
        purged = {
            id_of(one.event_nid, slot): one for one in gone if one.received_ms is None for slot in range(EDITS_MAX + 1)
        }
        unknown = list(purged)
        if unknown:
            await self._refresh()
        for at in range(0, len(unknown), _FORGOTTEN_AT_ONCE):
            ids = {"ids": {"values": unknown[at : at + _FORGOTTEN_AT_ONCE]}}
            found = await self._client.search(
                index=self._names.pattern, query=ids, size=_FORGOTTEN_AT_ONCE, source=False, sort="_doc"
            )
            places.update((hit["_id"], (hit["_index"], purged[hit["_id"]])) for hit in found["hits"]["hits"])
        return places

    def _lines(
        self, documents: Sequence[Document], gone: Sequence[Gone], places: Mapping[str, tuple[str, Gone]]
    ) -> list[list[bytes]]:
        """The bodies of the requests that write these."""
        made: list[tuple[str, str, int, Json]] = []
        for document in documents:
            name = id_of(document.event_nid, document.slot)
            made.append((self._index_of(document), name, document.version, stored(document)))
        made += [(index, name, one.version, tombstone(one.event_nid)) for name, (index, one) in places.items()]
        made += [(index, name, version, tombstone(nid)) for index, name, version, nid in self._slots_left(documents)]
        bodies: list[list[bytes]] = []
        room = 0
        for index, name, version, fields in made:
            action = {"_index": index, "_id": name, "version": version, "version_type": "external_gte"}
            lines = [orjson.dumps({"index": action}), orjson.dumps(fields)]
            size = sum(map(len, lines))
            if not bodies or size > room or len(bodies[-1]) >= 2 * BULK_DOCUMENTS_MAX:
                bodies.append([])
                room = BULK_BYTES_MAX
            bodies[-1] += lines
            room -= size
        return bodies

    def _slots_left(self, documents: Sequence[Document]) -> Iterator[tuple[str, str, int, int]]:
        """What these events may have had beside these documents: index, id, version and event."""
        taken: dict[int, set[int]] = {}
        for document in documents:
            if document.slots:
                taken.setdefault(document.event_nid, set()).add(document.slot)
        for document in documents:
            if slots := taken.pop(document.event_nid, None):
                for slot in set(range(document.slots + 1)) - slots:
                    name = id_of(document.event_nid, slot)
                    yield self._index_of(document), name, document.version, document.event_nid

    async def _bulk(self, lines: Any) -> list[Refused]:
        """What the cluster won't take, by the number of the event."""
        client = self._client.options(request_timeout=WRITE_TIMEOUT_S)
        answer = await client.bulk(operations=lines, filter_path="errors,items.*._id,items.*.status,items.*.error.type")
        if not answer["errors"]:
            return []
        refused: list[Refused] = []
        for item in answer["items"]:
            outcome = next(iter(item.values()))
            status, kind = outcome["status"], outcome.get("error", {}).get("type", "")
            if status == 400:
                # Its own words for it may quote the document.
                refused.append(Refused(outcome["_id"], kind))
            elif kind == "index_not_found_exception":
                self._months = None
                raise TierLost("an index is gone")
            elif status >= 300 and status not in (_CONFLICT, _NOT_FOUND):
                raise TierFault(f"{status} {kind}")
        return refused

    async def _search(self, question: Question, scopes: Iterable[Json]) -> list[Findings]:
        asked = queries.asked(question)
        answers = await self._ask([self._searched(question, [one, *asked]) for one in scopes])
        return [self._findings(answer, question) for answer in answers]

    def _searched(self, question: Question, filters: Sequence[Json]) -> Json:
        return queries.search(question, filters, size=question.limit, timeout_ms=self._timeout_ms)

    async def _ask(self, searches: Sequence[Json]) -> list[Json]:
        """The answers, all of them whole or partial. Raises TierFault."""
        answers: list[Json] = []
        for at in range(0, len(searches), SEARCHES_AT_ONCE):
            lines = [line for search in searches[at : at + SEARCHES_AT_ONCE] for line in ({}, search)]
            found = await self._client.msearch(index=self._target, searches=lines, ignore_unavailable=True)
            answers += found["responses"]
        for answer in answers:
            if "error" in answer:
                if any(answers_of.is_too_many(one) for one in answer["error"].get("root_cause", ())):
                    raise _TooManyClauses("a search of too many clauses")
                raise TierFault(f"{answer.get('status')} {answer['error'].get('type')}")
            if answer["_shards"]["total"] < len(self._months or ()):
                self._months = None
                raise TierLost("an index is gone")
        return answers

    def _visible(
        self, answers: Sequence[Json], question: Question, parts: Mapping[int, queries.Spans]
    ) -> Findings | None:
        """What is seen of what was looked for first; None where that isn't all."""
        if any(len(one["hits"]["hits"]) < one["hits"]["total"]["value"] for one in answers):
            return None
        seen = [hit for answer in answers for hit in answers_of.seen(answer, question, parts)]
        return answers_of.page_of(seen, question, is_partial=any(map(answers_of.is_partial, answers)))

    def _findings(self, answer: Json, question: Question) -> Findings:
        hits = [answers_of.hit_of(hit, by_rank=question.by_rank) for hit in answer["hits"]["hits"]]
        return Findings(hits, answer["hits"]["total"]["value"], answers_of.is_partial(answer))


async def _together(asking: Sequence[Coroutine[Any, Any, list[Findings]]]) -> list[Findings]:
    """The answers to all; where one fails, the others end."""
    tasks = [asyncio.create_task(one) for one in asking]
    try:
        return [one for found in await asyncio.gather(*tasks) for one in found]
    finally:
        for task in tasks:
            task.cancel()


@asynccontextmanager
async def _faults() -> AsyncIterator[None]:
    """What a cluster that is away, red, full or in a hurry says becomes TierFault."""
    try:
        yield
    except ApiError as error:
        raise TierFault(f"{error.status_code} {error.error}") from error
    except TransportError as error:
        raise TierFault(type(error).__name__) from error
