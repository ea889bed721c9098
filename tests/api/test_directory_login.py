"""Log-in with the password that people have in the operator's LDAP directory: a real slapd."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.kit.authority import Authority
from tests.kit.server import Answered, RunningServer, running_server
from tests.kit.slapd import ADMIN, ADMIN_PASSWORD, BASE, Slapd, slapd

pytestmark = [pytest.mark.slow, pytest.mark.programs("slapd")]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
async def directory(authority: Authority) -> AsyncIterator[Slapd]:
    async with slapd(authority) as running:
        yield running


def settings(directory: Slapd, authority: Authority, *, searches: bool = False, url: str = "") -> str:
    account = f'bind_dn = "{ADMIN}"\nbind_password = "{ADMIN_PASSWORD}"\n' if searches else ""
    return f"""
[ldap]
url = "{url or directory.url}"
ca_path = "{authority.ca_path}"
user_dn = "uid={{name}},ou=people,{BASE}"
base_dn = "ou=people,{BASE}"
{account}
"""


async def log_in(server: RunningServer, name: str, password: Any) -> Answered:
    body = {"type": "m.login.password", "identifier": {"type": "m.id.user", "user": name}, "password": password}
    return await server.anonymous().post("/login", body=body)


@pytest.mark.parametrize("searches", [False, True])
async def test_people_of_the_directory_log_in(
    database_dsn: str, directory: Slapd, authority: Authority, searches: bool
) -> None:
    """T-I3, T-J13: wrong names and wrong passwords are told alike; a bind without a password lets nobody in."""
    async with running_server(database_dsn, toml=settings(directory, authority, searches=searches)) as server:
        at_once = await asyncio.gather(*(log_in(server, "alice", "alices word") for _ in range(4)))
        assert {answer.status for answer in at_once} == {200}
        account = (await log_in(server, "alice", "alices word")).ok()
        again = (await log_in(server, "@alice:hansa.test", "alices word")).ok()
        assert account["user_id"] == again["user_id"] == "@alice:hansa.test"
        alice = await server.login("alice", "alices word")
        shown = (await alice.get("/profile/{}/displayname", "@alice:hansa.test")).ok()
        assert shown == {"displayname": "Alice of the directory"}
        wrong = [
            (await log_in(server, name, password)).refused(403, "M_FORBIDDEN")["error"]
            for name, password in [
                ("alice", "bobs word"),
                ("alice", ""),
                ("carol", "alices word"),
                ("*", "alices word"),
                ("alice)(uid=*", "alices word"),
            ]
        ]
        assert len(set(wrong)) == 1


async def test_our_own_account_there_is_wrong(database_dsn: str, directory: Slapd, authority: Authority) -> None:
    """It is the operator's mistake, and nobody's wrong password."""
    wrong = settings(directory, authority, searches=True).replace(ADMIN_PASSWORD, "another")
    async with running_server(database_dsn, toml=wrong) as server:
        assert (await log_in(server, "alice", "alices word")).status == 503


async def test_an_account_stays_with_its_entry(database_dsn: str, directory: Slapd, authority: Authority) -> None:
    """Whoever gets a name in the directory after somebody else doesn't get the account of that name."""
    async with running_server(database_dsn, toml=settings(directory, authority)) as server:
        (await log_in(server, "bob", "bobs word")).ok()
        directory.modify(
            f"dn: uid=bob,ou=people,{BASE}\nchangetype: modrdn\nnewrdn: uid=robert\ndeleteoldrdn: 1\n\n"
            f"dn: uid=bob,ou=people,{BASE}\nchangetype: add\nobjectClass: inetOrgPerson\nuid: bob\ncn: B\nsn: B\n"
            "userPassword: the new bob\n"
        )
        (await log_in(server, "bob", "the new bob")).refused(403, "M_FORBIDDEN")
        assert "@bob:hansa.test" in (await log_in(server, "robert", "bobs word")).refused(403, "M_FORBIDDEN")["error"]


async def test_accounts_of_our_own_are_not_the_directorys(
    database_dsn: str, directory: Slapd, authority: Authority
) -> None:
    async with running_server(database_dsn, toml=settings(directory, authority)) as server:
        await server.user("alice", "alices password here")
        (await log_in(server, "alice", "alices word")).refused(403, "M_FORBIDDEN")
        (await log_in(server, "alice", "alices password here")).ok()


async def test_what_needs_the_password_takes_the_directorys(
    database_dsn: str, directory: Slapd, authority: Authority
) -> None:
    async with running_server(database_dsn, toml=settings(directory, authority)) as server:
        alice, other = await server.login("alice", "alices word"), await server.login("alice", "alices word")
        path = "/devices/" + other.device_id
        session = (await alice.delete(path)).json["session"]
        auth = {"type": "m.login.password", "session": session, "identifier": {"type": "m.id.user", "user": "alice"}}
        wrong = await alice.delete(path, body={"auth": {**auth, "password": "wrong"}})
        assert wrong.status == 401
        (await alice.delete(path, body={"auth": {**auth, "password": "alices word"}})).ok()
        changed = await alice.post("/account/password", body={"new_password": "another one entirely"})
        changed.refused(403, "M_FORBIDDEN")


async def test_starttls_and_a_stranger_with_another_certificate(
    database_dsn: str, directory: Slapd, authority: Authority, tmp_path: Path
) -> None:
    secured = settings(directory, authority, url=directory.plain_url) + "starttls = true\n"
    async with running_server(database_dsn, toml=secured) as server:
        (await log_in(server, "alice", "alices word")).ok()
    (tmp_path / "other").mkdir()
    stranger = Authority(tmp_path / "other")
    async with running_server(database_dsn, toml=settings(directory, stranger)) as server:
        assert (await log_in(server, "alice", "alices word")).status == 503


async def test_a_directory_that_is_away_is_no_wrong_password(
    database_dsn: str, directory: Slapd, authority: Authority
) -> None:
    away = settings(directory, authority, url="ldap://localhost:1")
    async with running_server(database_dsn, toml=away) as server:
        assert (await log_in(server, "alice", "alices word")).status == 503
        await server.user("carol", "carols password")
        (await log_in(server, "carol", "carols password")).ok()
