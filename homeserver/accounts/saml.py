"""A sign-in service that speaks SAML 2.0: the browser carries our request there, and its signed answer back.

We ask by redirect, and it answers with a form that the browser posts here. Other sites' forms come without our cookie,
so what the answer says is kept until the browser, sent on to the usual place, shows that it is the one that asked.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

import msgspec
import structlog
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from lxml import etree

from homeserver.accounts.saml_answers import ASSERTION, PROTOCOL, Expected, Name, Refused, Subject, read_answer
from homeserver.accounts.saml_logout import Expected as ExpectedOrder
from homeserver.accounts.saml_logout import (
    Order,
    posted,
    read_posted,
    read_redirected,
    redirected,
    request_text,
    response_text,
)
from homeserver.accounts.short_lived import ShortLived
from homeserver.accounts.sso import Begun, Identity
from homeserver.config.sign_in import SamlService
from homeserver.core.errors import Forbidden
from homeserver.runtime.clock import Clock

log = structlog.get_logger()

PATH = "/_hansa/sso/saml"
METADATA_TYPE = "application/samlmetadata+xml"
ARRIVED_S = 120.0
# It is never asked: browsers carry all that is said.
TIMEOUT_S = 15.0
ARRIVED_MAX = 1_000
KEY_BITS_MIN = 2_048
METADATA_BYTES_MAX = 4 * 1024 * 1024
_METADATA = "urn:oasis:names:tc:SAML:2.0:metadata"
_REDIRECT = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect"
_POST = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST"
_NAMES = {"m": _METADATA, "d": "http://www.w3.org/2000/09/xmldsig#"}


class BadMetadata(Exception):
    """The file doesn't say which provider it is about, where it signs people in, and by which keys."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """What a provider's metadata say of it. `logout` is where it takes log-outs, by binding."""

    entity_id: str
    url: str
    certificates: tuple[x509.Certificate, ...]
    logout: Mapping[str, Place] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a provider takes requests, and answers."""

    requests: str
    answers: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Opener:
    """A key of ours and its certificate: what opens assertions that are encrypted for us, or what signs."""

    key: RSAPrivateKey
    certificate: x509.Certificate


@dataclass(frozen=True, slots=True, kw_only=True)
class OurKeys:
    """What opens, and what signs."""

    opener: Opener | None = None
    signer: Opener | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Onward:
    """Where a message to a provider goes: by redirect, or as a form with these fields."""

    url: str
    fields: Mapping[str, str] | None = None


class _Kept(msgspec.Struct, frozen=True):
    """Of a sign-in: what a provider calls the person and the session."""

    name: tuple[str, str, str, str]
    session: str | None = None


