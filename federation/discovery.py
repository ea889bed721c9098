"""From a server's name to where it is, and whom its certificate must name. spec: server-server-api/#server-discovery

Nothing here connects to a server but to read its `.well-known`; the outgoing client checks each address.
"""

from __future__ import annotations

import ipaddress
import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.utils import mktime_tz, parsedate_tz
from typing import TypeVar

import structlog

from homeserver.core import canonical_json
from homeserver.core.errors import MatrixError
from homeserver.core.identifiers import ServerName, is_server_name
from homeserver.runtime.clock import Clock
from homeserver.runtime.ids import Randomness
from homeserver.web.dns import Dns, DnsFault, Service
from homeserver.web.outgoing import Outgoing, OutgoingError

log = structlog.get_logger()

DEFAULT_PORT = 8448
WELL_KNOWN_BYTES_MAX = 51_200
WELL_KNOWN_REDIRECTS_MAX = 5
WELL_KNOWN_TIMEOUT_S = 10.0

CACHED_DEFAULT_S = 86_400
CACHED_MIN_S = 300
CACHED_MAX_S = 172_800
FAULT_CACHED_MIN_S = 60
FAULT_CACHED_MAX_S = 3_600
SERVICES_CACHED_MIN_S = 60
SERVICES_CACHED_MAX_S = 86_400
ENTRIES_MAX = 20_000

_Kept = TypeVar("_Kept")

_MAX_AGE = re.compile(r"(?:^|[,\s])max-age\s*=\s*\"?(\d{1,10})", re.ASCII | re.IGNORECASE)


class NotFound(Exception):
    """The name leads nowhere; the text says at which step."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where to connect for a server, and what to say there.

    `host` is a name or an IP literal without brackets; `certificate_name` is what the certificate must be valid for.
    """

    host: str
    port: int
    host_header: str
    certificate_name: str
    # The step of the specification that led here, for `hansa federation check`.
    step: str


@dataclass(frozen=True, slots=True)
class WellKnown:
    """What `.well-known/matrix/server` came to: the delegated name, or why there is none; both are cached."""

    delegated: str | None
    fault: str | None
    until_ms: int
    faults: int = 0
    # A name that was right before and is used while the page is down, for no longer than answers may be cached.
    usable_until_ms: int = 0


@dataclass(frozen=True, slots=True)
class _Services:
    found: Sequence[Service]
    until_ms: int


class Discovery:
    """Resolves server names, and remembers what pages and name servers said for as long as they may be believed."""

    def __init__(self, outgoing: Outgoing, dns: Dns, clock: Clock, randomness: Randomness) -> None:
        self._outgoing = outgoing
        self._dns = dns
        self._clock = clock
        self._randomness = randomness
        self._well_known: OrderedDict[str, WellKnown] = OrderedDict()
        self._services: OrderedDict[str, _Services] = OrderedDict()

    async def places(self, server_name: ServerName) -> list[Place]:
        """Where the server may be, best first; never empty. Raises NotFound."""
        if not is_server_name(server_name):
            raise NotFound(f"{server_name} is not a server name")
        try:
            host, port = split(server_name)
        except ValueError as error:
            raise NotFound(str(error)) from None
        if is_literal(host):
            return [_direct(server_name, "1")]
        if port is not None:
            return [_direct(server_name, "2")]
        well_known = await self.well_known(host)
        if well_known.delegated is None:
            return await self._by_services(host, "4", "5", "6")
        delegated_host, delegated_port = split(well_known.delegated)
        if is_literal(delegated_host):
            return [_direct(well_known.delegated, "3.1")]
        if delegated_port is not None:
            return [_direct(well_known.delegated, "3.2")]
        return await self._by_services(delegated_host, "3.3", "3.4", "3.5")

    async def _by_services(self, host: str, registered: str, deprecated: str, none: str) -> list[Place]:
        for service, step in (("_matrix-fed._tcp.", registered), ("_matrix._tcp.", deprecated)):
            found = await self.services(service + host)
            if found:
                # RFC 2782: a lone root as target says that there is decidedly no such service.
                places = [Place(entry.host, entry.port, host, host, step) for entry in found if entry.host]
                if not places:
                    raise NotFound(f"{host} says by its SRV record that it has no Matrix server")
                return places
        return [Place(host, DEFAULT_PORT, host, host, none)]

    async def services(self, name: str) -> Sequence[Service]:
        """The SRV records of a name, in the order to try them; none too where the name servers don't answer."""
        now_ms = self._clock.now_ms()
        known = self._services.get(name)
        if known is None or known.until_ms <= now_ms:
            try:
                found = await self._dns.services(name)
                ttl_s = min((service.ttl_s for service in found), default=FAULT_CACHED_MAX_S)
            except DnsFault as error:
                log.info("srv_lookup_failed", name=name, error=str(error))
                found, ttl_s = (known.found if known else []), SERVICES_CACHED_MIN_S
            ttl_s = max(SERVICES_CACHED_MIN_S, min(ttl_s, SERVICES_CACHED_MAX_S))
            known = _Services(found, now_ms + ttl_s * 1000)
            _keep(self._services, name, known)
        return self._ordered(known.found)

    def _ordered(self, found: Sequence[Service]) -> list[Service]:
        """RFC 2782: by priority; among equals at random, by weight."""

        def lot(service: Service) -> tuple[int, float]:
            chance = max(self._randomness.fraction(), 1e-12)
            return service.priority, -(chance ** (1.0 / max(service.weight, 0.01)))

        return sorted(found, key=lot)

    async def well_known(self, host: str) -> WellKnown:
        """What the page says, from the cache where it may be."""
        now_ms = self._clock.now_ms()
        known = self._well_known.get(host)
        if known is None or known.until_ms <= now_ms:
            known = await self._fetch(host, known, now_ms)
            _keep(self._well_known, host, known)
        return known

    async def _fetch(self, host: str, before: WellKnown | None, now_ms: int) -> WellKnown:
        try:
            answer = await self._outgoing.request(
                "GET",
                f"https://{host}/.well-known/matrix/server",
                timeout_s=WELL_KNOWN_TIMEOUT_S,
                response_bytes_max=WELL_KNOWN_BYTES_MAX,
                redirects_max=WELL_KNOWN_REDIRECTS_MAX,
            )
            if answer.status != 200:
                return _fault(f"the page answers {answer.status}", before, now_ms, is_said=answer.status == 404)
            delegated = parse_well_known(answer.body)
        except OutgoingError as error:
            return _fault(f"{error.reason}: {error}", before, now_ms)
        except ValueError as error:
            return _fault(str(error), before, now_ms)
        cached_ms = cached_s(answer.headers, now_ms) * 1000
        # Spread out, so that servers learnt of at once aren't asked again at once.
        cached_ms = int(cached_ms * (0.9 + 0.1 * self._randomness.fraction()))
        return WellKnown(delegated, None, now_ms + cached_ms, usable_until_ms=now_ms + CACHED_MAX_S * 1000)

    def forget(self, server_name: str) -> None:
        """Asks anew next time, as after a server could not be reached where it was thought to be."""
        self._well_known.pop(split(server_name)[0], None)


