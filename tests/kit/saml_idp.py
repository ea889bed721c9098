"""SAML identity providers: a real one (pysaml2), and a hand that writes and signs any answer whatsoever."""

from __future__ import annotations

import base64
import html
import re
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from lxml import etree
from saml2 import BINDING_HTTP_POST, BINDING_HTTP_REDIRECT
from saml2.authn_context import PASSWORDPROTECTEDTRANSPORT
from saml2.config import IdPConfig
from saml2.metadata import entity_descriptor
from saml2.saml import NAMEID_FORMAT_PERSISTENT, NameID
from saml2.server import Server
from saml2.sigver import verify_redirect_signature
from signxml.algorithms import SignatureConstructionMethod
from signxml.signer import XMLSigner

from tests.kit.listening import listening
from tests.kit.programs import program

ISSUER = "https://idp.example.org/metadata"
URL = "https://idp.example.org/sso"
_ASSERTION = "{urn:oasis:names:tc:SAML:2.0:assertion}Assertion"


@dataclass(frozen=True, slots=True)
class Key:
    """A key with a certificate that names it."""

    private: bytes
    certificate: bytes

    @classmethod
    def make(cls) -> Key:
        key = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "idp")])
        built = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(1)
            .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
            .not_valid_after(datetime(2021, 1, 1, tzinfo=UTC))
            .sign(key, hashes.SHA256())
        )
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return cls(private, built.public_bytes(serialization.Encoding.PEM))


def metadata(key: Key, *, issuer: str = ISSUER, url: str = URL) -> str:
    """What such a provider publishes."""
    text = "".join(key.certificate.decode().splitlines()[1:-1])
    return (
        f'<m:EntityDescriptor xmlns:m="urn:oasis:names:tc:SAML:2.0:metadata" entityID="{issuer}"><m:IDPSSODescriptor '
        'protocolSupportEnumeration="urn:oasis:names:tc:SAML:2.0:protocol"><m:KeyDescriptor use="signing">'
        '<d:KeyInfo xmlns:d="http://www.w3.org/2000/09/xmldsig#"><d:X509Data><d:X509Certificate>'
        f"{text}</d:X509Certificate></d:X509Data></d:KeyInfo></m:KeyDescriptor><m:SingleSignOnService "
        f'Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect" Location="{url}"/></m:IDPSSODescriptor>'
        "</m:EntityDescriptor>"
    )


@dataclass(frozen=True, slots=True)
class Asked:
    """Our request, as it arrives."""

    request_id: str
    issuer: str
    answers_to: str
    state: str

    @classmethod
    def read(cls, url: str) -> Asked:
        query = parse_qs(urlsplit(url).query)
        root = etree.fromstring(zlib.decompress(base64.b64decode(query["SAMLRequest"][0]), -15))
        return cls(
            request_id=root.get("ID", ""),
            issuer=root.findtext("{urn:oasis:names:tc:SAML:2.0:assertion}Issuer", ""),
            answers_to=root.get("AssertionConsumerServiceURL", ""),
            state=query["RelayState"][0],
        )