class SamlProvider:
    """Implements `homeserver.accounts.sso.SignInService`."""

    def __init__(
        self, config: SamlService, provider: Provider, clock: Clock, *, base_url: str, keys: OurKeys | None = None
    ) -> None:
        keys = keys or OurKeys()
        self._opener, self._signer = keys.opener, keys.signer
        self.id, self.name, self.brand = config.id, config.name, config.brand
        self.config = config
        self.timeout_s = TIMEOUT_S
        self._provider = provider
        self.provider = f"saml {provider.entity_id}"
        self._clock = clock
        self._answers_to = f"{base_url}{PATH}/{config.id}"
        self._logs_out_at = f"{self._answers_to}/logout"
        self.entity_id = config.entity_id or f"{self._answers_to}/metadata"
        self._arrived = ShortLived[Subject](clock, lifetime_s=ARRIVED_S, most=ARRIVED_MAX)

    async def url(self, begun: Begun, state: str, callback: str) -> str:
        request = (
            f'<p:AuthnRequest xmlns:p="{PROTOCOL}" xmlns:a="{ASSERTION}" ID={quoteattr(_id(begun))} Version="2.0" '
            f"IssueInstant={quoteattr(self._instant())} "
            f"Destination={quoteattr(self._provider.url)} ProtocolBinding={quoteattr(_POST)} "
            f"AssertionConsumerServiceURL={quoteattr(self._answers_to)}>"
            f"<a:Issuer>{escape(self.entity_id)}</a:Issuer></p:AuthnRequest>"
        )
        return redirected(self._provider.url, "SAMLRequest", request, state, None)

    async def receive(self, encoded: str, begun: Begun, state: str) -> None:
        """Keeps what a posted answer says; an answer that says nothing good leaves no trace but a log line."""
        expected = Expected(
            issuer=self._provider.entity_id,
            certificates=self._provider.certificates,
            audience=self.entity_id,
            recipient=self._answers_to,
            request_id=_id(begun),
            now=self._now(),
            key=self._opener.key if self._opener is not None else None,
        )
        try:
            subject = await asyncio.to_thread(read_answer, encoded, expected)
        except Refused as error:
            log.warning("identity_refused", provider=self.id, error=str(error))
            return
        self._arrived.put(state, subject)

    async def identity(self, query: Mapping[str, str], begun: Begun, state: str, callback: str) -> Identity:
        found = self._arrived.take(state)
        if found is None:
            raise Forbidden("the sign-in service let nobody in")
        config = self.config
        named = _first(found, config.subject_attribute) if config.subject_attribute else found.name_id
        if not named:
            log.warning("identity_refused", provider=self.id, error="it has no lasting name")
            raise Forbidden("the sign-in service's answer can't be used")
        return Identity(
            provider=self.provider,
            subject=named,
            wanted=_first(found, config.localpart_attribute) or named.partition("@")[0],
            display_name=_first(found, config.display_name_attribute),
            session=found.session,
            name=found.name.text if found.name is not None and found.name.text else None,
            details=self._details(found),
        )

    # --- log-out

    async def ordered(self, query: str | None, form: Mapping[str, str]) -> tuple[Order, str]:
        """The order in a query, or in a form, and its RelayState. Raises Refused."""
        expected = ExpectedOrder(
            issuer=self._provider.entity_id,
            certificates=self._provider.certificates,
            destination=self._logs_out_at,
            now=self._now(),
            key=self._opener.key if self._opener is not None else None,
        )
        if query is not None:
            return await asyncio.to_thread(read_redirected, query, expected)
        return await asyncio.to_thread(read_posted, form.get("SAMLRequest", ""), form.get("RelayState", ""), expected)

    async def done(self, order: Order, relay_state: str, number: str) -> Onward | None:
        """Where the browser carries our answer; nowhere, where the provider takes none. `number` is used once."""
        binding = next((one for one in (_REDIRECT, _POST) if one in self._provider.logout), None)
        if binding is None:
            return None
        place = self._provider.logout[binding].answers
        text = response_text(
            order, issuer=self.entity_id, destination=place, response_id=f"_{number}", at=self._instant()
        )
        if binding == _REDIRECT:
            return Onward(url=redirected(place, "SAMLResponse", text, relay_state, self._key()))
        fields = {"SAMLResponse": await asyncio.to_thread(posted, text, self._key())}
        return Onward(url=place, fields={**fields, **({"RelayState": relay_state} if relay_state else {})})

    async def way_out(self, details: bytes, number: str) -> str | None:
        """Where somebody signs out there too; None where that isn't wanted, or can't be asked."""
        place = self._provider.logout.get(_REDIRECT)
        if not self.config.logout_there or place is None or self._signer is None:
            return None
        kept = msgspec.json.decode(details, type=_Kept)
        text = request_text(
            Name(*kept.name),
            kept.session,
            issuer=self.entity_id,
            destination=place.requests,
            request_id=f"_{number}",
            at=self._instant(),
        )
        return redirected(place.requests, "SAMLRequest", text, "", self._key())

    def _details(self, found: Subject) -> bytes | None:
        if not self.config.logout_there or found.name is None:
            return None
        name = (found.name.text, found.name.format, found.name.qualifier, found.name.sp_qualifier)
        return msgspec.json.encode(_Kept(name=name, session=found.session))

    def _key(self) -> RSAPrivateKey | None:
        return self._signer.key if self._signer is not None else None

    def metadata(self) -> str:
        """What the provider must know of us."""
        return (
            f'<?xml version="1.0" encoding="UTF-8"?>\n<md:EntityDescriptor xmlns:md="{_METADATA}" '
            f"entityID={quoteattr(self.entity_id)}>\n"
            f'  <md:SPSSODescriptor AuthnRequestsSigned="false" WantAssertionsSigned="true" '
            f'protocolSupportEnumeration="{PROTOCOL}">\n'
            f"{_key_text('signing', self._signer.certificate) if self._signer is not None else ''}"
            f"{_key_text('encryption', self._opener.certificate) if self._opener is not None else ''}"
            f"{self._logout_places() if self.config.single_logout else ''}"
            f'    <md:AssertionConsumerService index="0" isDefault="true" Binding="{_POST}" '
            f"Location={quoteattr(self._answers_to)}/>\n"
            "  </md:SPSSODescriptor>\n</md:EntityDescriptor>\n"
        )

    def _logout_places(self) -> str:
        return "".join(
            f'    <md:SingleLogoutService Binding="{binding}" Location={quoteattr(self._logs_out_at)}/>\n'
            for binding in (_REDIRECT, _POST)
        )

    def _instant(self) -> str:
        return self._now().strftime("%Y-%m-%dT%H:%M:%SZ")

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock.now_ms() / 1000, UTC)