def parse_well_known(body: bytes) -> str:
    """The server name that the page delegates to. Raises ValueError with what is wrong with it."""
    try:
        page = canonical_json.parse_lenient(body)
    except MatrixError as error:
        raise ValueError(error.message) from None
    delegated = page.get("m.server") if isinstance(page, dict) else None
    if not isinstance(delegated, str) or not is_server_name(delegated):
        raise ValueError("the page has no m.server that is a server name")
    split(delegated)
    return delegated


def cached_s(headers: Mapping[str, str], now_ms: int) -> int:
    """For how long an answer with these headers may be kept, within our bounds."""
    control = headers.get("Cache-Control", "")
    if "no-store" in control.lower() or "no-cache" in control.lower():
        return CACHED_MIN_S
    age = _MAX_AGE.search(control)
    if age is not None:
        return max(CACHED_MIN_S, min(int(age[1]), CACHED_MAX_S))
    expires = headers.get("Expires")
    if expires is not None:
        try:
            parsed = parsedate_tz(expires)
            left_s = int(mktime_tz(parsed) - now_ms / 1000) if parsed is not None else 0
        except (ValueError, OverflowError, TypeError):
            left_s = 0
        return max(CACHED_MIN_S, min(left_s, CACHED_MAX_S))
    return CACHED_DEFAULT_S


def split(server_name: str) -> tuple[str, int | None]:
    """Host (a name, or a literal without brackets) and port. Raises ValueError for a port that isn't one."""
    host, colon, digits = server_name, "", ""
    if server_name.startswith("["):
        literal, _, after = server_name[1:].partition("]")
        host, colon, digits = literal, after[:1], after[1:]
    elif ":" in server_name:
        host, colon, digits = server_name.partition(":")
    if not colon:
        return host, None
    port = int(digits)
    if not 1 <= port <= 65_535:
        raise ValueError("a port is a number from 1 to 65535")
    return host, port


def is_literal(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _direct(name: str, step: str) -> Place:
    host, port = split(name)
    return Place(host, port or DEFAULT_PORT, name, host, step)


def _fault(fault: str, before: WellKnown | None, now_ms: int, *, is_said: bool = False) -> WellKnown:
    """`is_said`: the page's host says itself that there is no such page; what it said before is over."""
    faults = before.faults + 1 if before is not None else 1
    wait_s = FAULT_CACHED_MAX_S if is_said else min(FAULT_CACHED_MAX_S, FAULT_CACHED_MIN_S * 2 ** min(faults - 1, 10))
    usable = before is not None and before.delegated is not None and before.usable_until_ms > now_ms and not is_said
    return WellKnown(
        before.delegated if usable and before else None,
        fault,
        now_ms + wait_s * 1000,
        faults,
        before.usable_until_ms if usable and before else 0,
    )


def _keep(cache: OrderedDict[str, _Kept], key: str, value: _Kept) -> None:
    cache[key] = value
    cache.move_to_end(key)
    if len(cache) > ENTRIES_MAX:
        cache.popitem(last=False)
