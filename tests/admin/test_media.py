"""Media through the admin API: looked at, barred, protected, deleted."""

from __future__ import annotations

from typing import Any

from tests.admin.people import Crew
from tests.kit.server import Client, RunningServer

ADMIN = "/_synapse/admin/v1"
PNG = (
    b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x06\x00\x00\x00\x1f\x15\xc4\x89\x00\x00"
    b"\x00\rIDATx\x9cc\xf8\xff\xff?\x00\x05\xfe\x02\xfe\xa7\x9a\xa0\xa0\x00\x00\x00\x00IEND\xaeB`\x82"
)


async def uploaded(client: Client, data: bytes) -> str:
    """The id of a new file."""
    answer = await client.request("POST", "/_matrix/media/v3/upload", data=data, headers={"Content-Type": "image/png"})
    return str(answer.ok()["content_uri"]).rpartition("/")[2]


async def download(client: Client, media_id: str) -> int:
    return (await client.get("/_matrix/client/v1/media/download/hansa.test/{}", media_id)).status


async def test_quarantine_bars_every_way_to_a_file(server: RunningServer, crew: Crew) -> None:
    """T-M, T-J4: the same bytes under another id too, and thumbnails; letting out needs no new upload."""
    first, twin = await uploaded(crew.user, PNG), await uploaded(crew.admin, PNG)
    path = ADMIN + "/media/quarantine/hansa.test/{}"
    (await crew.auditor.post(path, first)).refused(403, "M_FORBIDDEN")
    (await crew.user.post(path, first)).refused(403, "M_FORBIDDEN")
    (await crew.moderator.post(path, first)).ok()
    assert (await download(crew.user, first), await download(crew.user, twin)) == (404, 404)
    thumbnail = "/_matrix/client/v1/media/thumbnail/hansa.test/{}"
    answer = await crew.user.get(thumbnail, first, width=32, height=32)
    assert answer.status == 404
    info = (await crew.auditor.get(ADMIN + "/media/hansa.test/{}", first)).ok()["media_info"]
    assert (info["quarantined_by"], info["user_id"]) == (crew.moderator.user_id, crew.user.user_id)
    (await crew.moderator.post(ADMIN + "/media/unquarantine/hansa.test/{}", first)).ok()
    assert await download(crew.user, first) == 200
    told = (await crew.auditor.get(ADMIN + "/media/quarantine_changes")).ok()["changes"]
    assert [(one["media_id"], one["quarantined"]) for one in told] == [(first, True), (first, False)]


async def test_what_is_barred_stays_so_without_a_name(server: RunningServer, crew: Crew) -> None:
    """T-K15: its bytes go with the last id that names them; the same content under another one is barred at once."""
    first = await uploaded(crew.user, PNG)
    (await crew.moderator.post(ADMIN + "/media/quarantine/hansa.test/{}", first)).ok()
    for _ in range(2):
        (await crew.admin.request("DELETE", f"{ADMIN}/media/hansa.test/{first}")).ok()
        assert [path for path in server.hansa.config.media.store_path.rglob("*") if path.is_file()] == []
        first = await uploaded(crew.user, PNG)
        assert await download(crew.user, first) == 404
    info = (await crew.auditor.get(ADMIN + "/media/hansa.test/{}", first)).ok()["media_info"]
    assert info["quarantined_by"] == crew.moderator.user_id
    (await crew.moderator.post(ADMIN + "/media/unquarantine/hansa.test/{}", first)).ok()
    assert await download(crew.user, first) == 200


