"""A whole server for tests: the production composition on a database of its own, reached by real HTTP."""

from __future__ import annotations

import json
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
from yarl import URL

from homeserver.app import Hansa
from homeserver.assembly.base import World
from homeserver.config import Config, Listener, load_config
from homeserver.core.identifiers import ServerName
from homeserver.core.signing import Signer
from homeserver.runtime.clock import Clock, SystemClock
from homeserver.runtime.disk import Disk, SystemDisk
from homeserver.runtime.ids import SystemRandomness
from tests.kit.conformance import check_answer
from tests.kit.counting import CountingDatabase

SERVER_NAME = "hansa.test"
SHARED_SECRET = "a secret for tests"


@dataclass(frozen=True, slots=True)
class Answered:
    """A response as it came."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def ok(self) -> Any:
        """The JSON of a 200; fails the test on anything else."""
        assert self.status == 200, (self.status, self.body)
        return self.json

    def refused(self, status: int, errcode: str) -> Any:
        """The JSON of the error that is expected."""
        assert (self.status, self.json.get("errcode")) == (status, errcode), (self.status, self.body)
        return self.json


class Client:
    """A Matrix client as thin as can be: `client.put("/rooms/{}/send/{}/{}", room, type, txn, body={...})`."""

    def __init__(self, session: aiohttp.ClientSession, base_url: str, *, token: str | None = None) -> None:
        self._session = session
        self.base_url = base_url
        self.token = token
        self.user_id = ""
        self.device_id = ""
        self._transactions = 0

    def resumed(self, session: aiohttp.ClientSession, base_url: str) -> Client:
        """The same after the server's restart: with its token, and no transaction id used twice."""
        client = Client(session, base_url, token=self.token)
        client.user_id, client.device_id, client._transactions = self.user_id, self.device_id, self._transactions
        return client

    async def request(
        self,
        method: str,
        path: str,
        *segments: str,
        body: Any = None,
        data: bytes | None = None,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        follow: bool = True,
    ) -> Answered:
        """`path` is below /_matrix/client/v3 unless it begins with /_ or /. of another API; `{}` takes the segments."""
        filled = path.format(*(quote(segment, safe="") for segment in segments)) if segments else path
        url = filled if filled.startswith(("/_", "/.")) else "/_matrix/client/v3" + filled
        sent = dict(headers or {})
        if self.token is not None:
            sent.setdefault("Authorization", f"Bearer {self.token}")
        if body is not None:
            data = json.dumps(body).encode()
        if query:
            url += "?" + "&".join(f"{key}={quote(str(value), safe='')}" for key, value in query.items())

        async with self._session.request(
            method, URL(self.base_url + url, encoded=True), data=data, headers=sent, allow_redirects=follow
        ) as response:
            answered = Answered(response.status, dict(response.headers), await response.read())
        check_answer(method, url, answered.status, response.content_type, answered.body)
        return answered

    async def get(self, path: str, *segments: str, **query: Any) -> Answered:
        return await self.request("GET", path, *segments, query=query)

    async def put(self, path: str, *segments: str, body: Any = None) -> Answered:
        return await self.request("PUT", path, *segments, body=body if body is not None else {})

    async def post(self, path: str, *segments: str, body: Any = None) -> Answered:
        return await self.request("POST", path, *segments, body=body if body is not None else {})

    async def delete(self, path: str, *segments: str, body: Any = None) -> Answered:
        return await self.request("DELETE", path, *segments, body=body)

    async def send(self, room_id: str, text: str = "hello", **content: Any) -> str:
        """Sends a text message; its event id."""
        self._transactions += 1
        body = {"msgtype": "m.text", "body": text, **content}
        path = "/rooms/{}/send/m.room.message/{}"
        event_id: str = (await self.put(path, room_id, f"kit{self._transactions}", body=body)).ok()["event_id"]
        return event_id

    async def create_room(self, **body: Any) -> str:
        room_id: str = (await self.post("/createRoom", body=body)).ok()["room_id"]
        return room_id

    async def join(self, room: str) -> str:
        room_id: str = (await self.post("/join/{}", room)).ok()["room_id"]
        return room_id

    async def sync(self, **query: Any) -> Any:
        return (await self.get("/sync", **query)).ok()


