"""The operator's LDAP directory, asked whose password something is.

Invariant: each question ends within the configured time and with a bounded number of bytes, whatever the directory
does; so many go on at once, in threads that nothing else needs.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import ldap3
import structlog
from ldap3.core.exceptions import (
    LDAPConstraintViolationResult,
    LDAPException,
    LDAPInappropriateAuthenticationResult,
    LDAPInvalidCredentialsResult,
    LDAPInvalidDNSyntaxResult,
    LDAPNoSuchObjectResult,
    LDAPUnwillingToPerformResult,
)
from ldap3.utils.conv import escape_filter_chars
from ldap3.utils.dn import escape_rdn

from homeserver.config.sign_in import Ldap
from homeserver.core.errors import Unavailable
from homeserver.runtime.clock import Clock

log = structlog.get_logger()

AT_ONCE = 8
WAITING_MAX = 100
NAME_CHARS_MAX = 255
PASSWORD_CHARS_MAX = 512
ANSWER_BYTES_MAX = 256 * 1024
# How directories refuse somebody's bind: a wrong password, none at all, an account that is locked, no such entry.
_REFUSALS = (
    LDAPInvalidCredentialsResult,
    LDAPInappropriateAuthenticationResult,
    LDAPConstraintViolationResult,
    LDAPUnwillingToPerformResult,
    LDAPNoSuchObjectResult,
    LDAPInvalidDNSyntaxResult,
)
# What reading an answer that is none ends in.
_NONSENSE = (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError, MemoryError)


class _Refused(Exception):
    """The directory let this person not in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """Somebody whom the directory let in. `entry_id` stays theirs when their name changes."""

    entry_id: str
    display_name: str | None


class LdapDirectory:
    """Asks the directory, in threads of its own: a slow one holds up its own log-ins alone."""

    def __init__(self, url: str, config: Ldap, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="directory")
        self._asking = 0
        tls = ldap3.Tls(
            validate=ssl.CERT_REQUIRED, ca_certs_file=str(config.ca_path) if config.ca_path is not None else None
        )
        self._server = ldap3.Server(
            url, tls=tls, connect_timeout=config.timeout_s, get_info=ldap3.NONE, allowed_referral_hosts=[]
        )

    async def prove(self, name: str, password: str) -> Entry | None:
        """Whose password this is; None for a wrong one. Raises Unavailable while the directory can't be asked."""
        # A bind without a password is anonymous, and succeeds. RFC 4513, section 5.1.2.
        if not password or len(password) > PASSWORD_CHARS_MAX or not 0 < len(name) <= NAME_CHARS_MAX:
            return None
        if self._asking >= AT_ONCE + WAITING_MAX:
            raise Unavailable("too many wait for the directory of users: try again in a while")
        deadline_s = self._clock.monotonic_s() + self._config.timeout_s
        self._asking += 1
        loop = asyncio.get_running_loop()
        asked = loop.run_in_executor(self._threads, self._prove, name, password, deadline_s)
        asked.add_done_callback(self._ended)
        try:
            # The thread goes on to its own end, which is as near, and keeps its place until then.
            async with asyncio.timeout(self._config.timeout_s):
                return await asyncio.shield(asked)
        except _Refused:
            return None
        except (LDAPException, *_NONSENSE) as error:
            log.warning("directory_failed", error=type(error).__name__)
            raise Unavailable("the directory of users can't be asked now") from None

    def _ended(self, asked: asyncio.Future[Entry | None]) -> None:
        self._asking -= 1
        if not asked.cancelled():
            asked.exception()  # somebody has seen it, or has gone

    def _prove(self, name: str, password: str, deadline_s: float) -> Entry | None:
        """In a thread. Raises LDAPException, and what nonsense ends in."""
        config = self._config
        if config.bind_dn is None:
            dn = config.user_dn.replace("{name}", escape_rdn(name))
            with self._bound(dn, password, deadline_s, refusals=_REFUSALS) as connection:
                return self._read(connection, dn)
        secret = config.bind_password.reveal() if config.bind_password is not None else ""
        wanted = config.filter.replace("{name}", escape_filter_chars(name))
        with self._bound(config.bind_dn, secret, deadline_s) as connection:
            connection.search(config.base_dn, wanted, attributes=self._attributes(), size_limit=2)
            found = [one for one in connection.response or [] if one["type"] == "searchResEntry"]
            if len(found) != 1:
                return None
            entry = self._entry(found[0]["attributes"])
        with self._bound(found[0]["dn"], password, deadline_s, refusals=_REFUSALS):
            return entry

    @contextlib.contextmanager
    def _bound(
        self, dn: str, password: str, deadline_s: float, *, refusals: tuple[type[LDAPException], ...] = ()
    ) -> Iterator[ldap3.Connection]:
        """A connection on which somebody is known by their password. Raises _Refused for these answers to that.

        Where it is our own account that isn't let in, that is no word about whoever logs in.
        """
        if self._clock.monotonic_s() >= deadline_s:
            raise TimeoutError
        connection = ldap3.Connection(
            self._server,
            user=dn,
            password=password,
            read_only=True,
            receive_timeout=self._config.timeout_s,  # whole seconds: it is packed into a socket option
            raise_exceptions=True,
            auto_referrals=False,
        )
        try:
            connection.open(read_server_info=False)
            connection.socket = _Bounded(connection.socket, deadline_s, self._clock)
            if self._config.starttls:
                connection.start_tls(read_server_info=False)
                connection.socket = _Bounded(connection.socket, deadline_s, self._clock)
            try:
                connection.bind(read_server_info=False)
            except refusals:
                raise _Refused from None
            yield connection
        finally:
            with contextlib.suppress(LDAPException, *_NONSENSE):
                connection.unbind()

    def _read(self, connection: ldap3.Connection, dn: str) -> Entry | None:
        connection.search(dn, "(objectClass=*)", search_scope=ldap3.BASE, attributes=self._attributes())
        found = [one for one in connection.response or [] if one["type"] == "searchResEntry"]
        return self._entry(found[0]["attributes"]) if found else None

    def _attributes(self) -> list[str]:
        return [self._config.id_attribute, self._config.display_name_attribute]

    def _entry(self, attributes: Any) -> Entry | None:
        entry_id, name = (_one(attributes.get(key)) for key in self._attributes())
        if not entry_id:
            log.warning("directory_entry_without_id", attribute=self._config.id_attribute)
            return None
        return Entry(entry_id=entry_id, display_name=name)


class _Bounded:
    """A connection's socket, until a moment and for so many bytes.

    A time-out of a socket is for each piece: a directory that sends a byte a second never meets it.
    """

    def __init__(self, connected: Any, deadline_s: float, clock: Clock) -> None:
        self._socket = connected
        self._deadline_s = deadline_s
        self._clock = clock
        self._left = ANSWER_BYTES_MAX

    def recv(self, size: int) -> bytes:
        self._hurry()
        data: bytes = self._socket.recv(size)
        self._left -= len(data)
        if self._left < 0:
            raise OSError("the answer is too long")
        return data

    def sendall(self, data: bytes) -> None:
        self._hurry()
        self._socket.sendall(data)

    def _hurry(self) -> None:
        left_s = self._deadline_s - self._clock.monotonic_s()
        if left_s <= 0:
            raise TimeoutError
        self._socket.settimeout(left_s)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)


def _one(value: object) -> str | None:
    """The only, or first, value of an attribute as text."""
    if isinstance(value, list):
        value = value[0] if value else None
    if isinstance(value, bytes):
        return value.hex()
    return str(value).replace("\x00", "")[:255] if value is not None else None
