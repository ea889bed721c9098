"""Credentials for the relay of calls. spec: client-server-api/#voice-over-ip

The relay (coturn with `use-auth-secret`) and this server share a secret; the password is a code over the user name,
which holds the time at which it ends. So the relay needs no list of users.
"""

from __future__ import annotations

import base64
import hashlib
import hmac

from homeserver.config.schema import Turn
from homeserver.core.errors import Forbidden
from homeserver.runtime.clock import Clock
from homeserver.web.endpoint import Access, Caller, Json, endpoint


class TurnServer:
    """GET /voip/turnServer."""

    def __init__(self, config: Turn, clock: Clock) -> None:
        self._config = config
        self._clock = clock

    @endpoint(
        "GET",
        "/_matrix/client/v3/voip/turnServer",
        "/_matrix/client/r0/voip/turnServer",
        access=Access.GUEST,
        limit="turn",
        spec="client-server-api/#get_matrixclientv3voipturnserver",
    )
    async def turn_server(self, caller: Caller) -> Json:
        """An empty object where there is no relay, as clients expect it."""
        if caller.is_guest and not self._config.guests:
            raise Forbidden("guests may not call", errcode="M_GUEST_ACCESS_FORBIDDEN")
        if not self._config.uris or self._config.shared_secret is None:
            return {}
        ends_s = self._clock.now_ms() // 1000 + self._config.user_lifetime_s
        username = f"{ends_s}:{caller.user_id}"
        code = hmac.new(self._config.shared_secret.reveal().encode(), username.encode(), hashlib.sha1).digest()
        return {
            "username": username,
            "password": base64.b64encode(code).decode(),
            "uris": list(self._config.uris),
            "ttl": self._config.user_lifetime_s,
        }
