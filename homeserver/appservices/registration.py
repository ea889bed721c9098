"""Registration files of application services. spec: application-service-api/#registration

Namespaces are matched by a linear-time engine: their patterns meet ids that strangers choose.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import re2
import yaml

from homeserver.core.identifiers import ID_BYTES_MAX, ServerName, UserId

FILE_BYTES_MAX = 1024 * 1024
PATTERNS_MAX = 200
KINDS = ("users", "aliases", "rooms")


class BadRegistration(Exception):
    """A file that can't be used. The text says what is wrong, for the operator; no secret is in it."""


@dataclass(frozen=True, slots=True)
class Namespace:
    """Ids that begin as the pattern says."""

    pattern: Any  # what re2.compile gives
    is_exclusive: bool

    def holds(self, identifier: str) -> bool:
        return len(identifier) <= ID_BYTES_MAX and self.pattern.match(identifier) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """One application service. `url` is None where nothing is to be sent."""

    id: str
    url: str | None
    as_token_digest: bytes
    hs_token: str
    sender: UserId
    users: tuple[Namespace, ...] = ()
    aliases: tuple[Namespace, ...] = ()
    rooms: tuple[Namespace, ...] = ()
    protocols: tuple[str, ...] = ()
    is_rate_limited: bool = True
    receives_ephemeral: bool = False
    receives_encryption: bool = False  # to-device messages, device lists and key counts

    def may_be(self, user_id: UserId, server_name: ServerName) -> bool:
        """Whether it may act as this user: its own, or a local one of its namespace."""
        if user_id == self.sender:
            return True
        return user_id.endswith(f":{server_name}") and _holds(self.users, user_id)

    def has_alias(self, alias: str) -> bool:
        return _holds(self.aliases, alias)

    def has_room(self, room_id: str) -> bool:
        return _holds(self.rooms, room_id)

    def excludes_user(self, user_id: str) -> bool:
        """Whether nobody else may make this user."""
        return user_id == self.sender or any(one.is_exclusive and one.holds(user_id) for one in self.users)

    def excludes_alias(self, alias: str) -> bool:
        return any(one.is_exclusive and one.holds(alias) for one in self.aliases)


def _holds(namespaces: tuple[Namespace, ...], identifier: str) -> bool:
    return any(one.holds(identifier) for one in namespaces)


def token_digest(token: str) -> bytes:
    """What tokens are compared by: equal lengths, and no secret in memory that isn't needed."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def read_registration(path: Path, server_name: ServerName) -> Registration:
    """Raises BadRegistration."""
    try:
        if path.stat().st_mode & 0o077:
            raise BadRegistration(f"{path} can be read by others, and it holds secrets: type `chmod 600 {path}`")
        if path.stat().st_size > FILE_BYTES_MAX:
            raise BadRegistration(f"{path} is larger than {FILE_BYTES_MAX} bytes")
        given = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise BadRegistration(f"{path} can't be read: {type(error).__name__}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark is not None else ""
        raise BadRegistration(f"{path} is no YAML{where}") from None
    try:
        return parse_registration(given, server_name)
    except BadRegistration as error:
        raise BadRegistration(f"{path}: {error}") from None


def parse_registration(given: object, server_name: ServerName) -> Registration:
    """Raises BadRegistration."""
    if not isinstance(given, dict):
        raise BadRegistration("a registration is a mapping")
    texts = {key: _text(given, key) for key in ("id", "as_token", "hs_token", "sender_localpart")}
    url = given.get("url")
    if url is not None and (not isinstance(url, str) or not url.startswith(("http://", "https://"))):
        raise BadRegistration("`url` must begin with http:// or https://, or be null")
    namespaces = given.get("namespaces")
    namespaces = {} if namespaces is None else namespaces
    if not isinstance(namespaces, dict):
        raise BadRegistration("`namespaces` must be a mapping")
    protocols = given.get("protocols")
    protocols = [] if protocols is None else protocols
    if not isinstance(protocols, list) or not all(isinstance(protocol, str) for protocol in protocols):
        raise BadRegistration("`protocols` must be a list of names")
    sender = UserId(f"@{texts['sender_localpart']}:{server_name}")
    if len(sender) > ID_BYTES_MAX or ":" in texts["sender_localpart"] or "\x00" in sender:
        raise BadRegistration("`sender_localpart` is no local part of a user id")
    return Registration(
        id=texts["id"],
        url=url.rstrip("/") if url else None,
        as_token_digest=token_digest(texts["as_token"]),
        hs_token=texts["hs_token"],
        sender=sender,
        users=_namespaces(namespaces, "users"),
        aliases=_namespaces(namespaces, "aliases"),
        rooms=_namespaces(namespaces, "rooms"),
        protocols=tuple(protocols),
        is_rate_limited=_flag(given, "rate_limited", otherwise=True),
        receives_ephemeral=_flag(given, "receive_ephemeral", "de.sorunome.msc2409.push_ephemeral"),
        receives_encryption=_flag(given, "org.matrix.msc3202"),
    )


def _text(given: Mapping[Any, Any], key: str) -> str:
    value = given.get(key)
    if not isinstance(value, str) or not value or "\x00" in value or not value.isprintable():
        raise BadRegistration(f"`{key}` must be a text")
    return value


def _flag(given: Mapping[Any, Any], *keys: str, otherwise: bool = False) -> bool:
    found = [given[key] for key in keys if given.get(key) is not None]
    if not all(isinstance(value, bool) for value in found):
        raise BadRegistration(f"`{keys[0]}` must be true or false")
    return any(found) if found else otherwise


def _namespaces(given: Mapping[Any, Any], kind: str) -> tuple[Namespace, ...]:
    entries = given.get(kind)
    entries = [] if entries is None else entries
    if not isinstance(entries, list) or len(entries) > PATTERNS_MAX:
        raise BadRegistration(f"`namespaces.{kind}` must be a list of at most {PATTERNS_MAX}")
    options = re2.Options()
    options.log_errors = False
    options.never_capture = True
    found = []
    for entry in entries:
        regex = entry.get("regex") if isinstance(entry, dict) else None
        if not isinstance(regex, str) or not isinstance(entry.get("exclusive", False), bool):
            raise BadRegistration(f"`namespaces.{kind}` needs `regex` and `exclusive` in each entry")
        try:
            found.append(Namespace(re2.compile(regex, options), entry.get("exclusive", False)))
        except re2.error:
            raise BadRegistration(f"`namespaces.{kind}` has a regex that the linear-time engine can't take") from None
    return tuple(found)
