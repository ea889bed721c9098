"""Mails with links: registering, adding addresses, forgotten passwords."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from homeserver.runtime.logging import configure_logging
from tests.kit.authority import Authority
from tests.kit.clock import FakeClock
from tests.kit.mail import Arrived, PostOffice, mail_config, post_office
from tests.kit.server import Client, RunningServer, config_for_tests, running_server
from tests.kit.until import until

PASSWORD = "correct horse battery"


@pytest.fixture
async def office() -> AsyncIterator[PostOffice]:
    async with post_office() as office:
        yield office


@pytest.fixture
async def server(database_dsn: str, office: PostOffice) -> AsyncIterator[RunningServer]:
    async with running_server(database_dsn, toml=mail_config(office), registration='email = "optional"') as running:
        yield running


def ask(email: Any, secret: str = "s3cret", attempt: int = 1, **more: Any) -> dict[str, Any]:
    return {"email": email, "client_secret": secret, "send_attempt": attempt, **more}


def by_password(client: Client) -> dict[str, Any]:
    return {
        "type": "m.login.password",
        "identifier": {"type": "m.id.user", "user": client.user_id},
        "password": PASSWORD,
    }


def by_mail(sid: str, secret: str = "s3cret", **more: Any) -> dict[str, Any]:
    return {"type": "m.login.email.identity", "threepid_creds": {"sid": sid, "client_secret": secret}, **more}


async def open_link(client: Client, mail: Arrived) -> None:
    """As somebody opens it; what looks before where it leads opens nothing."""
    assert (await client.request("HEAD", mail.link)).status == 405
    assert (await client.get(mail.link)).status == 200


async def add_address(server: RunningServer, office: PostOffice, client: Client, email: str) -> None:
    sid = (await client.post("/account/3pid/email/requestToken", body=ask(email, "added"))).ok()["sid"]
    mail = await office.next(len(office.mails) + 1)
    assert (await server.anonymous().get(mail.link)).status == 200
    body = {"sid": sid, "client_secret": "added", "auth": by_password(client)}
    (await client.post("/account/3pid/add", body=body)).ok()


async def test_an_address_is_added_and_used(server: RunningServer, office: PostOffice) -> None:
    alice, bob = await server.user("alice"), await server.user("bob")
    sid = (await alice.post("/account/3pid/email/requestToken", body=ask("Alice@Mail.Test"))).ok()["sid"]
    mail = await office.next()
    assert (mail.to, mail.subject) == ("alice@mail.test", "Confirm your e-mail address for hansa.test")
    body = {"sid": sid, "client_secret": "s3cret", "auth": by_password(alice)}
    (await alice.post("/account/3pid/add", body=body)).refused(401, "M_THREEPID_AUTH_FAILED")
    # T-M18: programs that look where links lead prove nothing.
    assert (await server.anonymous().request("HEAD", mail.link)).status == 405
    (await alice.post("/account/3pid/add", body=body)).refused(401, "M_THREEPID_AUTH_FAILED")
    page = await server.anonymous().get(mail.link)
    assert page.status == 200 and "Address confirmed" in page.body.decode()
    stolen = {**body, "auth": by_password(bob)}
    (await bob.post("/account/3pid/add", body=stolen)).refused(401, "M_THREEPID_AUTH_FAILED")
    (await alice.post("/account/3pid/add", body={**body, "client_secret": "other"})).refused(
        401, "M_THREEPID_AUTH_FAILED"
    )
    without = {key: value for key, value in body.items() if key != "auth"}
    assert "flows" in (await alice.post("/account/3pid/add", body=without)).json
    (await alice.post("/account/3pid/add", body=body)).ok()
    [kept] = (await alice.get("/account/3pid")).ok()["threepids"]
    assert (kept["medium"], kept["address"]) == ("email", "alice@mail.test")
    identifier = {"type": "m.id.thirdparty", "medium": "email", "address": "ALICE@mail.test"}
    login = {"type": "m.login.password", "identifier": identifier, "password": PASSWORD}
    assert (await server.anonymous().post("/login", body=login)).ok()["user_id"] == alice.user_id
    older = {"type": "m.login.password", "medium": "email", "address": "alice@mail.test", "password": PASSWORD}
    assert (await server.anonymous().post("/login", body=older)).ok()["user_id"] == alice.user_id
    (await alice.post("/account/3pid/delete", body={"medium": "email", "address": "alice@mail.test"})).ok()
    assert (await alice.get("/account/3pid")).ok() == {"threepids": []}
    (await server.anonymous().post("/login", body=login)).refused(403, "M_FORBIDDEN")


async def test_a_proof_counts_once_and_for_its_purpose(server: RunningServer, office: PostOffice) -> None:
    """T-I7, T-I8: bound to address, purpose, secret and user; used up with what it was for."""
    alice = await server.user("alice")
    await add_address(server, office, alice, "alice@mail.test")
    sid = (await alice.post("/account/3pid/email/requestToken", body=ask("new@mail.test"))).ok()["sid"]
    await open_link(server.anonymous(), await office.next(2))
    for path, body in (
        ("/account/password", {"new_password": "a better password"}),
        ("/register", {"username": "mallory", "password": PASSWORD}),
    ):
        refused = await server.anonymous().post(path, body={**body, "auth": by_mail(sid)})
        refused.refused(401, "M_THREEPID_AUTH_FAILED")
    proof: dict[str, Any] = {"sid": sid, "client_secret": "s3cret", "auth": by_password(alice)}
    (await alice.post("/account/3pid/add", body=proof)).ok()
    (await alice.post("/account/3pid/delete", body={"medium": "email", "address": "new@mail.test"})).ok()
    (await alice.post("/account/3pid/add", body=proof)).refused(401, "M_THREEPID_AUTH_FAILED")


async def test_registering_with_an_address(server: RunningServer, office: PostOffice) -> None:
    """T-I8: one proof, one account."""
    anonymous = server.anonymous()
    sid = (await anonymous.post("/register/email/requestToken", body=ask("carol@mail.test"))).ok()["sid"]
    await open_link(anonymous, await office.next())
    body = {"username": "carol", "password": PASSWORD}
    flows = [flow["stages"] for flow in (await anonymous.post("/register", body=body)).json["flows"]]
    assert flows == [["m.login.dummy"], ["m.login.email.identity"]]
    carol = (await anonymous.post("/register", body={**body, "auth": by_mail(sid)})).ok()
    anonymous.token = carol["access_token"]
    assert [one["address"] for one in (await anonymous.get("/account/3pid")).ok()["threepids"]] == ["carol@mail.test"]
    again = await server.anonymous().post("/register", body={**body, "username": "dora", "auth": by_mail(sid)})
    again.refused(401, "M_THREEPID_AUTH_FAILED")


async def test_registering_with_a_token_and_an_address(database_dsn: str, office: PostOffice, tmp_path: Path) -> None:
    """No flow is a part of another: whoever has sent the token may go on with the mail."""
    config = config_for_tests(tmp_path, mail_config(office), 'email = "optional"')
    config = replace(config, registration=replace(config.registration, mode="token"))
    async with running_server(database_dsn, config=config) as server:
        asked = await server.anonymous().post("/register", body={"username": "carol", "password": PASSWORD})
        token, mail = "m.login.registration_token", "m.login.email.identity"
        assert [flow["stages"] for flow in asked.json["flows"]] == [[token, "m.login.dummy"], [token, mail]]


async def test_no_token_is_good_where_nobody_registers(database_dsn: str, tmp_path: Path) -> None:
    config = config_for_tests(tmp_path)
    config = replace(config, registration=replace(config.registration, mode="off"))
    async with running_server(database_dsn, config=config) as server:
        path = "/_matrix/client/v1/register/m.login.registration_token/validity"
        (await server.anonymous().get(path, token="x")).refused(403, "M_FORBIDDEN")


async def test_a_forgotten_password(server: RunningServer, office: PostOffice) -> None:
    alice, anonymous = await server.user("alice"), server.anonymous()
    await add_address(server, office, alice, "alice@mail.test")
    sid = (await anonymous.post("/account/password/email/requestToken", body=ask("alice@mail.test"))).ok()["sid"]
    body = {"new_password": "a better password"}
    begun = (await anonymous.post("/account/password", body=body)).json
    assert [flow["stages"] for flow in begun["flows"]] == [["m.login.email.identity"]]
    auth = by_mail(sid, session=begun["session"])
    (await anonymous.post("/account/password", body={**body, "auth": auth})).refused(401, "M_THREEPID_AUTH_FAILED")
    mail = await office.next(2)
    assert mail.subject == "Set a new password on hansa.test"
    await open_link(anonymous, mail)
    (await anonymous.post("/account/password", body={**body, "auth": auth})).ok()
    (await alice.get("/account/whoami")).refused(401, "M_UNKNOWN_TOKEN")
    await server.login("alice", "a better password")
    (await anonymous.post("/account/password", body={**body, "auth": by_mail(sid)})).refused(
        401, "M_THREEPID_AUTH_FAILED"
    )
    assert (await anonymous.get(mail.link)).status == 400


async def test_no_answer_tells_whose_address_it_is(server: RunningServer, office: PostOffice) -> None:
    """T-I15, T-N5: the same answer for every address; the same attempt sends nothing again."""
    alice, bob = await server.user("alice"), await server.user("bob")
    await add_address(server, office, alice, "alice@mail.test")
    anonymous = server.anonymous()
    for email in ("alice@mail.test", "nobody@mail.test"):
        for client, path in (
            (anonymous, "/account/password/email/requestToken"),
            (anonymous, "/register/email/requestToken"),
            (bob, "/account/3pid/email/requestToken"),
        ):
            answers = [(await client.post(path, body=ask(email))).ok() for _ in range(2)]
            assert answers[0] == answers[1] and set(answers[0]) == {"sid"}
    told = [(mail.to, mail.subject) for mail in (await office.next(6), *office.mails) if mail in office.mails[1:]]
    assert sorted(set(told)) == [
        ("alice@mail.test", "Set a new password on hansa.test"),
        ("alice@mail.test", "You have an account on hansa.test"),
        ("nobody@mail.test", "Confirm your e-mail address for hansa.test"),
        ("nobody@mail.test", "Confirm your registration on hansa.test"),
    ]
    assert len(office.mails) == 6
    assert not any("http" in mail.text for mail in office.mails if mail.subject.startswith("You have"))


async def test_links_lead_nowhere_else(server: RunningServer, office: PostOffice) -> None:
    """T-N4, T-M2: on to apps that the operator named, by the reader's own click, and never as markup."""
    anonymous = server.anonymous()
    for number, (link, is_shown) in enumerate(
        [
            ("https://app.hansa.test/#/<b>", True),
            ("https://evil.test/", False),
            ("javascript:alert(1)//app.hansa.test", False),
            ("http://app.hansa.test/", False),
            ("https://app.hansa.test@evil.test/", False),
        ],
        start=1,
    ):
        body = ask(f"a{number}@mail.test", next_link=link)
        (await anonymous.post("/register/email/requestToken", body=body)).ok()
        page = await anonymous.get((await office.next(number)).link)
        text = page.body.decode()
        assert (("href=" in text.partition("<main")[2]) is is_shown) and "<b>" not in text
        assert "default-src 'none'" in page.headers["Content-Security-Policy"]
        assert "Location" not in page.headers
    chinese = await anonymous.request(
        "GET", "/_hansa/confirm?sid=x&token=<script>", headers={"Accept-Language": "zh-CN,en"}
    )
    assert chinese.status == 400 and "此链接无效" in chinese.body.decode() and "<script" not in chinese.body.decode()


