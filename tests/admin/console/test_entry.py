"""Coming into the console: both factors, cookies, forms, roles, and how long it lasts."""

from __future__ import annotations

import pyotp
import pytest

from homeserver.core.operators import PERMISSIONS, Role
from homeserver.web.endpoint import Access
from tests.admin.console.visitor import PASSWORD, Visitor
from tests.admin.people import OPERATORS, Crew, owner_of
from tests.kit.clock import FakeClock
from tests.kit.server import SHARED_SECRET, RunningServer, running_server

PAGES = {
    "/admin": "read_server",
    "/admin/overview.json": "read_server",
    "/admin/users": "read_users",
    "/admin/rooms": "read_rooms",
    "/admin/reports": "read_reports",
    "/admin/media": "read_media",
    "/admin/federation": "read_federation",
    "/admin/audit": "read_audit",
    "/admin/jobs": "read_jobs",
    "/admin/tokens": "read_tokens",
    "/admin/notices": "send_notices",
    "/admin/config": "read_server",
}


async def test_both_factors_let_an_operator_in(server: RunningServer, crew: Crew) -> None:
    """T-M1, T-M14: no script but ours, no frame, no other site's scripts, nothing kept by caches."""
    visitor = await Visitor(server).log_in("owner")
    page = await visitor.get("/admin")
    assert page.status == 200 and "Overview" in visitor.page
    assert page.headers["Cache-Control"] == "no-store"
    assert "Access-Control-Allow-Origin" not in page.headers
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy


async def test_the_cookie_is_for_this_site_and_no_script(server: RunningServer, crew: Crew) -> None:
    """T-M16: sessions can't be read by scripts nor used by other sites, and are new at each step."""
    visitor = Visitor(server)
    seen = [(await visitor.get("/admin/login")).headers["Set-Cookie"]]
    seen.append((await visitor.post("/admin/login", {"name": "owner", "password": PASSWORD})).headers["Set-Cookie"])
    await visitor.get("/admin/code")
    secret = visitor.page.partition('id="secret">')[2].partition("<")[0]
    seen.append((await visitor.post("/admin/code", {"code": pyotp.TOTP(secret).now()})).headers["Set-Cookie"])
    assert all("HttpOnly" in one and "SameSite=Strict" in one and "Path=/admin" in one for one in seen)
    assert len({one.partition(";")[0] for one in seen}) == 3


async def test_a_password_alone_shows_nothing(server: RunningServer, crew: Crew) -> None:
    visitor = Visitor(server)
    await visitor.get("/admin/login")
    await visitor.post("/admin/login", {"name": "owner", "password": PASSWORD})
    for path in PAGES:
        turned = await visitor.get(path)
        assert (turned.status, turned.headers["Location"]) == (303, "/admin/code"), path
    await visitor.get("/admin/code")
    assert (await visitor.post("/admin/code", {"code": "000000"})).status == 403
    assert (await visitor.get("/admin")).status == 303


async def test_nobody_sees_anything_without_logging_in(server: RunningServer) -> None:
    """Every page that the console has, found from the list of endpoints."""
    visitor = Visitor(server)
    paths = {path for one in server.hansa.endpoints for path in one.paths if path.startswith("/admin")}
    assert paths >= set(PAGES)
    public = {"/admin/login", "/admin/code", "/admin/logout", "/admin/language", "/admin/static/{name}"}
    for declared in server.hansa.endpoints:
        path = declared.paths[0]
        if path.startswith("/admin") and path not in public:
            assert declared.access is Access.NONE
            path = path.replace("{", "").replace("}", "")
            answer = await (visitor.get(path) if declared.method == "GET" else visitor.post(path, {}))
            assert answer.status == 303 and answer.headers["Location"].startswith("/admin/login"), path


async def test_each_role_sees_what_it_may(server: RunningServer, crew: Crew) -> None:
    """T-J2: an auditor and a moderator get only the pages that their role holds."""
    room_id = await crew.user.create_room(name="Quiet")
    for name, role in (("the-admin", Role.ADMIN), ("the-moderator", Role.MODERATOR), ("the-auditor", Role.AUDITOR)):
        visitor = await Visitor(server).log_in(name)
        for path, needs in PAGES.items():
            expected = 200 if needs in PERMISSIONS[role] else 403
            assert (await visitor.get(path)).status == expected, (name, path)
        if role is Role.AUDITOR:
            assert (await visitor.get(f"/admin/rooms/{room_id}/timeline")).status == 403


