"""Asking for key documents: the server itself first, then the servers trusted to vouch for others."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

import structlog

from federation.client import FederationClient, FederationError, Unreachable
from federation.keys.documents import DOCUMENT_BYTES_MAX, BadKeys, KeyDocument, parse_document, signatures_of
from homeserver.core.identifiers import ServerName
from homeserver.core.server_acl import host_of
from homeserver.core.signing import is_signature_valid, signed_bytes
from homeserver.runtime.clock import Clock

log = structlog.get_logger()

FETCH_TIMEOUT_S = 10.0
# Servers of one domain have a share of these: anybody can have any number of names that never answer.
AT_ONCE_MAX = 100
AT_ONCE_OF_DOMAIN_MAX = 25
_NOTARY_SERVERS_MAX = 100


@dataclass(frozen=True, slots=True)
class Notary:
    """A server that is believed about the keys of others. `keys` are the operator's; without them it is asked."""

    server_name: ServerName
    keys: Mapping[str, bytes] = field(default_factory=dict)


class KeyFetcher:
    """Fetches, checks, and holds nothing."""

    def __init__(self, client: FederationClient, clock: Clock, notaries: Sequence[Notary] = ()) -> None:
        self._client = client
        self._clock = clock
        self._notaries = notaries
        self._slots = asyncio.Semaphore(AT_ONCE_MAX)
        self._shares: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    async def direct(self, server: ServerName, *, also_when_down: bool = False) -> KeyDocument | None:
        """The document from the server itself; None where there is none that can be believed.

        `also_when_down`: although it failed a short time ago, as it asks something itself now.
        """
        share = self._shares.setdefault(_domain(server), asyncio.Semaphore(AT_ONCE_OF_DOMAIN_MAX))
        async with share, self._slots:
            try:
                answer = await self._client.get(
                    server,
                    "/_matrix/key/v2/server",
                    timeout_s=FETCH_TIMEOUT_S,
                    response_bytes_max=DOCUMENT_BYTES_MAX,
                    also_when_down=also_when_down,
                )
                return parse_document(answer, server, self._clock.now_ms())
            except (Unreachable, FederationError, BadKeys) as error:
                log.info("keys_not_fetched", server=server, error=str(error))
                return None

    async def vouched(self, wanted: Mapping[ServerName, Mapping[str, int]]) -> list[KeyDocument]:
        """Documents of these servers from the notaries: `wanted` is server → key id → until when it must be valid."""
        found: dict[ServerName, KeyDocument] = {}
        for notary in self._notaries:
            left = {
                server: keys for server, keys in wanted.items() if server not in found and server != notary.server_name
            }
            if not left:
                break
            for document in await self._ask(notary, left):
                found.setdefault(document.server_name, document)
        return list(found.values())

    async def _ask(self, notary: Notary, wanted: Mapping[ServerName, Mapping[str, int]]) -> list[KeyDocument]:
        keys = notary.keys
        if not keys:
            own = await self.direct(notary.server_name)
            keys = {row.key_id: row.verify_key for row in own.keys.values() if not row.is_old} if own else {}
        asked = dict(list(wanted.items())[:_NOTARY_SERVERS_MAX])
        body = {
            "server_keys": {
                server: {key_id: {"minimum_valid_until_ts": until_ms} for key_id, until_ms in ids.items()}
                for server, ids in asked.items()
            }
        }
        try:
            answer = await self._client.post(
                notary.server_name,
                "/_matrix/key/v2/query",
                body,
                timeout_s=FETCH_TIMEOUT_S,
                response_bytes_max=DOCUMENT_BYTES_MAX * (len(asked) + 1),
            )
        except (Unreachable, FederationError) as error:
            log.info("notary_not_asked", notary=notary.server_name, error=str(error))
            return []
        listed = answer.get("server_keys")
        return self._believed(listed if isinstance(listed, list) else [], notary, keys, asked)

    def _believed(
        self,
        listed: Sequence[object],
        notary: Notary,
        notary_keys: Mapping[str, bytes],
        asked: Mapping[ServerName, object],
    ) -> list[KeyDocument]:
        """Those that both the notary and their own server signed. The newest of a server's last, and so kept."""
        newest: dict[ServerName, KeyDocument] = {}
        for document in listed[: 4 * _NOTARY_SERVERS_MAX]:
            name = document.get("server_name") if isinstance(document, dict) else None
            if not isinstance(document, dict) or not isinstance(name, str) or ServerName(name) not in asked:
                continue
            try:
                parsed = parse_document(document, ServerName(name), self._clock.now_ms())
            except BadKeys as error:
                log.info("vouched_keys_refused", notary=notary.server_name, server=name, error=str(error))
                continue
            message, signatures = signed_bytes(document), signatures_of(document, notary.server_name)
            if not any(is_signature_valid(message, signatures.get(key_id), key) for key_id, key in notary_keys.items()):
                log.info("vouched_keys_unsigned", notary=notary.server_name, server=name)
                continue
            before = newest.get(parsed.server_name)
            if before is None or before.valid_until_ms <= parsed.valid_until_ms:
                newest[parsed.server_name] = parsed
        return list(newest.values())


def _domain(server: ServerName) -> str:
    """What most probably belongs to one owner: the last two parts of the name."""
    return ".".join(host_of(server).lower().split(".")[-2:])
