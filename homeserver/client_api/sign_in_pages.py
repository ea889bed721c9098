"""Pages on which people sign in, register and sign out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote

import orjson

from homeserver.accounts.captcha import SOLVED
from homeserver.accounts.login import Login
from homeserver.accounts.oauth.browser import BrowserSessions
from homeserver.accounts.passkeys import Passkeys
from homeserver.accounts.registration import Registration, Wish
from homeserver.client_api.address_proofs import AddressProof, AddressProofs, proof_in
from homeserver.client_api.visits import LOGIN_PATH, REGISTER_PATH, Visit, Visits, safe_next
from homeserver.core.errors import MatrixError
from homeserver.core.identifiers import UserId
from homeserver.rooms.policy import CaptchaNeeded
from homeserver.web.endpoint import Access, Answer, Request, endpoint
from homeserver.web.rate_limits import RateLimiter

_HOME = "/_hansa/account"
NAME_CHARS_MAX = 255


@dataclass(frozen=True, slots=True)
class SignInForms:
    """What the pages are made with. `providers` are the services at which people sign in.

    Without `takes_passwords` those and passkeys are the only ways.
    """

    visits: Visits
    browser: BrowserSessions
    passkeys: Passkeys
    proofs: AddressProofs
    providers: Sequence[Mapping[str, str]]
    takes_passwords: bool


class SignInPages:
    """/_hansa/login, /_hansa/register, /_hansa/logout."""

    def __init__(
        self,
        forms: SignInForms,
        login: Login,
        registration: Registration,
        limiter: RateLimiter,
    ) -> None:
        self._visits = forms.visits
        self._browser = forms.browser
        self._passkeys = forms.passkeys
        self._proofs = forms.proofs
        self._providers = forms.providers
        self._takes_passwords = forms.takes_passwords
        self._login = login
        self._registration = registration
        self._limiter = limiter

    @endpoint("GET", LOGIN_PATH, access=Access.NONE, limit="page", spec="")
    async def login_page(self, request: Request) -> Answer:
        visit = await self._visits.look(request)
        # Whom the app expects: `mxid:@alice:example.org`, or an e-mail address. spec: MSC4198
        hinted = request.raw_query.get("login_hint", "").removeprefix("mxid:")[:NAME_CHARS_MAX]
        return await self._login_page(visit, safe_next(request.raw_query.get("next"), _HOME), hinted)

    @endpoint("POST", LOGIN_PATH, access=Access.NONE, limit="page", raw_body=True, spec="")
    async def login(self, request: Request) -> Answer:
        visit, fields = await self._visits.form(request)
        onward = safe_next(fields.get("next"), _HOME)
        name, password = fields.get("username", ""), fields.get("password", "")
        if "response" in fields:
            return await self._by_passkey(visit, fields["response"], onward)
        if not self._takes_passwords:
            return await self._login_page(visit, onward)
        kind = {"type": "m.id.thirdparty", "medium": "email", "address": name}
        if "@" not in name[1:]:
            kind = {"type": "m.id.user", "user": name}
        try:
            user_id = await self._login.prove(kind, password, address=request.network)
        except MatrixError as error:
            return await self._login_page(visit, onward, name, error)
        if await self._passkeys.is_required(user_id):
            return await self._second_step(visit, user_id, onward)
        return await self._signed_in(visit, user_id, onward)

    @endpoint("GET", REGISTER_PATH, access=Access.NONE, limit="page", spec="")
    async def register_page(self, request: Request) -> Answer:
        visit = await self._visits.look(request)
        return self._register_page(visit, safe_next(request.raw_query.get("next"), _HOME))

    @endpoint("POST", REGISTER_PATH, access=Access.NONE, limit="page", raw_body=True, spec="")
    async def register(self, request: Request) -> Answer:
        visit, fields = await self._visits.form(request)
        onward, name = safe_next(fields.get("next"), _HOME), fields.get("username", "")
        proof = proof_in(fields)
        if self._registration.wants_email and proof is None:
            return await self._send_mail(visit, onward, fields.get("email", ""), request)
        try:
            self._limiter.check("registration", request.network)
            wish = Wish(username=name, password=fields.get("password", ""), inhibit_login=True, network=request.network)
            user_id = await self._registration.register_on_page(
                wish,
                token=fields.get("token") or None,
                accepts_terms="terms" in fields,
                work=fields.get("response"),
                solved=fields.get(SOLVED),
                proof=proof.credentials if proof is not None else None,
            )
        except MatrixError as error:
            is_asked = isinstance(error, CaptchaNeeded) or bool(fields.get("response"))
            return self._register_page(visit, onward, name, error, is_asked=is_asked, proof=proof)
        return await self._signed_in(visit, user_id, onward)

    async def _send_mail(self, visit: Visit, onward: str, address: str, request: Request) -> Answer:
        """The first step where an address must be confirmed. The second is the form that the account is made with."""
        if not self._registration.is_possible_on_page:
            return self._register_page(visit, onward)
        try:
            proof = await self._proofs.begin("register", address, request)
        except MatrixError as error:
            return self._register_page(visit, onward, error=error)
        return self._register_page(visit, onward, proof=proof)

    @endpoint("POST", "/_hansa/logout", access=Access.NONE, raw_body=True, spec="")
    async def logout(self, request: Request) -> Answer:
        visit, _ = await self._visits.form(request)
        await self._browser.close(visit.cookie)
        return self._visits.go(LOGIN_PATH, ends=True)

    async def _by_passkey(self, visit: Visit, response: str, onward: str) -> Answer:
        try:
            user_id = await self._passkeys.prove(visit.cookie, response)
            await self._login.check_usable(user_id)
        except MatrixError as error:
            return await self._login_page(visit, onward, "", error, told="passkey_failed")
        return await self._signed_in(visit, user_id, onward)

    async def _second_step(self, visit: Visit, user_id: UserId, onward: str) -> Answer:
        values = {
            "next": onward,
            "next_quoted": quote(onward, safe=""),
            "passkey_options": await self._passkeys.options_to_sign_in(visit.cookie, user_id),
        }
        return self._visits.page(visit, "second_step", values, script="passkeys.js")

    async def _signed_in(self, visit: Visit, user_id: UserId, onward: str) -> Answer:
        if visit.user_id is not None:
            await self._browser.close(visit.cookie)
        return self._visits.go(onward, cookie=await self._browser.open(user_id))

    async def _login_page(
        self,
        visit: Visit,
        onward: str,
        name: str = "",
        error: MatrixError | None = None,
        *,
        told: str = "wrong_password",
    ) -> Answer:
        are_possible = self._passkeys.are_possible
        values = {
            "next": onward,
            "next_quoted": quote(onward, safe=""),
            "username": name,
            "error": told if error else "",
            "passkey_options": await self._passkeys.options_to_sign_in(visit.cookie) if are_possible else "",
            "providers": [
                {"name": one["name"], "href": f"/_hansa/sso/with/{one['id']}?next={quote(onward, safe='')}"}
                for one in self._providers
            ],
            "may_register": self._registration.is_possible_on_page,
            "takes_passwords": self._takes_passwords,
            "sends_mail": self._proofs.are_possible and self._takes_passwords,
        }
        status = error.http_status if error else 200
        return self._visits.page(
            visit, "sign_in", values, status=status, script="passkeys.js" if are_possible else None
        )

    def _register_page(
        self,
        visit: Visit,
        onward: str,
        name: str = "",
        error: MatrixError | None = None,
        *,
        is_asked: bool = False,
        proof: AddressProof | None = None,
    ) -> Answer:
        if self._registration.wants_email and self._registration.is_possible_on_page and proof is None:
            asked = {"next": onward, "next_quoted": quote(onward, safe=""), "error": error.message if error else ""}
            return self._visits.page(visit, "register_email", asked, status=error.http_status if error else 200)
        captcha = self._registration.tools.captcha
        is_unproved = error is not None and error.code == "M_THREEPID_AUTH_FAILED"
        work = self._registration.work_on_page(is_asked=is_asked)
        is_led_on = work is not None and isinstance(error, CaptchaNeeded)
        values = {
            "next": onward,
            "next_quoted": quote(onward, safe=""),
            "username": name,
            "error": error.message if error and not is_led_on and not is_unproved else "",
            "is_unproved": is_unproved,
            "proof": proof,
            "is_led_on": is_led_on,
            "may_register": self._registration.is_possible_on_page,
            "wants_token": self._registration.wants_token,
            "terms_url": self._registration.terms_url,
            "site_key": captcha.site_key if captcha is not None else "",
            "work": orjson.dumps(work).decode() if work is not None else "",
        }
        script = "proof_of_work.js" if work is not None and self._registration.is_possible_on_page else None
        status = error.http_status if error else 200
        widget = captcha.widget if captcha is not None else None
        return self._visits.page(visit, "register", values, status=status, script=script, widget=widget)
