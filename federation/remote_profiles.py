"""Profiles of other servers' users, as those tell them. spec: server-server-api/#get_matrixfederationv1queryprofile"""

from __future__ import annotations

from typing import Any

from federation.client import FederationError, Unreachable
from federation.peers import Peers
from homeserver.core.errors import NotFound
from homeserver.core.identifiers import UserId, domain_of

FIELDS_MAX = 100


class FederatedProfiles:
    """Implements `ports.RemoteProfiles`."""

    def __init__(self, peers: Peers) -> None:
        self._peers = peers

    async def profile(self, user_id: UserId) -> dict[str, Any]:
        try:
            answer = await self._peers.profile(domain_of(user_id), user_id)
        except FederationError as fault:
            if fault.status == 404:
                raise NotFound("there is no such user") from None
            raise fault.as_matrix_error() from None
        except Unreachable as fault:
            raise fault.as_matrix_error() from None
        fields = list(answer.items())[:FIELDS_MAX]
        # Names and pictures that aren't text would break clients.
        return {key: value for key, value in fields if key not in ("displayname", "avatar_url") or _is_text(value)}


def _is_text(value: object) -> bool:
    return isinstance(value, str)
