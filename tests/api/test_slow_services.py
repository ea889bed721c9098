"""Services that are slow, or say too much: the directory, sign-in services, the mail server. Each call is bounded in
time, in size and in number, and holds up nobody else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlencode

import pytest

from homeserver.accounts.sso import AT_ONCE, SsoFailed
from homeserver.core.errors import Unavailable
from homeserver.runtime.clock import SystemClock
from homeserver.runtime.gate import Gate, OneForAll
from homeserver.runtime.ids import SystemRandomness
from homeserver.web import ldap
from homeserver.web.smtp import Mail, MailQueue, SmtpServer
from tests.kit.oauth import Browser
from tests.kit.openid_provider import OpenIdService, openid_service, settings_of
from tests.kit.server import Answered, RunningServer, running_server
from tests.kit.trickle import Trickle, trickling
from tests.kit.until import until

PATIENCE_S = 60.0
# How a message of LDAP begins that has two thousand million bytes.
_ENDLESS = b"\x30\x84\x7f\xff\xff\xff"
_NO_LDAP = (
    b"HTTP/1.1 400 Bad Request\r\n\r\n",
    b"\x30\x00",
    b"\x30\x05\x02\x01\x01\x61\x00",
    b"\x30\x0c\x02\x01\x01\x61\x07\x0a\x01\x00\x04\x00\x04\x00"[:-4],
    b"\x30\x0c\x02\x01\x7f\x61\x07\x0a\x01\x00\x04\x00\x04\x00",
    b"\x30\x80\x02\x01\x01\x00\x00",
    b"\xff" * 1_000,
    b"\x30\x03\x02\x01\x01" * 100,
)
_REDIRECT = "/_matrix/client/v3/login/sso/redirect?" + urlencode({"redirectUrl": "https://app.example.org/"})


def directory(service: Trickle, timeout_s: int, *, searches: bool = False) -> str:
    account = 'bind_dn = "cn=us"\nbind_password = "x"\n' if searches else ""
    url = f"ldap://127.0.0.1:{service.port}"
    return f'[database]\npool_size_max = 3\n[ldap]\nurl = "{url}"\ntimeout_s = {timeout_s}\n{account}'


async def log_in(server: RunningServer, name: str, password: str = "a word") -> Answered:
    body = {"type": "m.login.password", "identifier": {"type": "m.id.user", "user": name}, "password": password}
    return await server.anonymous().post("/login", body=body)


async def others_go_on(server: RunningServer, name: str) -> None:
    """Registers, logs in, makes a room, all of which want the database and threads."""
    async with asyncio.timeout(PATIENCE_S):
        user = await server.user(name)
        await server.login(name)
        (await user.post("/createRoom", body={})).ok()


@pytest.mark.slow
async def test_a_directory_that_trickles(database_dsn: str) -> None:
    """T-L9: a byte now and then meets no time-out of a socket, and ends all the same."""
    async with trickling(_ENDLESS, b"x") as service:
        for searches in (False, True):
            async with running_server(database_dsn, toml=directory(service, 1, searches=searches)) as server:
                async with asyncio.timeout(PATIENCE_S):
                    assert (await log_in(server, "alice")).status == 503
                    await service.is_left()
        assert service.seen >= 2


@pytest.mark.slow
async def test_a_directory_that_says_too_much(database_dsn: str) -> None:
    """T-L9: its size is what ends it, long before its time is over."""
    async with (
        trickling(_ENDLESS, b"x" * 65_536, waits=False) as service,
        running_server(database_dsn, toml=directory(service, 60)) as server,
        asyncio.timeout(PATIENCE_S / 2),
    ):
        assert (await log_in(server, "alice")).status == 503
        await service.is_left()


@pytest.mark.slow
async def test_a_directory_that_speaks_something_else(database_dsn: str) -> None:
    for said in _NO_LDAP:
        async with trickling(said) as service, running_server(database_dsn, toml=directory(service, 1)) as server:
            assert (await log_in(server, "alice")).status in (403, 503), said
            assert await server.db.fetchval("SELECT count(*) FROM users") == 0


@asynccontextmanager
async def refusing(code: int) -> AsyncIterator[int]:
    """A directory that answers each bind with this result; its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = await reader.read(1_000)
        # A message has the number of the one that it answers. RFC 4511, section 4.1.1
        writer.write(b"\x30\x0c\x02\x01%c\x61\x07\x0a\x01%c\x04\x00\x04\x00" % (asked[4], code))
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.slow
@pytest.mark.parametrize(("code", "status"), [(19, 403), (32, 403), (34, 403), (48, 403), (53, 403), (51, 503)])
async def test_a_directory_that_lets_somebody_not_in(database_dsn: str, code: int, status: int) -> None:
    """T-I15: each way to refuse a person's bind is a wrong password here; one that is busy says nothing of it."""
    async with refusing(code) as port:
        toml = f'[ldap]\nurl = "ldap://127.0.0.1:{port}"\ntimeout_s = 5\n'
        async with running_server(database_dsn, toml=toml) as server:
            assert (await log_in(server, "alice")).status == status


