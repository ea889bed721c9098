"""Each page of the console, asked for by everybody, with everything on it named nastily."""

from __future__ import annotations

import csv
import io
import json
import re
from html.parser import HTMLParser

import pytest

from admin.console.desk import NAVIGATION
from homeserver.core.operators import Permission, Role, may
from tests.admin.console.furnished import furnish, pages_of
from tests.admin.console.visitor import Visitor
from tests.admin.people import Crew
from tests.kit.server import RunningServer

pytestmark = pytest.mark.slow
NASTY = """"><img src=x onerror=alert(1)><script>alert(2)</script>'+alert(3)+'{{7*7}}javascript:alert(4)\u202e"""
# What it takes to see pages that the navigation doesn't name; others are told by the page that they lie under.
_NEEDS = {
    "/admin/events/{event_id}": Permission.READ_CONTENT,
    "/admin/media/{media_id}/picture": Permission.READ_CONTENT,
    "/admin/rooms/{room_id}/timeline": Permission.READ_CONTENT,
    "/admin/spam/new": Permission.CHANGE_RULES,
    "/admin/spam/rules/{rule_id}/edit": Permission.CHANGE_RULES,
}


class _Suspicion(HTMLParser):
    """Finds what our own templates never write."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name.startswith("on") or name == "style" or (value or "").lstrip().lower().startswith("javascript:"):
                self.found.append(f"{tag} {name}={value}")
        source = dict(attrs).get("src") or ""
        if tag == "img" and not source.startswith("/admin/media/"):
            self.found.append(f"img {source}")
        if tag in ("iframe", "object") or (tag == "script" and not source):
            self.found.append(tag)


def suspicious(page: str) -> list[str]:
    parser = _Suspicion()
    parser.feed(page)
    return parser.found


def needs_of(path: str) -> Permission:
    """The longest path of the navigation that this one lies under says it."""
    known = {where: needs for _, pages in NAVIGATION for where, _, needs in pages}
    return _NEEDS.get(path) or known[max((where for where in known if path.startswith(where)), key=len)]


async def test_each_page_by_each_role(server: RunningServer, crew: Crew) -> None:
    """T-J1, T-J2: who may sees it, who may not is told so and nothing else, a stranger is sent to the log-in."""
    names = {
        Role.OWNER: "owner",
        Role.ADMIN: "the-admin",
        Role.MODERATOR: "the-moderator",
        Role.AUDITOR: "the-auditor",
    }
    visitors = {role: await Visitor(server).log_in(name) for role, name in names.items()}
    pages = pages_of(server, await furnish(server, crew, "Plain text", visitors[Role.OWNER]))
    assert len(pages) > 25
    stranger = Visitor(server)
    for _, path in pages:
        sent = await stranger.get(path)
        assert (sent.status, sent.headers["Location"].partition("?")[0]) == (303, "/admin/login"), path
    for role, visitor in visitors.items():
        for declared, path in pages:
            expected = 200 if may(role, needs_of(declared.paths[0])) else 403
            assert (await visitor.get(path)).status == expected, (role, path)


# Pages with tables that are no lists: of files that are each to be kept, of settings before and after.
_NO_LISTS = {"/admin/exports/{export_id}": 1, "/admin/retention/{preview_id}": 1}


def exports(page: str, path: str) -> list[str]:
    """The addresses, or else the buttons, that give what this page lists as a CSV file."""
    here = path.partition("?")[0]
    return [one for one in re.findall(r'href="([^"]*format=csv[^"]*)"', page) if one.startswith(here)]


async def test_each_table_can_be_kept_as_a_file(server: RunningServer, crew: Crew) -> None:
    """Each with a link of its own, which gives as many rows as the page shows."""
    visitor = await Visitor(server).log_in("owner")
    ids = await furnish(server, crew, "Plain text", visitor)
    sql = "INSERT INTO server_keys (server_name, key_id, verify_key, valid_until_ms, is_old) VALUES ($1, $2, $3, 1, $4)"
    await server.db.execute(sql, ids["server_name"], "ed25519:one", bytes(32), False)
    await server.db.execute("INSERT INTO search_dead_letters VALUES ('search', '$a', 'too long', 1)")
    tables, kept = 0, set[tuple[str, str]]()
    joined = (
        "SELECT room_nid, '@erik:elsewhere.test', 'join', event_nid FROM memberships WHERE membership = 'join' LIMIT 1"
    )
    await server.db.execute("INSERT INTO memberships (room_nid, user_id, membership, event_nid) " + joined)
    for declared, path in [*pages_of(server, ids), (None, "/admin/trace?at=2020-01-01T00:00:00")]:
        if "text/html" not in (await visitor.get(path)).headers["Content-Type"]:
            continue
        visitor_page = visitor.page
        listed = [found[1] for found in re.finditer(r"<table(.*?)</table>", visitor_page, re.DOTALL)]
        where = declared.paths[0] if declared is not None else path
        files = exports(visitor.text(), path)
        assert len(files) >= len(listed) - _NO_LISTS.get(where, 0), where
        tables += len(listed)
        for link in files:
            for format in ("csv", "json"):
                file = await visitor.get(link.replace("format=csv", f"format={format}"))
                assert file.status == 200 and "attachment" in file.headers["Content-Disposition"], link
                if "table=" in link and format == "json":
                    plain = re.findall(r"<ul(.*?)</ul>", visitor_page, re.DOTALL)
                    shown = {one.count("<tr") - 1 for one in listed} | {one.count("<li") for one in plain}
                    assert len(json.loads(file.body)) in shown, link
                    kept.add((where, re.findall(r"table=(\w+)", link)[0]))
    assert tables > 25
    # Lists that aren't tables, too.
    assert {("/admin/rooms/{room_id}", "servers"), ("/admin/federation/{server_name}", "rooms")} <= kept


async def test_nothing_that_somebody_named_is_markup(server: RunningServer, crew: Crew) -> None:
    """T-M1, T-M15, T-J13: on no page, and in no file that a spreadsheet opens."""
    visitor = await Visitor(server).log_in("owner")
    for declared, path in pages_of(server, await furnish(server, crew, NASTY, visitor)):
        page = await visitor.get(path)
        assert page.status == 200, path
        if "text/html" not in page.headers["Content-Type"]:
            continue
        assert not suspicious(visitor.page), path
        assert "default-src 'none'" in page.headers["Content-Security-Policy"], path
        for where in exports(visitor.text(), path):
            file = await visitor.get(where)
            assert file.headers["Content-Type"].startswith("text/csv"), declared.paths[0]
            for row in csv.reader(io.StringIO(file.body.decode())):
                assert not any(cell.startswith(("=", "+", "-", "@")) for cell in row), path
