"""Positions become visible in order, whatever the order of the commits."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

import pytest

from homeserver.core.identifiers import UserId
from homeserver.journal.journal import Entry, Journal
from homeserver.storage import account_data
from homeserver.storage.database import Database

USER = UserId("@alice:hansa.test")


async def write(
    journal: Journal, kind: str, held: asyncio.Event | None = None, opened_event: asyncio.Event | None = None
) -> int:
    """One durable thing; held open until the event is set."""
    async with journal.write() as opened:
        await account_data.upsert(opened.tx, USER, "", kind, b"{}", opened.position)
        opened.publish("account_data", user_ids=[USER])
        if opened_event is not None:
            opened_event.set()
        if held is not None:
            await held.wait()
    return opened.position


async def test_nothing_is_missed_behind_a_slow_commit(database: Database) -> None:
    """T-O5: what commits late holds back what comes after it, so a reader never passes it by."""
    journal = Journal(database)
    await journal.start()
    heard: list[int] = []
    journal.listen(lambda entries: heard.extend(entry.position for entry in entries))
    held, opened = asyncio.Event(), asyncio.Event()
    slow = asyncio.create_task(write(journal, "slow", held, opened))
    await opened.wait()
    before = journal.visible
    quick = [await write(journal, f"quick{number}") for number in range(20)]
    assert journal.visible == before and heard == []
    held.set()
    first = await slow
    assert heard == [first, *quick] and journal.visible == quick[-1]


@pytest.mark.parametrize("seed", range(5))
async def test_a_cursor_on_the_visible_position_sees_all(database: Database, seed: int) -> None:
    """T-O5: many writers at random speeds; a reader takes what lies between two visible positions."""
    chance = random.Random(seed)
    journal = Journal(database)
    await journal.start()
    heard: list[Entry] = []

    def hear(entries: Sequence[Entry]) -> None:
        heard.extend(entries)

    journal.listen(hear)
    read: list[int] = []
    cursor = journal.visible
    reading = asyncio.Lock()

    async def read_on() -> None:
        nonlocal cursor
        async with reading:
            upto = journal.visible
            read.extend(row.position for row in await account_data.changes(database, USER, cursor, upto))
            cursor = upto

    async def writer(name: int) -> list[int]:
        made = []
        for number in range(15):
            held = asyncio.Event()
            task = asyncio.create_task(write(journal, f"{name}-{number}", held))
            for _ in range(chance.randrange(6)):
                await asyncio.sleep(0)
            held.set()
            made.append(await task)
            await read_on()
        return made

    made = [position for found in await asyncio.gather(*(writer(name) for name in range(8))) for position in found]
    await read_on()
    assert read == sorted(made)
    assert [entry.position for entry in heard] == sorted(made)


async def test_a_failed_write_holds_up_nobody(database: Database) -> None:
    journal = Journal(database)
    await journal.start()
    with pytest.raises(RuntimeError, match="on purpose"):
        async with journal.write():
            raise RuntimeError("on purpose")
    assert await write(journal, "after") == journal.visible


async def test_positions_are_never_used_twice(database: Database) -> None:
    first, second = Journal(database), Journal(database)
    await first.start()
    before = await write(first, "a")
    await second.start()
    assert await write(second, "b") > before
