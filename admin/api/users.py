"""Accounts: listed, looked at, found, made and changed. The shapes are those that operators' tools know."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from admin.actions.accounts import Accounts, AccountWish
from admin.storage import accounts
from admin.storage.accounts import ORDERS, AccountFilter, AccountRow
from admin.totals import Totals
from homeserver.accounts.contacts import canonical
from homeserver.accounts.sessions import Sessions
from homeserver.accounts.users import Users
from homeserver.core.errors import InvalidParam, MatrixError, NotFound
from homeserver.core.identifiers import UserId, domain_of
from homeserver.core.operators import Permission
from homeserver.storage import contacts, login_tokens
from homeserver.storage.database import Database
from homeserver.web.endpoint import Access, Answer, Json, Operator, Reach, Request, endpoint

_ADMIN = "/_synapse/admin"
LIMIT_MAX = 1_000
FOUND_MAX = 100
_TYPES = (None, "bot", "support")
Paged = Annotated[int, msgspec.Meta(ge=0, le=2**31)]


class ListQuery(msgspec.Struct, frozen=True, rename={"start": "from", "direction": "dir"}):
    start: Paged = 0
    limit: Annotated[int, msgspec.Meta(ge=0)] = 100
    user_id: str | None = None
    name: str | None = None
    guests: bool = True
    admins: bool | None = None
    deactivated: bool | None = None
    locked: bool = False
    order_by: str = "name"
    direction: Literal["f", "b"] = "f"


class Address(msgspec.Struct, frozen=True):
    medium: str
    address: str


class ExternalId(msgspec.Struct, frozen=True):
    auth_provider: Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
    external_id: Annotated[str, msgspec.Meta(min_length=1, max_length=255)]


class PutBody(msgspec.Struct, frozen=True):
    password: str | None = None
    logout_devices: bool = True
    displayname: str | None = None
    avatar_url: str | None = None
    threepids: list[Address] | None = None
    external_ids: list[ExternalId] | None = None
    admin: bool | None = None
    deactivated: bool | None = None
    locked: bool | None = None
    user_type: str | msgspec.UnsetType | None = msgspec.UNSET

    def wish(self) -> AccountWish:
        """Raises InvalidParam for a type of account that there isn't."""
        if self.user_type is not msgspec.UNSET and self.user_type not in _TYPES:
            raise InvalidParam("Invalid user type")
        return AccountWish(
            password=self.password,
            logs_out=self.logout_devices,
            displayname=self.displayname,
            avatar_url=self.avatar_url,
            threepids=[(one.medium, one.address) for one in self.threepids] if self.threepids is not None else None,
            external_ids=[(one.auth_provider, one.external_id) for one in self.external_ids]
            if self.external_ids is not None
            else None,
            is_admin=self.admin,
            is_deactivated=self.deactivated,
            is_locked=self.locked,
            sets_type=self.user_type is not msgspec.UNSET,
            user_type=self.user_type if self.user_type is not msgspec.UNSET else None,
        )


class NameQuery(msgspec.Struct, frozen=True):
    username: str


class TermQuery(msgspec.Struct, frozen=True):
    term: Annotated[str, msgspec.Meta(min_length=1)]


