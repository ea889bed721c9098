"""New rooms: all events of a creation in one batch, so that there is a whole room or none.

spec: client-server-api/#post_matrixclientv3createroom
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
import structlog

from homeserver.core.errors import Forbidden, InvalidParam, MatrixError
from homeserver.core.events import Draft
from homeserver.core.identifiers import RoomAlias, RoomId, UserId, parse_user_id
from homeserver.core.room_versions import RoomVersion, room_version
from homeserver.ports import RemoteRooms
from homeserver.rooms.commands.directory import Aliases
from homeserver.rooms.commands.membership import Membership
from homeserver.rooms.commands.presets import PRESETS, Preset, create_content, power_levels
from homeserver.rooms.commands.submission import Submission
from homeserver.rooms.writer import NewAlias
from homeserver.runtime.ids import Randomness

log = structlog.get_logger()

NAME_CHARS_MAX = 1_000
TOPIC_CHARS_MAX = 10_000
INITIAL_STATE_MAX = 200
# What has a way of its own, whose limits and checks hold for everybody.
_NO_INITIAL_STATE = {
    "m.room.member": "people come in by invite",
    "m.room.third_party_invite": "people come in by invite_3pid",
    "m.room.redaction": "it is no state",
}
ENCRYPTION = {"algorithm": "m.megolm.v1.aes-sha2"}


class InitialState(msgspec.Struct, frozen=True):
    type: str
    content: dict[str, Any]
    state_key: str | None = ""


class RoomRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a client wants the room to be."""

    visibility: Literal["public", "private"] | None = None
    room_alias_name: str | None = None
    name: str | None = None
    topic: str | None = None
    invite: list[str] | None = None
    invite_3pid: list[dict[str, Any]] | None = None
    room_version: str | None = None
    creation_content: dict[str, Any] | None = None
    initial_state: list[InitialState] | None = None
    preset: Literal["private_chat", "public_chat", "trusted_private_chat"] | None = None
    is_direct: bool | None = None
    power_level_content_override: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CreationSettings:
    """How rooms begin on this server."""

    randomness: Randomness
    default_version: str = "12"
    encrypt_by_default: Literal["none", "invite", "all"] = "none"
    invites_max: int = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """A request whose parts were checked."""

    request: RoomRequest
    creator: UserId
    version: RoomVersion
    preset: Preset
    invitees: Sequence[UserId]
    alias: RoomAlias | None


