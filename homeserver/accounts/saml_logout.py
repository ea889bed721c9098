"""Single logout by SAML 2.0: what providers order, our answers to it, and what we ask of them. Pure.

A message comes by redirect, deflated and signed as the query that it came in, or by a posted form, as XML with a
signature in it. Nothing is read but what is signed by a key of the provider's metadata.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import unquote_plus, urlencode
from xml.sax.saxutils import escape, quoteattr

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.x509 import Certificate
from lxml import etree
from signxml.algorithms import CanonicalizationMethod
from signxml.signer import XMLSigner

from homeserver.accounts.saml_answers import (
    ANSWER_BYTES_MAX,
    ASSERTION,
    LEEWAY,
    PROTOCOL,
    SIGNATURES,
    SUCCESS,
    Name,
    Refused,
    name_of,
    parsed,
    read_xml,
    text_of,
    time_of,
    verified,
)
from homeserver.accounts.saml_encryption import NotDecrypted, decrypt

REQUEST = f"{{{PROTOCOL}}}LogoutRequest"
RELAY_CHARS_MAX = 1_000
SESSIONS_MAX = 100
NAME_CHARS_MAX = 1_000
# An order that was written longer ago comes too late, whatever it says of its end.
LIFETIME = timedelta(minutes=10)
_NAMES = {"a": ASSERTION, "p": PROTOCOL, "d": SIGNATURES}
_MORE = "http://www.w3.org/2001/04/xmldsig-more#"
_RSA_SHA256 = f"{_MORE}rsa-sha256"
_HASHES: dict[str, type[hashes.HashAlgorithm]] = {
    "sha256": hashes.SHA256,
    "sha384": hashes.SHA384,
    "sha512": hashes.SHA512,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """Who may order it, at which address of ours, and when."""

    issuer: str
    certificates: Sequence[Certificate]
    destination: str
    now: datetime
    key: RSAPrivateKey | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a provider wants ended: these sessions of the person whom it calls so; all of them where it names none."""

    request_id: str
    name: str
    sessions: Sequence[str]
    good_until: datetime


def read_redirected(query: str, expected: Expected) -> tuple[Order, str]:
    """The order in a query string as it was sent, and its RelayState. Raises Refused."""
    raw = _raw_fields(query)
    if "SAMLRequest" not in raw or "SigAlg" not in raw or "Signature" not in raw:
        raise Refused("it is not signed")
    if unquote_plus(raw.get("SAMLEncoding", "")) not in (
        "",
        "urn:oasis:names:tc:SAML:2.0:bindings:URL-Encoding:DEFLATE",
    ):
        raise Refused("it is encoded in another way")
    signed = "&".join(f"{name}={raw[name]}" for name in ("SAMLRequest", "RelayState", "SigAlg") if name in raw)
    signature = _base64(unquote_plus(raw["Signature"]))
    algorithm = unquote_plus(raw["SigAlg"])
    if not any(_is_signed(signed.encode(), signature, algorithm, one) for one in expected.certificates):
        raise Refused("no key of the provider's made the signature")
    data = _inflated(_base64(unquote_plus(raw["SAMLRequest"])))
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise Refused("it is no UTF-8 text") from None
    return _order(read_xml(data, text, REQUEST), expected), _relay_state(unquote_plus(raw.get("RelayState", "")))


def read_posted(encoded: str, relay_state: str, expected: Expected) -> tuple[Order, str]:
    """The order in a form's SAMLRequest, and its RelayState, which nobody signed. Raises Refused."""
    root = parsed(encoded, REQUEST)
    if [one.getparent() for one in root.iter(f"{{{SIGNATURES}}}Signature")] != [root]:
        raise Refused("it is not signed, or something in it is")
    return _order(verified(root, root, expected.certificates), expected), _relay_state(relay_state)


def _order(root: etree._Element, expected: Expected) -> Order:
    request_id, issued = root.get("ID", ""), time_of(root.get("IssueInstant"))
    if root.get("Version") != "2.0" or not 0 < len(request_id) <= NAME_CHARS_MAX or issued is None:
        raise Refused("it is no request of SAML 2.0")
    if text_of(root.find("a:Issuer", _NAMES)) != expected.issuer:
        raise Refused("another provider sent it")
    if root.get("Destination") != expected.destination:
        raise Refused("it was meant for another address")
    good_until, ends = issued + LIFETIME + LEEWAY, time_of(root.get("NotOnOrAfter"))
    if ends is not None:
        good_until = min(good_until, ends + LEEWAY)
    if issued > expected.now + LEEWAY or expected.now >= good_until:
        raise Refused("it is too early or too late")
    sessions = [text_of(one) for one in root.findall("p:SessionIndex", _NAMES)]
    if len(sessions) > SESSIONS_MAX or not all(0 < len(one) <= NAME_CHARS_MAX for one in sessions):
        raise Refused("it names too many sessions, or odd ones")
    name = _name(root, expected)
    if not 0 < len(name) <= NAME_CHARS_MAX:
        raise Refused("it names nobody")
    return Order(request_id=request_id, name=name, sessions=sessions, good_until=good_until)


def _name(root: etree._Element, expected: Expected) -> str:
    plain, encrypted = root.findall("a:NameID", _NAMES), root.findall("a:EncryptedID", _NAMES)
    if len(plain) + len(encrypted) != 1:
        raise Refused("it names nobody, or several people")
    if plain:
        return name_of(plain[0]).text
    if expected.key is None:
        raise Refused("it is encrypted, and there is no key for that")
    try:
        data = decrypt(encrypted[0], expected.key, is_signed=True)
        return name_of(read_xml(data, data.decode("utf-8"), f"{{{ASSERTION}}}NameID")).text
    except (NotDecrypted, UnicodeDecodeError):
        raise Refused("it can't be decrypted") from None


