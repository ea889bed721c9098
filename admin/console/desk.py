"""What all pages of the console share: who visits, what they may see, whether a form is ours, how an answer looks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote

from admin.console.changes import target_words
from admin.console.export import export, limit_of
from admin.console.sessions import LIFETIME_S, ConsoleSessions, Session
from admin.console.texts import may_say, rule_title
from admin.console.trace_words import fault, kept_reason, note_words, told
from homeserver.core.errors import Forbidden, MatrixError
from homeserver.core.identifiers import UserId
from homeserver.core.operators import Permission, may
from homeserver.runtime.logging import bound_request
from homeserver.web.admission import SpaceRooms, admitted
from homeserver.web.endpoint import Answer, Operator, Reach, Request
from homeserver.web.forms import cookie
from homeserver.web.pages import Pages, language_of
from homeserver.web.translations import LANGUAGES
from homeserver.web.visitors import Visitor, Visitors

HOME = "/admin"
LOGIN_PATH = "/admin/login"
CODE_PATH = "/admin/code"
ROWS = 50
OWN_SITE = {"Cross-Origin-Resource-Policy": "same-origin", "Cross-Origin-Opener-Policy": "same-origin"}
_PATH_CHARS_MAX = 1_000
_LANGUAGE_COOKIE = "hansa-admin-language"
Fetch = Callable[[int], Awaitable[Sequence[Mapping[str, Any]]]]
# Columns, and rows with these and more.
Table = tuple[Sequence[str], Sequence[Mapping[str, Any]]]
# Lies under the rules' page, which isn't for those who are bound to rooms.
_BOUND_ONLY = "/admin/spam/decisions"
# By group: path, text, what it takes to see it.
NAVIGATION: Sequence[tuple[str, Sequence[tuple[str, str, Permission]]]] = (
    (
        "group_moderation",
        (
            (HOME, "nav_overview", Permission.READ_SERVER),
            ("/admin/cases", "nav_cases", Permission.READ_REPORTS),
            ("/admin/reports", "nav_reports", Permission.READ_REPORTS),
            ("/admin/spam", "nav_spam", Permission.READ_RULES),
            (_BOUND_ONLY, "tab_decisions", Permission.READ_RULES),
        ),
    ),
    (
        "group_everything",
        (
            ("/admin/users", "nav_users", Permission.READ_USERS),
            ("/admin/rooms", "nav_rooms", Permission.READ_ROOMS),
            ("/admin/media", "nav_media", Permission.READ_MEDIA),
            ("/admin/trace", "nav_trace", Permission.READ_ROOMS),
            ("/admin/search", "nav_search", Permission.READ_SERVER),
        ),
    ),
    (
        "group_server",
        (
            ("/admin/federation", "nav_federation", Permission.READ_FEDERATION),
            ("/admin/tokens", "nav_tokens", Permission.READ_TOKENS),
            ("/admin/notices", "nav_notices", Permission.SEND_NOTICES),
            ("/admin/retention", "nav_retention", Permission.READ_SERVER),
            ("/admin/jobs", "nav_jobs", Permission.READ_JOBS),
            ("/admin/config", "nav_config", Permission.READ_SERVER),
        ),
    ),
    (
        "group_oversight",
        (
            ("/admin/approvals", "nav_approvals", Permission.APPROVE),
            ("/admin/holds", "nav_holds", Permission.READ_HOLDS),
            ("/admin/exports", "nav_exports", Permission.EXPORT),
            ("/admin/audit", "nav_audit", Permission.READ_AUDIT),
            ("/admin/operators", "nav_operators", Permission.READ_AUDIT),
        ),
    ),
)
# The pages among them for those who are bound to rooms.
WITHIN_ROOMS = frozenset(
    {"/admin/cases", "/admin/reports", "/admin/spam/decisions", "/admin/users", "/admin/rooms", "/admin/trace"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """Somebody who asks for a page, or sends a form."""

    visitor: Visitor
    session: Session | None
    language: str
    request: Request
    fields: Mapping[str, str] = field(default_factory=dict)
    # Of those who are bound to rooms, once the page has said which rooms it is about.
    rooms: frozenset[str] | None = None

    @property
    def cookie(self) -> str:
        return self.visitor.cookie

    @property
    def operator(self) -> Operator:
        """Who acts. Raises Forbidden where nobody is logged in, or who is has no role."""
        session = self.session
        if session is None or not session.is_full or session.role is None:
            raise Forbidden("this account doesn't run the server")
        return Operator(
            user_id=session.user_id,
            role=session.role,
            address=self.request.address,
            request_id=bound_request(),
            bounds=session.bounds,
            rooms=self.rooms,
        )

    def may(self, permission: Permission) -> bool:
        """Whether to offer something at all; actions check for themselves."""
        session = self.session
        if session is None or not session.is_full:
            return False
        return may(session.role, permission) and session.bounds.allow(permission)

    @property
    def is_bound(self) -> bool:
        """Whether what is about the whole server isn't for them."""
        return self.session is not None and self.session.bounds.has_rooms

    def asked(self, name: str, chars_max: int = 255) -> str:
        """A parameter of the query, without NUL; empty where there is none."""
        return self.request.raw_query.get(name, "")[:chars_max].replace("\x00", "")

    def number(self, name: str) -> int | None:
        """A whole number of the query, for keyset pages."""
        text = self.asked(name, 19)
        return int(text) if text.isascii() and text.removeprefix("-").isdigit() and abs(int(text)) < 2**63 else None


