"""Where sign-in services say that somebody has signed out there. spec: OpenID Connect Back-Channel Logout 1.0"""

from __future__ import annotations

from homeserver.accounts.oauth.errors import OAuthError
from homeserver.accounts.openid_logout import OpenIdLogout
from homeserver.core.errors import MatrixError
from homeserver.web.endpoint import Access, Answer, Request, endpoint
from homeserver.web.forms import read_form

# The second is Synapse's, which services may have been told of.
OPENID_PATH, _SYNAPSES = "/_hansa/sso/backchannel_logout", "/_synapse/client/oidc/backchannel_logout"
_NOT_KEPT = {"Cache-Control": "no-store"}


class OpenIdSignOut:
    """The address for logout tokens."""

    def __init__(self, logout: OpenIdLogout) -> None:
        self._logout = logout

    @endpoint("POST", OPENID_PATH, _SYNAPSES, access=Access.NONE, limit="sign_out", raw_body=True, spec="")
    async def logout(self, request: Request) -> Answer:
        try:
            form = await read_form(request)
        except MatrixError as error:
            raise OAuthError("invalid_request", error.message, status=error.http_status) from None
        await self._logout.end(form.get("logout_token", ""))
        return Answer(b"", 200, headers=_NOT_KEPT)