class UserEndpoints:
    """/_synapse/admin/v2/users and what finds users by something else than their id."""

    def __init__(self, db: Database, actions: Accounts, users: Users, sessions: Sessions, totals: Totals) -> None:
        self._db = db
        self._sessions = sessions
        self._totals = totals
        self._actions = actions
        self._users = users

    @endpoint(
        "GET", _ADMIN + "/v2/users", access=Access.ADMIN, reach=Reach.WITHIN, spec="", needs=Permission.READ_USERS
    )
    async def list_v2(self, operator: Operator, request: Request, query: ListQuery) -> Json:
        # `deactivated` lets them be seen among the others, as this version has it.
        return await self._list(operator, request, query, None if query.deactivated else False)

    @endpoint(
        "GET", _ADMIN + "/v3/users", access=Access.ADMIN, reach=Reach.WITHIN, spec="", needs=Permission.READ_USERS
    )
    async def list_v3(self, operator: Operator, request: Request, query: ListQuery) -> Json:
        return await self._list(operator, request, query, query.deactivated)

    @endpoint(
        "GET",
        _ADMIN + "/v2/users/{user_id}",
        access=Access.ADMIN,
        reach=Reach.WITHIN,
        spec="",
        needs=Permission.READ_USERS,
    )
    async def details(self, operator: Operator, user_id: UserId) -> Json:
        """To those who are bound to rooms, without addresses."""
        if not await accounts.is_in_rooms(self._db, user_id, operator.rooms):
            raise NotFound("User not found")
        found = await self._details(user_id)
        return found if operator.rooms is None else {**found, "threepids": [], "external_ids": []}

    @endpoint(
        "PUT",
        _ADMIN + "/v2/users/{user_id}",
        access=Access.ADMIN,
        reach=Reach.SERVER,
        spec="",
        needs=Permission.CHANGE_USERS,
    )
    async def put(self, operator: Operator, user_id: UserId, body: PutBody) -> Answer:
        made = await self._actions.put(user_id, body.wish(), by=operator)
        return Answer(msgspec.json.encode(await self._details(user_id)), status=201 if made else 200)

    @endpoint(
        "GET",
        _ADMIN + "/v1/search_users/{user_id}",
        access=Access.ADMIN,
        reach=Reach.WITHIN,
        spec="",
        needs=Permission.READ_USERS,
    )
    async def search(self, operator: Operator, user_id: UserId, query: TermQuery) -> Answer:
        """The path's user says nothing but of which server; the answer is a list."""
        if domain_of(user_id) != self._users.server_name:
            raise MatrixError("Can only users a local user")
        found = await accounts.by_term(self._db, query.term, FOUND_MAX, operator.rooms)
        return Answer(msgspec.json.encode([_listed(row) for row in found]))

    @endpoint(
        "GET",
        _ADMIN + "/v1/username_available",
        access=Access.ADMIN,
        reach=Reach.SERVER,
        spec="",
        needs=Permission.READ_USERS,
    )
    async def is_name_free(self, query: NameQuery) -> Json:
        await self._users.check_free(self._users.new_user_id(query.username))
        return {"available": True}

    @endpoint(
        "GET",
        _ADMIN + "/v1/threepid/{medium}/users/{address}",
        access=Access.ADMIN,
        reach=Reach.SERVER,
        spec="",
        needs=Permission.READ_USERS,
    )
    async def by_address(self, medium: str, address: str) -> Json:
        holder = await contacts.holder(self._db, medium, canonical(medium, address) if medium == "email" else address)
        if holder is None:
            raise NotFound("User not found")
        return {"user_id": holder}

    @endpoint(
        "GET",
        _ADMIN + "/v1/auth_providers/{provider}/users/{external_id}",
        access=Access.ADMIN,
        reach=Reach.SERVER,
        spec="",
        needs=Permission.READ_USERS,
    )
    async def by_external_id(self, provider: str, external_id: str) -> Json:
        holder = await login_tokens.holder(self._db, provider, external_id)
        if holder is None:
            raise NotFound("User not found")
        return {"user_id": holder}

    async def _list(self, operator: Operator, request: Request, query: ListQuery, is_deactivated: bool | None) -> Json:
        if query.order_by not in ORDERS:
            raise InvalidParam(f"order_by must be one of {', '.join(sorted(ORDERS))}")
        # A parameter that may stand more than once.
        all_of = getattr(request.raw_query, "getall", None)
        wanted = AccountFilter(
            user_id=query.user_id,
            name=query.name if query.user_id is None else None,
            with_guests=query.guests,
            is_admin=query.admins,
            is_deactivated=is_deactivated,
            with_locked=query.locked,
            not_types=tuple(all_of("not_user_type", [])) if all_of is not None else (),
            rooms=operator.rooms,
        )
        limit = min(query.limit, LIMIT_MAX)
        await self._sessions.flush_sightings()
        order, backwards = query.order_by, query.direction == "b"
        if wanted.has_term:  # nearly all of them may have it: said is that there are more
            rows, total = await accounts.found(
                self._db, wanted, order=order, backwards=backwards, limit=limit, offset=query.start
            )
        else:
            total = await self._totals.of(wanted, lambda: accounts.count(self._db, wanted))
            rows = await accounts.page(
                self._db, wanted, order=order, backwards=backwards, limit=limit, offset=query.start
            )
        answer: Json = {"users": [_listed(row) for row in rows], "total": total}
        if query.start + limit < total:
            answer["next_token"] = str(query.start + len(rows))
        return answer

    async def _details(self, user_id: UserId) -> Json:
        if domain_of(user_id) != self._users.server_name:
            raise MatrixError("Can only look up local users")
        await self._sessions.flush_sightings()
        row = await accounts.one(self._db, user_id)
        if row is None:
            raise NotFound("User not found")
        held = await contacts.of_user(self._db, user_id)
        external = await accounts.external_ids(self._db, user_id)
        return {
            **_listed(row),
            # In seconds here, in milliseconds in lists: what tools expect.
            "creation_ts": row.created_ts // 1000,
            "suspended": row.is_suspended,
            "threepids": [
                {
                    "medium": one.medium,
                    "address": one.address,
                    "added_at": one.added_ts,
                    "validated_at": one.validated_ts,
                }
                for one in held
            ],
            "external_ids": [{"auth_provider": provider, "external_id": subject} for provider, subject in external],
            "appservice_id": None,
            "consent_server_notice_sent": None,
            "consent_version": None,
            "consent_ts": None,
        }


def _listed(row: AccountRow) -> dict[str, Any]:
    return {
        "name": row.user_id,
        "user_type": row.user_type,
        "is_guest": row.is_guest,
        "admin": row.is_admin,
        "deactivated": row.is_deactivated,
        "shadow_banned": row.is_shadow_banned,
        "displayname": row.displayname,
        "avatar_url": row.avatar_url,
        "creation_ts": row.created_ts,
        "approved": True,
        "erased": row.is_erased,
        "last_seen_ts": row.last_seen_ts,
        "locked": row.is_locked,
    }
