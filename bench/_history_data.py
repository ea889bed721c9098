"""The folder of a long run: the database, the index, and what is known of them, so that it goes on where it stopped.

What is measured goes to standard output and to `figures.jsonl` in the folder, one JSON object a line.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
import orjson

from bench._history import Oracle, RoomHead
from homeserver.storage.database import Database
from homeserver.storage.migrate import migrate
from tests.kit.elasticsearch import ElasticsearchServer, running_elasticsearch
from tests.kit.postgres import running_postgres
from tests.kit.server import Client, RunningServer

_DATABASE = "history"
_EXISTS = "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)"
TOLD_EVERY_S = 10.0


@dataclass(slots=True)
class Account:
    """A device that goes on after a restart."""

    token: str
    user_id: str
    device_id: str

    @classmethod
    def of(cls, client: Client) -> Account:
        assert client.token is not None
        return cls(client.token, client.user_id, client.device_id)

    def at(self, server: RunningServer) -> Client:
        """As a client of the server that is there now."""
        client = server.anonymous()
        client.token, client.user_id, client.device_id = self.token, self.user_id, self.device_id
        return client


@dataclass(slots=True)
class Scene:
    """What there is. `done` has the steps that are over."""

    messages: int
    rooms: int
    months: int
    end_ms: int
    done: list[str] = field(default_factory=list)
    room_ids: list[str] = field(default_factory=list)
    accounts: dict[str, Account] = field(default_factory=dict)
    heads: list[RoomHead] = field(default_factory=list)
    first_nid: int = 0
    last_block: int = 0
    body_bytes: int = 0
    moved: int = 0
    first_hot: str = ""  # the first month that stays in Elasticsearch


class Sent(msgspec.Struct, frozen=True, array_like=True):
    """What was sent by HTTP: its number, its event, the words that it has, its room."""

    number: int
    event_id: str
    words: list[int]
    room: int


class HistoryData:
    """All of it, in a folder that users of other names may enter."""

    def __init__(self, folder: Path, wanted: Scene) -> None:
        folder.mkdir(0o755, parents=True, exist_ok=True)
        self.folder = folder
        self.server_folder = folder / "server"
        self.server_folder.mkdir(exist_ok=True)
        self._scene_path = folder / "scene.json"
        self.scene = wanted
        if self._scene_path.exists():
            self.scene = msgspec.json.decode(self._scene_path.read_bytes(), type=Scene)
            size = self.scene.messages, self.scene.rooms, self.scene.months
            if size != (wanted.messages, wanted.rooms, wanted.months):
                raise SystemExit(f"{folder} has a run of another size: messages, rooms, months {size}")

    def keep(self, done: str | None = None) -> None:
        """Writes down what is known now, with a step that is over."""
        if done is not None:
            self.scene.done.append(done)
        begun = self._scene_path.with_suffix(".begun")
        begun.write_bytes(msgspec.json.encode(self.scene))
        os.replace(begun, self._scene_path)

    @property
    def oracle_path(self) -> Path:
        return self.folder / "oracle.npz"

    def oracle(self) -> Oracle:
        return Oracle.load(self.oracle_path)

    def sent(self) -> list[Sent]:
        """In order; a line that a crash cut short isn't there."""
        path, found = self.folder / "sent.jsonl", dict[int, Sent]()
        for line in path.read_bytes().split(b"\n")[:-1] if path.exists() else ():
            one = msgspec.json.decode(line, type=Sent)
            found[one.number] = one
        return [found[number] for number in sorted(found)]

    @contextmanager
    def sending(self) -> Iterator[Any]:
        """Takes a `Sent` at a time, and keeps it."""
        with (self.folder / "sent.jsonl").open("ab") as file:
            yield lambda one: file.write(msgspec.json.encode(one) + b"\n")

    def figure(self, name: str, value: float, unit: str, size: int | None = None) -> None:
        """What was measured; `size` is that of the run, if nothing else is said."""
        line = orjson.dumps(
            {"figure": name, "value": round(value, 2), "unit": unit, "size": size or self.scene.messages}
        )
        print(line.decode(), flush=True)
        with (self.folder / "figures.jsonl").open("ab") as file:
            file.write(line + b"\n")

    def times(self, name: str, taken: Sequence[float]) -> None:
        """Milliseconds."""
        ordered = sorted(taken)
        self.figure(f"{name}, p50", statistics.median(ordered), "ms")
        self.figure(f"{name}, p95", ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))], "ms")

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Says when it begins, and how long it took."""
        start = time.perf_counter()
        say({"step": name})
        yield
        self.figure(f"{name}: all of it", time.perf_counter() - start, "s")

    @contextmanager
    def elasticsearch(self) -> Iterator[ElasticsearchServer]:
        with running_elasticsearch(heap="1g", data=self.folder / "elasticsearch") as node:
            yield node

    @asynccontextmanager
    async def database(self) -> AsyncIterator[str]:
        """Its DSN."""
        with running_postgres(self.folder / "postgres") as postgres:
            connection = await asyncpg.connect(postgres.dsn("postgres"))
            try:
                if not await connection.fetchval(_EXISTS, _DATABASE):
                    await connection.execute(
                        f"CREATE DATABASE {_DATABASE} TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C'"
                    )
            finally:
                await connection.close()
            database = await Database.connect(postgres.dsn(_DATABASE), size_min=1, size_max=1)
            try:
                await migrate(database)
            finally:
                await database.close()
            yield postgres.dsn(_DATABASE)


class Progress:
    """Says now and then how far something is."""

    def __init__(self, what: str, of: int) -> None:
        self._what, self._of = what, of
        self._told = time.perf_counter()

    def __call__(self, done: int) -> None:
        if time.perf_counter() - self._told >= TOLD_EVERY_S:
            self._told = time.perf_counter()
            say({"progress": self._what, "done": done, "of": self._of})


def say(line: dict[str, Any]) -> None:
    """Of a run that takes long, by a person or a program."""
    print(orjson.dumps({**line, "at_s": round(time.perf_counter(), 1)}).decode(), flush=True)
