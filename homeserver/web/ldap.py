"""The operator's LDAP directory, asked whose password something is."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from typing import Any

import ldap3
import structlog
from ldap3.core.exceptions import LDAPException, LDAPInvalidCredentialsResult
from ldap3.utils.conv import escape_filter_chars
from ldap3.utils.dn import escape_rdn

from homeserver.config.sign_in import Ldap
from homeserver.core.errors import Unavailable

log = structlog.get_logger()

AT_ONCE = 8
NAME_CHARS_MAX = 255
PASSWORD_CHARS_MAX = 512
_TIMEOUT_S = 10  # whole seconds: it is packed into a socket option


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """Somebody whom the directory let in. `entry_id` stays theirs when their name changes."""

    entry_id: str
    display_name: str | None


class LdapDirectory:
    """Asks the directory, in threads of their own: a slow one holds up its own log-ins alone."""

    def __init__(self, url: str, config: Ldap) -> None:
        self._config = config
        self._slots = asyncio.Semaphore(AT_ONCE)
        tls = ldap3.Tls(
            validate=ssl.CERT_REQUIRED, ca_certs_file=str(config.ca_path) if config.ca_path is not None else None
        )
        self._server = ldap3.Server(
            url, tls=tls, connect_timeout=_TIMEOUT_S, get_info=ldap3.NONE, allowed_referral_hosts=[]
        )

    async def prove(self, name: str, password: str) -> Entry | None:
        """Whose password this is; None for a wrong one. Raises Unavailable while the directory can't be asked."""
        # A bind without a password is anonymous, and succeeds. RFC 4513, section 5.1.2.
        if not password or len(password) > PASSWORD_CHARS_MAX or not 0 < len(name) <= NAME_CHARS_MAX:
            return None
        async with self._slots:
            try:
                return await asyncio.to_thread(self._prove, name, password)
            except LDAPInvalidCredentialsResult:
                return None
            except LDAPException as error:
                log.warning("directory_failed", error=type(error).__name__)
                raise Unavailable("the directory of users can't be asked now") from None

    def _prove(self, name: str, password: str) -> Entry | None:
        config = self._config
        if config.bind_dn is None:
            dn = config.user_dn.replace("{name}", escape_rdn(name))
            with self._bound(dn, password) as connection:
                return self._read(connection, dn)
        secret = config.bind_password.reveal() if config.bind_password is not None else ""
        wanted = config.filter.replace("{name}", escape_filter_chars(name))
        with self._bound(config.bind_dn, secret) as connection:
            connection.search(config.base_dn, wanted, attributes=self._attributes(), size_limit=2)
            found = [one for one in connection.response or [] if one["type"] == "searchResEntry"]
            if len(found) != 1:
                return None
            entry = self._entry(found[0]["attributes"])
        with self._bound(found[0]["dn"], password):
            return entry

    def _bound(self, dn: str, password: str) -> ldap3.Connection:
        secured = ldap3.AUTO_BIND_TLS_BEFORE_BIND if self._config.starttls else ldap3.AUTO_BIND_NO_TLS
        return ldap3.Connection(
            self._server,
            user=dn,
            password=password,
            auto_bind=secured,
            read_only=True,
            receive_timeout=_TIMEOUT_S,
            raise_exceptions=True,
            auto_referrals=False,
        )

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


def _one(value: object) -> str | None:
    """The only, or first, value of an attribute as text."""
    if isinstance(value, list):
        value = value[0] if value else None
    if isinstance(value, bytes):
        return value.hex()
    return str(value).replace("\x00", "")[:255] if value is not None else None