# --- what we write


def request_text(name: Name, session: str | None, *, issuer: str, destination: str, request_id: str, at: str) -> str:
    """Asks a provider to end somebody's session there."""
    attributes = "".join(
        f" {key}={quoteattr(value)}"
        for key, value in (
            ("Format", name.format),
            ("NameQualifier", name.qualifier),
            ("SPNameQualifier", name.sp_qualifier),
        )
        if value
    )
    index = f"<p:SessionIndex>{escape(session)}</p:SessionIndex>" if session else ""
    return (
        f'<p:LogoutRequest xmlns:p="{PROTOCOL}" xmlns:a="{ASSERTION}" ID={quoteattr(request_id)} Version="2.0" '
        f"IssueInstant={quoteattr(at)} Destination={quoteattr(destination)}><a:Issuer>{escape(issuer)}</a:Issuer>"
        f"<a:NameID{attributes}>{escape(name.text)}</a:NameID>{index}</p:LogoutRequest>"
    )


def response_text(order: Order, *, issuer: str, destination: str, response_id: str, at: str) -> str:
    """Tells a provider that what it ordered was done."""
    return (
        f'<p:LogoutResponse xmlns:p="{PROTOCOL}" xmlns:a="{ASSERTION}" ID={quoteattr(response_id)} Version="2.0" '
        f"IssueInstant={quoteattr(at)} Destination={quoteattr(destination)} "
        f"InResponseTo={quoteattr(order.request_id)}><a:Issuer>{escape(issuer)}</a:Issuer>"
        f'<p:Status><p:StatusCode Value="{SUCCESS}"/></p:Status></p:LogoutResponse>'
    )


def redirected(url: str, field: str, text: str, relay_state: str, key: RSAPrivateKey | None) -> str:
    """The address that carries a message there, signed where there is a key. SAML Bindings, section 3.4.4.1"""
    # The binding wants the deflated data alone, without head and checksum.
    fields = {field: base64.b64encode(zlib.compress(text.encode())[2:-4]).decode()}
    if relay_state:
        fields["RelayState"] = relay_state
    if key is None:
        query = urlencode(fields)
    else:
        query = urlencode({**fields, "SigAlg": _RSA_SHA256})
        signature = key.sign(query.encode(), PKCS1v15(), hashes.SHA256())
        query += "&" + urlencode({"Signature": base64.b64encode(signature).decode()})
    return f"{url}{'&' if '?' in url else '?'}{query}"


def posted(text: str, key: RSAPrivateKey | None) -> str:
    """A message as a form's field, signed where there is a key."""
    if key is not None:
        root: Any = etree.fromstring(text.encode())
        signer = XMLSigner(
            signature_algorithm="rsa-sha256",
            digest_algorithm="sha256",
            c14n_algorithm=CanonicalizationMethod.EXCLUSIVE_XML_CANONICALIZATION_1_0,
        )
        signed = signer.sign(root, key=key, reference_uri=root.get("ID"), id_attribute="ID")
        # The schema wants the signature behind the issuer.
        [signature] = signed.findall("d:Signature", _NAMES)
        signed.remove(signature)
        signed.insert(1, signature)
        text = etree.tostring(signed).decode()
    return base64.b64encode(text.encode()).decode()


# --- bytes


def _raw_fields(query: str) -> dict[str, str]:
    """The fields of a query as they were written. One that comes twice could be read in two ways. Raises Refused."""
    if len(query) > 4 * ANSWER_BYTES_MAX:
        raise Refused("it is too long")
    found: dict[str, str] = {}
    for part in query.split("&"):
        name, _, value = part.partition("=")
        if name in found:
            raise Refused("a field comes twice")
        found[name] = value
    return found


def _base64(text: str) -> bytes:
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise Refused("it is no base64") from None


def _inflated(data: bytes) -> bytes:
    """As many bytes as an answer may have, however much they would unfold to. Raises Refused."""
    unpacker = zlib.decompressobj(-15)
    try:
        found = unpacker.decompress(data, ANSWER_BYTES_MAX)
    except zlib.error:
        raise Refused("it is not deflated") from None
    if not unpacker.eof or unpacker.unused_data:
        raise Refused("it is cut off, or too long")
    return found


def _is_signed(data: bytes, signature: bytes, algorithm: str, certificate: Certificate) -> bool:
    kind, _, digest = algorithm.removeprefix(_MORE).partition("-")
    hashed = _HASHES.get(digest)
    if not algorithm.startswith(_MORE) or hashed is None:
        return False
    try:
        key = certificate.public_key()
        if kind == "rsa" and isinstance(key, RSAPublicKey):
            key.verify(signature, data, PKCS1v15(), hashed())
            return True
        if kind == "ecdsa" and isinstance(key, EllipticCurvePublicKey):
            half = len(signature) // 2
            pair = (int.from_bytes(signature[:half]), int.from_bytes(signature[half:]))
            key.verify(encode_dss_signature(*pair), data, ECDSA(hashed()))
            return True
    except (InvalidSignature, UnsupportedAlgorithm, ValueError):
        return False
    return False


def _relay_state(text: str) -> str:
    if len(text) > RELAY_CHARS_MAX or not text.isprintable():
        raise Refused("its RelayState can't be given back")
    return text
