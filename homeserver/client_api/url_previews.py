"""Previews of web pages. spec: client-server-api/#get_matrixclientv1mediapreview_url"""

from __future__ import annotations

import msgspec

from homeserver.media.previews import Previews
from homeserver.web.endpoint import Access, Caller, Json, endpoint


class PreviewQuery(msgspec.Struct, frozen=True):
    """`ts`, the point in time that the preview is wanted for, is taken as a wish: what is kept is given."""

    url: str
    ts: int | None = None


class UrlPreviews:
    """GET /preview_url."""

    def __init__(self, previews: Previews) -> None:
        self._previews = previews

    @endpoint(
        "GET",
        "/_matrix/client/v1/media/preview_url",
        "/_matrix/media/v3/preview_url",
        "/_matrix/media/r0/preview_url",
        "/_matrix/media/v1/preview_url",
        access=Access.USER,
        spec="client-server-api/#get_matrixclientv1mediapreview_url",
        limit="url_preview",
    )
    async def preview(self, caller: Caller, query: PreviewQuery) -> Json:
        return await self._previews.get(query.url, caller.user_id)