@pytest.mark.parametrize(
    "body",
    [
        ask("a@evil.org@good.org"),
        ask("a@mail.test\r\nBcc: b@mail.test"),
        ask("a@mail.test", secret="no spaces please"),
        ask("a@mail.test", secret="x" * 256),
        ask("a@mail.test", secret=""),
        ask("a@mail.test", attempt=-1),
        ask("a@mail.test", attempt=10**30),
        {"email": "a@mail.test"},
        ask(5),
    ],
)
async def test_bad_requests(server: RunningServer, office: PostOffice, body: dict[str, Any]) -> None:
    """T-N1, T-N2, T-J13"""
    answer = await server.anonymous().post("/register/email/requestToken", body=body)
    assert answer.status == 400 and answer.json["errcode"] in ("M_INVALID_PARAM", "M_BAD_JSON", "M_MISSING_PARAM")
    assert office.mails == []


async def test_links_expire(database_dsn: str, office: PostOffice) -> None:
    clock = FakeClock()
    async with running_server(database_dsn, toml=mail_config(office), clock=clock) as server:
        (await server.anonymous().post("/register/email/requestToken", body=ask("a@mail.test"))).ok()
        mail = await office.next()
        clock.advance(3601)
        assert (await server.anonymous().get(mail.link)).status == 400


