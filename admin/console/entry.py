"""Logging in and out of the console: password, then a code; at the first time an authenticator app is set up."""

from __future__ import annotations

import pyotp

from admin.console.desk import CODE_PATH, HOME, LOGIN_PATH, Desk, Visit, own_path
from admin.console.page import page
from admin.console.trace_words import fault
from homeserver.core.errors import MatrixError
from homeserver.web.endpoint import Answer


class EntryPages:
    """/admin/login, /admin/code, /admin/logout, /admin/language."""

    def __init__(self, desk: Desk, server_name: str) -> None:
        self.desk = desk
        self._server_name = server_name

    @page("GET", LOGIN_PATH, needs=None)
    async def login_page(self, visit: Visit) -> Answer:
        if visit.session is not None and visit.session.is_full:
            return self.desk.go(HOME)
        return self.desk.page(visit, "login", {"next": own_path(visit.asked("next", 1_000)), "name": "", "error": ""})

    @page("POST", LOGIN_PATH, needs=None)
    async def login(self, visit: Visit) -> Answer:
        name, onward = visit.fields.get("name", ""), own_path(visit.fields.get("next"))
        try:
            cookie = await self.desk.sessions.begin(name, visit.fields.get("password", ""), visit.request.address)
        except MatrixError as error:
            values = {"next": onward, "name": name, "error": "login_wrong" if error.http_status < 429 else "too_often"}
            return self.desk.page(visit, "login", values, status=error.http_status)
        return self.desk.go(f"{CODE_PATH}?next={onward}", cookie=cookie)

    @page("GET", CODE_PATH, needs=None)
    async def code_page(self, visit: Visit) -> Answer:
        return await self._code_page(visit, own_path(visit.asked("next", 1_000)))

    @page("POST", CODE_PATH, needs=None)
    async def code(self, visit: Visit) -> Answer:
        onward, session = own_path(visit.fields.get("next")), visit.session
        if session is None:
            return self.desk.go(LOGIN_PATH)
        if session.is_full:
            return self.desk.go(HOME)
        try:
            typed = visit.fields.get("code", "")
            cookie = await self.desk.sessions.finish(visit.cookie, session, typed, visit.request.address)
        except MatrixError as error:
            return await self._code_page(visit, onward, error)
        return self.desk.go(onward, cookie=cookie)

    @page("POST", "/admin/logout", needs=None)
    async def logout(self, visit: Visit) -> Answer:
        await self.desk.sessions.end(visit.cookie)
        return self.desk.go(LOGIN_PATH, ends=True)

    @page("POST", "/admin/language", needs=None)
    async def language(self, visit: Visit) -> Answer:
        return self.desk.go(own_path(visit.fields.get("back")), language=visit.fields.get("language", ""))

    async def _code_page(self, visit: Visit, onward: str, error: MatrixError | None = None) -> Answer:
        session = visit.session
        if session is None:
            return self.desk.go(LOGIN_PATH)
        if session.is_full:
            return self.desk.go(HOME)
        if session.role is None:
            return self.desk.page(visit, "no_role", status=403)
        secret = await self.desk.sessions.secret_to_enrol(session.user_id)
        uri = pyotp.TOTP(secret).provisioning_uri(name=session.user_id, issuer_name=self._server_name) if secret else ""
        values = {
            "next": onward,
            "secret": secret,
            "uri": uri,
            "error": fault(error.message, visit.language) if error else "",
        }
        return self.desk.page(visit, "code", values, status=error.http_status if error else 200)
