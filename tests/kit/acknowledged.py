"""What a server acknowledges, kind by kind, for tests that take the server away at the worst moment."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from nacl.signing import SigningKey

from homeserver.core import canonical_json
from homeserver.core.signing import encode_base64
from tests.kit.load import PASSWORD, Caller

MESSAGE = "/rooms/{}/send/m.room.message/{}"
ASKED_AT_ONCE = 1_000


class Messages:
    """A sender in a room that all of these share: every event once, in the sender's order."""

    def __init__(self, name: str, first: Messages | None = None) -> None:
        self.name = name
        self.first = first
        self.sent: list[str] = []
        self.room_id = ""
        self.me: Caller

    async def begin(self, anybody: Caller) -> None:
        self.me = await anybody.registered(self.name)
        if self.first is None:
            self.room_id = (await self.me.call("POST", "/createRoom", {"preset": "public_chat"}))["room_id"]
        else:
            self.room_id = self.first.room_id
            await self.me.call("POST", f"/join/{quote(self.room_id)}", {})

    async def step(self, number: int) -> None:
        path = MESSAGE.format(quote(self.room_id), number)
        self.sent.append((await self.me.call("PUT", path, {"body": f"{self.name} {number}"}))["event_id"])

    async def check(self) -> None:
        acknowledged = list(self.sent)
        own = [event for event in await self.history() if event["content"]["body"].startswith(f"{self.name} ")]
        numbers = [int(event["content"]["body"].split()[1]) for event in own]
        assert numbers == list(range(len(numbers))), "an event is there twice, or out of order"
        assert [event["event_id"] for event in own][: len(acknowledged)] == acknowledged

    async def history(self) -> list[Any]:
        found: list[Any] = []
        query = ""
        while True:
            path = f"/rooms/{quote(self.room_id)}/messages?dir=f&limit=500{query}"
            page = await self.me.call("GET", path)
            found += [event for event in page["chunk"] if event["type"] == "m.room.message"]
            if "end" not in page:
                return found
            query = f"&from={page['end']}"


class Accounts:
    """Registrations with the keys of their devices: the token is good, the password is right, the keys are there."""

    def __init__(self) -> None:
        self.made: list[Caller] = []
        self.anybody: Caller

    async def begin(self, anybody: Caller) -> None:
        self.anybody = anybody

    async def step(self, number: int) -> None:
        made = await self.anybody.registered(f"account{number}")
        await made.call("POST", "/keys/upload", {"device_keys": device_keys(made.user_id, made.device_id)})
        self.made.append(made)

    async def check(self) -> None:
        made = list(self.made)
        for account in made:
            assert (await account.call("GET", "/account/whoami"))["user_id"] == account.user_id
        if made:
            for start in range(0, len(made), ASKED_AT_ONCE):
                part = made[start : start + ASKED_AT_ONCE]
                asked: dict[str, list[str]] = {account.user_id: [] for account in part}
                found = (await made[0].call("POST", "/keys/query", {"device_keys": asked}))["device_keys"]
                assert all(account.device_id in found[account.user_id] for account in part)
            identifier = {"type": "m.id.user", "user": made[-1].user_id}
            login = {"type": "m.login.password", "identifier": identifier, "password": PASSWORD}
            assert (await self.anybody.answer("POST", "/login", login))[0] == 200


def device_keys(user_id: str, device_id: str) -> dict[str, Any]:
    """Keys as a device uploads them, signed by itself."""
    key = SigningKey.generate()
    keys: dict[str, Any] = {
        "user_id": user_id,
        "device_id": device_id,
        "algorithms": ["m.olm.v1.curve25519-aes-sha2"],
        "keys": {
            f"curve25519:{device_id}": "c" * 43,
            f"ed25519:{device_id}": encode_base64(bytes(key.verify_key)),
        },
    }
    signature = encode_base64(key.sign(canonical_json.encode(keys)).signature)
    return {**keys, "signatures": {user_id: {f"ed25519:{device_id}": signature}}}


class OneTimeKeys:
    """Keys that are put there and claimed: no key is ever handed out twice."""

    def __init__(self) -> None:
        self.sent: set[str] = set()
        self.claimed: list[str] = []
        self.me: Caller
        self.other: Caller

    async def begin(self, anybody: Caller) -> None:
        self.me, self.other = await anybody.registered("keyowner"), await anybody.registered("keytaker")

    async def step(self, number: int) -> None:
        keys = {f"curve25519:k{number}x{index}": "k" * 42 + "AEIMQUYcgk"[index % 10] for index in range(3)}
        self.sent |= set(keys)
        await self.me.call("POST", "/keys/upload", {"one_time_keys": keys})
        wanted = {self.me.user_id: {self.me.device_id: "curve25519"}}
        for _ in range(3):
            found = await self.other.call("POST", "/keys/claim", {"one_time_keys": wanted})
            self.claimed += found["one_time_keys"].get(self.me.user_id, {}).get(self.me.device_id, {})

    async def check(self) -> None:
        assert len(self.claimed) == len(set(self.claimed)), "a key was handed out twice"
        assert set(self.claimed) <= self.sent
        claimed = set(self.claimed)
        left = (await self.me.call("POST", "/keys/upload", {}))["one_time_key_counts"].get("curve25519", 0)
        assert left <= len(self.sent - claimed)


