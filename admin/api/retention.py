"""What retention would delete: /_hansa/admin/v1/retention/preview."""

from __future__ import annotations

from typing import Annotated

import msgspec

from admin.actions.retention_preview import RetentionPreview
from homeserver.core.operators import Permission
from homeserver.web.endpoint import Access, Json, Operator, Reach, endpoint

_Seconds = Annotated[int, msgspec.Meta(ge=0, le=10**10)]


class PreviewBody(msgspec.Struct, frozen=True):
    room_id: str | None = None
    wish_s: _Seconds | None = None  # as if it were the room's own wish
    default_s: _Seconds | None = None
    least_s: _Seconds | None = None
    most_s: _Seconds | None = None


class RetentionEndpoints:
    """A job, whose progress has what would go."""

    def __init__(self, preview: RetentionPreview) -> None:
        self._preview = preview

    @endpoint(
        "POST",
        "/_hansa/admin/v1/retention/preview",
        access=Access.ADMIN,
        reach=Reach.SERVER,
        spec="",
        needs=Permission.CHANGE_SERVER,
    )
    async def begin(self, operator: Operator, body: PreviewBody) -> Json:
        job_id = await self._preview.begin(
            room_id=body.room_id,
            wish_s=body.wish_s,
            default_s=body.default_s,
            least_s=body.least_s,
            most_s=body.most_s,
            by=operator,
        )
        return {"job_id": job_id}
