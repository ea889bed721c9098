"""E-mail addresses of accounts. spec: client-server-api/#adding-account-administrative-contact-information"""

from __future__ import annotations

from typing import Any

import msgspec

from homeserver.accounts.contacts import Contacts
from homeserver.accounts.email_validation import (
    CONFIRM_PATH,
    Ask,
    EmailValidation,
    NotSupported,
    Purpose,
    check_secret,
    check_sid,
    credentials_of,
)
from homeserver.accounts.uia import Uia
from homeserver.client_api.address_proofs import AddressProofs
from homeserver.core.identifiers import UserId
from homeserver.web.endpoint import Access, Answer, Caller, Json, Request, endpoint
from homeserver.web.pages import Pages, language_of

_V3, _R0 = "/_matrix/client/v3", "/_matrix/client/r0"
_SPEC = "client-server-api/#post_matrixclientv3account3pid"


class EmailBody(msgspec.Struct, frozen=True):
    client_secret: str
    email: str
    send_attempt: int
    next_link: str | None = None


class PhoneBody(msgspec.Struct, frozen=True):
    client_secret: str
    country: str
    phone_number: str
    send_attempt: int


class AddBody(msgspec.Struct, frozen=True):
    client_secret: str
    sid: str
    auth: dict[str, Any] | None = None


class OldAddBody(msgspec.Struct, frozen=True):
    three_pid_creds: dict[str, Any]
    auth: dict[str, Any] | None = None


class ContactEndpoints:
    """GET and POST /account/3pid, /account/3pid/add."""

    def __init__(self, contacts: Contacts, uia: Uia) -> None:
        self._contacts = contacts
        self._uia = uia

    @endpoint(
        "GET",
        _V3 + "/account/3pid",
        _R0 + "/account/3pid",
        access=Access.USER,
        spec="client-server-api/#get_matrixclientv3account3pid",
    )
    async def all(self, caller: Caller) -> Json:
        return {"threepids": await self._contacts.of_user(caller.user_id)}

    @endpoint("POST", _V3 + "/account/3pid", _R0 + "/account/3pid", access=Access.USER, limit="contacts", spec=_SPEC)
    async def add_in_the_old_way(self, caller: Caller, body: OldAddBody) -> Json:
        sid, secret = credentials_of(body.three_pid_creds)
        await self._add(caller.user_id, sid, secret, body.auth)
        return {}

    @endpoint(
        "POST",
        _V3 + "/account/3pid/add",
        _R0 + "/account/3pid/add",
        access=Access.USER,
        limit="contacts",
        spec=_SPEC + "add",
    )
    async def add(self, caller: Caller, body: AddBody) -> Json:
        check_secret(body.client_secret)
        check_sid(body.sid)
        await self._add(caller.user_id, body.sid, body.client_secret, body.auth)
        return {}

    async def _add(self, user_id: UserId, sid: str, secret: str, auth: dict[str, Any] | None) -> None:
        """With the password: whoever may add an address may set a new password by it."""
        await self._uia.require_owner(f"account/3pid/add {sid}", auth, user_id)
        await self._contacts.add(user_id, sid, secret)


class EmailTokens:
    """Asking for a mail with a link, and the page behind the link."""

    def __init__(self, validation: EmailValidation, proofs: AddressProofs, pages: Pages) -> None:
        self._validation = validation
        self._proofs = proofs
        self._pages = pages

    @endpoint(
        "POST",
        _V3 + "/register/email/requestToken",
        _R0 + "/register/email/requestToken",
        access=Access.NONE,
        spec="client-server-api/#post_matrixclientv3registeremailrequesttoken",
    )
    async def to_register(self, request: Request, body: EmailBody) -> Json:
        return await self._ask("register", request.network, request, body)

    @endpoint(
        "POST",
        _V3 + "/account/password/email/requestToken",
        _R0 + "/account/password/email/requestToken",
        access=Access.NONE,
        spec="client-server-api/#post_matrixclientv3accountpasswordemailrequesttoken",
    )
    async def to_set_a_password(self, request: Request, body: EmailBody) -> Json:
        return await self._ask("password", request.network, request, body)

    @endpoint(
        "POST",
        _V3 + "/account/3pid/email/requestToken",
        _R0 + "/account/3pid/email/requestToken",
        access=Access.USER,
        spec=_SPEC + "emailrequesttoken",
    )
    async def to_add(self, caller: Caller, request: Request, body: EmailBody) -> Json:
        return await self._ask("add", caller.user_id, request, body, caller.user_id)

    @endpoint(
        "POST",
        _V3 + "/register/msisdn/requestToken",
        _R0 + "/register/msisdn/requestToken",
        _V3 + "/account/password/msisdn/requestToken",
        _R0 + "/account/password/msisdn/requestToken",
        access=Access.NONE,
        spec="client-server-api/#post_matrixclientv3registermsisdnrequesttoken",
    )
    async def by_phone(self, body: PhoneBody) -> Json:
        raise NotSupported("this server sends no text messages: use an e-mail address")

    @endpoint(
        "POST",
        _V3 + "/account/3pid/msisdn/requestToken",
        _R0 + "/account/3pid/msisdn/requestToken",
        access=Access.USER,
        spec=_SPEC + "msisdnrequesttoken",
    )
    async def add_by_phone(self, caller: Caller, body: PhoneBody) -> Json:
        raise NotSupported("this server sends no text messages: use an e-mail address")

    @endpoint("GET", CONFIRM_PATH, access=Access.NONE, limit="email_requester", acts=True, spec="")
    async def confirm(self, request: Request) -> Answer:
        """The page that a mail's link opens."""
        sid, token = request.raw_query.get("sid", ""), request.raw_query.get("token", "")
        is_good, next_link = False, None
        if len(sid) <= 255 and len(token) <= 255 and "\x00" not in sid:
            is_good, next_link = await self._validation.confirm(sid, token)
        values = {"is_good": is_good, "next_link": next_link}
        return self._pages.page("confirmed", language_of(request.headers), values, status=200 if is_good else 400)

    async def _ask(
        self, purpose: Purpose, requester: str, request: Request, body: EmailBody, user_id: UserId | None = None
    ) -> Json:
        ask = Ask(
            address=body.email,
            client_secret=body.client_secret,
            send_attempt=body.send_attempt,
            next_link=body.next_link,
            language=language_of(request.headers),
        )
        return {"sid": await self._proofs.ask(purpose, ask, requester, user_id)}
