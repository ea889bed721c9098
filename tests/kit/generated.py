"""Requests made from the specification's definitions: valid ones, ones with a flaw, and wrong ones.

All from one seeded source of chance; what servers answered before becomes the parameters of what is asked next, so
that requests get as far as real ones do.
"""

from __future__ import annotations

import json
import random
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from scripts.definitions import Operation, Schema

ODD: list[Any] = [
    None, True, 0, -1, 2**53, -(2**63), 10**40, 1.5, "", "x", "\x00", "a\x00b", "\u2028", "é😀", "a" * 300, "%00",
    "../..", [], [[]], [None], {}, {"": {}}, {"a": {"b": []}}, [1, "a", None], "@alice", "!r", "$", "#", "mxc://",
]  # fmt: skip
ODD_QUERY = ["", "-1", "0", "x", "1.5", "9" * 40, "{", "[]", "\x00", "true", "é", "t5", "s5", "b"]
DEPTH_MAX = 12
# Long polls are asked for an answer at once.
AT_ONCE = {"timeout", "timeout_ms", "delay"}
KINDS = {"!": "room", "@": "user", "$": "event", "#": "alias"}
_BY_NAME = {
    "roomid": "room", "userid": "user", "eventid": "event", "roomalias": "alias", "deviceid": "device",
    "mxid": "user", "roomidoralias": "room", "since": "token", "from": "token", "to": "token", "at": "token",
    "batch": "token", "nextbatch": "token", "filterid": "filter", "version": "version", "servername": "server",
    "mediaid": "media", "session": "session", "threadid": "event", "invite": "user", "redacts": "event",
    "matrixid": "user", "eventtype": "type", "type": "type", "avatarurl": "mxc", "url": "mxc", "sender": "user",
    "roomversion": "room_version", "newversion": "room_version", "ruleid": "rule", "keyname": "field",
    "password": "password", "user": "user",
}  # fmt: skip


@dataclass
class Known:
    """What a client knows of the server: ids by kind, the newest last."""

    ids: dict[str, deque[str]] = field(default_factory=dict)

    def learn(self, kind: str, *values: str) -> None:
        self.ids.setdefault(kind, deque(maxlen=30)).extend(values)

    def learn_from(self, answer: Any) -> None:
        """Takes up every id and token of an answer."""
        for name, value in _strings(answer):
            if value[:1] in KINDS and len(value) < 300:
                # What clients once made up comes back as well.
                if ":" not in value or value.endswith(":hansa.test"):
                    self.learn(KINDS[value[0]], value)
            elif name in ("next_batch", "prev_batch", "start", "end"):
                self.learn("token", value)
            elif name in ("device_id", "filter_id", "session", "version", "rule_id"):
                self.learn(name.removesuffix("_id"), value)
            elif value.startswith("mxc://"):
                self.learn("mxc", value)
                self.learn("media", value.rsplit("/", 1)[-1])


def _strings(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield "", key
            yield from _strings(inner, key)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner, name)
    elif isinstance(value, str):
        yield name, value


@dataclass(frozen=True, slots=True)
class Made:
    """A request ready to send."""

    method: str
    path: str
    query: Mapping[str, str]
    body: bytes | None


