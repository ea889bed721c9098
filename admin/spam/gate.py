"""Where rules meet what happens: events that users of ours send, events of other servers, and what accounts do."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import orjson

from admin.spam import storage
from admin.spam.conditions import pattern_of
from admin.spam.engine import Act, SpamEngine, Verdict
from admin.spam.facts import Happening
from admin.spam.rules import AFTERWARDS
from admin.spam.sanctions import Sanctions
from homeserver.core.errors import Forbidden, LimitExceeded
from homeserver.core.events import Draft, Event
from homeserver.core.identifiers import EventId, RoomId, ServerName
from homeserver.journal.journal import Entry
from homeserver.rooms.building import Written
from homeserver.rooms.policy import CaptchaNeeded, Shadowed
from homeserver.runtime.clock import Clock
from homeserver.runtime.tasks import Tasks
from homeserver.storage.database import Database

AWAITED_MAX = 5_000
AWAITED_OF_ONE_MAX = 100
JUDGED_MAX = 20_000
REMOTE_HOOKS = {"event": "remote_event", "join": "remote_join", "invite": "remote_invite"}
MASK = "•••"
# What moderators do, and what switches a policy server off, no rule may stand in the way of.
_UNTOUCHED = frozenset({"m.room.redaction", "m.room.policy", "m.room.server_acl", "m.room.tombstone"})

_Speaking = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class _Awaited:
    """What follows once one event is written, and the decisions about it: that event, not the next of its sender."""

    acts: Sequence[Act]
    codes: Sequence[str]
    event_id: str
    state_key: str | None
    content: Mapping[str, Any]

    def fits(self, event: Event) -> bool:
        if self.event_id:
            return self.event_id == event.event_id
        if self.state_key is not None:  # what state says may be completed on the way
            return self.state_key == event.state_key
        return event.state_key is None and self.content == event.content


class SpamGate:
    """Implements ports.PolicyCheck, ports.RemoteScreen and ports.PolicyRefusals."""

    def __init__(self, db: Database, engine: SpamEngine, sanctions: Sanctions, clock: Clock, tasks: Tasks) -> None:
        self._db = db
        self._engine = engine
        self._sanctions = sanctions
        self._clock = clock
        self._tasks = tasks
        # By (room, sender, type).
        self._awaited: OrderedDict[_Speaking, deque[_Awaited]] = OrderedDict()
        self._judged: OrderedDict[EventId, str | None] = OrderedDict()

    # --- events of ours

    async def judge(self, room_id: RoomId | None, draft: Draft) -> Draft:
        """Raises MatrixError with the rule's reason and the code for an appeal."""
        hook = hook_of(draft.type, draft.sender, draft.state_key, draft.content)
        if hook is None:
            return draft
        if not self._engine.around.is_local(draft.sender):
            hook = {"invite": "remote_invite"}.get(hook, hook)
        if not self._engine.wants(hook):
            return draft
        what = self._happening(hook, draft.type, draft.sender, draft.state_key, draft.content, room_id or "")
        verdict = await self._engine.judge(what, await self._engine.around.room(what.room_id))
        await self._deny(verdict, draft, room_id)
        if masks := verdict.of_kind("mask"):
            draft = replace(draft, content=masked(draft.content, [act.action.pattern for act in masks]))
            what = msgspec.structs.replace(what, content=draft.content)
        self._follow(verdict, what)
        return draft

    # --- events of others

    async def refusal(self, room_id: RoomId, event: Event) -> str | None:
        """For a room that this server looks at events for: what the sender is told, or None."""
        if self._engine.around.is_local(event.sender):
            return None
        return (await self.screen(room_id, [event]))[0]

    async def screen(self, room_id: RoomId, events: Sequence[Event]) -> list[str | None]:
        """For each event of another server: why it isn't shown, or None. Never raises for a rule's sake.

        An event that is seen again, once to be signed and once in the room, is judged once.
        """
        found: list[str | None] = []
        for event in events:
            if event.event_id in self._judged:
                found.append(self._judged[event.event_id])
                continue
            hook = hook_of(event.type, event.sender, event.state_key, event.content)
            hook = REMOTE_HOOKS.get(hook or "", hook)
            if hook is None or self._engine.around.is_local(event.sender) or not self._engine.wants(hook):
                found.append(None)
                continue
            what = self._happening(hook, event.type, event.sender, event.state_key, event.content, room_id)
            what = msgspec.structs.replace(what, event_id=event.event_id)
            verdict = await self._engine.judge(what, await self._engine.around.room(room_id))
            denial = verdict.denial
            self._follow(verdict, what)
            why = (denial.action.reason or f"rule {denial.rule.id}") if denial is not None else None
            self._judged[event.event_id] = why
            if len(self._judged) > JUDGED_MAX:
                self._judged.popitem(last=False)
            found.append(why)
        return found

    def refused(self, event: Event, by: ServerName, why: str) -> None:
        """The policy server of a room refuses what a user of ours sends. Implements ports.PolicyRefusals."""
        hook = hook_of(event.type, event.sender, event.state_key, event.content) or "event"
        what = self._happening(hook, event.type, event.sender, event.state_key, event.content, event.room_id)
        self._engine.refused_elsewhere(what, by, why)

    # --- accounts, media, directory

    async def check(
        self,
        hook: str,
        sender: str,
        *,
        content: Mapping[str, Any] | None = None,
        address: str = "",
        size: int = 0,
        hash: str = "",
    ) -> None:
        """Raises MatrixError where rules of this hook refuse."""
        if not self._engine.has(hook):
            return
        now_s = self._clock.now_ms() / 1_000
        what = Happening(
            hook=hook, sender=sender, at_s=now_s, type=hook, content=content, address=address, size=size, hash=hash
        )
        verdict = await self._engine.judge(what)
        await self._deny(verdict, None, None)
        self._follow(verdict, what)

    # --- what follows

    def hear(self, entries: Sequence[Entry]) -> None:
        """A listener of the journal: an event that something has to follow is there."""
        if not self._awaited:
            return
        for entry in entries:
            if entry.kind != "event" or not isinstance(entry.payload, Written):
                continue
            event = entry.payload.event
            key = (event.room_id, event.sender, event.type)
            waiting = self._awaited.get(key, ())
            found = next((one for one in waiting if one.fits(event)), None)
            if found is not None:
                self._come(key, found, event.event_id)

    def _come(self, key: _Speaking, found: _Awaited, event_id: str) -> None:
        waiting = self._awaited[key]
        waiting.remove(found)
        if not waiting:
            del self._awaited[key]
        for code in found.codes:
            self._engine.placed(code, event_id)
        if found.acts:
            self._tasks.start(self._sanctions.carry_out(found.acts, event_id), name="spam_sanctions")

    def _happening(
        self, hook: str, type: str, sender: str, state_key: str | None, content: Mapping[str, Any], room_id: str
    ) -> Happening:
        return Happening(
            hook=hook,
            sender=sender,
            at_s=self._clock.now_ms() / 1_000,
            type=type,
            state_key=state_key,
            content=content,
            room_id=room_id,
        )

    async def _deny(self, verdict: Verdict, draft: Draft | None, room_id: RoomId | None) -> None:
        denial = verdict.denial
        if denial is None:
            return
        later = [act for act in verdict.acts if act.action.kind in AFTERWARDS]
        if later:
            self._tasks.start(self._sanctions.carry_out(later, None), name="spam_sanctions")
        kind, reason = denial.action.kind, denial.action.reason or "this server's rules don't allow it"
        code = f" (to appeal: {denial.decision.code})"
        if kind == "rate_limit":
            raise LimitExceeded(reason + code, retry_after_ms=denial.action.seconds * 1_000)
        if kind == "captcha":
            raise CaptchaNeeded(reason + code)
        if kind == "shadow":
            raise Shadowed(reason + code)
        if kind == "hold":
            number = await self._engine.record_now(denial.decision)
            if draft is not None and room_id is not None:
                async with self._db.transaction() as tx:
                    await storage.hold(tx, number, room_id, _kept(draft))
            self._engine.decided.ring()
            reason = denial.action.reason or "this waits for somebody to look at it"
        raise Forbidden(reason + code)

    def _follow(self, verdict: Verdict, what: Happening) -> None:
        if not verdict.acts and not verdict.shadowed:
            return
        acts = [act for act in verdict.acts if act.action.kind in AFTERWARDS]
        if verdict.denial is not None or not what.room_id or not what.type:
            if acts:
                self._tasks.start(self._sanctions.carry_out(acts, what.event_id or None), name="spam_sanctions")
            return
        codes = dict.fromkeys(one.code for one in (*(act.decision for act in verdict.acts), *verdict.shadowed))
        one = _Awaited(acts, list(codes), what.event_id, what.state_key, what.content or {})
        key = (what.room_id, what.sender, what.type)
        self._awaited.setdefault(key, deque(maxlen=AWAITED_OF_ONE_MAX)).append(one)
        if len(self._awaited) > AWAITED_MAX:
            self._awaited.popitem(last=False)


