"""How this server would find and trust another one, step by step, or itself: `hansa federation check NAME`.

The steps are the server's own code: `federation.discovery` finds the place, the guarded client asks there.
spec: server-server-api/#server-discovery
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import orjson

from federation.discovery import Discovery, NotFound, Place, is_literal, split
from federation.keys.documents import DOCUMENT_BYTES_MAX, BadKeys, KeyDocument, parse_document
from federation.server_access import ServerAccess
from homeserver.config import Config
from homeserver.core.identifiers import ServerName, is_server_name
from homeserver.core.signing import Signer
from homeserver.runtime.clock import Clock
from homeserver.runtime.findings import Finding, failed, skipped, warning, well
from homeserver.runtime.tls_probe import BadCertificate, Certificate, NoConnection, TlsProbe
from homeserver.web.addresses import AddressFilter
from homeserver.web.dns import Dns, DnsFault
from homeserver.web.outgoing import Outgoing, OutgoingAnswer, OutgoingError

_WAIT_S = 10.0
_VERSION_BYTES_MAX = 65_536
_PLACES_MAX = 3
_ADDRESSES_MAX = 8
_TEXT_CHARS_MAX = 100
_DAY_MS = 86_400_000
_CERTIFICATE_LEFT_DAYS_MIN = 14
_LATENCY_MS_MAX = 1_000
_RECORDS = ("_matrix-fed._tcp.", "_matrix._tcp.")
_STEPS = {
    "1": "the name is an address",
    "2": "the name has a port",
    "3.1": "`.well-known` names an address",
    "3.2": "`.well-known` names a port",
    "3.3": "by the SRV record of the name in `.well-known`",
    "3.4": "by the old SRV record of the name in `.well-known`",
    "3.5": "the name in `.well-known`, at the default port",
    "4": "by its SRV record",
    "5": "by its old SRV record",
    "6": "the name itself, at the default port",
}


class NoServerName(ValueError):
    """What was asked about can't be a server's name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ways:
    """How the check looks out of this machine."""

    outgoing: Outgoing
    dns: Dns
    tls: TlsProbe