@dataclass(slots=True)
class Answer:
    """An answer to write: all of it right, until a test makes something wrong."""

    asked: Asked
    now: datetime
    key: Key
    values: dict[str, str] = field(default_factory=dict)
    # Of the text before it is signed, and after.
    before: Callable[[str], str] = lambda text: text
    after: Callable[[str], str] = lambda text: text
    signs: str = "assertion"

    def encoded(self) -> str:
        text = self.before(self._text())
        if self.signs:
            text = self.signed(text)
        return base64.b64encode(self.after(text).encode()).decode()

    def _text(self) -> str:
        def at(seconds: int) -> str:
            return (self.now + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")

        values = {
            "name_id": "alice-1",
            "format": "urn:oasis:names:tc:SAML:2.0:nameid-format:persistent",
            "issuer": ISSUER,
            "audience": self.asked.issuer,
            "recipient": self.asked.answers_to,
            "destination": self.asked.answers_to,
            "request": self.asked.request_id,
            "confirmed_request": self.asked.request_id,
            "method": "urn:oasis:names:tc:SAML:2.0:cm:bearer",
            "status": "urn:oasis:names:tc:SAML:2.0:status:Success",
            "begins": at(-30),
            "ends": at(300),
            "confirmed_until": at(300),
            "session_ends": at(3_600),
            **self.values,
        }
        return _TEMPLATE.format_map(values)

    def signed(self, text: str) -> str:
        root: Any = etree.fromstring(text.encode())
        signer = XMLSigner(
            method=SignatureConstructionMethod.enveloped,
            signature_algorithm="rsa-sha256",
            digest_algorithm="sha256",
            c14n_algorithm="http://www.w3.org/2001/10/xml-exc-c14n#",
        )
        private, certificate = self.key.private, self.key.certificate.decode()
        if self.signs == "assertion":
            element = root.find(_ASSERTION)
            signed = signer.sign(
                element, key=private, cert=certificate, reference_uri=element.get("ID"), id_attribute="ID"
            )
            root.replace(element, signed)
        else:
            root = signer.sign(root, key=private, cert=certificate, reference_uri=root.get("ID"), id_attribute="ID")
        return etree.tostring(root).decode()


_TEMPLATE = (
    '<p:Response xmlns:p="urn:oasis:names:tc:SAML:2.0:protocol" xmlns:a="urn:oasis:names:tc:SAML:2.0:assertion" '
    'ID="_r1" Version="2.0" IssueInstant="{begins}" Destination="{destination}" InResponseTo="{request}">'
    '<a:Issuer>{issuer}</a:Issuer><p:Status><p:StatusCode Value="{status}"/></p:Status>'
    '<a:Assertion ID="_a1" Version="2.0" IssueInstant="{begins}"><a:Issuer>{issuer}</a:Issuer>'
    '<a:Subject><a:NameID Format="{format}">{name_id}</a:NameID><a:SubjectConfirmation Method="{method}">'
    '<a:SubjectConfirmationData Recipient="{recipient}" InResponseTo="{confirmed_request}" '
    'NotOnOrAfter="{confirmed_until}"/></a:SubjectConfirmation></a:Subject>'
    '<a:Conditions NotBefore="{begins}" NotOnOrAfter="{ends}"><a:AudienceRestriction>'
    "<a:Audience>{audience}</a:Audience></a:AudienceRestriction>"
    '</a:Conditions><a:AuthnStatement AuthnInstant="{begins}" SessionIndex="s1" '
    'SessionNotOnOrAfter="{session_ends}"><a:AuthnContext><a:AuthnContextClassRef>'
    "urn:oasis:names:tc:SAML:2.0:ac:classes:Password</a:AuthnContextClassRef></a:AuthnContext></a:AuthnStatement>"
    '<a:AttributeStatement><a:Attribute Name="urn:oid:0.9.2342.19200300.100.1.1" FriendlyName="uid">'
    '<a:AttributeValue>alice</a:AttributeValue></a:Attribute><a:Attribute Name="displayName"><a:AttributeValue>'
    "Alice Liddell</a:AttributeValue></a:Attribute></a:AttributeStatement></a:Assertion></p:Response>"
)


class RealIdp:
    """pysaml2 in the identity provider's role. `who` is whom it will let in next."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = 0
        self.who = "alice"
        self._key = Key.make()
        self._sessions: list[str] = []
        (folder / "idp.key").write_bytes(self._key.private)
        (folder / "idp.crt").write_bytes(self._key.certificate)
        self.sp_metadata = folder / "sp.xml"

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _config(self, *, knows_us: bool) -> IdPConfig:
        metadata = {"metadata": {"local": [str(self.sp_metadata)]}} if knows_us else {}
        config: Any = IdPConfig()
        config.load(
            {
                "entityid": f"{self.base}/metadata",
                "xmlsec_binary": program("xmlsec1"),
                "key_file": str(self.folder / "idp.key"),
                "cert_file": str(self.folder / "idp.crt"),
                "service": {
                    "idp": {
                        "endpoints": {
                            "single_sign_on_service": [(f"{self.base}/sso", BINDING_HTTP_REDIRECT)],
                            "single_logout_service": [(f"{self.base}/slo", BINDING_HTTP_REDIRECT)],
                        },
                        "sign_response": True,
                        "sign_assertion": True,
                        "policy": {"default": {"lifetime": {"minutes": 5}, "name_form": _URI}},
                    }
                },
                **metadata,
            }
        )
        return config

    def metadata(self) -> str:
        """What it publishes of itself."""
        return str(entity_descriptor(self._config(knows_us=False)))

    async def sso(self, request: web.Request) -> web.Response:
        """Somebody's browser arrives with our request: it is answered by a form that posts itself."""
        server: Any = Server(config=self._config(knows_us=True))
        asked = server.parse_authn_request(request.query["SAMLRequest"], BINDING_HTTP_REDIRECT)
        return self._form(server, server.response_args(asked.message), request.query["RelayState"])

    async def begin(self, request: web.Request) -> web.Response:
        """Somebody chose us there: the form answers nothing that we asked."""
        server: Any = Server(config=self._config(knows_us=True))
        (ours,) = server.metadata.service_providers()
        binding, destination = server.pick_binding("assertion_consumer_service", entity_id=ours)
        resolved = {"in_response_to": None, "sp_entity_id": ours, "binding": binding, "destination": destination}
        return self._form(server, resolved, "https://portal.example.org/")

    def _form(self, server: Any, resolved: dict[str, Any], relay_state: str) -> web.Response:
        response = server.create_authn_response(
            {"uid": [self.who], "displayName": [self.who.title()]},
            name_id=NameID(format=NAMEID_FORMAT_PERSISTENT, text=f"id-of-{self.who}"),
            authn={"class_ref": PASSWORDPROTECTEDTRANSPORT, "authn_auth": self.base},
            sign_response=True,
            sign_assertion=True,
            sign_alg="http://www.w3.org/2001/04/xmldsig-more#rsa-sha256",
            digest_alg="http://www.w3.org/2001/04/xmlenc#sha256",
            **resolved,
        )
        self._sessions.extend(dict.fromkeys(re.findall(r'SessionIndex="([^"]*)"', str(response))))
        form = server.apply_binding(
            resolved["binding"], str(response), resolved["destination"], relay_state, response=True
        )
        assert resolved["binding"] == BINDING_HTTP_POST
        return web.Response(text=form["data"], content_type="text/html")

    # --- log-out

    def order_by_redirect(self, who: str) -> str:
        """Where it sends a browser, so that the session by which somebody came last ends with us."""
        server: Any = Server(config=self._config(knows_us=True))
        order, place = self._order(server, BINDING_HTTP_REDIRECT, who, sign=False)
        sent = server.apply_binding(BINDING_HTTP_REDIRECT, str(order), place, "a state", sign=True, sigalg=_RSA)
        return str(dict(sent["headers"])["Location"])

    def order_by_form(self, who: str) -> str:
        """The page that posts the same."""
        server: Any = Server(config=self._config(knows_us=True))
        order, place = self._order(server, BINDING_HTTP_POST, who, sign=True)
        return str(server.apply_binding(BINDING_HTTP_POST, str(order), place, "a state")["data"])

    def _order(self, server: Any, binding: str, who: str, *, sign: bool) -> tuple[Any, str]:
        (ours,) = server.metadata.service_providers()
        place = server.metadata.single_logout_service(ours, binding, "spsso")[0]["location"]
        _, order = server.create_logout_request(
            place,
            ours,
            name_id=NameID(format=NAMEID_FORMAT_PERSISTENT, text=f"id-of-{who}"),
            session_indexes=self._sessions[-1:],
            sign=sign,
            sign_alg=_RSA,
            digest_alg="http://www.w3.org/2001/04/xmlenc#sha256",
        )
        return order, place

    def is_done(self, url: str) -> bool:
        """Whether this is our answer that it was done, signed by our key."""
        server: Any = Server(config=self._config(knows_us=True))
        query = self._signed(server, url)
        answer = server.parse_logout_request_response(query["SAMLResponse"], BINDING_HTTP_REDIRECT)
        return bool(answer.status_ok())

    def asked_to_end(self, url: str, who: str) -> str:
        """Takes our request to end a session there, signed by our key; where it sends the browser then."""
        server: Any = Server(config=self._config(knows_us=True))
        query = self._signed(server, url)
        asked = server.parse_logout_request(query["SAMLRequest"], BINDING_HTTP_REDIRECT).message
        assert asked.name_id.text == f"id-of-{who}" and asked.session_index[0].text in self._sessions
        answer = server.create_logout_response(asked, [BINDING_HTTP_REDIRECT])
        place = server.metadata.single_logout_service(asked.issuer.text, BINDING_HTTP_REDIRECT, "spsso")[0]["location"]
        sent = server.apply_binding(BINDING_HTTP_REDIRECT, str(answer), place, "", response=True)
        return str(dict(sent["headers"])["Location"])

    def _signed(self, server: Any, url: str) -> dict[str, str]:
        query = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
        (ours,) = server.metadata.service_providers()
        [(_, certificate)] = server.metadata.certs(ours, "spsso", "signing")
        assert verify_redirect_signature(query, server.sec.sec_backend, certificate)
        return query


_RSA = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"
_URI = "urn:oasis:names:tc:SAML:2.0:attrname-format:uri"


def form_of(page: str) -> tuple[str, dict[str, str]]:
    """Where a page's form goes, and what is in it."""
    (action,) = re.findall(r'<form[^>]*action="([^"]*)"', page)
    found = dict(re.findall(r'name="([^"]*)"\s+value="([^"]*)"', page))
    return html.unescape(action), {name: html.unescape(value) for name, value in found.items()}


@asynccontextmanager
async def real_idp(folder: Path) -> AsyncIterator[RealIdp]:
    """Listens on a free port of the loopback."""
    idp, app = RealIdp(folder), web.Application()
    app.router.add_get("/sso", idp.sso)
    app.router.add_get("/begin", idp.begin)
    async with listening(app) as idp.port:
        yield idp