async def test_a_mail_server_that_refuses_is_asked_again(database_dsn: str, office: PostOffice) -> None:
    office.refusals, clock = 2, FakeClock()
    async with running_server(database_dsn, toml=mail_config(office), clock=clock) as server:
        (await server.anonymous().post("/register/email/requestToken", body=ask("a@mail.test"))).ok()
        assert (await office.next(clock=clock)).to == "a@mail.test"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "offered", "is_trusted", "arrives"),
    [
        ("localhost", True, True, True),
        ("localhost", True, False, False),
        ("another.test", True, True, False),
        ("localhost", False, True, False),
    ],
    ids=["right", "nobody's authority", "another's name", "no TLS offered"],
)
async def test_mails_go_to_the_server_that_is_meant(
    database_dsn: str, tmp_path: Path, name: str, offered: bool, is_trusted: bool, arrives: bool
) -> None:
    """T-L8: who stands between is given neither a mail with its link nor our password, whatever it pretends."""
    (tmp_path / "other").mkdir()
    authority, other = Authority(tmp_path), Authority(tmp_path / "other")
    trusted = authority if is_trusted else other
    lines = io.StringIO()
    async with post_office(starttls=authority.server_context(name) if offered else None) as office:
        toml = (
            f'[email]\nsmtp_host = "localhost"\nsmtp_port = {office.port}\nsmtp_tls = "starttls"\n'
            f'smtp_ca_path = "{trusted.ca_path}"\n'
        )
        async with running_server(database_dsn, toml=toml) as server:
            configure_logging(format="json", level="info", value_chars_max=2000, stream=lines)
            (await server.anonymous().post("/register/email/requestToken", body=ask("a@mail.test"))).ok()
            if arrives:
                assert (await office.next()).to == "a@mail.test"
                return

            async def has_failed() -> bool:
                return "mail_not_sent" in lines.getvalue()

            await until(has_failed, within_s=60)
            assert office.asked == [] and office.mails == []