async def test_a_plain_user_is_told_and_stays_out(server: RunningServer, crew: Crew) -> None:
    visitor = Visitor(server)
    await visitor.get("/admin/login")
    await visitor.post("/admin/login", {"name": "user", "password": PASSWORD})
    assert (await visitor.get("/admin/code")).status == 403
    assert "run the server" in visitor.text() and "secret" not in visitor.page
    await visitor.post("/admin/code", {"code": "123456"})
    assert (await visitor.get("/admin/users")).status == 303


async def test_wrong_passwords_and_codes_look_alike_and_are_few(database_dsn: str) -> None:
    """T-N6, T-I16: neither factor can be guessed at leisure."""
    toml = "[rate_limits]\nenabled = true\n"
    async with running_server(database_dsn, toml=toml) as server:
        await owner_of(server)
        visitor = Visitor(server)
        await visitor.get("/admin/login")
        wrong = await visitor.post("/admin/login", {"name": "owner", "password": "x"})
        unknown = await visitor.post("/admin/login", {"name": "nobody", "password": "x"})
        assert (wrong.status, unknown.status) == (403, 403)
        await visitor.post("/admin/login", {"name": "owner", "password": PASSWORD})
        await visitor.get("/admin/code")
        tries = [(await visitor.post("/admin/code", {"code": f"{number:06}"})).status for number in range(7)]
        assert tries[-1] == 429 and set(tries) == {403, 429}


async def test_a_code_counts_once(server: RunningServer, crew: Crew) -> None:
    """Whoever looks over a shoulder comes too late."""
    visitor = await Visitor(server).log_in("owner")
    other = Visitor(server)
    await other.get("/admin/login")
    await other.post("/admin/login", {"name": "owner", "password": PASSWORD})
    await other.get("/admin/code")
    assert "secret" not in other.page
    used = await other.post("/admin/code", {"code": pyotp.TOTP(visitor.secret).now()})
    assert used.status == 403


async def test_a_form_of_another_site_does_nothing(server: RunningServer, crew: Crew) -> None:
    """T-M16: neither without the page's code nor from another origin."""
    visitor = await Visitor(server).log_in("owner")
    await visitor.get("/admin")
    assert (await visitor.post("/admin/logout", {}, code="0" * 64)).status == 403
    assert (await visitor.get("/admin")).status == 200
    assert (await visitor.post("/admin/logout", {})).status == 303
    assert (await visitor.get("/admin")).status == 303


@pytest.mark.parametrize("target", ["https://evil.example/", "//evil.example", "/admin/../x\\", "/other"])
async def test_logging_in_leads_nowhere_else(server: RunningServer, crew: Crew, target: str) -> None:
    visitor = Visitor(server)
    await visitor.get("/admin/login")
    sent = await visitor.post("/admin/login", {"name": "owner", "password": PASSWORD, "next": target})
    assert sent.headers["Location"] == "/admin/code?next=/admin"


async def test_who_loses_the_role_or_the_password_is_out(server: RunningServer, crew: Crew) -> None:
    visitor = await Visitor(server).log_in("the-moderator")
    assert (await visitor.get("/admin/users")).status == 200
    (await crew.owner.delete(OPERATORS, crew.moderator.user_id)).ok()
    assert (await visitor.get("/admin/users")).status == 403
    admin = await Visitor(server).log_in("the-admin")
    auth = {"type": "m.login.password", "identifier": {"type": "m.id.user", "user": "the-admin"}, "password": PASSWORD}
    body = {"new_password": "another horse battery", "auth": auth}
    await crew.admin.post("/account/password", body=body)
    assert (await admin.get("/admin/users")).status == 303


async def test_a_session_falls_asleep_and_ends(database_dsn: str) -> None:
    """Half an hour without a page, or twelve hours in all."""
    clock = FakeClock()
    async with running_server(database_dsn, clock=clock) as server:
        await owner_of(server)
        visitor = Visitor(server)
        await visitor.get("/admin/login")
        await visitor.post("/admin/login", {"name": "owner", "password": PASSWORD})
        await visitor.get("/admin/code")
        secret = visitor.page.partition('id="secret">')[2].partition("<")[0]
        await visitor.post("/admin/code", {"code": pyotp.TOTP(secret).at(clock.now_ms() // 1000)})
        for _ in range(26):
            clock.advance(27 * 60)
            assert (await visitor.get("/admin/config")).status == 200
        clock.advance(27 * 60)
        assert (await visitor.get("/admin/config")).status == 303


async def test_secrets_are_hidden_in_the_configuration(server: RunningServer, crew: Crew) -> None:
    """T-J6: nobody reads them there, an owner neither."""
    visitor = await Visitor(server).log_in("owner")
    await visitor.get("/admin/config")
    assert "registration.shared_secret" in visitor.page and SHARED_SECRET not in visitor.text()
