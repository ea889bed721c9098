"""Which media are shown, and by which events: what nothing shows any more is hidden, and deleted after a while.

A consumer of the journal: what it has not written when the server stops, it reads again at the next start. Media in
encrypted rooms are never seen to be shown, and so never deleted by this.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Sequence
from typing import Any

from homeserver.core.identifiers import ServerName, UserId
from homeserver.journal.journal import Entry, Journal
from homeserver.runtime.clock import Clock
from homeserver.storage import events, journal_cursors, media_links
from homeserver.storage.database import Database
from homeserver.storage.media_links import Link

CATCH_UP_EVENTS = 500
LINKS_PER_EVENT_MAX = 50
# After so many events that showed nothing the cursor is written all the same.
CURSOR_EVENTS = 1_000
CANDIDATES_AT_ONCE = 200
_FLUSH_S = 0.5
_MEDIA_ID = re.compile(r"[0-9A-Za-z_-]{1,255}", re.ASCII)
_VALUES_MAX = 2_000


class MediaLinks:
    """Hears what is shown and what is redacted."""

    def __init__(self, db: Database, journal: Journal, clock: Clock, server_name: ServerName) -> None:
        self._db = db
        self._journal = journal
        self._clock = clock
        self._prefix = f"mxc://{server_name}/"
        self._links: list[Link] = []
        self._redacted: list[int] = []
        self._heard = 0
        self._unwritten = 0
        self._news = asyncio.Event()
        self._writing = asyncio.Lock()

    async def start(self) -> None:
        """Takes up what was written after the last flush of an earlier run. Call it before anybody can write."""
        upto, cursor = self._journal.visible, await journal_cursors.position(self._db, media_links.CONSUMER)
        # A server that had no links before begins with its first event.
        cursor = cursor or 0
        while nids := await events.after_position(self._db, cursor, upto, CATCH_UP_EVENTS):
            for nid, pdu in await events.as_sent(self._db, nids):
                self._links += self._shown(nid, pdu)
            cursor = self._heard = max(nids.values())
            self._unwritten = CURSOR_EVENTS
            await self.flush()
        async with self._db.transaction() as tx:
            await media_links.redacted_earlier(tx)
        self._heard = max(self._heard, upto)
        self._journal.follow(media_links.CONSUMER, lambda: self._heard)

    def hear(self, entries: Sequence[Entry]) -> None:
        """A journal listener."""
        for entry in entries:
            if entry.kind == "event":
                written = entry.payload
                self._unwritten += 1
                self._links += self._shown(written.event_nid, written.event.pdu)
                if written.redacts is not None:
                    self._redacted.append(written.redacts.nid)
            self._heard = entry.position
        if self._links or self._redacted or self._unwritten >= CURSOR_EVENTS:
            self._news.set()

    async def run(self) -> None:
        """One round of a background task: waits until there is something, and a moment for more of it."""
        await self._news.wait()
        await self._clock.sleep(_FLUSH_S)
        await self.flush()

    async def flush(self) -> None:
        """Writes new links with the cursor, in one transaction, and hides what nothing shows any more.

        Waits for who does so now.
        """
        async with self._writing:
            await self._flush()

    async def _flush(self) -> None:
        self._news.clear()
        if not (self._links or self._redacted or self._unwritten >= CURSOR_EVENTS):
            return
        links, redacted, upto = self._links, self._redacted, self._heard
        self._links, self._redacted, self._unwritten = [], [], 0
        try:
            async with self._db.transaction() as tx:
                if links:
                    await media_links.add(tx, links)
                if redacted:
                    await media_links.redacted(tx, redacted)
                await journal_cursors.advance(tx, media_links.CONSUMER, upto)
        except BaseException:
            self._links, self._redacted = links + self._links, redacted + self._redacted
            self._news.set()
            raise
        if redacted:
            await self.hide_unshown()

    async def hide_unshown(self) -> None:
        """Looks at all media that may be shown by nothing any more."""
        while candidates := await media_links.candidates(self._db, CANDIDATES_AT_ONCE):
            async with self._db.transaction() as tx:
                await media_links.hide(tx, candidates, self._clock.now_ms())

    def _shown(self, nid: int, pdu: dict[str, Any]) -> list[Link]:
        if pdu["type"] == "m.room.encrypted":
            return []
        length = len(self._prefix)
        named = {text[length:] for text in _texts(pdu["content"]) if text.startswith(self._prefix)}
        # What isn't in the grammar of media ids names no file of ours, and might not even fit into a table.
        found = {media_id for media_id in named if _MEDIA_ID.fullmatch(media_id)}
        return [Link(nid, UserId(pdu["sender"]), media_id) for media_id in sorted(found)[:LINKS_PER_EVENT_MAX]]


def _texts(content: dict[str, Any]) -> Iterator[str]:
    """The strings in an event's content, however deep: a bounded number of them."""
    waiting: list[Any] = [content]
    looked_at = 0
    while waiting and looked_at < _VALUES_MAX:
        looked_at += 1
        value = waiting.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)