class RoomCreation:
    """Makes rooms."""

    def __init__(
        self,
        submission: Submission,
        membership: Membership,
        aliases: Aliases,
        remote: RemoteRooms,
        settings: CreationSettings,
    ) -> None:
        self._submission = submission
        self._membership = membership
        self._aliases = aliases
        self._remote = remote
        self._settings = settings

    async def create(self, creator: UserId, request: RoomRequest) -> RoomId:
        """The new room. Raises MatrixError, and then nothing was made.

        An alias that is taken: M_ROOM_IN_USE. Events that the room's own rules refuse: M_INVALID_ROOM_STATE.
        """
        plan = self._plan(creator, request)
        self._membership.count_invites(creator, plan.invitees)
        away = [user_id for user_id in plan.invitees if not self._submission.is_local(user_id)]
        await self._remote.check_reachable({user_id.partition(":")[2] for user_id in away})
        here = [user_id for user_id in plan.invitees if self._submission.is_local(user_id)]
        drafts = [*await self._drafts(plan), *await self._invites(plan, here)]
        if plan.alias is None:
            room_id = await self._write(plan, drafts)
        else:
            with self._aliases.reserved(plan.alias):
                await self._aliases.check_free(plan.alias, creator)
                room_id = await self._write(plan, drafts)
        if away:
            await self._invite_away(plan, room_id, away)
        return room_id

    def _plan(self, creator: UserId, request: RoomRequest) -> _Plan:
        version = room_version(request.room_version or self._settings.default_version)
        default = "public_chat" if request.visibility == "public" else "private_chat"
        invitees = list(dict.fromkeys(parse_user_id(user_id) for user_id in request.invite or []))
        if len(invitees) + len(request.invite_3pid or []) > self._settings.invites_max:
            raise InvalidParam(f"a room may be created with {self._settings.invites_max} invites")
        if len(request.initial_state or []) > INITIAL_STATE_MAX:
            raise InvalidParam(f"initial_state may have {INITIAL_STATE_MAX} events")
        for state in request.initial_state or []:
            if state.type in _NO_INITIAL_STATE:
                raise InvalidParam(f"initial_state must not have {state.type}: {_NO_INITIAL_STATE[state.type]}")
        for name, value, most in (("name", request.name, NAME_CHARS_MAX), ("topic", request.topic, TOPIC_CHARS_MAX)):
            if value is not None and len(value) > most:
                raise InvalidParam(f"{name} may have {most} characters")
        return _Plan(
            request=request,
            creator=creator,
            version=version,
            preset=PRESETS[request.preset or default],
            invitees=invitees,
            alias=self._aliases.new_alias(request.room_alias_name) if request.room_alias_name else None,
        )

    async def _drafts(self, plan: _Plan) -> list[Draft]:
        """All but the invites, in the spec's order."""
        request, preset = plan.request, plan.preset
        create = create_content(plan.version, plan.creator, preset, plan.invitees, request.creation_content or {})
        member = (await self._membership.contents("join", [plan.creator]))[plan.creator]
        levels = power_levels(plan.version, plan.creator, preset, plan.invitees, request.power_level_content_override)
        drafts = [
            self._state(plan, "m.room.create", create),
            self._submission.draft("m.room.member", plan.creator, member, plan.creator),
            self._state(plan, "m.room.power_levels", levels),
        ]
        if plan.alias is not None:
            drafts.append(self._state(plan, "m.room.canonical_alias", {"alias": plan.alias}))
        drafts += self._preset_state(plan)
        drafts += self._initial_state(plan)
        if request.name:
            drafts.append(self._state(plan, "m.room.name", {"name": request.name}))
        if request.topic:
            drafts.append(self._state(plan, "m.room.topic", topic_content(request.topic)))
        return drafts

    def _preset_state(self, plan: _Plan) -> Iterator[Draft]:
        """What `initial_state` sets instead is left out."""
        preset, encrypt = plan.preset, self._settings.encrypt_by_default
        contents: dict[str, dict[str, Any]] = {
            "m.room.join_rules": {"join_rule": preset.join_rule},
            "m.room.history_visibility": {"history_visibility": preset.history_visibility},
        }
        if preset.guest_access is not None:
            contents["m.room.guest_access"] = {"guest_access": preset.guest_access}
        if encrypt == "all" or (encrypt == "invite" and preset.join_rule == "invite"):
            contents["m.room.encryption"] = dict(ENCRYPTION)
        given = {(state.type, state.state_key or "") for state in plan.request.initial_state or []}
        for kind, content in contents.items():
            if (kind, "") not in given:
                yield self._state(plan, kind, content)

    def _initial_state(self, plan: _Plan) -> Iterator[Draft]:
        request = plan.request
        overridden = {("m.room.name", "")} if request.name else set()
        overridden |= {("m.room.topic", "")} if request.topic else set()
        for state in request.initial_state or []:
            key = state.state_key or ""
            if (state.type, key) not in overridden:
                yield self._submission.draft(state.type, plan.creator, state.content, key)

    async def _invites(self, plan: _Plan, invitees: Sequence[UserId]) -> list[Draft]:
        if self._submission.is_shadowed(plan.creator):
            return []
        contents = await self._membership.contents("invite", invitees) if invitees else {}
        direct = {"is_direct": True} if plan.request.is_direct else {}
        return [
            self._submission.draft("m.room.member", plan.creator, {**content, **direct}, user_id)
            for user_id, content in contents.items()
        ]

    async def _write(self, plan: _Plan, drafts: Sequence[Draft]) -> RoomId:
        room_id = None
        if not plan.version.room_id_from_create_event:
            room_id = RoomId(f"!{self._settings.randomness.letters(18)}:{self._submission.server_name}")
        alias = NewAlias(plan.alias, plan.creator) if plan.alias is not None else None
        try:
            room = await self._submission.create(
                plan.version, room_id, drafts, is_published=plan.request.visibility == "public", alias=alias
            )
        except Forbidden as refusal:
            if refusal.code != Forbidden.errcode:
                raise
            raise MatrixError(refusal.message, errcode="M_INVALID_ROOM_STATE") from refusal
        return room.room_id

    async def _invite_away(self, plan: _Plan, room_id: RoomId, invitees: Sequence[UserId]) -> None:
        """Those whose servers don't answer now are left out: the room is there, and they can be invited again."""
        drafts = await self._invites(plan, invitees)
        invites = (self._remote.invite(room_id, draft) for draft in drafts)
        for outcome in await asyncio.gather(*invites, return_exceptions=True):
            if isinstance(outcome, MatrixError):
                log.info("invite_not_delivered", room_id=room_id, error=outcome.code)
            elif isinstance(outcome, BaseException):
                raise outcome

    def _state(self, plan: _Plan, kind: str, content: dict[str, Any]) -> Draft:
        return self._submission.draft(kind, plan.creator, content, "")


def topic_content(topic: str) -> dict[str, Any]:
    """spec: client-server-api/#mroomtopic"""
    return {"topic": topic, "m.topic": {"m.text": [{"body": topic}]}}
