"""The console's own style sheet and script, from this server and no other."""

from __future__ import annotations

from importlib import resources

from homeserver.core.errors import NotFound
from homeserver.web.endpoint import Access, Answer, endpoint

_KINDS = {"console.css": "text/css; charset=utf-8", "console.js": "text/javascript; charset=utf-8"}


class Assets:
    """/admin/static/."""

    def __init__(self) -> None:
        folder = resources.files("admin.console") / "static"
        self._files = {name: (folder / name).read_bytes() for name in _KINDS}

    @endpoint("GET", "/admin/static/{name}", access=Access.NONE, limit="console", spec="")
    async def file(self, name: str) -> Answer:
        if name not in self._files:
            raise NotFound("there is no such file")
        headers = {"Cache-Control": "public, max-age=600", "X-Content-Type-Options": "nosniff"}
        return Answer(self._files[name], 200, _KINDS[name], headers)