class Requests:
    """Makes requests. `contents` are the schemas of event contents by type."""

    def __init__(self, chance: random.Random, known: Known, contents: Mapping[str, Schema]) -> None:
        self._chance = chance
        self._known = known
        self._contents = contents
        self._types = sorted(contents)
        self._type = "m.room.message"
        self._me: Mapping[str, str] = {}

    def make(self, operation: Operation, me: Mapping[str, str] | None = None) -> Made:
        """A request of this operation: two of five valid, two with one flaw, one wrong throughout.

        `me` has ids of the one who asks, by kind: half of all ids of these kinds.
        """
        chance = self._chance
        self._me = me or {}
        flaw = chance.choice(("none", "none", "one", "one", "all"))
        spoiled = chance.choice(("path", "query", "body", "body", "body")) if flaw == "one" else flaw
        self._type = chance.choice(self._types)
        path, query = operation.path, dict[str, str]()
        for parameter in operation.parameters:
            value = self.value(parameter.schema, parameter.name)
            if parameter.place == "path":
                if spoiled in ("path", "all") and chance.random() < 0.6:
                    value = chance.choice(ODD)
                path = path.replace("{" + parameter.name + "}", quote(_text(value), safe="") or "x")
            elif parameter.place == "query" and (
                parameter.is_required or parameter.name in AT_ONCE or chance.random() < 0.4
            ):
                if spoiled in ("query", "all") and chance.random() < 0.6:
                    value = chance.choice(ODD_QUERY)
                query[parameter.name] = "0" if parameter.name in AT_ONCE else _text(value)
        return Made(operation.method, path, query, self._body(operation, spoiled))

    def _body(self, operation: Operation, spoiled: str) -> bytes | None:
        chance = self._chance
        if operation.takes_bytes:
            return chance.randbytes(chance.randrange(200))
        if operation.body is None:
            return None
        if spoiled == "all":
            return json.dumps(chance.choice(ODD)).encode()
        value = self.value(operation.body, "")
        if "/send/" in operation.path or "/state/" in operation.path or "account_data" in operation.path:
            value = self.value(self._contents[self._type], "content")
        if isinstance(value, dict) and "auth" in value:
            value["auth"] = self._auth()
        if spoiled == "body":
            value = self._spoilt(value)
        return json.dumps(value).encode()

    def _auth(self) -> dict[str, Any]:
        session = self._of_kind("session") or "none"
        return self._chance.choice(
            (
                {"type": "m.login.dummy", "session": session},
                {"type": "m.login.dummy"},
                {
                    "type": "m.login.password",
                    "identifier": {"type": "m.id.user", "user": self._of_kind("user")},
                    "password": self._of_kind("password"),
                    "session": session,
                },
            )
        )

    def _of_kind(self, kind: str) -> str | None:
        if kind in self._me and self._chance.random() < 0.5:
            return self._me[kind]
        if kind == "alias" and self._chance.random() < 0.3:
            return f"#new{self._chance.randrange(10**9)}:hansa.test"
        found = self._known.ids.get(kind)
        return self._chance.choice(found) if found else None

    def value(self, schema: Schema, name: str, depth: int = 0) -> Any:
        """A value that this schema allows, of known ids where it wants ids."""
        chance = self._chance
        known = self._known_value(schema, name)
        if known is not None:
            return known
        if depth > DEPTH_MAX:
            return {} if schema.get("type") == "object" else "deep"
        if "const" in schema:
            return schema["const"]
        if schema.get("enum"):
            return chance.choice(schema["enum"])
        if schema.get("allOf"):
            parts = [self.value(part, name, depth + 1) for part in schema["allOf"]]
            own = self._typed({key: item for key, item in schema.items() if key != "allOf"}, name, depth)
            whole = {}
            for part in (*parts, own):
                whole.update(part if isinstance(part, dict) else {})
            return whole if whole or not parts else parts[0]
        for key in ("oneOf", "anyOf"):
            if schema.get(key) and "properties" not in schema:
                return self.value(chance.choice(schema[key]), name, depth + 1)
        return self._typed(schema, name, depth)

    def _known_value(self, schema: Schema, name: str) -> Any:
        kind = _BY_NAME.get(name.lower().replace("_", ""))
        if kind is None or schema.get("type", "string") not in ("string", ["string", "null"]) or schema.get("enum"):
            return None
        if self._chance.random() < 0.1:
            return None
        if kind == "type":
            return self._type
        return self._of_kind(kind)

    def _typed(self, schema: Schema, name: str, depth: int) -> Any:
        chance, wanted = self._chance, schema.get("type")
        if isinstance(wanted, list):
            wanted = chance.choice(wanted)
        if wanted == "object" or (wanted is None and "properties" in schema):
            return self._object(schema, depth)
        if wanted == "array":
            items = schema.get("items") or {}
            return [self.value(items, name, depth + 1) for _ in range(chance.randrange(4))]
        if wanted in ("integer", "number"):
            low, high = int(schema.get("minimum", 0)), int(schema.get("maximum", 200))
            return chance.choice((low, high, chance.randint(low, max(low, high)), 1))
        if wanted == "boolean":
            return chance.random() < 0.5
        if wanted == "null":
            return None
        if wanted == "string":
            return self._string(schema)
        return chance.choice(ODD)

    def _string(self, schema: Schema) -> str:
        chance = self._chance
        kind = {
            "mx-room-id": "room", "mx-user-id": "user", "mx-event-id": "event", "mx-room-alias": "alias",
            "mx-mxc-uri": "mxc", "mx-server-name": "server",
        }.get(str(schema.get("format")))  # fmt: skip
        known = self._of_kind(kind) if kind else None
        if known is not None:
            return known
        example = schema.get("example")
        if isinstance(example, str) and chance.random() < 0.5:
            return example
        return chance.choice(("x", "word", "Wort", "a.b", "字", str(chance.randrange(10**6)), "", "m.text"))

    def _object(self, schema: Schema, depth: int) -> dict[str, Any]:
        chance, required = self._chance, schema.get("required") or ()
        often = 0.5 if depth < 4 else 0.15
        made = {
            key: self.value(inner, key, depth + 1)
            for key, inner in (schema.get("properties") or {}).items()
            if key in required or chance.random() < often
        }
        more = schema.get("additionalProperties")
        patterns = list((schema.get("patternProperties") or {}).items())
        if isinstance(more, dict) and not made:
            patterns.append(("", more))
        for pattern, inner in patterns:
            for _ in range(chance.randrange(3)):
                sigil = next((mark for mark in KINDS if pattern.startswith(("^" + mark, "^\\" + mark))), "@")
                key = self._of_kind(KINDS[sigil]) if pattern or chance.random() < 0.6 else None
                made[key or chance.choice(("ed25519:X", "signed_curve25519:AAAA", "word", "*"))] = self.value(
                    inner, "", depth + 1
                )
        return made

    def _spoilt(self, value: Any) -> Any:
        """The value with one place changed for something odd, taken away, or nested."""
        chance = self._chance
        if isinstance(value, dict) and value and chance.random() < 0.85:
            key = chance.choice(sorted(value))
            if chance.random() < 0.15:
                return {name: inner for name, inner in value.items() if name != key}
            return {**value, key: self._spoilt(value[key])}
        if isinstance(value, list) and value and chance.random() < 0.7:
            at = chance.randrange(len(value))
            return [*value[:at], self._spoilt(value[at]), *value[at + 1 :]]
        if chance.random() < 0.1:
            return [value] * 50
        return chance.choice(ODD)


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return _text(value[0]) if value else ""
    return json.dumps(value)
