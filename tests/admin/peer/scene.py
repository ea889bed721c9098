"""The same people, rooms, files and reports on two servers, and their answers made comparable."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from tests.admin.people import PASSWORD
from tests.admin.test_media import PNG
from tests.kit.server import Answered, Client
from tests.kit.until import until

ADMIN = "/_synapse/admin"
PATIENCE_S = 60.0
# What no two servers have alike: their value is compared by its type alone.
_FREE = frozenset(
    "access_token nonce delete_id redact_id purge_id id avatar_url last_seen_ip ip server_version filter start end "
    "event_id prev_events auth_events hashes error token reason quarantined_by last_seen_user_agent "
    "user_agent next_token_of_media upload_name timestamp_ms estimated_size state_group next_batch prev_batch "
    "stream_ordering age sha256 creator replaces_state prev_content prev_sender age_ts pushkey".split()
)
# Without an order of their own.
_IN_ANY_ORDER = frozenset("state kicked_users registration_tokens joined_rooms".split())
# Numbers in what a server on SQLite says.
_SWITCHES = frozenset("authenticated safe_from_quarantine quarantined".split())
_COUNTED = frozenset(
    "total total_rooms offset joined_members joined_local_members joined_local_devices state_events media_count "
    "media_length num_quarantined deleted uses_allowed completed messages_per_second burst_count invite_count "
    "cumulative_joined_room_count count pending num_joined_members order notifications".split()
)
_NAME = re.compile(r"\{([a-z_0-9]+)\}")


class Scene:
    """One server as the table of calls sees it. `{name}` in paths and bodies is what this server calls it."""

    def __init__(self, server_name: str, anonymous: Client, secret: str) -> None:
        self._secret = secret
        self._anonymous = anonymous
        self.names: dict[str, str] = {"server": server_name}
        self.people: dict[str, Client] = {"nobody": anonymous}

    async def furnish(self) -> None:
        """An owner made by the shared secret, three users, three rooms, two files, three reports."""
        for name in ("owner", "alice", "bob", "carol"):
            await self._register(name, is_admin=name == "owner")
        alice, bob = self.people["alice"], self.people["bob"]
        for number, data in enumerate((PNG, PNG + bytes(100))):
            headers = {"Content-Type": "image/png"}
            path = f"/_matrix/media/v3/upload?filename=file{number}.png"
            sent = await alice.request("POST", path, data=data, headers=headers)
            self.names[f"file{number}"] = str(sent.ok()["content_uri"]).rpartition("/")[2]
        (await bob.put("/profile/{}/displayname", bob.user_id, body={"displayname": "Bobby"})).ok()
        den = await alice.create_room(
            name="Den", topic="Caves", preset="public_chat", visibility="public", room_alias_name="den"
        )
        (await bob.post("/join/{}", den)).ok()
        self.names["first"] = await alice.send(den, "one")
        picture = f"mxc://{self.names['server']}/{self.names['file0']}"
        self.names["picture"] = await alice.send(den, "two", msgtype="m.image", url=picture)
        self.names["last"] = await bob.send(den, "three")
        space = await bob.create_room(name="All", preset="private_chat", creation_content={"type": "m.space"})
        for name in ("owner", "carol"):
            (await bob.post("/rooms/{}/invite", space, body={"user_id": self.names[name]})).ok()
            (await self.people[name].post("/join/{}", space)).ok()
        via = {"via": [self.names["server"]]}
        (await bob.put("/rooms/{}/state/m.space.child/{}", space, den, body=via)).ok()
        secret = {"type": "m.room.encryption", "state_key": "", "content": {"algorithm": "m.megolm.v1.aes-sha2"}}
        # No two rooms have as many state events: rooms that are alike come by their ids, which are random.
        more = [{"type": f"m.example.{number}", "state_key": "", "content": {}} for number in range(2)]
        vault = await alice.create_room(
            name="Vault", preset="private_chat", initial_state=[secret, *more], invite=[self.names["carol"]]
        )
        self.names.update(den=den, space=space, vault=vault, alias=f"#den:{self.names['server']}")
        (await bob.put("/user/{}/account_data/m.example", bob.user_id, body={"a": 1})).ok()
        (await bob.post("/rooms/{}/report/{}", den, self.names["first"], body={"reason": "rude"})).ok()
        (await bob.post("/rooms/{}/report/{}", den, self.names["picture"], body={"reason": "worse"})).ok()
        (await alice.post("/users/{}/report", bob.user_id, body={"reason": "a pest"})).ok()
        await self._reports()

    async def _register(self, name: str, *, is_admin: bool) -> None:
        nonce = (await self._anonymous.get(f"{ADMIN}/v1/register")).ok()["nonce"]
        text = "\x00".join([nonce, name, PASSWORD, "admin" if is_admin else "notadmin"])
        mac = hmac.new(self._secret.encode(), text.encode(), hashlib.sha1).hexdigest()
        body = {"nonce": nonce, "username": name, "password": PASSWORD, "admin": is_admin, "mac": mac}
        made = (await self._anonymous.post(f"{ADMIN}/v1/register", body=body)).ok()
        client = Client(self._anonymous._session, self._anonymous.base_url, token=made["access_token"])
        client.user_id, client.device_id = made["user_id"], made["device_id"]
        self.people[name], self.names[name] = client, client.user_id
        self.names[f"{name}_device"] = client.device_id

    async def _reports(self) -> None:
        owner = self.people["owner"]
        events = (await owner.get(f"{ADMIN}/v1/event_reports", dir="f")).ok()["event_reports"]
        users = (await owner.get(f"{ADMIN}/v1/user_reports", dir="f")).ok()["user_reports"]
        for number, row in enumerate(events):
            self.names[f"report{number}"] = str(row["id"])
        self.names["user_report"] = str(users[0]["id"])

    async def call(self, who: str, method: str, path: str, body: Any) -> Answered:
        """One row of the table. A `status` in an answer of success is waited for until it is the last one."""
        filled = ADMIN + _NAME.sub(lambda found: quote(self.names[found[1]], safe=""), path)
        is_status = "_status" in path and method == "GET"
        last: list[Answered] = []

        async def has_ended() -> bool:
            last.append(await self.people[who].request(method, filled, body=self._filled(body)))
            return not is_status or last[-1].status != 200 or not _goes_on(last[-1].json)

        await until(has_ended, within_s=PATIENCE_S)
        return last[-1]

    def keep(self, name: str, key: str, answer: Answered) -> None:
        """Gives a value of this answer a name."""
        self.names[name] = str(answer.json[key]) if answer.status in (200, 201) else "missing"

    def _filled(self, body: Any) -> Any:
        if isinstance(body, str):
            return _NAME.sub(lambda found: self.names.get(found[1], found[0]), body)
        if isinstance(body, list):
            return [self._filled(one) for one in body]
        if isinstance(body, dict):
            return {self._filled(key): self._filled(value) for key, value in body.items()}
        return body

    def shown(self, answer: Answered) -> Any:
        """Status and body: ids by their names, what can't be alike by its type; of an error its code."""
        if not answer.body:
            return answer.status, None
        try:
            said = answer.json
        except ValueError:
            return answer.status, "no JSON"
        if isinstance(said, dict) and "errcode" in said:
            return answer.status, said["errcode"]
        known = sorted(((value, name) for name, value in self.names.items()), key=lambda one: -len(one[0]))
        return answer.status, _comparable(said, "", {value: f"<{name}>" for value, name in known if len(value) > 3})


