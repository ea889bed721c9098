"""State resolution of every room version, as functions of values. spec: rooms/v12/#state-resolution

`split` the states, name the `auth_difference` (and the `conflicted_subgraph`), load what `wanted_unconflicted_keys`
asks for, `resolve`. `resolve_states` does all of it where everything is in memory.
"""

from homeserver.core.errors import MissingEvents
from homeserver.core.state_resolution.chain_cover import ChainCover, Link, Place, Range, Reach
from homeserver.core.state_resolution.resolution import resolve, resolve_states
from homeserver.core.state_resolution.sets import (
    AuthOf,
    StateIds,
    auth_difference,
    conflicted_subgraph,
    split,
    wanted_unconflicted_keys,
)
from homeserver.core.state_resolution.v2 import may_take_away

__all__ = [
    "AuthOf",
    "ChainCover",
    "Link",
    "MissingEvents",
    "Place",
    "Range",
    "Reach",
    "StateIds",
    "auth_difference",
    "conflicted_subgraph",
    "may_take_away",
    "resolve",
    "resolve_states",
    "split",
    "wanted_unconflicted_keys",
]
