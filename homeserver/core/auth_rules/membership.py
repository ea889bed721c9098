"""The rules about m.room.member events. spec: rooms/v12/#authorisation-rules (rule 5), the same in each version"""

from __future__ import annotations

from typing import Any

from homeserver.core.auth_rules.context import AuthState
from homeserver.core.auth_rules.power import creator_of
from homeserver.core.auth_rules.rules import Rule
from homeserver.core.auth_rules.selection import AUTHORISER
from homeserver.core.errors import BadJson
from homeserver.core.events import Event
from homeserver.core.identifiers import is_user_id
from homeserver.core.room_versions import EventIdFormat
from homeserver.core.signing import decode_base64, is_signature_valid, signed_bytes

# Each costs a signature check, and both lists are a stranger's.
THIRD_PARTY_KEYS_MAX = 16
THIRD_PARTY_SIGNATURES_MAX = 16


def check_member(auth: AuthState) -> None:
    """Raises RuleBroken unless this membership may be set.

    Whether the server of `join_authorised_via_users_server` signed is for the signature check: see `required_signers`.
    """
    event = auth.event
    if not is_user_id(event.state_key) or event.membership is None:
        auth.refuse(Rule.MEMBER_FORM, "a member event needs a user id as its state key, and a membership")
    target = str(event.state_key)
    match event.membership:
        case "join":
            _check_join(auth, target)
        case "invite":
            _check_invite(auth, target)
        case "leave":
            _check_leave(auth, target)
        case "ban":
            _check_ban(auth, target)
        case "knock" if event.version.knocking:
            _check_knock(auth, target)
        case membership:
            auth.refuse(Rule.MEMBERSHIP_UNKNOWN, f"membership {membership[:40]!r} is unknown")


def _check_join(auth: AuthState, target: str) -> None:
    event, version = auth.event, auth.event.version
    if list(event.prev_event_ids) == [auth.create.event_id] and creator_of(auth.create) == target:
        return
    if event.sender != target:
        auth.refuse(Rule.JOIN_SENDER, f"{event.sender} may not join for {target}")
    membership = auth.membership(target)
    if membership == "ban":
        auth.refuse(Rule.JOIN_BANNED, f"{target} is banned")
    match auth.join_rule:
        case "public":
            return
        case "invite":
            allowed = membership in ("invite", "join")
        case "knock" if version.knocking:
            allowed = membership in ("invite", "join")
        case "restricted" if version.restricted_joins:
            allowed = membership in ("invite", "join") or _is_join_authorised(auth)
        case "knock_restricted" if version.knock_restricted:
            allowed = membership in ("invite", "join") or _is_join_authorised(auth)
        case _:
            allowed = False
    if not allowed:
        auth.refuse(Rule.JOIN_OTHERWISE, f"the join rule does not let {target} in")


def _is_join_authorised(auth: AuthState) -> bool:
    """True, or RuleBroken: the authorising user must be in the room and be able to invite."""
    authoriser = auth.event.content.get(AUTHORISER)
    if not isinstance(authoriser, str):
        auth.refuse(Rule.JOIN_RESTRICTED, f"{AUTHORISER} must name a member who may invite")
    if auth.membership(authoriser) != "join":
        auth.refuse(Rule.JOIN_RESTRICTED, f"{authoriser}, who authorised the join, is not in the room")
    if auth.levels.user(authoriser) < auth.levels.invite:
        auth.refuse(Rule.JOIN_RESTRICTED, f"{authoriser}, who authorised the join, may not invite")
    return True


def _check_invite(auth: AuthState, target: str) -> None:
    event = auth.event
    if "third_party_invite" in event.content:
        _check_third_party(auth, target)
        return
    if auth.membership(event.sender) != "join":
        auth.refuse(Rule.INVITE_SENDER, f"{event.sender} is not in the room")
    if auth.membership(target) in ("join", "ban"):
        auth.refuse(Rule.INVITE_TARGET, f"{target} is in the room, or banned from it")
    if auth.levels.user(event.sender) < auth.levels.invite:
        auth.refuse(Rule.INVITE_OTHERWISE, f"{event.sender} may not invite")


