"""How an endpoint is described. The description is data: routing, auth, limits, coverage and tests read one list."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Protocol, TypeVar, runtime_checkable

from homeserver.core.errors import Forbidden, NotFound
from homeserver.core.identifiers import DeviceId, UserId
from homeserver.core.operators import UNBOUND, Bounds, Permission, Role, may, may_act_on

Json = dict[str, Any]


class Access(Enum):
    """Who may call. Default-deny: an endpoint without one can't be declared."""

    NONE = "none"
    OPTIONAL = "optional"  # a token is checked where one is sent
    USER = "user"  # users with an account; guests get M_GUEST_ACCESS_FORBIDDEN
    GUEST = "guest"  # users and guests
    ADMIN = "admin"  # server administrators; with `needs`, every operator who holds that permission
    SERVICE = "service"  # the authentication service beside this server, by the secret that both know
    SERVER = "server"  # other servers, by their signature; the handler's `origin` names the one that asks


class Reach(Enum):
    """Which rooms something that operators ask for is about: what the role of a moderator is held against."""

    SERVER = "server"  # the whole server, or accounts: not for those who are bound to rooms
    ROOM = "room"  # the room that the path names
    WITHIN = "within"  # tells of, and acts on, what lies within `operator.rooms`; the handler sees to it
    NONE = "none"  # no room at all: one's own tokens, which version this is


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Whoever a valid access token stands for, and where the request came from."""

    user_id: UserId
    device_id: DeviceId | None = None
    is_guest: bool = False
    is_admin: bool = False
    # Identifies the access token (never the token itself): sessions are ended by it.
    token_id: int = 0
    appservice_id: str | None = None
    # May still log out, but not read or write. spec: client-server-api/#account-suspension
    is_suspended: bool = False
    # May do nothing but log out. spec: client-server-api/#account-locking
    is_locked: bool = False
    # Given to accounts that aren't administrators. `role` is what counts.
    operator_role: Role | None = None
    # Of an operator's token for a program: it opens the admin API alone, and there no more than these.
    scopes: frozenset[Permission] | None = None
    bounds: Bounds = UNBOUND

    @property
    def role(self) -> Role | None:
        """What the caller is among those who run the server: an administrator's account is an owner."""
        return Role.OWNER if self.is_admin else self.operator_role

    def holds(self, permission: Permission) -> bool:
        """Whether the caller's role gives this permission, and the token doesn't keep it back."""
        has_scope = self.scopes is None or permission in self.scopes
        return may(self.role, permission) and self.bounds.allow(permission) and has_scope


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """A caller who runs this server, with what the audit log must know of the request."""

    user_id: UserId
    role: Role
    address: str | None = None
    request_id: str | None = None
    scopes: frozenset[Permission] | None = None
    bounds: Bounds = UNBOUND
    # Of those who are bound to rooms: these, with the rooms of spaces among them. None: all that there are.
    rooms: frozenset[str] | None = None

    def check(self, permission: Permission) -> None:
        """Raises Forbidden unless the operator holds the permission."""
        if not may(self.role, permission):
            raise Forbidden(f"your role ({self.role}) doesn't hold the permission {permission}")
        if not self.bounds.allow(permission):
            raise Forbidden(f"your role is bound to other actions than {permission}")
        if self.scopes is not None and permission not in self.scopes:
            raise Forbidden(f"this token wasn't given the permission {permission}")

    def holds(self, permission: Permission) -> bool:
        """What `check` is about, as an answer."""
        has_scope = self.scopes is None or permission in self.scopes
        return may(self.role, permission) and self.bounds.allow(permission) and has_scope

    def has_room(self, room_id: str | None) -> bool:
        """Whether this lies within the operator's rooms. What is in no room does only for those who have all."""
        return self.rooms is None or room_id in self.rooms

    def check_room(self, room_id: str | None) -> None:
        """Raises Forbidden for a room that isn't the operator's."""
        if not self.has_room(room_id):
            raise Forbidden("your role is bound to other rooms")

    def find_in_room(self, room_id: str | None, otherwise: str) -> None:
        """Raises NotFound, saying `otherwise`, for what lies outside: it isn't told that it is there."""
        if not self.has_room(room_id):
            raise NotFound(otherwise)

    def check_may_act_on(self, role: Role | None) -> None:
        """Raises Forbidden for an account whose role isn't below the operator's; an owner acts on everybody."""
        if not may_act_on(self.role, role):
            raise Forbidden(f"your role ({self.role}) may not act on an account of the role {role}")


