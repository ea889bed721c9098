"""OAuth 2.0 as clients speak it. spec: client-server-api/#oauth-20-api"""

from __future__ import annotations

import orjson

from homeserver.accounts.oauth.client_metadata import GRANTS
from homeserver.accounts.oauth.clients import OAuthClients
from homeserver.accounts.oauth.errors import OAuthError
from homeserver.accounts.oauth.grants import Grants
from homeserver.accounts.oauth.tokens import OAuthTokens
from homeserver.core.errors import MatrixError
from homeserver.web.endpoint import Access, Answer, Json, Request, endpoint
from homeserver.web.forms import read_form

PATH = "/_hansa/oauth"
ACCOUNT_PATH, LINK_PATH = "/_hansa/account", "/_hansa/link"
ACTIONS = (
    "org.matrix.profile",
    "org.matrix.devices_list",
    "org.matrix.device_view",
    "org.matrix.device_delete",
    "org.matrix.account_deactivate",
    "org.matrix.cross_signing_reset",
)


def issuer_of(base_url: str) -> str:
    """What this server is called as an authorisation server."""
    return f"{base_url}/"


class OAuthEndpoints:
    """Metadata, registration of clients, tokens, revocation, waiting devices."""

    def __init__(
        self, clients: OAuthClients, grants: Grants, tokens: OAuthTokens, base_url: str, *, is_registration_open: bool
    ) -> None:
        self._clients = clients
        self._grants = grants
        self._tokens = tokens
        self._base_url = base_url
        self._is_registration_open = is_registration_open

    @endpoint(
        "GET",
        "/_matrix/client/v1/auth_metadata",
        "/.well-known/openid-configuration",
        access=Access.NONE,
        spec="client-server-api/#get_matrixclientv1auth_metadata",
    )
    async def metadata(self) -> Json:
        base = self._base_url
        return {
            "issuer": issuer_of(base),
            "authorization_response_iss_parameter_supported": True,
            "authorization_endpoint": f"{base}{PATH}/authorize",
            "token_endpoint": f"{base}{PATH}/token",
            "revocation_endpoint": f"{base}{PATH}/revoke",
            "registration_endpoint": f"{base}{PATH}/register",
            "device_authorization_endpoint": f"{base}{PATH}/device",
            "response_types_supported": ["code"],
            "response_modes_supported": ["query", "fragment"],
            "grant_types_supported": list(GRANTS),
            "code_challenge_methods_supported": ["S256"],
            "token_endpoint_auth_methods_supported": ["none"],
            "prompt_values_supported": ["create"] if self._is_registration_open else [],
            "account_management_uri": f"{base}{ACCOUNT_PATH}",
            "account_management_actions_supported": list(ACTIONS),
        }

    @endpoint("GET", "/_matrix/client/unstable/org.matrix.msc2965/auth_issuer", access=Access.NONE, spec="")
    async def issuer(self) -> Json:
        return {"issuer": issuer_of(self._base_url)}

    @endpoint("POST", PATH + "/register", access=Access.NONE, limit="oauth_client", spec="")
    async def register(self, body: Json) -> Answer:
        return _answer(await self._clients.register(body), 201)

    @endpoint("POST", PATH + "/token", access=Access.NONE, limit="oauth_token", raw_body=True, spec="")
    async def token(self, request: Request) -> Answer:
        return _answer(await self._tokens.answer(await _form(request)))

    @endpoint("POST", PATH + "/revoke", access=Access.NONE, limit="oauth_token", raw_body=True, spec="")
    async def revoke(self, request: Request) -> Answer:
        form = await _form(request)
        if "token" not in form or form.get("token_type_hint", "access_token") not in ("access_token", "refresh_token"):
            raise OAuthError("invalid_request", "token is missing, or token_type_hint is none")
        await self._tokens.revoke(form["token"])
        return _answer({})

    @endpoint("POST", PATH + "/device", access=Access.NONE, limit="oauth_token", raw_body=True, spec="")
    async def device(self, request: Request) -> Answer:
        form = await _form(request)
        begun = await self._grants.begin_device(form.get("client_id", ""), form.get("scope", ""))
        uri = f"{self._base_url}{LINK_PATH}"
        complete = f"{uri}?user_code={begun['user_code']}"
        return _answer({**begun, "verification_uri": uri, "verification_uri_complete": complete})


async def _form(request: Request) -> dict[str, str]:
    try:
        return await read_form(request)
    except MatrixError as error:
        raise OAuthError("invalid_request", error.message, status=error.http_status) from None


def _answer(value: Json, status: int = 200) -> Answer:
    return Answer(orjson.dumps(value), status, headers={"Cache-Control": "no-store", "Pragma": "no-cache"})