async def test_one_who_is_put_off_holds_up_nobody(database_dsn: str, office: PostOffice) -> None:
    """Servers put off strangers' mail at first (greylisting): it comes later, and that of others meanwhile."""
    office.answers["slow@mail.test"] = ["450 come back later", "451 not yet"]
    clock = FakeClock()
    async with running_server(database_dsn, toml=mail_config(office), clock=clock) as server:
        client = server.anonymous()
        (await client.post("/register/email/requestToken", body=ask("slow@mail.test", "one"))).ok()
        (await client.post("/register/email/requestToken", body=ask("quick@mail.test", "two"))).ok()
        # The clock stands still.
        assert (await office.next()).to == "quick@mail.test"
        assert (await office.next(2, clock=clock)).to == "slow@mail.test"
        assert office.asked.count("slow@mail.test") == 3


async def test_one_who_is_refused_for_good_is_not_tried_again(database_dsn: str, office: PostOffice) -> None:
    office.answers["nobody@mail.test"] = ["550 no such user"] * 9
    clock = FakeClock()
    async with running_server(database_dsn, toml=mail_config(office), clock=clock) as server:
        client = server.anonymous()
        (await client.post("/register/email/requestToken", body=ask("nobody@mail.test", "one"))).ok()
        office.answers["late@mail.test"] = ["450 later"] * 4
        (await client.post("/register/email/requestToken", body=ask("late@mail.test", "two"))).ok()
        # All the other's tries pass meanwhile.
        assert (await office.next(clock=clock)).to == "late@mail.test"
        assert office.asked.count("nobody@mail.test") == 1


async def test_deactivation_frees_addresses(server: RunningServer, office: PostOffice) -> None:
    """T-I24"""
    alice = await server.user("alice")
    await add_address(server, office, alice, "alice@mail.test")
    (await alice.post("/account/deactivate", body={"auth": by_password(alice)})).ok()
    assert await server.db.fetchval("SELECT count(*) FROM contacts") == 0


async def test_a_server_without_mail(database_dsn: str) -> None:
    async with running_server(database_dsn) as server:
        alice, anonymous = await server.user("alice"), server.anonymous()
        refused = await anonymous.post("/register/email/requestToken", body=ask("a@mail.test"))
        refused.refused(400, "M_THREEPID_MEDIUM_NOT_SUPPORTED")
        (await anonymous.post("/account/password", body={"new_password": PASSWORD})).refused(401, "M_MISSING_TOKEN")
        phone = {"client_secret": "s", "country": "DE", "phone_number": "1", "send_attempt": 1}
        for path in ("/register", "/account/password", "/account/3pid"):
            refused = await alice.post(path + "/msisdn/requestToken", body=phone)
            refused.refused(400, "M_THREEPID_MEDIUM_NOT_SUPPORTED")
