"""Files of the archive made of documents alone, on this machine's disk."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from search.analyser import analyse
from search.archive.building import Builder
from search.archive.files import Built
from search.archive.reading import ArchiveFile, read_contents
from search.archive.rows import Row
from search.tiers import Document
from tests.kit.search_oracle import TEXTS

_TEXT_OF = {tuple(analyse(text).tokens): text for text in TEXTS}


class FolderParts:
    """Implements search.archive.reading.Source; counts."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.bytes_read = 0

    def parquet(self, start: int, end: int) -> bytes:
        return self._part("rows.parquet", start, end)

    def terms(self, start: int, end: int) -> bytes:
        return self._part("rows.terms", start, end)

    def _part(self, name: str, start: int, end: int) -> bytes:
        self.bytes_read += end - start
        with (self._folder / name).open("rb") as file:
            file.seek(start)
            return file.read(end - start)


def row(document: Document) -> Row:
    """The row of one of the oracle's documents."""
    source_place = document.place if document.source_place is None else document.source_place
    return Row(
        event_nid=document.event_nid,
        source_nid=document.source_nid,
        room_nid=document.room_nid,
        place=document.place,
        source_place=source_place,
        version=document.version,
        origin_server_ts=document.origin_server_ts,
        delay_ms=document.received_ms - document.origin_server_ts,
        type=document.type,
        key=document.key,
        room_id=document.room_id,
        sender=document.sender,
        has=sorted(document.has),
        mentions=document.mentions,
        thread_root=document.thread_root,
        body=_TEXT_OF.get(tuple(document.tokens)) or " ".join(document.tokens),
        event_id=document.event_id,
        json=b"{}",
    )


def build(folder: Path, documents: Iterable[Document]) -> Built:
    rows = [row(one) for one in sorted(documents, key=lambda one: (one.room_nid, one.place))]
    builder = Builder(folder, len(rows))
    builder.add(rows)
    return builder.finish()


def opened(folder: Path, built: Built) -> tuple[ArchiveFile, FolderParts]:
    parts = FolderParts(folder)
    return ArchiveFile(read_contents(parts, built), parts), parts
