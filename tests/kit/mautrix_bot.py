"""A bot on mautrix-python: comes where it is invited and answers `!echo`. Run by the bridge's interpreter.

Invariant: it imports nothing of ours, for it runs in an environment that doesn't have it.
"""

from __future__ import annotations

import asyncio
import sys

from mautrix.client import Client, InternalEventType, MembershipEventDispatcher
from mautrix.types import EventType, MessageEvent, MessageType, StateEvent, TextMessageEventContent


async def main(base_url: str, user_id: str, token: str) -> None:
    client = Client(mxid=user_id, base_url=base_url, token=token)

    async def come(event: StateEvent) -> None:
        if event.state_key == user_id:
            await client.join_room(event.room_id)

    async def answer(event: MessageEvent) -> None:
        body = event.content.body or ""
        if event.sender == user_id or not body.startswith("!echo "):
            return
        content = TextMessageEventContent(msgtype=MessageType.NOTICE, body=body.removeprefix("!echo "))
        content.set_reply(event)
        sent = await client.send_message(event.room_id, content)
        await client.react(event.room_id, event.event_id, "👍")
        await client.set_displayname(f"echoed {sent}"[:30])

    client.add_dispatcher(MembershipEventDispatcher)
    client.add_event_handler(InternalEventType.INVITE, come)
    client.add_event_handler(EventType.ROOM_MESSAGE, answer)
    assert (await client.whoami()).user_id == user_id
    await client.start(None)
    await asyncio.Event().wait()


asyncio.run(main(*sys.argv[1:]))