class RunningServer:
    """A server under test."""

    def __init__(self, hansa: Hansa, session: aiohttp.ClientSession, db: CountingDatabase) -> None:
        self.hansa = hansa
        self.db = db
        self._session = session

    @property
    def base_url(self) -> str:
        host, port = self.hansa.addresses[0]
        return f"http://{host}:{port}"

    async def elsewhere(self, url: str) -> str:
        """A page of another server."""
        async with self._session.get(URL(url, encoded=True)) as response:
            assert response.status == 200, await response.text()
            return await response.text()

    def anonymous(self) -> Client:
        return Client(self._session, self.base_url)

    async def user(self, localpart: str, password: str = "correct horse battery") -> Client:
        """A newly registered user with a device."""
        client = self.anonymous()
        body = {"username": localpart, "password": password, "auth": {"type": "m.login.dummy"}}
        account = (await client.post("/register", body=body)).ok()
        return self._as(account)

    async def login(self, localpart: str, password: str = "correct horse battery", **body: Any) -> Client:
        """Another device of a user."""
        identifier = {"type": "m.id.user", "user": localpart}
        login = {"type": "m.login.password", "identifier": identifier, "password": password, **body}
        return self._as((await self.anonymous().post("/login", body=login)).ok())

    def holding(self, token: str) -> Client:
        """Whoever has this access token."""
        return Client(self._session, self.base_url, token=token)

    def _as(self, account: Mapping[str, str]) -> Client:
        client = Client(self._session, self.base_url, token=account["access_token"])
        client.user_id, client.device_id = account["user_id"], account["device_id"]
        return client


def delegated_config(folder: Path, endpoint: str, secret: str, toml: str = "") -> Config:
    """People sign in at the service of this address, and nobody registers here."""
    file = folder / "hansa.toml"
    file.write_text(
        f'server_name = "{SERVER_NAME}"\ndata_dir = "{folder}"\n{toml}\n'
        f'[mas]\nendpoint = "{endpoint}"\nsecret = "{secret}"\n[rate_limits]\nenabled = false\n'
    )
    file.chmod(0o600)
    return replace(load_config(file, {}), listeners=(Listener(port=0),))


def config_for_tests(folder: Path, toml: str = "", registration: str = "") -> Config:
    """Open registration, the cheapest password hash, everything in `folder`; no rate limits but those in `toml`."""
    limits = "" if "[rate_limits]" in toml else "[rate_limits]\nenabled = false\n"
    file = folder / "hansa.toml"
    file.write_text(
        f"""
server_name = "{SERVER_NAME}"
data_dir = "{folder}"
{toml}
[registration]
mode = "open"
open_to_strangers = true
guests = true
{registration}
[password]
time_cost = 1
memory_kib = 8
{limits}
"""
    )
    file.chmod(0o600)
    config = load_config(file, {"HANSA_REGISTRATION__SHARED_SECRET": SHARED_SECRET})
    return replace(config, listeners=(Listener(port=0),))


@asynccontextmanager
async def running_server(
    dsn: str,
    *,
    config: Config | None = None,
    clock: Clock | None = None,
    disk: Disk | None = None,
    toml: str = "",
    registration: str = "",
) -> AsyncIterator[RunningServer]:
    """A server on this database. Entered twice with the same one, it is the same server after a restart."""
    with tempfile.TemporaryDirectory(prefix="hansa-test-") as folder:
        chosen = config or config_for_tests(Path(folder), toml, registration)
        patience_s = chosen.database.statement_timeout_s
        db = await CountingDatabase.connect(dsn, size_min=1, size_max=10, statement_timeout_s=patience_s)
        assert isinstance(db, CountingDatabase)
        world = World(clock=clock or SystemClock(), randomness=SystemRandomness(), db=db, disk=disk or SystemDisk())
        hansa = Hansa(chosen, world, Signer(ServerName(chosen.server_name), "ed25519:test", b"\x07" * 31 + b"\x01"))
        await hansa.start()
        try:
            async with aiohttp.ClientSession() as session:
                yield RunningServer(hansa, session, db)
        finally:
            await hansa.stop()
            await db.close()
