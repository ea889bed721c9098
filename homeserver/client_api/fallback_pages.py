"""Pages for what a client can't do itself: a stage of interactive authentication, and the whole log-in.

spec: client-server-api/#fallback, client-server-api/#login-fallback
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import orjson

from homeserver.accounts.captcha import SOLVED, Captcha
from homeserver.accounts.email_validation import purpose_of
from homeserver.accounts.uia import CAPTCHA, DUMMY, EMAIL, PASSWORD, TERMS, TOKEN, WORK, OpenStage, Uia
from homeserver.client_api.address_proofs import AddressProof, AddressProofs, proof_in
from homeserver.core.errors import LimitExceeded, MatrixError, NotFound
from homeserver.web.endpoint import Access, Answer, Request, endpoint
from homeserver.web.forms import read_form
from homeserver.web.pages import Pages, language_of
from homeserver.web.rate_limits import RateLimiter

_PATHS = ("/_matrix/client/v3/auth/{stage}/fallback/web", "/_matrix/client/r0/auth/{stage}/fallback/web")
# What a stage's page is called, and which field of its form is meant for the stage.
_STAGES: Mapping[str, tuple[str, str]] = {
    TERMS: ("stage_terms", ""),
    TOKEN: ("stage_token", "token"),
    PASSWORD: ("stage_password", "password"),
    DUMMY: ("stage_dummy", ""),
    WORK: ("stage_work", "response"),
    CAPTCHA: ("stage_captcha", SOLVED),
    EMAIL: ("stage_email", ""),
}
_FORM_BYTES_MAX = 16 * 1024


class StageQuery(msgspec.Struct, frozen=True):
    session: str = ""


class FallbackPages:
    """HTML in the reader's language."""

    def __init__(
        self, uia: Uia, pages: Pages, limiter: RateLimiter, proofs: AddressProofs, captcha: Captcha | None
    ) -> None:
        self._uia = uia
        self._pages = pages
        self._limiter = limiter
        self._proofs = proofs
        self._captcha = captcha

    @endpoint("GET", *_PATHS, access=Access.NONE, spec="client-server-api/#fallback")
    async def show_stage(self, request: Request, stage: str, query: StageQuery) -> Answer:
        language = language_of(request.headers)
        try:
            opened = self._open(query.session, stage)
        except MatrixError:
            return self._lost(language)
        return self._done(language) if opened.is_done else self._form(language, stage, query.session, opened)

    @endpoint(
        "POST",
        *_PATHS,
        access=Access.NONE,
        spec="client-server-api/#fallback",
        raw_body=True,
        body_bytes_max=_FORM_BYTES_MAX,
    )
    async def pass_stage(self, request: Request, stage: str) -> Answer:
        language = language_of(request.headers)
        form = await read_form(request)
        session = form.get("session", "")
        try:
            opened = self._open(session, stage)
        except NotFound:
            return self._lost(language)
        proof = proof_in(form)
        try:
            if stage == TOKEN:
                self._limiter.check("registration_token_check", request.network)
            if stage == EMAIL and proof is None:
                purpose = purpose_of(self._uia.asked_of(session, stage)[0])
                proof = await self._proofs.begin(purpose, form.get("email", ""), request)
                return self._form(language, stage, session, opened, proof=proof)
            await self._uia.pass_stage(session, stage, _given(stage, form, proof))
        except LimitExceeded:
            return self._form(language, stage, session, opened, problem="too_often", status=429, proof=proof)
        except NotFound:
            return self._lost(language)
        except MatrixError:
            told = "not_confirmed_yet" if proof is not None else "stage_wrong"
            return self._form(language, stage, session, opened, problem=told, status=403, proof=proof)
        return self._done(language)

    @endpoint("GET", "/_matrix/static/client/login/", access=Access.NONE, spec="client-server-api/#login-fallback")
    async def login(self, request: Request) -> Answer:
        return self._pages.page("login", language_of(request.headers), script="login.js")

    def _open(self, session: str, stage: str) -> OpenStage:
        if stage not in _STAGES:
            raise NotFound("this stage has no page")
        return self._uia.open_stage(session, stage)

    def _form(
        self,
        language: str,
        stage: str,
        session: str,
        opened: OpenStage,
        *,
        problem: str = "",
        status: int = 200,
        proof: AddressProof | None = None,
    ) -> Answer:
        captcha = self._captcha if stage == CAPTCHA else None
        values: dict[str, Any] = {
            "stage": "stage_email_sent" if stage == EMAIL and proof is not None else _STAGES[stage][0],
            "proof": proof,
            "site_key": captcha.site_key if captcha is not None else "",
            "session": session,
            "problem": problem,
            "policies": _policies(opened.params, language),
            "work": orjson.dumps(opened.params).decode() if stage == WORK else "",
        }
        script = "proof_of_work.js" if stage == WORK else None
        widget = captcha.widget if captcha is not None else None
        return self._pages.page("stage", language, values, status=status, script=script, widget=widget)

    def _done(self, language: str) -> Answer:
        values = {"title": "stage_done_title", "text": "stage_done_text"}
        return self._pages.page("stage_done", language, values, script="stage_done.js")

    def _lost(self, language: str) -> Answer:
        values = {"title": "stage_lost_title", "text": "stage_lost_text"}
        return self._pages.page("stage_done", language, values, status=404)


def _given(stage: str, form: Mapping[str, str], proof: AddressProof | None) -> dict[str, Any]:
    """What the form says, as a client would say it."""
    if stage == EMAIL and proof is not None:
        return {"threepid_creds": proof.credentials}
    field = _STAGES[stage][1]
    return {"response" if field == SOLVED else field: form.get(field, "")} if field else {}


def _policies(params: Mapping[str, Any], language: str) -> list[Mapping[str, str]]:
    """Name and link of each document to accept, in the reader's language where there is one."""
    policies = params.get("policies")
    found: list[Mapping[str, str]] = []
    for policy in policies.values() if isinstance(policies, dict) else ():
        text = policy.get(language) or policy.get("en")
        if isinstance(text, dict):
            found.append({"name": str(text.get("name", "")), "url": str(text.get("url", ""))})
    return found
