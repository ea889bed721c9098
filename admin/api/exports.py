"""Exports: /_hansa/admin/v1/exports."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from admin.actions.exports import Exports
from admin.exporting.exporter import ExportWish
from homeserver.core.operators import Permission
from homeserver.web.endpoint import Access, Answer, Json, Operator, Reach, endpoint

_EXPORTS = "/_hansa/admin/v1/exports"
_Ms = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


class ExportBody(msgspec.Struct, frozen=True):
    kind: Literal["room", "user"]
    target: str
    reason: str
    formats: list[Literal["jsonl", "html", "text", "parquet"]] = msgspec.field(default_factory=lambda: ["jsonl"])
    since_ts: _Ms | None = None
    until_ts: _Ms | None = None
    from_event: str | None = None
    to_event: str | None = None
    as_sent: bool = False
    files: bool = False


class ExportEndpoints:
    """Begun (their progress is the job's), looked into, taken, deleted."""

    def __init__(self, exports: Exports) -> None:
        self._exports = exports

    @endpoint("POST", _EXPORTS, access=Access.ADMIN, reach=Reach.SERVER, spec="", needs=Permission.EXPORT)
    async def begin(self, operator: Operator, body: ExportBody) -> Json:
        wish = ExportWish(
            kind=body.kind,
            target=body.target,
            formats=list(body.formats),
            since_ms=body.since_ts,
            until_ms=body.until_ts,
            from_event=body.from_event,
            to_event=body.to_event,
            as_sent=body.as_sent,
            files=body.files,
        )
        return {"export_id": await self._exports.begin(wish, reason=body.reason, by=operator)}

    @endpoint(
        "GET", _EXPORTS + "/{export_id}", access=Access.ADMIN, reach=Reach.SERVER, spec="", needs=Permission.EXPORT
    )
    async def manifest(self, export_id: str) -> Json:
        return await self._exports.manifest(export_id)

    @endpoint(
        "GET",
        _EXPORTS + "/{export_id}/files/{name}",
        access=Access.ADMIN,
        reach=Reach.SERVER,
        spec="",
        needs=Permission.EXPORT,
    )
    async def read(self, operator: Operator, export_id: str, name: str) -> Answer:
        size, pieces = await self._exports.read(export_id, name, by=operator)
        headers = {
            "Content-Disposition": "attachment",
            "Content-Length": str(size),
            "X-Content-Type-Options": "nosniff",
            "Content-Security-Policy": "sandbox; default-src 'none'",
        }
        return Answer(pieces, 200, "application/octet-stream", headers)

    @endpoint(
        "DELETE", _EXPORTS + "/{export_id}", access=Access.ADMIN, reach=Reach.SERVER, spec="", needs=Permission.EXPORT
    )
    async def delete(self, operator: Operator, export_id: str) -> Json:
        await self._exports.delete(export_id, by=operator)
        return {}
