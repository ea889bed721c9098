"""Orders to log out as SAML identity providers write them, and any that are wrong."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from lxml import etree
from signxml.algorithms import SignatureConstructionMethod
from signxml.signer import XMLSigner

from tests.kit.saml_idp import ISSUER, Key

PLACE = "https://idp.example.org/slo"
RSA_SHA256 = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"
_BINDINGS = "urn:oasis:names:tc:SAML:2.0:bindings:"
_TEMPLATE = (
    '<p:LogoutRequest xmlns:p="urn:oasis:names:tc:SAML:2.0:protocol" xmlns:a="urn:oasis:names:tc:SAML:2.0:assertion" '
    'ID="{id}" Version="{version}" IssueInstant="{issued}" Destination="{destination}" NotOnOrAfter="{ends}">'
    "<a:Issuer>{issuer}</a:Issuer>{name}{sessions}</p:LogoutRequest>"
)


def with_logout(metadata: str, *bindings: str) -> str:
    """A provider's metadata with its places for log-outs."""
    places = "".join(
        f'<m:SingleLogoutService Binding="{_BINDINGS}{binding}" Location="{PLACE}" ResponseLocation="{PLACE}/done"/>'
        for binding in bindings
    )
    return metadata.replace("<m:SingleSignOnService", places + "<m:SingleSignOnService")


@dataclass(slots=True)
class Order:
    """All of it right, until a test makes something wrong. `before` and `after` change the text around its signing."""

    destination: str
    now: datetime
    key: Key
    values: dict[str, str] = field(default_factory=dict)
    before: Callable[[str], str] = lambda text: text
    after: Callable[[str], str] = lambda text: text
    relay_state: str = "there & back"

    def text(self) -> str:
        def at(seconds: int) -> str:
            return (self.now + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")

        values = {
            "id": "_order1",
            "version": "2.0",
            "issued": at(-10),
            "ends": at(120),
            "destination": self.destination,
            "issuer": ISSUER,
            "name": "<a:NameID>alice-1</a:NameID>",
            "sessions": "<p:SessionIndex>s1</p:SessionIndex>",
            **self.values,
        }
        return self.before(_TEMPLATE.format_map(values))

    def query(self, *, algorithm: str = RSA_SHA256, packed: bytes | None = None) -> str:
        """As a redirect carries it."""
        data = zlib.compress(self.text().encode())[2:-4] if packed is None else packed
        query = (
            f"SAMLRequest={quote(base64.b64encode(data), safe='')}&RelayState={quote(self.relay_state)}"
            f"&SigAlg={quote(algorithm, safe='')}"
        )
        key: Any = serialization.load_pem_private_key(self.key.private, None)
        signature = key.sign(query.encode(), PKCS1v15(), hashes.SHA256())
        return self.after(f"{query}&Signature={quote(base64.b64encode(signature), safe='')}")

    def form(self) -> dict[str, str]:
        """As a form carries it."""
        root: Any = etree.fromstring(self.text().encode())
        signer = XMLSigner(
            method=SignatureConstructionMethod.enveloped,
            signature_algorithm="rsa-sha256",
            digest_algorithm="sha256",
            c14n_algorithm="http://www.w3.org/2001/10/xml-exc-c14n#",
        )
        certificate = self.key.certificate.decode()
        root = signer.sign(
            root, key=self.key.private, cert=certificate, reference_uri=root.get("ID"), id_attribute="ID"
        )
        text = self.after(etree.tostring(root).decode())
        return {"SAMLRequest": base64.b64encode(text.encode()).decode(), "RelayState": self.relay_state}


@dataclass(frozen=True, slots=True)
class Done:
    """Our answer, as it arrives at the provider."""

    place: str
    answers: str
    status: str
    issuer: str
    relay_state: str

    @classmethod
    def from_url(cls, url: str) -> Done:
        query = parse_qs(urlsplit(url).query)
        data = zlib.decompress(base64.b64decode(query["SAMLResponse"][0]), -15)
        return cls.read(url.partition("?")[0], data, query["RelayState"][0])

    @classmethod
    def read(cls, place: str, data: bytes, relay_state: str) -> Done:
        root = etree.fromstring(data)
        assert root.get("Destination") == place
        (status,) = root.iter("{urn:oasis:names:tc:SAML:2.0:protocol}StatusCode")
        return cls(
            place=place,
            answers=root.get("InResponseTo", ""),
            status=status.get("Value", "").rpartition(":")[2],
            issuer=root.findtext("{urn:oasis:names:tc:SAML:2.0:assertion}Issuer", ""),
            relay_state=relay_state,
        )
