"""What clients ask of a server whose people sign in at a Matrix Authentication Service (MAS)."""

from __future__ import annotations

from homeserver.accounts.delegated import AuthenticationService
from homeserver.web.endpoint import Access, Answer, Json, endpoint

_V3, _R0 = "/_matrix/client/v3", "/_matrix/client/r0"
# What our own sign-in would answer. (method, path as its endpoint declares it first)
HIDDEN = frozenset(
    {
        *(
            (method, _V3 + path)
            for method, path in (
                ("GET", "/login"),
                ("POST", "/login"),
                ("POST", "/refresh"),
                ("POST", "/logout"),
                ("POST", "/logout/all"),
                ("GET", "/register/available"),
                ("POST", "/register/email/requestToken"),
                ("POST", "/register/msisdn/requestToken"),
                ("POST", "/account/password"),
                ("POST", "/account/password/email/requestToken"),
                ("POST", "/account/password/msisdn/requestToken"),
                ("POST", "/account/deactivate"),
                ("POST", "/account/3pid"),
                ("POST", "/account/3pid/add"),
                ("POST", "/account/3pid/delete"),
                ("POST", "/account/3pid/email/requestToken"),
                ("POST", "/account/3pid/msisdn/requestToken"),
                ("POST", "/delete_devices"),
            )
        ),
        ("GET", "/_matrix/client/v1/register/m.login.registration_token/validity"),
        ("POST", "/_matrix/client/v1/login/get_token"),
        ("GET", "/_matrix/static/client/login/"),
        *(
            (method, f"/_synapse/admin/v1/registration_tokens{path}")
            for method, path in (
                ("GET", ""),
                ("POST", "/new"),
                ("GET", "/{token}"),
                ("PUT", "/{token}"),
                ("DELETE", "/{token}"),
            )
        ),
        ("GET", "/_synapse/admin/v1/users/{user_id}/admin"),
        ("PUT", "/_synapse/admin/v1/users/{user_id}/admin"),
        ("GET", "/_synapse/admin/v1/register"),
        ("POST", "/_synapse/admin/v1/register"),
        ("POST", "/_synapse/admin/v1/users/{user_id}/login"),
        ("POST", "/_synapse/admin/v1/reset_password/{user_id}"),
    }
)


class DelegatedSignIn:
    """Where people sign in."""

    def __init__(self, service: AuthenticationService) -> None:
        self._service = service

    @endpoint(
        "GET",
        "/_matrix/client/v1/auth_metadata",
        access=Access.NONE,
        spec="client-server-api/#get_matrixclientv1auth_metadata",
    )
    async def metadata(self) -> Json:
        return await self._service.metadata()

    @endpoint("GET", "/_matrix/client/unstable/org.matrix.msc2965/auth_issuer", access=Access.NONE, spec="")
    async def issuer(self) -> Json:
        return {"issuer": (await self._service.metadata())["issuer"]}

    @endpoint(
        "GET",
        *(
            f"{version}/auth/{stage}/fallback/web"
            for version in (_V3, _R0)
            for stage in ("m.oauth", "org.matrix.cross_signing_reset")
        ),
        access=Access.NONE,
        spec="client-server-api/#fallback",
    )
    async def reset_page(self) -> Answer:
        """For clients that show every stage's page."""
        headers = {"Location": await self._service.reset_url(), "Cache-Control": "no-store"}
        return Answer(b"", 302, "text/plain", headers)
