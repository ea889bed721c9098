"""The two files of a month and bucket: their names while they are made, and what is known of them then.

pyarrow takes some 30 MiB and as many milliseconds, which a server without an archive doesn't need. The modules that use
it (`building`, `columns`, `reading`) are imported where a file is made or read, in the thread or process that does so.
"""

from __future__ import annotations

from dataclasses import dataclass

PARQUET_NAME, TERMS_NAME = "rows.parquet", "rows.terms"


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A file that was written: how long it is, and its SHA-256. `index_start` is where its own table of contents begins
    (Parquet's footer, the head of the index of words), `index_crc` that part's CRC-32."""

    size_bytes: int
    digest: str
    index_start: int
    index_end: int
    index_crc: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """Both files, and what is in them. `digest` is over the rows' events, in order (see `building.rows_digest`)."""

    rows: int
    first_nid: int
    last_nid: int
    digest: str
    parquet: Made
    terms: Made
