"""The page on which people see and change their profile, as a browser without scripts has it."""

from __future__ import annotations

import html

import pytest

from tests.api.test_media import picture
from tests.kit.oauth import Browser
from tests.kit.server import Client, RunningServer, running_server

PATH = "/_hansa/account/profile"
PICTURE = PATH + "/picture"


async def opened(server: RunningServer, name: str = "alice") -> Browser:
    """Somebody who came by the address that clients open, and signed in."""
    browser = Browser(server)
    await browser.open("/_hansa/account?action=org.matrix.profile")
    page = await browser.sign_in(name)
    assert page.status == 200 and "<h1>Your profile</h1>" in browser.text
    return browser


async def profile(client: Client) -> dict[str, object]:
    found: dict[str, object] = (await client.get("/profile/{}", client.user_id)).ok()
    return found


async def test_every_advertised_action_shows_what_it_names(server: RunningServer) -> None:
    await server.user("alice")
    metadata = (await server.anonymous().get("/_matrix/client/v1/auth_metadata")).ok()
    browser = await opened(server)
    shown = {
        "org.matrix.profile": "<h1>Your profile</h1>",
        "org.matrix.devices_list": '<h2 id="devices">',
        "org.matrix.device_view": '<h2 id="devices">',
        "org.matrix.device_delete": '<h2 id="devices">',
        "org.matrix.account_deactivate": '<h2 id="deactivate">',
        "org.matrix.cross_signing_reset": '<h2 id="reset">',
    }
    assert set(metadata["account_management_actions_supported"]) == set(shown)
    uri = metadata["account_management_uri"].removeprefix(server.base_url)
    path = "/_hansa/" + uri.partition("/_hansa/")[2]
    for action, part in shown.items():
        assert (await browser.open(f"{path}?action={action}")).status == 200
        assert part in browser.text, action


async def test_a_name_is_changed_and_carried_into_rooms(server: RunningServer) -> None:
    alice = await server.user("alice")
    room_id = await alice.create_room()
    browser = await opened(server)
    name = 'A "quoted" <b>name</b> 小明'
    await browser.submit(PATH, field="displayname", action="set", value=name)
    assert 'role="status">Saved.' in browser.text
    assert html.unescape(browser.text.split('name="value" value="')[1].split('"')[0]) == name
    assert "<b>name</b>" not in browser.text
    assert (await profile(alice))["displayname"] == name
    member = (await alice.get("/rooms/{}/state/m.room.member/{}", room_id, alice.user_id)).ok()
    assert member["displayname"] == name
    await browser.submit(PATH, field="displayname", action="set", value="")
    assert "displayname" not in await profile(alice)
    assert (await browser.submit(PATH, field="displayname", action="set", value="x" * 257)).status == 400
    assert 'role="alert"' in browser.text and "x" * 257 in browser.text


async def test_a_picture_is_uploaded_shown_and_removed(server: RunningServer) -> None:
    alice = await server.user("alice")
    browser = await opened(server)
    assert (await browser.open(PICTURE)).status == 404
    await browser.open(PATH)
    page = await browser.send_file(PICTURE, picture(400, 300), "image/png")
    assert page.status == 200 and "Saved." in browser.text and f'src="{PICTURE}"' in browser.text
    assert "img-src 'self'" in page.headers["Content-Security-Policy"]
    uri = str((await profile(alice))["avatar_url"])
    server_name, media_id = uri.removeprefix("mxc://").split("/")
    kept = await alice.get("/_matrix/client/v1/media/download/{}/{}", server_name, media_id)
    assert kept.body == picture(400, 300)
    small = await browser.open(PICTURE)
    assert (small.status, small.headers["Content-Type"]) == (200, "image/png")
    assert (small.headers["Cache-Control"], small.headers["Cross-Origin-Resource-Policy"]) == (
        "no-store",
        "same-origin",
    )
    assert (await server.anonymous().request("GET", PICTURE)).status == 404
    await browser.open(PATH)
    await browser.submit(PATH, field="avatar_url", action="remove")
    assert "avatar_url" not in await profile(alice) and f'src="{PICTURE}"' not in browser.text


