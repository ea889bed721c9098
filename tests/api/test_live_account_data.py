"""Push rules and the read marker as account data."""

from __future__ import annotations

import pytest

from homeserver.accounts.account_data import AccountData
from homeserver.core.errors import NotFound
from tests.api.live import ALICE, BOB, CAROL, running_live


async def test_rules_and_marker_are_among_the_account_data(database_dsn: str) -> None:
    async with running_live(database_dsn) as live:
        account_data = AccountData(live.db, live.journal)
        account_data.provide("m.push_rules", live.rulesets)
        account_data.provide_in_rooms("m.fully_read", live.receipts)
        room = await live.room(ALICE)
        event = await live.say(ALICE, room)
        [default] = await account_data.changes(ALICE, 0, live.journal.visible)
        assert (default.type, default.room_id, list(default.content)) == ("m.push_rules", None, ["global"])
        since = live.journal.visible
        assert await account_data.changes(ALICE, since, live.journal.visible) == []
        await live.ok(ALICE, "PUT", f"/pushrules/global/room/{room}", {"actions": []})
        await live.ok(ALICE, "POST", f"/rooms/{room}/read_markers", {"m.fully_read": event})
        changes = {(one.room_id, one.type): one for one in await account_data.changes(ALICE, since, since + 2)}
        assert changes[room, "m.fully_read"].content == {"event_id": event}
        assert changes[None, "m.push_rules"].content["global"]["room"][0]["rule_id"] == room
        assert await account_data.get(ALICE, room, "m.fully_read") == {"event_id": event}
        assert await account_data.changes(BOB, since, since + 2) == []
        with pytest.raises(NotFound):
            await account_data.get(BOB, room, "m.fully_read")


async def test_ignored_users_notify_nobody(database_dsn: str) -> None:
    """T-G16: counted apart from the moment of the change, also after a restart; T-H5: whatever the list looks like."""
    async with running_live(database_dsn) as live:
        account_data = AccountData(live.db, live.journal)
        room = await live.room(ALICE, BOB, CAROL)
        lists: list[object] = [[ALICE], ALICE, 5, None, {ALICE: {}}]
        for ignored in lists:
            content = {"ignored_users": ignored}
            await account_data.put(BOB, None, "m.ignored_user_list", content)
            if not isinstance(ignored, dict):
                assert not live.rulesets.ignores(BOB, ALICE), "what is no list of users ignores nobody"
            if ignored is None:
                await live.say(ALICE, room)
                await live.unread.flush()
        await live.say(ALICE, room, mention=[BOB])
        await live.say(CAROL, room)
        assert (await live.unread_of(BOB, room)).notifications == 2
        await live.unread.flush()
        await account_data.put(BOB, None, "m.ignored_user_list", {"ignored_users": {ALICE: {}, "@x:y": {}}})
    async with running_live(database_dsn) as live:
        assert (await live.unread_of(BOB, room)).notifications == 2
        await live.say(ALICE, room)
        await live.say(CAROL, room)
        assert (await live.unread_of(BOB, room)).notifications == 3
        assert (await live.rulesets.as_account_data(BOB))[1] == 0