@dataclass(frozen=True, slots=True)
class Asked:
    """What a page wants of whoever asks for it, and the parameters of its path."""

    needs: Permission | None
    reach: Reach | None
    path: Mapping[str, str]
    is_form: bool


class Desk:
    """Receives visitors and answers them with pages."""

    def __init__(self, sessions: ConsoleSessions, pages: Pages, base_url: str, spaces: SpaceRooms) -> None:
        self.sessions = sessions
        self.spaces = spaces
        self._pages = pages
        self._visitors = Visitors(base_url, "hansa-admin", path=HOME, same_site="Strict", lives_s=_lives_s)

    async def receive(self, request: Request, asked: Asked, serve: Callable[[Visit], Awaitable[Answer]]) -> Answer:
        """Lets in who may, and shows errors as pages. Without `needs` the page is for people who aren't logged in."""
        visit = await self._look(request)
        try:
            if asked.needs is not None:
                away = self._turned_away(visit)
                if away is not None:
                    return away
                visit.operator.check(asked.needs)
                operator = await admitted(visit.operator, asked.reach, asked.path, self.spaces)
                visit = replace(visit, rooms=operator.rooms)
            if asked.is_form:
                visit = replace(visit, fields=await self._visitors.fields(visit.request, visit.visitor))
            return await serve(visit)
        except MatrixError as error:
            back = _own_path(visit.fields.get("back", ""))
            values = {"message": fault(error.message, visit.language), "back": back or HOME}
            return self.page(visit, "error", values, status=error.http_status)

    def page(self, visit: Visit, name: str, values: Mapping[str, Any] | None = None, *, status: int = 200) -> Answer:
        """A page in the visitor's language, with the navigation that they may use."""
        session = visit.session
        path = visit.request.path.partition("?")[0]
        done = visit.asked("done", 40)
        shown = {
            "form_code": visit.visitor.form_code,
            "user_id": session.user_id if session else None,
            "role": session.role if session else None,
            "navigation": _navigation(visit),
            "path": path,
            "may": visit.may,
            "is_bound": visit.is_bound,
            "Permission": Permission,
            "may_say": may_say,
            "rule_title": rule_title,
            "told": told,
            "fault": fault,
            "kept_reason": kept_reason,
            "note_words": note_words,
            "target_words": target_words,
            "done": f"done_{done}" if may_say(f"done_{done}") else "",
            **(values or {}),
        }
        headers = {**OWN_SITE, **self._visitors.headers(visit.visitor)}
        return self._pages.page(name, visit.language, shown, status=status, headers=headers)

    async def listing(
        self,
        visit: Visit,
        name: str,
        columns: Sequence[str],
        fetch: Fetch,
        values: Mapping[str, Any] | None = None,
        *,
        template: str = "",
        more: str = "",
    ) -> Answer:
        """A page of a list, or with `format` in the query its columns as a file called `name`.

        `fetch` gets how many rows are wanted. The template gets `rows`; where there are more of them `last`, the last
        one shown, and as `more` its key of that name, from which the next page goes on.
        """
        format = visit.asked("format")
        limit = limit_of(format, ROWS + 1)
        rows = await fetch(limit)
        if limit > ROWS + 1:
            return export(name, columns, rows, format)
        last = rows[ROWS - 1] if len(rows) > ROWS else None
        shown = {"rows": rows[:ROWS], "last": last, "more": last[more] if last is not None and more else None}
        return self.page(visit, template or name, {**shown, **(values or {})})

    def tables(self, visit: Visit, name: str, values: Mapping[str, Any], tables: Mapping[str, Table]) -> Answer:
        """A page with tables on it, or with `table` and `format` in the query one of them as a file called so."""
        table, format = visit.asked("table"), visit.asked("format")
        if table in tables and format in ("csv", "json"):
            columns, rows = tables[table]
            return export(table, columns, rows, format)
        return self.page(visit, name, values)

    def go(self, where: str, *, cookie: str | None = None, ends: bool = False, language: str = "") -> Answer:
        """Sends the browser on; with another cookie where somebody logs in, without one where they log out."""
        headers = dict(OWN_SITE)
        if cookie is None and not ends and language in LANGUAGES:
            headers["Set-Cookie"] = self._visitors.set_other(_LANGUAGE_COOKIE, language)
        return self._visitors.go(where, cookie="" if ends and cookie is None else cookie, headers=headers)

    async def _look(self, request: Request) -> Visit:
        visitor = self._visitors.look(request, self.sessions.visitor)
        chosen = cookie(request, _LANGUAGE_COOKIE)
        return Visit(
            visitor=visitor,
            session=None if visitor.is_new else await self.sessions.find(visitor.cookie),
            language=chosen if chosen in LANGUAGES else language_of(request.headers),
            request=request,
        )

    def _turned_away(self, visit: Visit) -> Answer | None:
        if visit.session is None:
            here = _own_path(visit.request.path)
            return self.go(f"{LOGIN_PATH}?next={quote(here, safe='')}" if here and here != HOME else LOGIN_PATH)
        if not visit.session.is_full:
            return self.go(CODE_PATH)
        is_home = visit.request.path.partition("?")[0] == HOME
        first = next((pages[0][0] for _, pages in _navigation(visit)), None)
        # The overview is about the whole server: who is bound begins with the first page that is theirs.
        return self.go(first) if is_home and first not in (None, HOME) and visit.session.role is not None else None


