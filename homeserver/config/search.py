"""Options of the search in messages."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from homeserver.config import checks
from homeserver.config.options import Secret, option, section


@dataclass(frozen=True, slots=True, kw_only=True)
class Elasticsearch:
    """A cluster of Elasticsearch 9, for servers that outgrow the index in the data folder."""

    urls: tuple[str, ...] = option(
        ("http://localhost:9200",), "Addresses of its nodes.", check=checks.each(checks.http_url)
    )
    api_key: Secret | None = option(None, "API key (`id:key` in base64) that is sent to it.")
    username: str | None = option(None, "User, where no API key is given.")
    password: Secret | None = option(None, "The user's password.")
    ca_path: Path | None = option(None, "Certificates (PEM) that its certificate is checked with; else the system's.")
    index_prefix: str = option(
        "hansa", "What the names of its indices begin with; no two servers may share one.", check=checks.index_prefix
    )
    replicas_max: int = option(1, "Copies of each index, if there are nodes enough.", low=0, high=5)
    timeout_s: float = option(10.0, "Longest time for a search, before its answer is partial.", low=0.5, high=120)


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """Search in messages."""

    engine: Literal["embedded", "elasticsearch"] = option(
        "embedded", "Where the index is: in `data_dir`, or in a cluster of Elasticsearch."
    )
    elasticsearch: Elasticsearch = section(Elasticsearch(), "The cluster.")
