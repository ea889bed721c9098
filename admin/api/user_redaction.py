"""Redacting all that a user said: /_synapse/admin/v1/user/{user_id}/redact."""

from __future__ import annotations

from typing import Annotated

import msgspec
import orjson

from admin.actions.user_redaction import LIMIT_DEFAULT, UserRedaction
from homeserver.core.identifiers import UserId, parse_room_id
from homeserver.core.operators import Permission
from homeserver.web.endpoint import Access, Json, Operator, Reach, endpoint

_V1 = "/_synapse/admin/v1/user"


class RedactBody(msgspec.Struct, frozen=True):
    rooms: list[str]
    reason: Annotated[str, msgspec.Meta(max_length=1000)] | None = None
    limit: int | None = None
    use_admin: bool = False


class UserRedactionEndpoints:
    """Begun, and looked at."""

    def __init__(self, redaction: UserRedaction) -> None:
        self._redaction = redaction

    @endpoint(
        "POST",
        _V1 + "/{user_id}/redact",
        access=Access.ADMIN,
        reach=Reach.WITHIN,
        spec="",
        needs=Permission.MODERATE_USERS,
    )
    async def redact(self, operator: Operator, user_id: UserId, body: RedactBody) -> Json:
        job_id = await self._redaction.begin(
            user_id,
            [parse_room_id(one) for one in body.rooms],
            limit=body.limit if body.limit is not None else LIMIT_DEFAULT,
            by_operator=body.use_admin,
            reason=body.reason,
            by=operator,
        )
        return {"redact_id": job_id}

    @endpoint(
        "GET",
        _V1 + "/redact_status/{redact_id}",
        access=Access.ADMIN,
        reach=Reach.WITHIN,
        spec="",
        needs=Permission.READ_USERS,
    )
    async def status(self, operator: Operator, redact_id: str) -> Json:
        row = await self._redaction.one(redact_id, by=operator)
        progress = orjson.loads(row.progress)
        answer: Json = {"status": row.state, "failed_redactions": progress.get("failed_redactions", {})}
        if row.error is not None:
            answer["error"] = row.error
        return answer
