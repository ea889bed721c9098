"""Who runs this server and what each of them may do: roles, permissions, and which role holds which.

Invariant: a permission that no role is given here is nobody's but the owner's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Permission(StrEnum):
    """One kind of thing that an operator may do or look at."""

    READ_USERS = "read_users"
    CHANGE_USERS = "change_users"  # make and modify accounts: names, devices, limits; addresses too, of new ones
    MODERATE_USERS = "moderate_users"  # suspend, lock, shadow-ban, redact what somebody sent
    END_USERS = "end_users"  # deactivate and erase accounts
    IMPERSONATE = "impersonate"  # log in as somebody, set their password, address or identity
    READ_ROOMS = "read_rooms"
    READ_CONTENT = "read_content"  # what people wrote to each other
    CHANGE_ROOMS = "change_rooms"  # make somebody a room's administrator, join users
    MODERATE_ROOMS = "moderate_rooms"  # block
    DELETE_ROOMS = "delete_rooms"  # delete, purge history
    READ_MEDIA = "read_media"
    MODERATE_MEDIA = "moderate_media"  # quarantine, protect
    DELETE_MEDIA = "delete_media"
    READ_REPORTS = "read_reports"
    HANDLE_REPORTS = "handle_reports"
    READ_FEDERATION = "read_federation"
    CHANGE_FEDERATION = "change_federation"
    SEND_NOTICES = "send_notices"
    READ_TOKENS = "read_tokens"  # registration tokens
    CHANGE_TOKENS = "change_tokens"
    READ_JOBS = "read_jobs"
    CHANGE_JOBS = "change_jobs"
    READ_RULES = "read_rules"  # spam rules and policy lists
    CHANGE_RULES = "change_rules"
    READ_SERVER = "read_server"  # version, statistics, configuration in force
    CHANGE_SERVER = "change_server"
    READ_AUDIT = "read_audit"
    SEARCH_CONTENT = "search_content"  # compliance search over everything
    READ_HOLDS = "read_holds"
    CHANGE_HOLDS = "change_holds"  # keep rooms and users from being erased, and release them
    EXPORT = "export"  # take out what a room or a user said, and all that is kept of a user
    CHANGE_OPERATORS = "change_operators"
    APPROVE = "approve"  # be the second of two whom an act needs
    OWN_TOKENS = "own_tokens"  # tokens for one's own programs, never with more than one holds oneself


class Role(StrEnum):
    """What an operator is. The order of rank is that of `RANKS`."""

    OWNER = "owner"
    ADMIN = "admin"
    MODERATOR = "moderator"
    AUDITOR = "auditor"


RANKS: Mapping[Role, int] = {Role.OWNER: 3, Role.ADMIN: 2, Role.MODERATOR: 1, Role.AUDITOR: 0}

_EVERYTHING = frozenset(Permission)
_READS = frozenset(
    {
        Permission.READ_USERS,
        Permission.READ_ROOMS,
        Permission.READ_MEDIA,
        Permission.READ_REPORTS,
        Permission.READ_FEDERATION,
        Permission.READ_JOBS,
        Permission.READ_RULES,
        Permission.READ_SERVER,
        Permission.READ_AUDIT,
        Permission.READ_HOLDS,
    }
)

PERMISSIONS: Mapping[Role, frozenset[Permission]] = {
    Role.OWNER: _EVERYTHING,
    Role.ADMIN: _EVERYTHING - {Permission.CHANGE_OPERATORS, Permission.SEARCH_CONTENT},
    Role.MODERATOR: (_READS - {Permission.READ_AUDIT, Permission.READ_HOLDS})
    | {
        Permission.MODERATE_USERS,
        Permission.READ_CONTENT,
        Permission.MODERATE_ROOMS,
        Permission.MODERATE_MEDIA,
        Permission.HANDLE_REPORTS,
        Permission.CHANGE_RULES,
        Permission.OWN_TOKENS,
    },
    Role.AUDITOR: _READS | {Permission.OWN_TOKENS},
}


# What a moderator's role can be bound to some of.
BINDABLE = PERMISSIONS[Role.MODERATOR]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What an operator's role, and their token, are bound to; None: to nothing in that respect.

    `rooms` are ids of rooms, and of spaces whose rooms count; `token_rooms` narrow them further.
    """

    rooms: frozenset[str] | None = None
    actions: frozenset[Permission] | None = None
    token_rooms: frozenset[str] | None = None

    @property
    def has_rooms(self) -> bool:
        """Whether not everything that is about the whole server is open."""
        return self.rooms is not None or self.token_rooms is not None

    def allow(self, permission: Permission) -> bool:
        """Whether the list of actions, if there is one, has this."""
        return self.actions is None or permission in self.actions


UNBOUND = Bounds()


def may(role: Role | None, permission: Permission) -> bool:
    """Whether somebody of this role holds the permission. Whoever has no role holds none."""
    return role is not None and permission in PERMISSIONS[role]


def may_act_on(role: Role, target: Role | None) -> bool:
    """Whether this role may act on an account of that one: on lower ranks and users; an owner on everybody."""
    return target is None or role is Role.OWNER or RANKS[role] > RANKS[target]