def _check_third_party(auth: AuthState, target: str) -> None:
    if auth.membership(target) == "ban":
        auth.refuse(Rule.THIRD_PARTY_BANNED, f"{target} is banned")
    invite = auth.event.content["third_party_invite"]
    if not isinstance(invite, dict) or "signed" not in invite:
        auth.refuse(Rule.THIRD_PARTY_SIGNED, "third_party_invite has no signed property")
    signed = invite["signed"]
    if not isinstance(signed, dict) or not all(isinstance(signed.get(key), str) for key in ("mxid", "token")):
        auth.refuse(Rule.THIRD_PARTY_FIELDS, "third_party_invite.signed needs mxid and token")
    if signed["mxid"] != target:
        auth.refuse(Rule.THIRD_PARTY_MXID, "third_party_invite.signed.mxid is not the invited user")
    promise = auth.state.get(("m.room.third_party_invite", signed["token"]))
    if promise is None:
        auth.refuse(Rule.THIRD_PARTY_TOKEN, "the room has no third-party invite of this token")
    if promise.sender != auth.event.sender:
        auth.refuse(Rule.THIRD_PARTY_SENDER, f"{auth.event.sender} did not send the third-party invite")
    if not _is_signed_by_any(signed, _public_keys(promise)):
        auth.refuse(Rule.THIRD_PARTY_OTHERWISE, "no signature by a key of the third-party invite")


def _public_keys(promise: Event) -> list[bytes]:
    listed = promise.content.get("public_keys")
    candidates = [promise.content.get("public_key")]
    if isinstance(listed, list):
        candidates += [entry.get("public_key") for entry in listed if isinstance(entry, dict)]
    keys = []
    for text in candidates[:THIRD_PARTY_KEYS_MAX]:
        if isinstance(text, str):
            try:
                keys.append(decode_base64(text))
            except ValueError:
                continue
    return keys


def _is_signed_by_any(signed: dict[str, Any], keys: list[bytes]) -> bool:
    """Whether one signature of this object is by one of these keys. At most 256 checks of 50 µs."""
    by_server = signed.get("signatures")
    if not isinstance(by_server, dict) or not keys:
        return False
    signatures = [
        signature
        for block in by_server.values()
        if isinstance(block, dict)
        for key_id, signature in block.items()
        if key_id.startswith("ed25519:")
    ]
    try:
        message = signed_bytes(signed)
    except BadJson:
        return False
    return any(
        is_signature_valid(message, signature, key)
        for signature in signatures[:THIRD_PARTY_SIGNATURES_MAX]
        for key in keys
    )


def _check_leave(auth: AuthState, target: str) -> None:
    event, levels = auth.event, auth.levels
    membership = auth.membership(event.sender)
    if event.sender == target:
        may_knock = event.version.knocking
        if membership in ("invite", "join") or (may_knock and membership == "knock"):
            return
        auth.refuse(Rule.LEAVE_SELF, f"{target} is neither in the room nor invited")
    if membership != "join":
        auth.refuse(Rule.LEAVE_SENDER, f"{event.sender} is not in the room")
    power = levels.user(event.sender)
    if auth.membership(target) == "ban" and power < levels.ban:
        auth.refuse(Rule.LEAVE_UNBAN, f"{event.sender} may not lift a ban")
    if power < levels.kick or power <= levels.user(target):
        auth.refuse(Rule.LEAVE_OTHERWISE, f"{event.sender} may not remove {target}")


def _check_ban(auth: AuthState, target: str) -> None:
    event, levels = auth.event, auth.levels
    if auth.membership(event.sender) != "join":
        auth.refuse(Rule.BAN_SENDER, f"{event.sender} is not in the room")
    power = levels.user(event.sender)
    if power < levels.ban or power <= levels.user(target):
        auth.refuse(Rule.BAN_OTHERWISE, f"{event.sender} may not ban {target}")


def _check_knock(auth: AuthState, target: str) -> None:
    event = auth.event
    rules = ("knock", "knock_restricted") if event.version.knock_restricted else ("knock",)
    if auth.join_rule not in rules:
        auth.refuse(Rule.KNOCK_RULE, "the join rule does not let anybody knock")
    if event.sender != target:
        auth.refuse(Rule.KNOCK_SENDER, f"{event.sender} may not knock for {target}")
    if auth.membership(target) in ("ban", "invite", "join"):
        auth.refuse(Rule.KNOCK_OTHERWISE, f"{target} is banned, invited or in the room")


def required_signers(event: Event) -> frozenset[str]:
    """The servers whose signatures an event must have.

    The sender's, but for third-party invites, whose sender another server names; in versions 1 and 2 the event id's;
    that of the user who authorised a restricted join. spec: rooms/v8/#authorisation-rules (rule 4.2), rooms/v1,
    server-server-api/#validating-hashes-and-signatures-on-received-events
    """
    signers: set[str] = set()
    is_member = event.type == "m.room.member"
    if not (is_member and event.membership == "invite" and "third_party_invite" in event.content):
        signers.add(_domain(event.sender))
    if event.version.event_id_format is EventIdFormat.IN_EVENT:
        signers.add(_domain(event.event_id))
    if is_member and event.version.restricted_joins and AUTHORISER in event.content:
        authoriser = event.content[AUTHORISER]
        signers.add(_domain(authoriser) if isinstance(authoriser, str) else "")
    return frozenset(signers)


def _domain(identifier: str) -> str:
    return identifier.partition(":")[2]
