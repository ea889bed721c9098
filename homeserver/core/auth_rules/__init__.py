"""The authorisation rules of every room version, as functions of values. spec: rooms/v12/#authorisation-rules

`auth_keys` says which state an event needs, the caller loads it, `check_auth` decides.
"""

from homeserver.core.auth_rules.checks import check_auth, is_allowed, owner_of
from homeserver.core.auth_rules.membership import required_signers
from homeserver.core.auth_rules.power import (
    CREATE,
    CREATOR_LEVEL,
    POWER_LEVELS,
    SCALAR_LEVELS,
    PowerLevels,
    creator_of,
    creators,
    parse_level,
)
from homeserver.core.auth_rules.rules import RULE_NUMBERS, Rule
from homeserver.core.auth_rules.selection import (
    JOIN_RULES,
    auth_keys,
    auth_keys_of,
    check_auth_events,
    keys_for_check,
    third_party_token,
)

__all__ = [
    "CREATE",
    "CREATOR_LEVEL",
    "JOIN_RULES",
    "POWER_LEVELS",
    "RULE_NUMBERS",
    "SCALAR_LEVELS",
    "PowerLevels",
    "Rule",
    "auth_keys",
    "auth_keys_of",
    "check_auth",
    "check_auth_events",
    "creator_of",
    "creators",
    "is_allowed",
    "keys_for_check",
    "owner_of",
    "parse_level",
    "required_signers",
    "third_party_token",
]