@pytest.mark.slow
async def test_a_slow_directory_holds_up_its_own_alone(database_dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """T-L9: many wait, more than the database has connections; too many are sent away."""
    monkeypatch.setattr(ldap, "WAITING_MAX", 4)
    async with trickling() as service, running_server(database_dsn, toml=directory(service, 60)) as server:
        most = ldap.AT_ONCE + 4
        tasks = [asyncio.create_task(log_in(server, f"slow{number}")) for number in range(most + 1)]
        await service.is_met_by(ldap.AT_ONCE)
        async with asyncio.timeout(PATIENCE_S / 2):
            done, waiting = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            assert [task.result().status for task in done] == [503] and len(waiting) == most
            await others_go_on(server, "carol")
        assert service.seen == ldap.AT_ONCE
        service.end()
        assert {answer.status for answer in await asyncio.gather(*waiting)} == {503}


# --- sign-in services


@asynccontextmanager
async def signing_in(database_dsn: str, timeout_s: int) -> AsyncIterator[tuple[RunningServer, OpenIdService]]:
    clock = SystemClock()
    async with openid_service(clock.now_ms() // 1000) as service:
        toml = settings_of(service).replace(
            "[federation]", f"timeout_s = {timeout_s}\n[database]\npool_size_max = 3\n[federation]"
        )
        async with running_server(database_dsn, toml=toml) as server:
            yield server, service
        service.go_on.set()


async def come(server: RunningServer, service: OpenIdService) -> Browser:
    browser = Browser(server)
    sent = await browser.open(_REDIRECT)
    if sent.status == 303:
        await browser.open("/_hansa/sso/callback?" + urlencode(service.sign_in(sent.headers["Location"])))
    return browser


@pytest.mark.slow
@pytest.mark.parametrize("place", ["/.well-known/openid-configuration", "/token", "/keys", "/userinfo"])
async def test_a_sign_in_service_that_trickles(database_dsn: str, place: str) -> None:
    """T-L9: wherever it is slow, nobody is let in, and it works again once it isn't."""
    async with signing_in(database_dsn, 1) as (server, service), asyncio.timeout(PATIENCE_S):
        service.claims, service.told_apart = {"sub": "4711"}, {"sub": "4711", "preferred_username": "alice"}
        service.slow = {place}
        browser = await come(server, service)
        assert browser.page.status == 502 and "Signing in did not work" in browser.text

        async def is_left() -> bool:
            return service.waiting == 0

        await until(is_left)
        service.slow = set()
        assert "@alice:hansa.test" in (await come(server, service)).text


@pytest.mark.slow
async def test_a_slow_sign_in_service_holds_up_its_own_alone(database_dsn: str) -> None:
    """T-L9: many wait, more than the database has connections; all get in once it answers."""
    async with signing_in(database_dsn, 30) as (server, service):
        await come(server, service)
        service.slow = {"/token"}
        waiting = [asyncio.create_task(come(server, service)) for _ in range(AT_ONCE + 4)]

        async def are_met() -> bool:
            return service.waiting == AT_ONCE

        async with asyncio.timeout(PATIENCE_S / 2):
            await until(are_met)
            await others_go_on(server, "carol")
        service.go_on.set()
        assert all("@alice:hansa.test" in browser.text for browser in await asyncio.gather(*waiting))


@pytest.mark.slow
async def test_a_cas_service_that_trickles(database_dsn: str) -> None:
    """T-L9"""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/xml\r\n\r\n<a>"
    async with trickling(head, b" ") as service:
        toml = (
            f'[[cas]]\nid = "campus"\nurl = "http://127.0.0.1:{service.port}/cas"\ntimeout_s = 1\n'
            '[federation]\nallow_ip_ranges = ["127.0.0.0/8"]\n'
        )
        async with running_server(database_dsn, toml=toml) as server, asyncio.timeout(PATIENCE_S):
            browser = Browser(server)
            sent = await browser.open("/_hansa/sso/with/campus")
            state = sent.headers["Location"].rpartition("state%3D")[2]
            assert (await browser.open(f"/_hansa/sso/callback?state={state}&ticket=ST-1")).status == 502
            await service.is_left()


async def test_one_fails_for_all_who_wait() -> None:
    """T-L9: of many who want the metadata of a service that doesn't answer, one waits for its time, not all in turn."""
    turns, begun, go_on, asked = OneForAll(SsoFailed), asyncio.Event(), asyncio.Event(), 0

    async def ask() -> None:
        nonlocal asked
        async with turns.turn():
            asked += 1
            begun.set()
            await go_on.wait()
            raise SsoFailed("it doesn't answer")

    tasks = [asyncio.create_task(ask()) for _ in range(5)]
    await begun.wait()
    go_on.set()
    failures = await asyncio.gather(*tasks, return_exceptions=True)
    assert asked == 1 and all(isinstance(one, SsoFailed) for one in failures)
    with pytest.raises(SsoFailed):
        await ask()
    assert asked == 2, "who comes later tries anew"


async def test_too_many_who_wait_are_sent_away() -> None:
    """T-L9"""
    gate, go_on = Gate(1, 1), asyncio.Event()

    async def hold() -> Any:
        async with gate.turn():
            await go_on.wait()

    tasks = [asyncio.create_task(hold()) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(Unavailable):
        await hold()
    go_on.set()
    await asyncio.gather(*tasks)
    async with gate.turn():
        pass


# --- mail


@pytest.mark.slow
@pytest.mark.parametrize(
    ("first", "piece", "waits"), [(b"", b"", True), (b"220-", b"x", True), (b"", b"220-more\r\n" * 1_000, False)]
)
async def test_a_mail_server_that_trickles(first: bytes, piece: bytes, waits: bool) -> None:
    """T-L9: silent, slow, without end: the mail is put off, and the connection is closed."""
    async with trickling(first, piece, waits=waits) as service, asyncio.timeout(PATIENCE_S):
        server = SmtpServer(host="127.0.0.1", port=service.port, tls="none", sender="a@hansa.test", delivery_s=0.5)
        queue = MailQueue(server, SystemClock(), SystemRandomness())
        assert queue.put(Mail(to="b@hansa.test", subject="s", text="t"))
        await queue.run()
        await service.is_left()
        assert service.seen == 1 and len(queue._later) == 1
