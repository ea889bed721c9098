"""Invites to e-mail addresses. spec: client-server-api/#third-party-invites"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import structlog

from homeserver.accounts.contacts import canonical
from homeserver.accounts.identity_servers import IdentityFault, IdentityServers
from homeserver.core.errors import Forbidden, InvalidParam, MatrixError, MissingParam
from homeserver.core.events import Event
from homeserver.core.identifiers import RoomId, UserId, is_user_id, parse_server_name
from homeserver.ports import RemoteRooms
from homeserver.rooms.commands.membership import Membership
from homeserver.rooms.commands.submission import Submission
from homeserver.rooms.residents import Rooms

log = structlog.get_logger()

PROMISE = "m.room.third_party_invite"
KEYS_MAX = 10
_TEXT_CHARS_MAX = 255


class ThirdPartyInvites:
    """Invites whoever an address belongs to: now, or once it belongs to somebody."""

    def __init__(
        self,
        submission: Submission,
        membership: Membership,
        rooms: Rooms,
        identity: IdentityServers,
        remote: RemoteRooms,
    ) -> None:
        self._submission = submission
        self._membership = membership
        self._rooms = rooms
        self._identity = identity
        self._remote = remote

    async def invite(self, room_id: RoomId, by: UserId, asked: Mapping[str, Any]) -> None:
        """`asked` is the spec's Invite3pid. Raises MatrixError."""
        server, token, address = _parse(asked)
        room = await self._rooms.joined_room(room_id, by)
        await self._submission.check("invite_address", by, {"address": address})
        user_id = await self._identity.lookup(server, token, "email", address)
        if user_id is not None:
            await self._membership.invite(room_id, user_id, by=by)
            return
        self._membership.count_invites(by, [UserId(address)], room_id)
        told = {
            name: text
            for name, kind, key in (
                ("room_name", "m.room.name", "name"),
                ("room_avatar_url", "m.room.avatar", "url"),
                ("room_join_rules", "m.room.join_rules", "join_rule"),
                ("room_alias", "m.room.canonical_alias", "alias"),
                ("room_type", "m.room.create", "type"),
            )
            if (text := room.known_text(kind, key)) is not None
        }
        kept = await self._identity.store_invite(server, token, address=address, room_id=room_id, sender=by, told=told)
        state_key, content = _promise(kept)
        await self._submission.send(room_id, self._submission.draft(PROMISE, by, content, state_key))

    def check(self, asked: Sequence[Mapping[str, Any]]) -> None:
        """Before a room is made: raises MatrixError for what is no invite to an address."""
        for one in asked:
            _parse(one)

    async def invite_all(self, room_id: RoomId, by: UserId, asked: Sequence[Mapping[str, Any]]) -> None:
        """For a room that was just made: an invite that can't be given is left out."""
        for one in asked:
            try:
                await self.invite(room_id, by, one)
            except MatrixError as error:
                log.info("invite_by_address_failed", room_id=room_id, error=error.code)

    async def exchange(self, room_id: RoomId, signed: Mapping[str, Any]) -> Event:
        """The invite that was promised, for the user whom the identity server named and signed for.

        For whoever joins by it, and for other servers' `exchange_third_party_invite`. Whoever is invited or in the room
        stays so. Raises Forbidden; also for who was removed since the invite was promised.
        """
        mxid, token = signed.get("mxid"), signed.get("token")
        if not isinstance(mxid, str) or not is_user_id(mxid) or not isinstance(token, str):
            raise InvalidParam("signed needs mxid and token")
        promise = await self._rooms.state_event(room_id, PROMISE, token[:_TEXT_CHARS_MAX])
        if promise is None or not self._submission.is_local(promise.sender):
            raise Forbidden("there is no such invite")
        member = await self._rooms.state_event(room_id, "m.room.member", mxid)
        if member is not None and member.membership in ("join", "invite"):
            return member
        if member is not None and member.sender != mxid and member.depth > promise.depth:
            # What the identity server signed is for all to read in the first invite: it brings nobody back.
            raise Forbidden("this invite was taken back")
        if not await self._are_keys_valid(promise.content):
            raise Forbidden("the identity server no longer stands by this invite")
        invited = UserId(mxid)
        content = (await self._membership.contents("invite", [invited]))[invited]
        name = promise.content.get("display_name")
        shown = name if isinstance(name, str) else ""
        content["third_party_invite"] = {
            "display_name": shown,
            "signed": {key: signed.get(key) for key in ("mxid", "token", "signatures")},
        }
        draft = self._submission.draft("m.room.member", UserId(promise.sender), content, invited)
        if self._submission.is_local(invited) or await self._submission.hides(room_id, draft):
            return await self._submission.send(room_id, draft)
        return await self._remote.invite(room_id, await self._submission.judge(room_id, draft))

    async def _are_keys_valid(self, content: Mapping[str, Any]) -> bool:
        for key in _keys(content):
            url, public_key = key.get("key_validity_url"), key.get("public_key")
            if isinstance(url, str) and not await self._identity.is_key_valid(url, str(public_key)):
                return False
        return True


def _parse(asked: Mapping[str, Any]) -> tuple[str, str, str]:
    """Identity server, token for it, and address."""
    found = []
    for key in ("id_server", "id_access_token", "address"):
        value = asked.get(key)
        if value is None:
            raise MissingParam(f"an invite by address needs {key}")
        if not isinstance(value, str):
            raise InvalidParam(f"{key} must be a string")
        found.append(value)
    server, token, address = found
    return parse_server_name(server), token, canonical(str(asked.get("medium")), address)


def _keys(content: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    listed = content.get("public_keys")
    keys: list[Mapping[str, Any]] = [content]
    if isinstance(listed, list):
        keys = [key for key in listed if isinstance(key, dict)]
    return keys[:KEYS_MAX]


def _promise(kept: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """State key and content of the event that keeps an invite open. Raises IdentityFault for junk."""
    token, name, keys = kept.get("token"), kept.get("display_name"), kept.get("public_keys")
    if not isinstance(token, str) or not 0 < len(token) <= _TEXT_CHARS_MAX or not isinstance(keys, list):
        raise IdentityFault("the identity server's answer can't be used")
    shown = [
        {"public_key": key["public_key"], "key_validity_url": key["key_validity_url"]}
        for key in keys[:KEYS_MAX]
        if isinstance(key, dict) and all(isinstance(key.get(n), str) for n in ("public_key", "key_validity_url"))
    ]
    if not shown or not isinstance(name, str):
        raise IdentityFault("the identity server's answer can't be used")
    return token, {"display_name": name[:_TEXT_CHARS_MAX], **shown[0], "public_keys": shown}
