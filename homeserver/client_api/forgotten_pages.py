"""Pages for whoever forgot the password: a link in a mail proves whose account it is.

No page tells whether an address belongs to an account. The mail's link alone changes nothing: the password is set on
the page that asked for the mail.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from homeserver.accounts.oauth.browser import BrowserSessions
from homeserver.accounts.password_change import PasswordChange
from homeserver.client_api.address_proofs import AddressProof, AddressProofs, proof_in
from homeserver.client_api.visits import Visit, Visits, safe_next
from homeserver.core.errors import LimitExceeded, MatrixError
from homeserver.web.endpoint import Access, Answer, Request, endpoint

FORGOTTEN_PATH = "/_hansa/forgotten"
_HOME = "/_hansa/account"


class ForgottenPages:
    """/_hansa/forgotten, /_hansa/forgotten/password."""

    def __init__(self, visits: Visits, proofs: AddressProofs, change: PasswordChange, browser: BrowserSessions) -> None:
        self._visits = visits
        self._proofs = proofs
        self._change = change
        self._browser = browser

    @endpoint("GET", FORGOTTEN_PATH, access=Access.NONE, limit="page", spec="")
    async def ask_page(self, request: Request) -> Answer:
        visit = await self._visits.look(request)
        return self._ask(visit, safe_next(request.raw_query.get("next"), _HOME))

    @endpoint("POST", FORGOTTEN_PATH, access=Access.NONE, limit="page", raw_body=True, spec="")
    async def send_mail(self, request: Request) -> Answer:
        visit, fields = await self._visits.form(request)
        onward, address = safe_next(fields.get("next"), _HOME), fields.get("email", "")
        if not self._proofs.are_possible:
            return self._ask(visit, onward)
        try:
            proof = await self._proofs.begin("password", address, request)
        except MatrixError as error:
            told = "too_often" if isinstance(error, LimitExceeded) else "address_not_taken"
            return self._ask(visit, onward, {"email": address, "error": told}, status=error.http_status)
        return self._set(visit, onward, proof)

    @endpoint("POST", FORGOTTEN_PATH + "/password", access=Access.NONE, limit="page", raw_body=True, spec="")
    async def set_password(self, request: Request) -> Answer:
        visit, fields = await self._visits.form(request)
        onward, proof = safe_next(fields.get("next"), _HOME), proof_in(fields)
        if proof is None or not self._proofs.are_possible:
            return self._ask(visit, onward)
        ends_all = "everywhere" in fields
        try:
            user_id = await self._change.by_page(fields.get("password", ""), proof.credentials, logout_devices=ends_all)
        except MatrixError as error:
            told = "not_confirmed_yet" if error.code == "M_THREEPID_AUTH_FAILED" else ""
            return self._set(
                visit, onward, proof, told, "" if told else error.message, ends_all=ends_all, status=error.http_status
            )
        if ends_all:
            await self._browser.close_all(user_id)
        values = {"onward": f"/_hansa/login?next={quote(onward, safe='')}"}
        return self._visits.page(visit, "forgotten_done", values)

    def _ask(self, visit: Visit, onward: str, values: Mapping[str, Any] | None = None, *, status: int = 200) -> Answer:
        shown = {"next": onward, "next_quoted": quote(onward, safe=""), "email": ""}
        return self._visits.page(
            visit, "forgotten", {**shown, "sends_mail": self._proofs.are_possible, **(values or {})}, status=status
        )

    def _set(
        self,
        visit: Visit,
        onward: str,
        proof: AddressProof,
        told: str = "",
        message: str = "",
        *,
        ends_all: bool = True,
        status: int = 200,
    ) -> Answer:
        values = {
            "next": onward,
            "sid": proof.sid,
            "secret": proof.secret,
            "error": told,
            "message": message,
            "ends_all": ends_all,
        }
        return self._visits.page(visit, "forgotten_password", values, status=status)