def check_own(caller: Caller, user_id: UserId, otherwise: str) -> None:
    """Raises Forbidden, saying `otherwise`, unless the path's user is the caller."""
    if caller.user_id != user_id:
        raise Forbidden(otherwise)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One operation of an API. `path` is as the spec writes it, in snake_case braces: `/rooms/{room_id}/ban`."""

    method: str
    paths: tuple[str, ...]
    access: Access
    spec: str
    limit: str | None = None
    body_bytes_max: int | None = None  # None: the server's usual limit for JSON bodies
    # At most the server's usual limit; None: the endpoint bounds its own time (long polls, transfers).
    timeout_s: float | None = math.inf
    # Whether it waits for news: it ends when its caller has gone, whatever it does then.
    waits: bool = False
    while_suspended: bool = True
    while_locked: bool = False
    # A GET that does something: no HEAD is taken for it, as programs send it that look where links lead.
    acts: bool = False
    raw_body: bool = False  # the handler reads `request.stream()` itself
    # Refused while the disk is nearly full; None: unless it only reads, or is for administrators.
    needs_disk: bool | None = None
    # With Access.ADMIN: what the caller must hold. None: everything, as an administrator's account does.
    needs: Permission | None = None
    # Of what operators ask for: which rooms it is about. What doesn't say so is about the whole server.
    reach: Reach | None = None
    # Whether the answer may be compressed: None where it is a GET. Never one that holds a token.
    compressed: bool | None = None
    name: str = field(default="", compare=False)

    @property
    def may_be_compressed(self) -> bool:
        return self.method == "GET" if self.compressed is None else self.compressed

    @property
    def keeps_something(self) -> bool:
        if self.needs_disk is not None:
            return self.needs_disk
        return self.method not in ("GET", "HEAD") and self.access is not Access.ADMIN


Handler = Callable[..., Awaitable[Any]]
HandlerT = TypeVar("HandlerT", bound=Handler)


def endpoint(
    method: str,
    *paths: str,
    access: Access,
    spec: str,
    limit: str | None = None,
    body_bytes_max: int | None = None,
    timeout_s: float | None = math.inf,
    waits: bool = False,
    while_suspended: bool = True,
    while_locked: bool = False,
    acts: bool = False,
    raw_body: bool = False,
    needs_disk: bool | None = None,
    needs: Permission | None = None,
    reach: Reach | None = None,
    compressed: bool | None = None,
) -> Callable[[HandlerT], HandlerT]:
    """Declares a method as the endpoint of these paths.

    The method's parameters say what it wants, by name or annotated type: `caller: Caller`, `request: Request`,
    `operator: Operator` (with Access.ADMIN), `origin: ServerName` (with Access.SERVER), `body: SomeStruct` (or `Json`:
    any JSON object), `query: SomeStruct`, and each `{name}` of the path (annotate as `RoomId`, `UserId`, `EventId`,
    `str`…; it is parsed as such, else the spec's M_INVALID_PARAM).
    It returns a JSON object, a msgspec struct, or an `Answer`. `limit` names the rate limit's action.
    """
    declared = Endpoint(
        method,
        paths,
        access,
        spec,
        limit=limit,
        body_bytes_max=body_bytes_max,
        timeout_s=timeout_s,
        waits=waits,
        while_suspended=while_suspended,
        while_locked=while_locked,
        acts=acts,
        raw_body=raw_body,
        needs_disk=needs_disk,
        needs=needs,
        reach=reach,
        compressed=compressed,
    )

    def declare(handler: HandlerT) -> HandlerT:
        known = list(getattr(handler, "__endpoints__", ()))
        handler.__endpoints__ = [declared, *known]  # type: ignore[attr-defined]
        return handler

    return declare


def endpoints_of(part: object) -> Iterable[tuple[Endpoint, Handler]]:
    """The endpoints that an object's methods declare, with the bound methods."""
    for name in dir(type(part)):
        function = getattr(type(part), name, None)
        for declared in getattr(function, "__endpoints__", ()):
            yield declared, getattr(part, name)


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that is more than a 200 with a JSON object."""

    body: bytes | AsyncIterator[bytes] = b"{}"
    status: int = 200
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


@runtime_checkable
class Request(Protocol):
    """What a handler may ask of the request beyond its parsed parts."""

    @property
    def address(self) -> str:
        """The client's IP address; behind a trusted proxy, the one that proxy names."""
        ...

    @property
    def network(self) -> str:
        """What the address counts as where something is limited: itself, for IPv6 its /64."""
        ...

    @property
    def headers(self) -> Mapping[str, str]: ...

    @property
    def raw_query(self) -> Mapping[str, str]: ...

    @property
    def query_string(self) -> str:
        """The query as it was sent, percent-encoded."""
        ...

    @property
    def path(self) -> str:
        """The path as it was sent, percent-encoded."""
        ...

    def access_token(self) -> str | None:
        """The token that was sent, unchecked."""
        ...

    def stream(self) -> AsyncIterator[bytes]:
        """The body in pieces, for endpoints with `raw_body`. Raises TooLarge past the endpoint's limit."""
        ...