class FederationCheck:
    """`findings` tells of one name. `own` is this server's signer, where its key file could be read."""

    def __init__(self, config: Config, ways: Ways, discovery: Discovery, clock: Clock, own: Signer | None) -> None:
        chosen = config.federation
        self._config = config
        self._ways = ways
        self._discovery = discovery
        self._clock = clock
        self._own = own
        self._addresses = AddressFilter(deny=chosen.deny_ip_ranges, allow=chosen.allow_ip_ranges)

    async def findings(self, name: str) -> AsyncIterator[Finding]:
        """One by one, as they come; after a step without which there is no next one, no more. Raises NoServerName."""
        if not is_server_name(name):
            raise NoServerName(f"{name} can't be a server's name")
        server = ServerName(name)
        yield self._settings(server)
        if (page := await self._page(name)) is not None:
            yield page
        try:
            places = (await self._discovery.places(server))[:_PLACES_MAX]
        except NotFound as error:
            yield failed("place", str(error), "the name's owner has to correct the name, or its SRV record")
            return
        if (records := await self._records(places[0])) is not None:
            yield records
        for place in places:
            yield well("place", f"{place.host}, port {place.port} (step {place.step}: {_STEPS[place.step]})")
            answers = False
            async for finding in self._connection(place):
                answers = finding.check == "certificate" and finding.verdict in ("ok", "warning")
                yield finding
            if answers:
                async for finding in self._server(server, place):
                    yield finding

    def _settings(self, server: ServerName) -> Finding:
        chosen = self._config.federation
        if not chosen.enabled:
            return warning("settings", "this server talks with no others", "set `federation.enabled` to true")
        if server == self._config.server_name:
            return well("settings", f"{server} is this server")
        access = ServerAccess(
            ServerName(self._config.server_name), allow=chosen.allow_servers, deny=chosen.deny_servers
        )
        if not access.may_talk_with(server):
            hint = "change `federation.allow_servers` or `federation.deny_servers` if that isn't meant"
            return warning("settings", f"this server's own lists keep {server} out", hint)
        return well("settings", f"this server may talk with {server}")

    async def _page(self, name: str) -> Finding | None:
        try:
            host, port = split(name)
        except ValueError:
            return None
        if is_literal(host) or port is not None:
            return None
        page = await self._discovery.well_known(host)
        check, url = ".well-known", f"https://{host}/.well-known/matrix/server"
        if page.delegated is not None:
            return well(check, f"{url} names {page.delegated}")
        fault = page.fault or "nothing"
        if fault.startswith(("the page answers 404", "unreachable:")):
            return well(check, f"there is none ({fault}); SRV records are next")
        hint = f'{url} must answer 200 with {{"m.server": "HOST:PORT"}} and a good certificate, or 404'
        return warning(check, f"{url} is of no use: {fault}", hint)

    async def _records(self, place: Place) -> Finding | None:
        """Only where a name without port was looked up."""
        if place.step in ("1", "2", "3.1", "3.2"):
            return None
        said: list[str] = []
        for record in _RECORDS:
            try:
                found = await self._ways.dns.services(record + place.certificate_name)
            except DnsFault as error:
                return warning("SRV", str(error), "look at the name servers of this machine and of the name")
            if found:
                listed = ", ".join(f"{one.host}:{one.port}" for one in found)
                said.append(f"{record}{place.certificate_name} is {listed}")
        if not said:
            return well("SRV", "there is none; the default port is next")
        if not said[0].startswith(_RECORDS[0]):
            return warning("SRV", said[0], f"`_matrix` is the old form: make the same record for `{_RECORDS[0][:-1]}`")
        return well("SRV", "; ".join(said))

    async def _connection(self, place: Place) -> AsyncIterator[Finding]:
        try:
            found = [place.host] if is_literal(place.host) else await self._ways.dns.addresses(place.host)
        except DnsFault as error:
            yield failed("address", str(error), f"make an A or AAAA record for {place.host}")
            return
        allowed = [address for address in found if self._addresses.is_allowed(address)][:_ADDRESSES_MAX]
        if not allowed:
            hint = "add the range to `federation.allow_ip_ranges` if the server is in a network of yours"
            yield failed("address", f"{', '.join(found)} may not be connected to", hint)
            return
        denied = [address for address in found if not self._addresses.is_allowed(address)]
        if denied:
            hint = "a public name should have public addresses alone"
            yield warning("address", f"{', '.join(denied)} may not be connected to", hint)
        yield well("address", ", ".join(allowed))
        yield await self._certificate(place, allowed)

    async def _certificate(self, place: Place, addresses: list[str]) -> Finding:
        seen: list[Certificate] = []
        faults: list[str] = []
        hint = f"let port {place.port} reach the server at each of its addresses"
        for address in addresses:
            try:
                seen.append(await self._ways.tls.certificate(address, place.port, place.certificate_name))
            except BadCertificate as error:
                faults.append(f"{address}: {error}")
                hint = f"it must be valid for {place.certificate_name}, with its whole chain (`fullchain.pem`)"
            except NoConnection as error:
                faults.append(f"{address}: {error}")
        if not seen:
            return failed("certificate", "; ".join(faults), hint)
        if faults:
            return warning("certificate", "; ".join(faults), hint)
        days = min(found.valid_until_ms for found in seen) - self._clock.now_ms()
        first = seen[0]
        text = f"for {place.certificate_name}, by {first.issuer}, {days // _DAY_MS} days left, {first.tls}"
        if days < _CERTIFICATE_LEFT_DAYS_MIN * _DAY_MS:
            return warning("certificate", text, "see to it that it is renewed")
        return well("certificate", text)

    async def _server(self, server: ServerName, place: Place) -> AsyncIterator[Finding]:
        answer = await self._ask(place, "/_matrix/key/v2/server")
        keys, document = self._keys(server, answer)
        yield keys
        if server == self._config.server_name and document is not None:
            yield self._same_key(document)
        before_s = self._clock.monotonic_s()
        answer = await self._ask(place, "/_matrix/federation/v1/version")
        took_ms = round((self._clock.monotonic_s() - before_s) * 1000)
        yield _version(answer)
        if isinstance(answer, OutgoingError):
            yield skipped("latency", "no answer to measure")
        elif took_ms > _LATENCY_MS_MAX:
            yield warning("latency", f"{took_ms} ms for one answer", "the server is busy, or far away")
        else:
            yield well("latency", f"{took_ms} ms for one answer")

    async def _ask(self, place: Place, path: str) -> OutgoingAnswer | OutgoingError:
        try:
            return await self._ways.outgoing.request(
                "GET",
                f"https://{place.host_header}{path}",
                headers={"Host": place.host_header},
                timeout_s=_WAIT_S,
                response_bytes_max=DOCUMENT_BYTES_MAX if "key" in path else _VERSION_BYTES_MAX,
                connect_to=(place.host, place.port),
                server_hostname=place.certificate_name,
            )
        except OutgoingError as error:
            return error

    def _keys(self, server: ServerName, answer: OutgoingAnswer | OutgoingError) -> tuple[Finding, KeyDocument | None]:
        path = "/_matrix/key/v2/server"
        if isinstance(answer, OutgoingError):
            return failed("keys", f"{path}: {answer}", "look at the proxy before the server"), None
        body = _object(answer)
        if body is None:
            hint = f"let the proxy pass `/_matrix` on to the server, at the place where {server} leads"
            return failed("keys", f"{path} answers {answer.status}, without keys", hint), None
        now_ms = self._clock.now_ms()
        try:
            document = parse_document(body, server, now_ms)
        except BadKeys as error:
            return failed("keys", str(error), f"the server there must be {server}, and sign with its own key"), None
        in_use = sorted(row.key_id for row in document.keys.values() if not row.is_old)
        text = f"{', '.join(in_use)}, signed by themselves; {len(document.keys) - len(in_use)} old"
        if document.valid_until_ms <= now_ms:
            hint = "set the clocks right; a server has to publish its keys anew before they end"
            return failed("keys", f"{text}; no longer valid", hint), None
        return well("keys", text), document

    def _same_key(self, document: KeyDocument) -> Finding:
        if self._own is None:
            return skipped("own key", "its file can't be read by this user")
        row = document.keys.get(self._own.key_id)
        if row is None or row.is_old or row.verify_key != self._own.verify_key:
            hint = "restart it if the key was rotated; else another server answers in your name: look at the proxy"
            return failed("own key", f"the server there doesn't use the key {self._own.key_id} of this one", hint)
        return well("own key", f"the server there uses {self._own.key_id}, as this one's key file says")


def _version(answer: OutgoingAnswer | OutgoingError) -> Finding:
    path = "/_matrix/federation/v1/version"
    if isinstance(answer, OutgoingError):
        return warning("version", f"{path}: {answer}", "look at the proxy before the server")
    body = _object(answer)
    server = body.get("server") if body is not None else None
    if not isinstance(server, dict):
        return warning("version", f"{path} answers {answer.status}, without a version", "let the proxy pass it on")
    return well("version", f"{_text(server.get('name'))} {_text(server.get('version'))}")


def _object(answer: OutgoingAnswer) -> dict[str, Any] | None:
    """A JSON object that came with 200."""
    if answer.status != 200:
        return None
    try:
        body = orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        return None
    return body if isinstance(body, dict) else None


def _text(value: object) -> str:
    """A stranger's word, fit for a terminal."""
    shown = value if isinstance(value, str) else "unknown"
    return "".join(letter for letter in shown[:_TEXT_CHARS_MAX] if letter.isprintable())