async def test_protected_files_stay_out_of_quarantine(server: RunningServer, crew: Crew) -> None:
    media_id = await uploaded(crew.user, PNG)
    (await crew.moderator.post(ADMIN + "/media/protect/{}", media_id)).ok()
    (await crew.moderator.post(ADMIN + "/media/protect/{}", "nothing")).refused(404, "M_NOT_FOUND")
    user = ADMIN + "/user/{}/media/quarantine"
    assert (await crew.moderator.post(user, crew.user.user_id)).ok() == {"num_quarantined": 0}
    assert await download(crew.user, media_id) == 200
    (await crew.moderator.post(ADMIN + "/media/unprotect/{}", media_id)).ok()
    assert (await crew.moderator.post(user, crew.user.user_id)).ok() == {"num_quarantined": 1}
    assert await download(crew.user, media_id) == 404


async def test_media_of_a_room(server: RunningServer, crew: Crew) -> None:
    room = await crew.user.create_room()
    media_id = await uploaded(crew.user, PNG)
    await crew.user.send(room, "a", msgtype="m.image", url=f"mxc://hansa.test/{media_id}")
    await crew.user.send(room, "b", msgtype="m.image", url="mxc://elsewhere.test/abc")
    shown = (await crew.auditor.get(ADMIN + "/room/{}/media", room)).ok()
    assert shown == {"local": [f"mxc://hansa.test/{media_id}"], "remote": ["mxc://elsewhere.test/abc"]}
    path = ADMIN + "/room/{}/media/quarantine"
    assert (await crew.moderator.post(path, room)).ok() == {"num_quarantined": 1}
    assert await download(crew.user, media_id) == 404


async def test_media_of_a_user(server: RunningServer, crew: Crew) -> None:
    ids = [await uploaded(crew.user, PNG + bytes(number)) for number in range(3)]
    path = ADMIN + "/users/{}/media"
    newest = (await crew.auditor.get(path, crew.user.user_id, limit=2)).ok()
    assert (newest["total"], newest["next_token"], len(newest["media"])) == (3, 2, 2)
    by_size = (await crew.auditor.get(path, crew.user.user_id, order_by="media_length")).ok()["media"]
    assert [one["media_id"] for one in by_size] == ids
    assert by_size[0]["safe_from_quarantine"] is False
    (await crew.auditor.get(path, crew.user.user_id, order_by="1")).refused(400, "M_INVALID_PARAM")
    (await crew.auditor.get(path, "@x:elsewhere.test")).refused(400, "M_UNKNOWN")
    (await crew.moderator.request("DELETE", path, crew.user.user_id)).refused(403, "M_FORBIDDEN")
    gone = (await crew.admin.request("DELETE", path, crew.user.user_id)).ok()
    assert (sorted(gone["deleted_media"]), gone["total"]) == (sorted(ids), 3)
    assert await download(crew.user, ids[0]) == 404


async def test_media_are_deleted_one_by_one_and_by_age(server: RunningServer, crew: Crew) -> None:
    one, old, large = [await uploaded(crew.user, PNG + bytes(size)) for size in (1, 2, 5_000)]
    path = ADMIN + "/media/hansa.test/{}"
    assert (await crew.admin.delete(path, one)).ok() == {"deleted_media": [one], "total": 1}
    (await crew.admin.delete(path, one)).refused(404, "M_NOT_FOUND")
    now = server.hansa.world.clock.now_ms() + 1_000
    delete = ADMIN + "/media/delete"

    async def deleted(**query: Any) -> Any:
        return (await crew.admin.request("POST", delete, query=query)).ok()["deleted_media"]

    assert await deleted(before_ts=now, size_gt=1_000) == [large]
    (await crew.user.put("/profile/{}/avatar_url", crew.user.user_id, body={"avatar_url": f"mxc://hansa.test/{old}"}))
    assert await deleted(before_ts=now) == []
    assert await deleted(before_ts=now, keep_profiles="false") == [old]
    (await crew.admin.request("POST", delete, query={"before_ts": 1_700_000_000})).refused(400, "M_INVALID_PARAM")
    (await crew.admin.request("POST", delete)).refused(400, "M_MISSING_PARAM")
    purged = await crew.admin.request("POST", ADMIN + "/purge_media_cache", query={"before_ts": now})
    assert purged.ok() == {"deleted": 0}
