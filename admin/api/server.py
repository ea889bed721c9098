"""The server's version, and what is tried with single users."""

from __future__ import annotations

from importlib import metadata

import msgspec

from admin.actions.targets import AccountTools
from admin.audit import entry_of
from homeserver.core.errors import MatrixError
from homeserver.core.identifiers import UserId
from homeserver.core.operators import Permission
from homeserver.storage import experimental_features
from homeserver.web.endpoint import Access, Json, Operator, Reach, endpoint

_FEATURES = "/_synapse/admin/v1/experimental_features/{user_id}"
# What tools may switch for a user: told to that user's clients in /versions.
KNOWN_FEATURES = ("msc3881", "msc3575", "msc4222")


class FeaturesBody(msgspec.Struct, frozen=True):
    features: dict[str, bool]


class ServerEndpoints:
    """/server_version and /experimental_features."""

    def __init__(self, tools: AccountTools) -> None:
        self._tools = tools

    @endpoint(
        "GET",
        "/_synapse/admin/v1/server_version",
        access=Access.ADMIN,
        reach=Reach.NONE,
        spec="",
        needs=Permission.READ_SERVER,
    )
    async def version(self) -> Json:
        return {"server_version": metadata.version("hansa")}

    @endpoint("GET", _FEATURES, access=Access.ADMIN, reach=Reach.SERVER, spec="", needs=Permission.READ_USERS)
    async def features(self, user_id: UserId) -> Json:
        await self._tools.account(user_id, "User must be local to check what experimental features are enabled.")
        found = await experimental_features.of_user(self._tools.db, user_id)
        return {"features": {name: found.get(name, False) for name in KNOWN_FEATURES}}

    @endpoint("PUT", _FEATURES, access=Access.ADMIN, reach=Reach.SERVER, spec="", needs=Permission.CHANGE_USERS)
    async def set_features(self, operator: Operator, user_id: UserId, body: FeaturesBody) -> Json:
        tools = self._tools
        await tools.target(operator, user_id, "User must be local to enable experimental features.")
        for name in body.features:
            if name not in KNOWN_FEATURES:
                raise MatrixError(f"{name[:64]!r} is not recognised as a valid experimental feature.")
        async with tools.db.transaction() as tx:
            await experimental_features.set_features(tx, user_id, dict(body.features))
            entry = entry_of(operator, "user.experimental_features", user_id, after=body.features)
            await tools.audit.record(tx, entry)
        return {}
