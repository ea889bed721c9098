"""Options of buckets in S3-compatible stores, whatever is kept in them."""

from __future__ import annotations

from dataclasses import dataclass

from homeserver.config import checks
from homeserver.config.options import Secret, option


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Bucket:
    """A bucket of an S3-compatible store."""

    bucket: str | None = option(None, "Name of the bucket.")
    endpoint: str = option("https://s3.amazonaws.com", "URL of the store.", check=checks.http_url)
    region: str = option("us-east-1", "Region of the bucket.")
    prefix: str = option("", "What the names of all objects begin with.")
    access_key_id: str = option("", "The key's id.")
    secret_access_key: Secret | None = option(None, "The key's secret.")


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaBucket(S3Bucket):
    """A bucket for files and thumbnails; without the bucket's name they are in `media.store_path`."""

    redirects: bool = option(
        False, "Whether clients are sent to the store for downloads; they must be able to reach it."
    )