def _lives_s(cookie: str) -> int | None:
    # What a visitor gets before logging in ends with the browser.
    return LIFETIME_S if cookie.startswith("c") else None


def _navigation(visit: Visit) -> list[tuple[str, list[tuple[str, str]]]]:
    """The groups of pages that this visitor may see."""
    groups = [
        (
            group,
            [
                (where, key)
                for where, key, needs in pages
                if visit.may(needs) and (where in WITHIN_ROOMS if visit.is_bound else where != _BOUND_ONLY)
            ],
        )
        for group, pages in NAVIGATION
    ]
    return [(group, pages) for group, pages in groups if pages]


def own_path(wanted: str | None) -> str:
    """Where to go on: a page of the console and nowhere else."""
    return _own_path(wanted or "") or HOME


def user_path(user_id: UserId | str) -> str:
    return f"/admin/users/{quote(user_id, safe='')}"


def room_path(room_id: str) -> str:
    return f"/admin/rooms/{quote(room_id, safe='')}"


def rule_path(rule_id: str) -> str:
    return f"/admin/spam/rules/{quote(rule_id, safe='')}"


def server_path(server_name: str) -> str:
    return f"/admin/federation/{quote(server_name, safe='')}"


def policy_path(room_id: str) -> str:
    return f"/admin/spam/policy/{quote(room_id, safe='')}"


def _own_path(wanted: str) -> str:
    is_ours = wanted == HOME or wanted.startswith((HOME + "/", HOME + "?"))
    is_plain = wanted.isascii() and wanted.isprintable() and "\\" not in wanted
    return wanted if is_ours and is_plain and len(wanted) <= _PATH_CHARS_MAX else ""
