"""Merges the months of an index of Elasticsearch that nothing is written to any more.

A cluster keeps what it was sent of each document, for a node that was away for a moment, until the document's segment
is merged half a minute later or more: two fifths of an index. Months that come slowly are merged often enough; one that
was filled at once lies in a segment or a few, which nothing ever touches again.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import orjson
from elasticsearch import AsyncElasticsearch

from search.hot.elastic_mapping import Names, tombstone

# With fewer than so many segments there is little to win.
SEGMENTS_MIN = 4
# Of one round, so that it ends soon enough.
MONTHS_MAX = 12
MERGE_TIMEOUT_S = 600.0
# What a month that was merged has beside its events: what is gone of nobody's. It is a segment of its own at first, so
# that there is something to merge.
_MARK_ID, _MARK = "0", tombstone(0)


class Tidying:
    """Of one generation. `written` are the names of those that were written since the last round."""

    def __init__(self, client: AsyncElasticsearch, names: Names) -> None:
        self._client = client
        self._names = names
        self.written: set[str] = set()

    async def marked(self, months: Collection[str]) -> list[str]:
        """Those to be merged now, each with its mark: not the newest, nor those that were just written."""
        busy, self.written = self.written, set()
        settled = sorted(set(sorted(months)[:-1]) - busy)
        if not settled:
            return []
        known = await self._known()
        segments = await self._segments()
        due = [one for one in settled if one not in known or segments.get(one, 0) >= SEGMENTS_MIN][:MONTHS_MAX]
        if due:
            # What isn't in a commit yet is kept whatever its age.
            await self._client.indices.flush(index=due)
        lines: Any = [line for name in due if name not in known for line in _marking(name)]
        if lines:
            await self._client.bulk(operations=lines, filter_path="errors")
        return due

    async def merge(self, name: str) -> None:
        """Into one segment, however long that takes; an index that is gone meanwhile is none of ours any more."""
        patient = self._client.options(request_timeout=MERGE_TIMEOUT_S, ignore_status=404)
        await patient.indices.forcemerge(index=name, max_num_segments=1, flush=True)

    async def _known(self) -> set[str]:
        """Those that have their mark."""
        query = {"ids": {"values": [_MARK_ID]}}
        found = await self._client.search(index=self._names.pattern, query=query, size=10_000, source=False)
        return {hit["_index"] for hit in found["hits"]["hits"]}

    async def _segments(self) -> dict[str, int]:
        told = await self._client.indices.stats(index=self._names.pattern, metric="segments")
        return {name: one["primaries"]["segments"]["count"] for name, one in told["indices"].items()}


def _marking(name: str) -> tuple[bytes, bytes]:
    action: dict[str, Any] = {"_index": name, "_id": _MARK_ID, "version": 1, "version_type": "external_gte"}
    return orjson.dumps({"index": action}), orjson.dumps(_MARK)
