"""Objects in a real S3 store, alone and under a whole server."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator

import aiohttp
import pytest

from homeserver.core.errors import Unavailable
from homeserver.objects import s3
from homeserver.objects.s3 import Bucket, S3Objects
from homeserver.objects.signature_v4 import UNSIGNED, Asked, Credentials, presigned_query, signed_headers
from homeserver.objects.store import NoSuchObject
from homeserver.runtime.clock import SystemClock
from homeserver.web.addresses import AddressFilter
from homeserver.web.object_transport import ObjectTransport
from homeserver.web.outgoing import OutgoingClient
from tests.api.test_media import picture, upload
from tests.kit.s3 import ACCESS, BUCKET, SECRET, Store, s3_store
from tests.kit.server import running_server

pytestmark = pytest.mark.programs("versitygw")


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    async with s3_store() as running:
        yield running


@pytest.fixture
async def transport() -> AsyncIterator[ObjectTransport]:
    made = ObjectTransport(OutgoingClient(AddressFilter(deny=())))
    yield made
    await made.close()


def bucket(store: Store, secret: str = SECRET) -> Bucket:
    credentials = Credentials(access_key_id=ACCESS, secret_access_key=secret, region="us-east-1")
    return Bucket(endpoint=store.endpoint, name=BUCKET, prefix="hansa/", credentials=credentials, links=True)


async def pieces(*data: bytes) -> AsyncIterator[bytes]:
    for piece in data:
        yield piece


async def read(objects: S3Objects, name: str, start: int = 0, end: int | None = None) -> bytes:
    return b"".join([piece async for piece in objects.get(name, start, end)])


async def test_an_object_comes_back_whole_and_in_parts(store: Store, transport: ObjectTransport) -> None:
    objects = S3Objects(transport, bucket(store), SystemClock())
    data = bytes(range(256)) * 100
    written = await objects.put("a/object", pieces(data, b"", b"end"))
    assert (written.size_bytes, written.digest) == (len(data) + 3, hashlib.sha256(data + b"end").hexdigest())
    assert await read(objects, "a/object") == data + b"end"
    assert await read(objects, "a/object", 100, 300) == data[100:300]
    assert await read(objects, "a/object", len(data)) == b"end"
    assert await objects.size("a/object") == len(data) + 3 and await objects.size("a/nothing") is None
    await objects.put("a/empty", pieces())
    assert await read(objects, "a/empty") == b"" and await objects.size("a/empty") == 0
    await objects.delete("a/object")
    await objects.delete("a/object")
    with pytest.raises(NoSuchObject):
        await read(objects, "a/object")
    assert (store.folder / "hansa" / "a" / "empty").is_file()


async def test_a_large_object_goes_up_in_parts_or_not_at_all(
    store: Store, transport: ObjectTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects = S3Objects(transport, bucket(store), SystemClock())
    piece = bytes(range(256)) * 4096
    written = await objects.put("large", pieces(*[piece] * 20))
    assert written.size_bytes == await objects.size("large") == 20 * len(piece)
    assert hashlib.sha256(await read(objects, "large")).hexdigest() == written.digest

    async def broken() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield piece
        raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"):
        await objects.put("broken", broken())
    assert await objects.size("broken") is None
    monkeypatch.setattr(s3, "ABANDONED_MS", -3_600_000)
    assert await objects.sweep() == 0


async def test_what_a_crash_left_is_swept(
    store: Store, transport: ObjectTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """T-K13: parts that were never put together cost room that nobody sees."""
    objects = S3Objects(transport, bucket(store), SystemClock())

    async def no_abort(key: str, upload_id: str) -> None:
        return None

    monkeypatch.setattr(objects, "_abort", no_abort)
    with pytest.raises(Unavailable):
        await objects.put("crashed", _until_a_crash())
    monkeypatch.undo()
    assert await objects.sweep() == 0
    monkeypatch.setattr(s3, "ABANDONED_MS", -3_600_000)
    assert await objects.sweep() == 1
    assert await objects.sweep() == 0


async def _until_a_crash() -> AsyncIterator[bytes]:
    yield b"x" * s3.PART_BYTES
    raise Unavailable("on purpose")


async def test_wrong_keys_and_no_store_are_no_fault_of_the_caller(store: Store, transport: ObjectTransport) -> None:
    with pytest.raises(Unavailable):
        await S3Objects(transport, bucket(store, "wrong"), SystemClock()).put("x", pieces(b"x"))
    nowhere = Bucket(endpoint="http://127.0.0.1:9", name="x", credentials=bucket(store).credentials)
    with pytest.raises(Unavailable):
        await S3Objects(transport, nowhere, SystemClock()).size("x")


@pytest.mark.parametrize("name", ["", "..", "a/../b", "/a", "a//b", "a\x00b", "a/"])
async def test_a_name_never_leaves_the_prefix(store: Store, transport: ObjectTransport, name: str) -> None:
    """T-K1: whatever a name says, it is below ours."""
    with pytest.raises(ValueError, match="not a name"):
        await S3Objects(transport, bucket(store), SystemClock()).put(name, pieces(b"x"))


async def test_a_server_keeps_its_media_there(store: Store, database_dsn: str) -> None:
    """And sends clients to the store, with the safe headers, where that is wished."""
    settings = (
        f'[media.s3]\nbucket = "{BUCKET}"\nendpoint = "{store.endpoint}"\naccess_key_id = "{ACCESS}"\n'
        f'secret_access_key = "{SECRET}"\n'
    )
    data = picture(300, 300)
    async with running_server(database_dsn, toml=settings) as server:
        alice = await server.user("alice")
        place = await upload(alice, data, "image/png")
        path = f"/_matrix/client/v1/media/download/{place[0]}/{place[1]}"
        assert (await alice.get(path)).body == data
        assert (await alice.request("GET", path, headers={"Range": "bytes=5-9"})).body == data[5:10]
        small = await alice.get(path.replace("download", "thumbnail"), width=32, height=32, method="crop")
        assert small.status == 200 and small.headers["Content-Type"] == "image/png"
        assert len([name for name in store.folder.rglob("*") if name.is_file()]) == 2
    async with running_server(database_dsn, toml=settings + "redirects = true\n") as server:
        alice = await server.login("alice")
        async with aiohttp.ClientSession() as session:
            headers = {"Authorization": f"Bearer {alice.token}"}
            async with session.get(server.base_url + path, headers=headers, allow_redirects=False) as answer:
                assert answer.status == 307 and str(alice.token) not in answer.headers["Location"]
            async with session.get(answer.headers["Location"]) as stored:
                assert await stored.read() == data
                assert stored.headers["Content-Type"] == "image/png"
                assert stored.headers["Content-Disposition"].startswith("inline")
        await server.hansa.media.repository.delete([place[1]])
        assert not [name for name in store.folder.rglob("*") if name.is_file()]


def test_signatures_are_those_of_the_standard() -> None:
    """The examples of the description of AWS Signature Version 4 for S3."""
    credentials = Credentials(
        access_key_id="AKIAIOSFODNN7EXAMPLE",
        secret_access_key="wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        region="us-east-1",
    )
    now_ms = 1_369_353_600_000
    asked = Asked(
        method="GET",
        path="/test.txt",
        query={},
        headers={"Host": "examplebucket.s3.amazonaws.com", "Range": "bytes=0-9"},
    )
    empty = hashlib.sha256(b"").hexdigest()
    signed = signed_headers(asked, empty, now_ms, credentials)["authorization"]
    assert signed.endswith("Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41")
    link = presigned_query(
        Asked(method="GET", path="/test.txt", query={}, headers={"host": "examplebucket.s3.amazonaws.com"}),
        86_400,
        now_ms,
        credentials,
    )
    assert link.endswith("X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404")
    assert UNSIGNED not in link
