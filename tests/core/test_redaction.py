"""What redaction leaves, by room version."""

from __future__ import annotations

from typing import Any

import pytest

from homeserver.core.redaction import redact
from homeserver.core.room_versions import ROOM_VERSIONS

ALL = tuple(name for name, version in ROOM_VERSIONS.items() if version.stable)


def _since(first: int) -> tuple[str, ...]:
    return ALL[first - 1 :]


def _until(last: int) -> tuple[str, ...]:
    return ALL[:last]


# (type, key of its content, the versions that keep it); what isn't listed is dropped in all.
KEPT = [
    ("m.room.member", "membership", ALL),
    ("m.room.member", "join_authorised_via_users_server", _since(9)),
    ("m.room.member", "displayname", ()),
    ("m.room.create", "creator", ALL),
    ("m.room.create", "room_version", _since(11)),
    ("m.room.create", "additional_creators", _since(11)),
    ("m.room.join_rules", "join_rule", ALL),
    ("m.room.join_rules", "allow", _since(8)),
    ("m.room.power_levels", "ban", ALL),
    ("m.room.power_levels", "events", ALL),
    ("m.room.power_levels", "events_default", ALL),
    ("m.room.power_levels", "kick", ALL),
    ("m.room.power_levels", "redact", ALL),
    ("m.room.power_levels", "state_default", ALL),
    ("m.room.power_levels", "users", ALL),
    ("m.room.power_levels", "users_default", ALL),
    ("m.room.power_levels", "invite", _since(11)),
    ("m.room.power_levels", "notifications", ()),
    ("m.room.aliases", "aliases", _until(5)),
    ("m.room.history_visibility", "history_visibility", ALL),
    ("m.room.redaction", "redacts", _since(11)),
    ("m.room.message", "body", ()),
    ("m.room.topic", "topic", ()),
]
TOP_LEVEL = [
    *((key, ALL) for key in "event_id type room_id sender state_key hashes signatures depth prev_events".split()),
    *((key, ALL) for key in "auth_events origin_server_ts".split()),
    *((key, _until(10)) for key in ("prev_state", "origin", "membership")),
    *((key, ()) for key in ("unsigned", "redacts", "age_ts", "anything")),
]


@pytest.mark.parametrize("version", ALL)
@pytest.mark.parametrize(("event_type", "key", "versions"), KEPT)
def test_content(event_type: str, key: str, versions: tuple[str, ...], version: str) -> None:
    pdu = {"type": event_type, "content": {key: [1], "other.key": 1}}
    content = redact(ROOM_VERSIONS[version], pdu)["content"]
    assert (key in content) is (version in versions)
    everything = event_type == "m.room.create" and version in _since(11)
    assert ("other.key" in content) is everything


@pytest.mark.parametrize("version", ALL)
@pytest.mark.parametrize(("key", "versions"), TOP_LEVEL)
def test_top_level(key: str, versions: tuple[str, ...], version: str) -> None:
    assert (key in redact(ROOM_VERSIONS[version], {"type": "x", "content": {}, key: "x"})) is (version in versions)


@pytest.mark.parametrize("version", ALL)
@pytest.mark.parametrize(
    ("invite", "kept"),
    [({"signed": {"a": 1}, "display_name": "x"}, {"signed": {"a": 1}}), ({"display_name": "x"}, {}), ("text", None)],
)
def test_third_party_invite(version: str, invite: Any, kept: Any) -> None:
    pdu: dict[str, Any] = {
        "type": "m.room.member",
        "content": {"membership": "invite", "third_party_invite": invite},
    }
    content = redact(ROOM_VERSIONS[version], pdu)["content"]
    assert content.get("third_party_invite") == (kept if version in _since(11) else None)
    assert pdu["content"]["third_party_invite"] == invite  # the original stays as it is