def read_metadata(path: Path) -> Provider:
    """A provider, from the file of its metadata that the operator gave. Raises BadMetadata."""
    try:
        data = path.read_bytes()
        parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)
        root = etree.fromstring(data, parser) if len(data) <= METADATA_BYTES_MAX else None
    except (OSError, etree.LxmlError, ValueError) as error:
        raise BadMetadata(f"{path} can't be read: {type(error).__name__}") from None
    if root is None:
        raise BadMetadata(f"{path} is too large")
    described = list(root.iter(f"{{{_METADATA}}}IDPSSODescriptor"))
    if len(described) != 1:
        raise BadMetadata(f"{path} describes {len(described)} identity providers, not one")
    (role,) = described
    entity = role.getparent()
    places = [
        one.get("Location", "")
        for one in role.findall("m:SingleSignOnService", _NAMES)
        if one.get("Binding") == _REDIRECT
    ]
    keys = [one for one in role.findall("m:KeyDescriptor", _NAMES) if one.get("use", "signing") == "signing"]
    texts = [
        found.text or "" for key in keys for found in key.findall("d:KeyInfo/d:X509Data/d:X509Certificate", _NAMES)
    ]
    try:
        certificates = tuple(x509.load_der_x509_certificate(base64.b64decode(text)) for text in texts)
    except ValueError:
        raise BadMetadata(f"{path} has a certificate that can't be read") from None
    entity_id = entity.get("entityID") if entity is not None else None
    if not entity_id or not places or not places[0].startswith(("https://", "http://")) or not certificates:
        raise BadMetadata(
            f"{path} lacks an entityID, a SingleSignOnService for HTTP-Redirect, or a signing certificate"
        )
    return Provider(entity_id=entity_id, url=places[0], certificates=certificates, logout=_logout_of(role))


def _logout_of(role: etree._Element) -> dict[str, Place]:
    """Where it takes log-outs, by binding; the first place of each."""
    found: dict[str, Place] = {}
    for one in role.findall("m:SingleLogoutService", _NAMES):
        binding, requests = one.get("Binding", ""), one.get("Location", "")
        place = Place(requests, one.get("ResponseLocation", requests))
        if all(url.startswith(("https://", "http://")) for url in (place.requests, place.answers)):
            found.setdefault(binding, place)
    return found


def read_opener(path: Path) -> Opener:
    """The key and its certificate, from a PEM file with both. Raises BadMetadata."""
    try:
        data = path.read_bytes()
        key = serialization.load_pem_private_key(data, password=None)
        certificate = x509.load_pem_x509_certificate(data)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise BadMetadata(f"{path} can't be read: {type(error).__name__}") from None
    if not isinstance(key, RSAPrivateKey) or key.key_size < KEY_BITS_MIN:
        raise BadMetadata(f"{path} holds no RSA key of {KEY_BITS_MIN} bits or more")
    if certificate.public_key() != key.public_key():
        raise BadMetadata(f"{path} holds the certificate of another key")
    return Opener(key=key, certificate=certificate)


def _key_text(use: str, certificate: x509.Certificate) -> str:
    text = base64.b64encode(certificate.public_bytes(serialization.Encoding.DER)).decode()
    methods = "".join(
        f'<md:EncryptionMethod Algorithm="{one}"/>'
        for one in (
            "http://www.w3.org/2009/xmlenc11#aes256-gcm",
            "http://www.w3.org/2009/xmlenc11#aes128-gcm",
            "http://www.w3.org/2001/04/xmlenc#rsa-oaep-mgf1p",
        )
        if use == "encryption"
    )
    return (
        f'    <md:KeyDescriptor use="{use}"><d:KeyInfo xmlns:d="{_NAMES["d"]}"><d:X509Data><d:X509Certificate>'
        f"{text}</d:X509Certificate></d:X509Data></d:KeyInfo>{methods}</md:KeyDescriptor>\n"
    )


def _id(begun: Begun) -> str:
    """Of the request: known to us and the provider alone, once. An XML id begins with no digit."""
    return f"_{begun.nonce}"


def _first(found: Subject, name: str) -> str | None:
    values = found.attributes.get(name, ())
    return values[0] if values and values[0] else None