@pytest.mark.parametrize(
    ("content", "content_type"),
    [
        (b"<script>alert(1)</script>", "text/html"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image/svg+xml"),
        (b"no picture at all", "image/png"),
        (b"", "image/png"),
    ],
)
async def test_what_is_no_picture_is_not_kept(server: RunningServer, content: bytes, content_type: str) -> None:
    """T-K5: a file of another kind becomes nobody's picture, whatever it calls itself."""
    alice = await server.user("alice")
    browser = await opened(server)
    assert (await browser.send_file(PICTURE, content, content_type)).status == 400
    assert 'role="alert"' in browser.text
    assert "avatar_url" not in await profile(alice)
    assert await server.db.fetchval("SELECT count(*) FROM media") == 0


async def test_a_picture_has_a_size(server: RunningServer) -> None:
    await server.user("alice")
    browser = await opened(server)
    assert (await browser.send_file(PICTURE, bytes(8 * 1024 * 1024 + 1), "image/png")).status == 413


async def test_fields_of_any_kind_are_shown_changed_and_removed(server: RunningServer) -> None:
    alice = await server.user("alice")
    await alice.put("/profile/{}/org.example.team", alice.user_id, body={"org.example.team": {"name": "</textarea>"}})
    browser = await opened(server)
    assert "&lt;/textarea&gt;" in browser.text
    await browser.submit(PATH, field="org.example.team", kind="json", action="set", value='{"name": ["red", 1]}')
    await browser.submit(PATH, field="org.example.about", kind="text", action="set", value="one\r\ntwo")
    await browser.submit(PATH, field="m.tz", kind="text", action="set", value="Asia/Shanghai")
    found = await profile(alice)
    assert found["org.example.team"] == {"name": ["red", 1]}
    assert (found["org.example.about"], found["m.tz"]) == ("one\ntwo", "Asia/Shanghai")
    assert "<option selected>Asia/Shanghai</option>" in browser.text
    await browser.submit(PATH, field="org.example.team", action="remove")
    await browser.submit(PATH, field="m.tz", kind="text", action="set", value="")
    assert {"org.example.team", "m.tz"}.isdisjoint(await profile(alice))


@pytest.mark.parametrize(
    "fields",
    [
        {"field": "m.tz", "value": "Nowhere/Land"},
        {"field": "org.example.x", "value": "{", "kind": "json"},
        {"field": "org.example.x", "value": "null", "kind": "json"},
        {"field": "Org.Example", "value": "x"},
        {"field": "", "value": "x"},
        {"field": "org." + "x" * 255, "value": "x"},
        {"field": "org.example.x", "value": "1.5", "kind": "json"},
        {"field": "org.example.x", "value": "x", "action": "other"},
        {"field": "avatar_url", "value": "https://elsewhere.example/a.png"},
        {"field": "displayname", "value": "7", "kind": "json"},
    ],
)
async def test_what_is_no_field_is_refused_and_said(server: RunningServer, fields: dict[str, str]) -> None:
    alice = await server.user("alice")
    before = await profile(alice)
    browser = await opened(server)
    page = await browser.submit(PATH, **({"action": "set", "kind": "text"} | fields))
    assert page.status == 400 and 'role="alert"' in browser.text
    assert await profile(alice) == before


async def test_forms_of_other_sites_change_nothing(server: RunningServer) -> None:
    """T-I22: without the code of a page of ours, or with another visitor's, a form does nothing."""
    alice = await server.user("alice")
    before = await profile(alice)
    browser = await opened(server)
    for code in ("", "0" * 64):
        page = await browser.submit(PATH, field="displayname", action="set", value="Mallory", form_code=code)
        assert page.status == 403
        await browser.open(PATH)
        page = await browser.send_file(PICTURE, picture(10, 10), "image/png", form_code=code)
        assert page.status == 403
        await browser.open(PATH)
    stranger = Browser(server)
    await stranger.open("/_hansa/login")
    hidden = stranger.text.split('name="form_code" value="')[1].split('"')[0]
    assert (await browser.submit(PATH, field="displayname", value="M", action="set", form_code=hidden)).status == 403
    assert await profile(alice) == before


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("multipart/form-data", b""),
        ("multipart/form-data; boundary=a", b""),
        ("multipart/form-data; boundary=a", b"--a\r\n\r\n"),
        ("multipart/form-data; boundary=a", b"--a\r\nno header\r\n--a--"),
        ("multipart/form-data; boundary=a", b"--a\r\nContent-Disposition: form-data; name=x\r\n\r\n\xff\r\n--a--"),
        ("multipart/form-data; boundary=a", b"--a\r\n\r\n" * 200 + b"--a--"),
        ('multipart/form-data; boundary="a<b>"', b"--a<b>--"),
        ("multipart/form-data; boundary=" + "a" * 100, b"--" + b"a" * 100 + b"--"),
        ("application/json", b"{}"),
    ],
)
async def test_a_body_that_is_no_form_is_refused(server: RunningServer, kind: str, body: bytes) -> None:
    await server.user("alice")
    browser = await opened(server)
    headers = {"Content-Type": kind, "Cookie": browser.cookie or ""}
    answer = await server.anonymous().request("POST", PICTURE, data=body, headers=headers)
    assert answer.status in (400, 403), answer.body


async def test_a_suspended_account_reads_alone(server: RunningServer) -> None:
    alice = await server.user("alice")
    browser = await opened(server)
    await server.db.execute("UPDATE users SET is_suspended = true WHERE user_id = $1", alice.user_id)
    page = await browser.submit(PATH, field="displayname", action="set", value="New")
    assert page.status == 403 and 'role="alert"' in browser.text
    page = await browser.send_file(PICTURE, picture(10, 10), "image/png")
    assert page.status == 403
    assert "avatar_url" not in await profile(alice)


async def test_changes_by_the_page_have_the_limit_of_changes_by_clients(database_dsn: str) -> None:
    toml = "[rate_limits]\n[rate_limits.profile]\nper_second = 0.001\nburst = 2\n"
    async with running_server(database_dsn, toml=toml) as server:
        await server.user("alice")
        browser = await opened(server)
        statuses = [
            (await browser.submit(PATH, field="displayname", action="set", value=f"{number}")).status
            for number in range(3)
        ]
        assert statuses == [200, 200, 429]
