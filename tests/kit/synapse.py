"""A real Synapse in a process of its own, to federate with: on SQLite, with a certificate of the tests' authority."""

from __future__ import annotations

import asyncio
import base64
import json
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from tests.kit.authority import Authority
from tests.kit.ports import free_port
from tests.kit.process import REPOSITORY
from tests.kit.server import Client

PYTHON = REPOSITORY / ".venv-peer" / "bin" / "python"
READY_S = 90.0
_FREE = {"per_second": 1_000_000, "burst_count": 1_000_000}


class SynapseServer:
    """One running Synapse."""

    def __init__(self, name: str, base_url: str, session: aiohttp.ClientSession) -> None:
        self.name = name
        self.base_url = base_url
        self._session = session

    def anonymous(self) -> Client:
        return Client(self._session, self.base_url)

    def again(self, user: Client) -> Client:
        """Somebody who was signed in before a restart."""
        return user.resumed(self._session, self.base_url)

    async def user(self, localpart: str) -> Client:
        """A newly registered user."""
        client = Client(self._session, self.base_url)
        body = {"username": localpart, "password": "a password", "auth": {"type": "m.login.dummy"}}
        found = (await client.post("/register", body=body)).ok()
        client.token, client.user_id, client.device_id = found["access_token"], found["user_id"], found["device_id"]
        return client


@asynccontextmanager
async def running_synapse(
    folder: Path,
    authority: Authority,
    changes: Mapping[str, object] | None = None,
    ports: tuple[int, int] | None = None,
) -> AsyncIterator[SynapseServer]:
    """A Synapse named `localhost:PORT`. Its log is in the folder; `changes` replace parts of its configuration.

    Entered again with the same folder and ports (for clients, for servers), it is the same after a restart.
    """
    folder.mkdir(parents=True, exist_ok=True)
    client_port, federation_port = ports or (free_port(), free_port())
    certificate, key = authority.server_files("localhost")
    name = f"localhost:{federation_port}"
    config = folder / "homeserver.yaml"
    options = _config(folder, name, client_port, federation_port, certificate, key, authority)
    config.write_text(json.dumps({**options, **(changes or {})}))
    log = (folder / "synapse.out").open("ab")
    process = await asyncio.create_subprocess_exec(
        str(PYTHON), "-m", "synapse.app.homeserver", "-c", str(config), cwd=folder, stdout=log, stderr=log,
        env={**os.environ, "PYTHONPATH": ""},
    )  # fmt: skip
    base_url = f"http://127.0.0.1:{client_port}"
    try:
        async with aiohttp.ClientSession() as session:
            await _ready(process, session, base_url, folder)
            yield SynapseServer(name, base_url, session)
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()
        log.close()


async def _ready(
    process: asyncio.subprocess.Process, session: aiohttp.ClientSession, base_url: str, folder: Path
) -> None:
    async with asyncio.timeout(READY_S):
        while True:
            assert process.returncode is None, (folder / "synapse.out").read_text()[-3000:]
            try:
                async with session.get(base_url + "/_matrix/client/versions") as answer:
                    if answer.status == 200:
                        return
            except aiohttp.ClientConnectionError:
                await asyncio.sleep(0.1)


def _config(
    folder: Path,
    name: str,
    client_port: int,
    federation_port: int,
    certificate: Path,
    key: Path,
    authority: Authority,
) -> dict[str, object]:
    signing_key = folder / "signing.key"
    if not signing_key.exists():
        signing_key.write_text("ed25519 a_test " + base64.b64encode(os.urandom(32)).decode().rstrip("=") + "\n")
    sections = "message registration admin_redaction joins_per_room key_requests third_party_invite media_create"
    limits = {f"rc_{name}": _FREE for name in (*sections.split(), "room_creation", "reports", "user_directory")}
    (folder / "log.json").write_text(
        json.dumps({"version": 1, "root": {"level": "INFO", "handlers": ["out"]},
                    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
                    "handlers": {"out": {"class": "logging.StreamHandler", "formatter": "line"}}})
    )  # fmt: skip
    return {
        "server_name": name,
        "public_baseurl": f"http://127.0.0.1:{client_port}/",
        "pid_file": str(folder / "synapse.pid"),
        "listeners": [
            {"port": client_port, "bind_addresses": ["127.0.0.1"], "type": "http", "tls": False,
             "resources": [{"names": ["client", "media"], "compress": False}]},
            {"port": federation_port, "bind_addresses": ["127.0.0.1"], "type": "http", "tls": True,
             "resources": [{"names": ["federation", "media"], "compress": False}]},
        ],
        "tls_certificate_path": str(certificate),
        "tls_private_key_path": str(key),
        "federation_custom_ca_list": [str(authority.ca_path)],
        "ip_range_blacklist": [],
        "federation_ip_range_blacklist": [],
        "database": {"name": "sqlite3", "args": {"database": str(folder / "homeserver.db")}},
        "log_config": str(folder / "log.json"),
        "media_store_path": str(folder / "media"),
        "signing_key_path": str(signing_key),
        "macaroon_secret_key": "for tests only, of no worth",
        "form_secret": "for tests only, of no worth",
        "registration_shared_secret": "for tests only",
        "enable_registration": True,
        "enable_registration_without_verification": True,
        "bcrypt_rounds": 4,
        "report_stats": False,
        "trusted_key_servers": [],
        "suppress_key_server_warning": True,
        "presence": {"enabled": True},
        "allow_public_rooms_over_federation": True,
        "room_list_publication_rules": [{"action": "allow"}],
        "caches": {"sync_response_cache_duration": "0s"},
        "rc_login": dict.fromkeys(("address", "account", "failed_attempts"), _FREE),
        "rc_joins": {"local": _FREE, "remote": _FREE},
        "rc_invites": dict.fromkeys(("per_room", "per_user", "per_issuer"), _FREE),
        **limits,
    }  # fmt: skip
