"""The application services that there are, and who owns which ids."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from pathlib import Path

from homeserver.appservices.registration import BadRegistration, Registration, read_registration, token_digest
from homeserver.core.errors import MatrixError
from homeserver.core.identifiers import RoomAlias, ServerName, UserId

REMEMBERED_MAX = 50_000


class Registry:
    """Registrations by id and token. `replace` takes new ones while the server runs."""

    def __init__(self, server_name: ServerName) -> None:
        self.server_name = server_name
        self._by_id: dict[str, Registration] = {}
        self._by_digest: dict[bytes, Registration] = {}
        self._unlimited: OrderedDict[str, bool] = OrderedDict()

    @property
    def services(self) -> Sequence[Registration]:
        return tuple(self._by_id.values())

    def replace(self, registrations: Iterable[Registration]) -> None:
        """Takes these in place of all that were. Raises BadRegistration, and changes nothing, for ids or tokens that
        two of them share."""
        by_id: dict[str, Registration] = {}
        by_digest: dict[bytes, Registration] = {}
        for one in registrations:
            if one.id in by_id:
                raise BadRegistration(f"two registrations have the id {one.id!r}")
            if one.as_token_digest in by_digest:
                raise BadRegistration(f"{one.id!r} and {by_digest[one.as_token_digest].id!r} have the same as_token")
            by_id[one.id] = by_digest[one.as_token_digest] = one
        self._by_id, self._by_digest = by_id, by_digest
        self._unlimited.clear()

    def get(self, appservice_id: str) -> Registration | None:
        return self._by_id.get(appservice_id)

    def by_token(self, token: str) -> Registration | None:
        return self._by_digest.get(token_digest(token)) if self._by_digest else None

    # --- who may have which id

    def check_user(self, user_id: UserId, appservice_id: str | None = None) -> None:
        """Raises MatrixError (M_EXCLUSIVE) for an id that is another's, or not of this service's namespace."""
        if appservice_id is not None:
            own = self._by_id.get(appservice_id)
            if own is not None and not own.may_be(user_id, self.server_name):
                raise MatrixError("this user id is not in the service's namespace", errcode="M_EXCLUSIVE")
        if any(one.id != appservice_id and one.excludes_user(user_id) for one in self._by_id.values()):
            raise MatrixError("this user id is reserved for a bridge", errcode="M_EXCLUSIVE")

    def check_alias(self, alias: RoomAlias, user_id: UserId) -> None:
        """Raises MatrixError (M_EXCLUSIVE) for an alias in a namespace of a service that this user isn't of."""
        for one in self._by_id.values():
            if one.excludes_alias(alias) and not one.may_be(user_id, self.server_name):
                raise MatrixError("this alias is reserved for a bridge", errcode="M_EXCLUSIVE")

    def is_unlimited(self, user_id: str) -> bool:
        """Whether rate limits don't hold for this user: a bridge's own, or one that nobody but a bridge can be."""
        if not self._by_id or not user_id.startswith("@"):
            return False
        known = self._unlimited.get(user_id)
        if known is None:
            known = self._unlimited[user_id] = any(
                user_id == one.sender or (not one.is_rate_limited and one.excludes_user(user_id))
                for one in self._by_id.values()
            )
            if len(self._unlimited) > REMEMBERED_MAX:
                self._unlimited.popitem(last=False)
        return known


async def read_all(paths: Iterable[Path], server_name: ServerName) -> list[Registration]:
    """Raises BadRegistration for the first file that can't be used."""
    files = await asyncio.to_thread(_files, paths)
    return [await asyncio.to_thread(read_registration, path, server_name) for path in files]


def _files(paths: Iterable[Path]) -> list[Path]:
    """A folder stands for the YAML files in it now. Raises BadRegistration."""
    found: list[Path] = []
    for path in paths:
        try:
            inside = sorted(path.iterdir()) if path.is_dir() else None
        except OSError as error:
            raise BadRegistration(f"{path} can't be read: {type(error).__name__}") from None
        found += [path] if inside is None else [file for file in inside if file.suffix in (".yaml", ".yml")]
    return found
