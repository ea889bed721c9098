"""Users who asked for it are told by mail what stays unread."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from homeserver.core.identifiers import RoomId, UserId
from homeserver.push.digest import MailSettings, Unread, digest
from homeserver.storage import contacts
from homeserver.storage.contacts import Contact
from homeserver.web.smtp import Mail
from tests.kit.clock import FakeClock, passing
from tests.kit.mail import PostOffice, mail_config, post_office
from tests.kit.server import Client, RunningServer, running_server
from tests.kit.until import a_moment

ADDRESS = "bob@mail.test"
PUSHER = {
    "kind": "email",
    "app_id": "m.email",
    "pushkey": ADDRESS,
    "app_display_name": "Email",
    "device_display_name": ADDRESS,
    "lang": "en",
    "data": {},
}


@pytest.fixture
async def office() -> AsyncIterator[PostOffice]:
    async with post_office() as made:
        yield made


async def own_address(server: RunningServer, user: Client) -> None:
    async with server.db.transaction() as tx:
        assert await contacts.insert(tx, UserId(user.user_id), Contact("email", ADDRESS, 1, 1))


async def pass_time(clock: FakeClock, seconds: float) -> None:
    for _ in range(6):
        clock.advance(seconds / 6)
        await a_moment()


async def test_one_mail_tells_of_all_that_stayed_unread(database_dsn: str, office: PostOffice) -> None:
    """T-L12: no word of a message is in it."""
    clock = FakeClock()
    async with running_server(database_dsn, clock=clock, toml=mail_config(office)) as server:
        alice, bob = await server.user("alice"), await server.user("bob")
        await own_address(server, bob)
        (await bob.post("/pushers/set", body=PUSHER)).ok()
        room_id = await alice.create_room(preset="public_chat", name="Harbour")
        await bob.join(room_id)
        read = await alice.send(room_id, "is read")
        (await bob.post("/rooms/{}/receipt/m.read/{}", room_id, read)).ok()
        for text in ("a secret", "another"):
            await alice.send(room_id, text)
        await pass_time(clock, 300)
        assert office.mails == []
        async with passing(clock, 10):
            mail = await office.next()
        assert (mail.to, mail.subject) == (ADDRESS, "2 unread messages on hansa.test")
        assert "- Harbour: 2 from alice" in mail.text
        assert "secret" not in mail.text
        await alice.send(room_id, "later")
        await pass_time(clock, 1_800)
        assert len(office.mails) == 1
        async with passing(clock, 60):
            following = await office.next(2)
        assert following.subject == "1 unread message on hansa.test"


async def test_the_mail_itself_ends_the_mails(database_dsn: str, office: PostOffice) -> None:
    """By its link or its reader's button (RFC 8058), for whoever has the mail: opening the link alone ends nothing."""
    clock = FakeClock()
    async with running_server(database_dsn, clock=clock, toml=mail_config(office)) as server:
        alice, bob = await server.user("alice"), await server.user("bob")
        await own_address(server, bob)
        (await bob.post("/pushers/set", body={**PUSHER, "lang": "zh"})).ok()
        assert "unsubscribe" not in str((await bob.get("/pushers")).ok())
        room_id = await alice.create_room(preset="public_chat", name="港口")
        await bob.join(room_id)
        await alice.send(room_id)
        async with passing(clock, 60):
            mail = await office.next()
        assert mail.subject == "hansa.test 上有 1 条未读消息"
        assert "- 港口：来自 alice 的 1 条消息" in mail.text
        url = mail.headers["List-Unsubscribe"].strip("<>")
        assert url in mail.text and mail.headers["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
        path, nobody = url[url.index("/_hansa") :], server.anonymous()
        page = await nobody.request("GET", path, headers={"Accept-Language": "en"})
        assert page.status == 200 and ADDRESS in page.body.decode() and "<form" in page.body.decode()
        for wrong in (path[:-1] + "x", path.replace("bob%40mail", "eve%40mail"), path.partition("?")[0]):
            assert (await nobody.request("GET", wrong)).status == 400
            assert (await nobody.request("POST", wrong, data=b"")).status == 400
        assert len((await bob.get("/pushers")).ok()["pushers"]) == 1
        told = await nobody.request("POST", path, data=b"List-Unsubscribe=One-Click")
        assert told.status == 200 and "No more" in told.body.decode()
        assert (await bob.get("/pushers")).ok()["pushers"] == []
        assert (await nobody.request("POST", path, data=b"")).status == 400


async def test_only_own_addresses_get_mail(database_dsn: str, office: PostOffice) -> None:
    """Neither at first nor when it was taken away since."""
    clock = FakeClock()
    async with running_server(database_dsn, clock=clock, toml=mail_config(office)) as server:
        alice, bob = await server.user("alice"), await server.user("bob")
        (await bob.post("/pushers/set", body=PUSHER)).refused(400, "M_THREEPID_NOT_FOUND")
        await own_address(server, bob)
        (await alice.post("/pushers/set", body=PUSHER)).refused(400, "M_THREEPID_NOT_FOUND")
        (await bob.post("/pushers/set", body={**PUSHER, "app_id": "x"})).refused(400, "M_INVALID_PARAM")
        (await bob.post("/pushers/set", body=PUSHER)).ok()
        room_id = await alice.create_room(preset="public_chat")
        await bob.join(room_id)
        await alice.send(room_id)
        async with server.db.transaction() as tx:
            await contacts.delete(tx, UserId(bob.user_id), "email", ADDRESS)
        await pass_time(clock, 900)
        assert office.mails == []


async def test_without_a_mail_server_there_is_no_mail(database_dsn: str) -> None:
    async with running_server(database_dsn) as server:
        bob = await server.user("bob")
        (await bob.post("/pushers/set", body=PUSHER)).refused(400, "M_INVALID_PARAM")


def test_names_can_write_no_lines_of_their_own() -> None:
    """T-J13, T-M3, T-N3: text of users that is put into mail, which is plain text."""

    class Nowhere:
        def put(self, mail: Mail) -> bool:
            return True

    found = [Unread(RoomId(f"!{number}:a"), "a\r\nBcc: x", "b\n\u2028" + "c" * 500, True) for number in range(30)]
    mail = digest(found, ADDRESS, MailSettings(Nowhere(), "hansa.test", "https://hansa.test"), "en", "https://u.test")
    lines = mail.text.splitlines()
    assert len(lines) == 2 + 20 + 1 + 2 + 3
    assert lines[2].startswith("- a Bcc: x: 1 from b ccc")
    assert lines[2].endswith("and you are mentioned")
    assert "\n" not in mail.subject