class ToDevice:
    """Messages to a device: each arrives once, in order."""

    def __init__(self) -> None:
        self.sent = 0
        self.heard: list[int] = []
        self.since = ""
        self.me: Caller
        self.other: Caller

    async def begin(self, anybody: Caller) -> None:
        self.me, self.other = await anybody.registered("device0"), await anybody.registered("device1")

    async def step(self, number: int) -> None:
        body = {"messages": {self.other.user_id: {self.other.device_id: {"n": number}}}}
        await self.me.call("PUT", f"/sendToDevice/org.example.count/{number}", body)
        self.sent = number + 1
        if number % 3 == 0:
            await self._hear()

    async def _hear(self) -> bool:
        query = f"&since={self.since}" if self.since else ""
        answer = await self.other.call("GET", f"/sync?timeout=0{query}")
        events = answer.get("to_device", {}).get("events", [])
        self.heard += [event["content"]["n"] for event in events if event["type"] == "org.example.count"]
        self.since = answer["next_batch"]
        return bool(events)

    async def check(self) -> None:
        acknowledged = self.sent
        fresh = self.heard[:]
        assert fresh == sorted(set(fresh)), "a message came twice, or out of order"
        assert len(fresh) <= acknowledged + 1

    async def finish(self) -> None:
        """Hears all there is: what was acknowledged is in it."""
        while await self._hear():
            pass
        assert self.heard == list(range(len(self.heard))) and len(self.heard) >= self.sent


class Receipts:
    """A receipt that moves on, and account data that count: neither is ever behind what was acknowledged."""

    def __init__(self, messages: Messages) -> None:
        self.messages = messages
        self.read = ""
        self.counted = -1
        self.me: Caller

    async def begin(self, anybody: Caller) -> None:
        self.me = await anybody.registered("reader")
        await self.me.call("POST", f"/join/{quote(self.messages.room_id)}", {})

    async def step(self, number: int) -> None:
        if self.messages.sent and self.messages.sent[-1] != self.read:
            event_id = self.messages.sent[-1]
            await self.me.call("POST", f"/rooms/{quote(self.messages.room_id)}/receipt/m.read/{quote(event_id)}", {})
            self.read = event_id
        await self.me.call("PUT", f"/user/{quote(self.me.user_id)}/account_data/org.example.count", {"n": number})
        self.counted = number

    async def check(self) -> None:
        read, counted = self.read, self.counted
        kept = await self.me.answer("GET", f"/user/{quote(self.me.user_id)}/account_data/org.example.count")
        if counted >= 0:
            assert kept[0] == 200 and int(kept[1].split(b":")[1].strip(b"} ")) >= counted
        if read:
            assert self.messages.sent.index(await self._receipt()) >= self.messages.sent.index(read)

    async def _receipt(self) -> str:
        """Where a fresh client sees it. One that moves while it is read comes with the next answer."""
        query = ""
        while True:
            answer = await self.me.call("GET", f"/sync?timeout=1000{query}")
            joined = answer.get("rooms", {}).get("join", {}).get(self.messages.room_id, {})
            places = [
                str(event_id)
                for event in joined.get("ephemeral", {}).get("events", [])
                if event["type"] == "m.receipt"
                for event_id, kinds in event["content"].items()
                if self.me.user_id in kinds.get("m.read", {})
            ]
            if places:
                assert len(places) == 1, places
                return places[0]
            query = f"&since={answer['next_batch']}"


class Files:
    """Uploads: whole, under the address that was given."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}
        self.me: Caller

    async def begin(self, anybody: Caller) -> None:
        self.me = await anybody.registered("uploader")

    async def step(self, number: int) -> None:
        data = f"file {number} ".encode() * 2000
        status, found = await self.me.answer("POST", "/_matrix/media/v3/upload", data=data)
        assert status == 200, found
        self.kept[found.decode().split("mxc://")[1].split('"')[0]] = data

    async def check(self) -> None:
        for address, data in list(self.kept.items())[-20:]:
            status, found = await self.me.answer("GET", f"/_matrix/client/v1/media/download/{address}")
            assert (status, found) == (200, data)


class Backups:
    """Keys of rooms in a backup: each that was taken can be read, and is counted once."""

    def __init__(self) -> None:
        self.kept = 0
        self.version = ""
        self.me: Caller

    async def begin(self, anybody: Caller) -> None:
        self.me = await anybody.registered("backup")
        body = {"algorithm": "m.megolm_backup.v1.curve25519-aes-sha2", "auth_data": {"public_key": "p" * 43}}
        self.version = (await self.me.call("POST", "/room_keys/version", body))["version"]

    async def step(self, number: int) -> None:
        key = {"first_message_index": 0, "forwarded_count": 0, "is_verified": False, "session_data": {"n": number}}
        path = f"/room_keys/keys/{quote('!r:localhost')}/s{number}?version={self.version}"
        await self.me.call("PUT", path, key)
        self.kept = number + 1

    async def check(self) -> None:
        kept = self.kept
        found = await self.me.call("GET", f"/room_keys/keys?version={self.version}")
        sessions = found["rooms"].get("!r:localhost", {}).get("sessions", {})
        assert {f"s{number}" for number in range(kept)} <= set(sessions)
        assert (await self.me.call("GET", "/room_keys/version"))["count"] >= kept