def _goes_on(said: Any) -> bool:
    if "results" in said:
        return any(_goes_on(one) for one in said["results"])
    return said.get("status") in ("scheduled", "active", "shutting_down", "purging")


def _comparable(value: Any, key: str, known: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        if key == "signatures":
            return "signatures"
        if value.get("type") == "m.room.power_levels":
            value = {**value, "content": "levels"}
        return {_named(name, known): _comparable(one, name, known) for name, one in value.items()}
    if isinstance(value, list):
        found = [_comparable(one, key, known) for one in value]
        return sorted(found, key=_sort_key) if key in _IN_ANY_ORDER else found
    if key in _SWITCHES and value in (0, 1):
        return bool(value)
    if isinstance(value, str):
        named = _named(value, known)
        return named if named != value or key not in _FREE else "a text"
    if isinstance(value, bool) or value is None:
        return value
    return value if key in _COUNTED else f"a {type(value).__name__}"


def _sort_key(value: Any) -> str:
    """Of state its type and key."""
    return (
        f"{value['type']} {value['state_key']}"
        if isinstance(value, dict) and "state_key" in value
        else json.dumps(value, sort_keys=True)
    )


def _named(text: str, known: Mapping[str, str]) -> str:
    for value, name in known.items():
        text = text.replace(value, name)
    return re.sub(r"\$[A-Za-z0-9_-]{43}", "<event>", text)


def differences(one: Any, other: Any, place: str = "") -> list[str]:
    """Where two comparable answers differ, a line each: `place: theirs, ours`."""
    if isinstance(one, dict) and isinstance(other, dict):
        found = []
        for key in sorted({*one, *other}):
            at = f"{place}.{key}"
            if key not in other:
                found.append(f"{at}: {one[key]!r}, missing")
            elif key not in one:
                found.append(f"{at}: missing, {other[key]!r}")
            else:
                found += differences(one[key], other[key], at)
        return found
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)) and len(one) == len(other):
        pairs = zip(one, other, strict=True)
        return [line for number, pair in enumerate(pairs) for line in differences(*pair, f"{place}[{number}]")]
    return [] if one == other else [f"{place}: {one!r}, {other!r}"]