def hook_of(type: str, sender: str, state_key: str | None, content: Mapping[str, Any]) -> str | None:
    """The hook of an event; None for what no rule may touch: leaving, and what moderators do."""
    if type == "m.room.member":
        membership = content.get("membership")
        if membership in ("join", "knock") and state_key == sender:
            return str(membership)
        return "invite" if membership == "invite" else None
    if type == "m.room.create":
        return "create_room"
    return None if type in _UNTOUCHED else "event"


def masked(content: Mapping[str, Any], patterns: Sequence[str]) -> dict[str, Any]:
    """The content with what these patterns match replaced, in every text of it."""
    compiled = [pattern_of(pattern) for pattern in patterns]

    def clean(value: Any) -> Any:
        if isinstance(value, str):
            for pattern in compiled:
                value = pattern.sub(lambda _: MASK, value)  # as text it would be taken for Latin-1
            return value
        if isinstance(value, dict):
            return {key: clean(inner) for key, inner in value.items()}
        return [clean(inner) for inner in value] if isinstance(value, list) else value

    return {key: value if key in ("msgtype", "m.relates_to") else clean(value) for key, value in content.items()}


def _kept(draft: Draft) -> str:
    return orjson.dumps(
        {
            "type": draft.type,
            "sender": draft.sender,
            "content": draft.content,
            "state_key": draft.state_key,
            "origin_server_ts": draft.origin_server_ts,
        }
    ).decode()
