"""What program this is. spec: server-server-api/#server-implementation"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from homeserver.web.endpoint import Access, Json, endpoint


class FederationServerInfo:
    """Answers without authentication, as federation testers ask it."""

    @endpoint(
        "GET",
        "/_matrix/federation/v1/version",
        access=Access.NONE,
        spec="server-server-api/#get_matrixfederationv1version",
    )
    async def version(self) -> Json:
        try:
            number = version("hansa")
        except PackageNotFoundError:
            number = "unknown"
        return {"server": {"name": "Hansa", "version": number}}
