"""Our own pages where mail proves who somebody is: a forgotten password, and registering where an address is wanted."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.api.test_email import PASSWORD, add_address
from tests.kit.mail import PostOffice, mail_config, post_office
from tests.kit.oauth import Browser
from tests.kit.server import Answered, Client, RunningServer, running_server

NEW = "another horse, another battery"


@pytest.fixture
async def office() -> AsyncIterator[PostOffice]:
    async with post_office() as office:
        yield office


@pytest.fixture
async def server(database_dsn: str, office: PostOffice) -> AsyncIterator[RunningServer]:
    async with running_server(database_dsn, toml=mail_config(office)) as running:
        yield running


async def ask(server: RunningServer, email: str) -> Browser:
    browser = Browser(server)
    await browser.open("/_hansa/login")
    assert "/_hansa/forgotten" in browser.text
    await browser.open("/_hansa/forgotten?next=/_hansa/search")
    await browser.submit("/_hansa/forgotten", email=email)
    return browser


async def set_password(browser: Browser, password: str = NEW, **more: str) -> Answered:
    return await browser.submit("/_hansa/forgotten/password", password=password, **more)


async def can_log_in(client: Client, name: str, password: str) -> bool:
    body = {"type": "m.login.password", "identifier": {"type": "m.id.user", "user": name}, "password": password}
    return (await client.post("/login", body=body)).status == 200


async def test_a_forgotten_password(server: RunningServer, office: PostOffice) -> None:
    """T-I7, T-I8: set on the page that asked for the mail, after its link was opened, once; all sessions end."""
    alice, anyone = await server.user("alice"), server.anonymous()
    await add_address(server, office, alice, "alice@mail.test")
    signed_in = Browser(server)
    await signed_in.open("/_hansa/login")
    await signed_in.sign_in("alice")
    browser = await ask(server, "Alice@mail.test")
    mail = await office.next(2)
    assert (await set_password(browser)).status == 401 and "has not been opened" in browser.text
    page = await anyone.get(mail.link)
    assert page.status == 200 and "password" not in page.body.decode().lower()
    assert (await set_password(browser, "short")).status == 400
    assert await can_log_in(anyone, "alice", PASSWORD)
    assert (await set_password(browser, everywhere="on")).status == 200
    assert "next=%2F_hansa%2Fsearch" in browser.text
    assert not await can_log_in(anyone, "alice", PASSWORD) and await can_log_in(anyone, "alice", NEW)
    (await alice.get("/account/whoami")).refused(401, "M_UNKNOWN_TOKEN")
    assert "Sign in" in (await signed_in.open("/_hansa/account")).body.decode()


async def test_a_proof_counts_once_and_here(server: RunningServer, office: PostOffice) -> None:
    """T-I7, T-I8: neither twice, nor with a secret that another page keeps; devices stay where that is wished."""
    alice = await server.user("alice")
    await add_address(server, office, alice, "alice@mail.test")
    browser = await ask(server, "alice@mail.test")
    await server.anonymous().get((await office.next(2)).link)
    form = browser.page
    assert (await set_password(browser, secret="other")).status == 401
    assert (await set_password(browser, form_code="other")).status == 403
    browser.page = form
    assert (await set_password(browser)).status == 200
    assert (await alice.get("/account/whoami")).status == 200
    browser.page = form
    assert (await set_password(browser, "a third password, long enough")).status == 401
    assert await can_log_in(server.anonymous(), "alice", NEW)


async def test_nobody_learns_whose_address_it_is(server: RunningServer, office: PostOffice) -> None:
    """T-I15: known or not, the page is the same; a bad one is refused."""
    alice = await server.user("alice")
    await add_address(server, office, alice, "alice@mail.test")
    pages = []
    for email in ("alice@mail.test", "nobody@mail.test"):
        browser = await ask(server, email)
        lines = [line for line in browser.text.splitlines() if 'type="hidden"' not in line]
        pages.append((browser.page.status, lines))
    assert pages[0] == pages[1] and pages[0][0] == 200
    assert (await ask(server, "no address")).page.status == 400


@pytest.mark.slow
async def test_mails_are_rationed(database_dsn: str, office: PostOffice) -> None:
    """T-N5: by whoever asks for them, and by whom they go to, whoever asks and however it is written."""
    limits = "[rate_limits]\nemail_requester = { per_second = 0.001, burst = 2 }\n"
    async with running_server(database_dsn, toml=mail_config(office) + limits) as server:
        for number, status in enumerate((200, 200, 429)):
            assert (await ask(server, f"user{number}@mail.test")).page.status == status
    limits = "[rate_limits]\nemail_address = { per_second = 0.001, burst = 3 }\n"
    async with running_server(database_dsn, toml=mail_config(office) + limits) as server:
        anonymous, alice = server.anonymous(), await server.user("alice")
        for number, (client, path, email, status) in enumerate(
            [
                (anonymous, "/register", "victim@mail.test", 200),
                (alice, "/account/3pid", "VICTIM@mail.test", 200),
                (anonymous, "/account/password", " Victim@Mail.Test ", 200),
                (anonymous, "/register", "victim@mail.test", 429),
                (alice, "/account/3pid", "victim@MAIL.test", 429),
                (anonymous, "/account/password", "victim@mail.test", 429),
                # Letters that are others, and one that is none, in the eyes of whoever delivers the mail.
                (anonymous, "/register", "victim@\uff4dail.test", 429),
                (anonymous, "/register", "victim@ma\u00adil.test", 429),
                (anonymous, "/register", "v\u0131ctim@mail.test", 200),
                (anonymous, "/register", "other@mail.test", 200),
            ]
        ):
            body = {"email": email, "client_secret": f"secret{number}", "send_attempt": 1}
            assert (await client.post(path + "/email/requestToken", body=body)).status == status, (number, path)
        for email in ("victim@mail.test", "victim@\uff4dail.test"):
            assert (await ask(server, email)).page.status == 429


async def test_registering_where_an_address_is_wanted(database_dsn: str, office: PostOffice) -> None:
    """The address first, then the account, which has it; not before the link was opened, and for no two accounts."""
    terms = 'terms_version = "1"\nterms_url = "https://hansa.test/terms"\nemail = "required"'
    async with running_server(database_dsn, toml=mail_config(office), registration=terms) as server:
        browser = Browser(server)
        await browser.open("/_hansa/register")
        assert "username" not in browser.text
        await browser.submit("/_hansa/register", email="no address")
        assert browser.page.status == 400
        await browser.submit("/_hansa/register", email="Carol@mail.test")
        mail = await office.next()
        chosen = {"username": "carol", "password": PASSWORD, "terms": "on"}
        assert (await browser.submit("/_hansa/register", **chosen)).status == 401
        assert "has not been opened" in browser.text
        await server.anonymous().get(mail.link)
        form = browser.page
        assert (await browser.submit("/_hansa/register", username="carol", password=PASSWORD)).status == 403
        assert (await browser.submit("/_hansa/register", **chosen)).status == 200
        assert "@carol:hansa.test" in browser.text
        carol = await server.login("carol")
        [kept] = (await carol.get("/account/3pid")).ok()["threepids"]
        assert kept["address"] == "carol@mail.test"
        other = Browser(server)
        await other.open("/_hansa/register")
        other.page = form
        assert (await other.submit("/_hansa/register", **{**chosen, "username": "dave"})).status in (401, 403)


async def test_without_mail_the_page_says_so(database_dsn: str) -> None:
    async with running_server(database_dsn) as server:
        browser = Browser(server)
        await browser.open("/_hansa/login")
        assert "/_hansa/forgotten" not in browser.text
        await browser.open("/_hansa/forgotten")
        assert browser.page.status == 200 and "sends no mail" in browser.text
