"""Files as tools have them in answers."""

from __future__ import annotations

from typing import Any

from admin.storage.media import MediaInfo
from homeserver.web.endpoint import Json


def as_json(one: MediaInfo) -> dict[str, Any]:
    """A file as tools have it."""
    return {
        "media_origin": one.origin,
        "user_id": one.user_id,
        "media_id": one.media_id,
        "media_type": one.media_type,
        "media_length": one.media_length,
        "upload_name": one.upload_name,
        "created_ts": one.created_ts,
        # Where a file lies, and pictures of previewed links, are this server's own affair.
        "filesystem_id": None,
        "url_cache": None,
        "last_access_ts": one.last_access_ts,
        "quarantined_by": one.quarantined_by,
        "safe_from_quarantine": one.is_protected,
        "authenticated": True,
        "sha256": one.digest,
    }


def deleted(media_ids: list[str]) -> Json:
    """What was deleted."""
    return {"deleted_media": media_ids, "total": len(media_ids)}
