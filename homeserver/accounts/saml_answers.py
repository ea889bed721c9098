"""What a SAML 2.0 identity provider's answer says, once everything about it is right. Pure: XML in, an identity out.

Invariant: nothing is read but what the signature covers, in the form in which it was signed. An answer that could be
read in two ways (comments, document types, several assertions, several elements of one id) is refused as a whole.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography.exceptions import InvalidSignature as WrongKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.x509 import Certificate
from lxml import etree
from signxml.algorithms import DigestAlgorithm, SignatureMethod
from signxml.exceptions import SignXMLException
from signxml.verifier import SignatureConfiguration, VerifyResult, XMLVerifier

from homeserver.accounts.saml_encryption import NotDecrypted, decrypt

ASSERTION = "urn:oasis:names:tc:SAML:2.0:assertion"
PROTOCOL = "urn:oasis:names:tc:SAML:2.0:protocol"
SIGNATURES = "http://www.w3.org/2000/09/xmldsig#"
SUCCESS = "urn:oasis:names:tc:SAML:2.0:status:Success"
BEARER = "urn:oasis:names:tc:SAML:2.0:cm:bearer"
TRANSIENT = "urn:oasis:names:tc:SAML:2.0:nameid-format:transient"
ANSWER_BYTES_MAX = 40 * 1024
ELEMENTS_MAX = 2_000
LEEWAY = timedelta(seconds=120)
_NAMES = {"a": ASSERTION, "p": PROTOCOL, "d": SIGNATURES}
_METHODS = frozenset(
    {
        SignatureMethod.RSA_SHA256,
        SignatureMethod.RSA_SHA384,
        SignatureMethod.RSA_SHA512,
        SignatureMethod.SHA256_RSA_MGF1,
        SignatureMethod.SHA384_RSA_MGF1,
        SignatureMethod.SHA512_RSA_MGF1,
        SignatureMethod.ECDSA_SHA256,
        SignatureMethod.ECDSA_SHA384,
        SignatureMethod.ECDSA_SHA512,
    }
)
_DIGESTS = frozenset({DigestAlgorithm.SHA256, DigestAlgorithm.SHA384, DigestAlgorithm.SHA512})
# What SAML allows between the element that is signed and its digest.
_TRANSFORMS = frozenset(
    {"http://www.w3.org/2000/09/xmldsig#enveloped-signature", "http://www.w3.org/2001/10/xml-exc-c14n#"}
)
# Conditions that ask nothing of us: an assertion counts once here anyway, and is passed on to nobody.
_KNOWN_CONDITIONS = frozenset(
    f"{{{ASSERTION}}}{name}" for name in ("AudienceRestriction", "OneTimeUse", "ProxyRestriction")
)


class Refused(Exception):
    """This answer lets nobody in. The text is for the log; no part of the answer is in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What an answer must be about: who gives it, to whom, for which request."""

    issuer: str
    certificates: Sequence[Certificate]
    audience: str
    recipient: str
    request_id: str
    now: datetime
    # Opens assertions that are encrypted for us.
    key: RSAPrivateKey | None = None


@dataclass(frozen=True, slots=True)
class Name:
    """A NameID as it was written."""

    text: str
    format: str = ""
    qualifier: str = ""
    sp_qualifier: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Who signed in. `name_id` is empty where it is another one each time.

    `name` and `session` are how the provider calls the person and this sign-in when it ends.
    """

    name_id: str
    attributes: Mapping[str, Sequence[str]]
    name: Name | None = None
    session: str | None = None


def read_answer(encoded: str, expected: Expected) -> Subject:
    """Raises Refused. Takes some milliseconds."""
    root = parsed(encoded, f"{{{PROTOCOL}}}Response")
    if root.find("a:EncryptedAssertion", _NAMES) is not None:
        assertion = _encrypted_assertion(root, expected)
    else:
        assertion = _signed_assertion(root, expected.certificates)
    _check_envelope(root, expected)
    if text_of(assertion.find("a:Issuer", _NAMES)) != expected.issuer:
        raise Refused("another provider issued it")
    _check_conditions(assertion, expected)
    subject = assertion.find("a:Subject", _NAMES)
    if subject is None or not any(
        _is_for_us(one, expected) for one in subject.findall("a:SubjectConfirmation", _NAMES)
    ):
        raise Refused("it is not for this request, not for us, or too late")
    statements = assertion.findall("a:AuthnStatement", _NAMES)
    if not statements:
        raise Refused("it does not say that anybody signed in")
    for statement in statements:
        ends = time_of(statement.get("SessionNotOnOrAfter"))
        if ends is not None and expected.now >= ends + LEEWAY:
            raise Refused("the session there has ended")
    name_id = subject.find("a:NameID", _NAMES)
    is_lasting = name_id is not None and name_id.get("Format") != TRANSIENT
    return Subject(
        name_id=text_of(name_id) if is_lasting else "",
        attributes=_attributes(assertion),
        name=name_of(name_id) if name_id is not None else None,
        session=next((one.get("SessionIndex") for one in statements if one.get("SessionIndex")), None),
    )


def parsed(encoded: str, tag: str) -> etree._Element:
    """The element that a form's field holds. Raises Refused."""
    try:
        data = base64.b64decode("".join(encoded.split()), validate=True)
        text = data.decode("utf-8")
    except (binascii.Error, ValueError):
        raise Refused("it is no base64 of UTF-8 text") from None
    if not 0 < len(data) <= ANSWER_BYTES_MAX:
        raise Refused("it is empty, or too long")
    return read_xml(data, text, tag)


def read_xml(data: bytes, text: str, tag: str) -> etree._Element:
    """The element that XML holds, read in the one way there is to read it. Raises Refused."""
    # No document type, entity, comment or CDATA: SAML needs none, and each lets two readers read two things.
    if "<!" in text:
        raise Refused("it has a document type, a comment or CDATA")
    parser = etree.XMLParser(encoding="utf-8", resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    try:
        root = etree.fromstring(data, parser)
    except (etree.LxmlError, ValueError):
        raise Refused("it is no XML") from None
    elements = list(root.iter())
    if len(elements) > ELEMENTS_MAX or not all(isinstance(one.tag, str) for one in elements):
        raise Refused("it has too many elements, or a processing instruction")
    if root.tag != tag or root.getroottree().docinfo.internalDTD is not None:
        raise Refused("it is another element than it must be")
    ids = [value for one in elements for name, value in one.attrib.items() if name.lower().endswith("id") and value]
    named = [one.get("ID") for one in elements if one.get("ID") is not None]
    if len(set(named)) != len(named) or any(ids.count(name) > 1 for name in named if name):
        raise Refused("two elements have one id")
    return root


def _signed_assertion(root: etree._Element, certificates: Sequence[Certificate]) -> etree._Element:
    """The one assertion, as it was signed: by a signature of its own, or by the Response's, each good."""
    assertions = list(root.iter(f"{{{ASSERTION}}}Assertion"))
    if len(assertions) != 1 or assertions[0].getparent() is not root:
        raise Refused("it holds no plain assertion, or several")
    signatures = [one.getparent() for one in root.iter(f"{{{SIGNATURES}}}Signature")]
    places = [place for place in (root, assertions[0]) if place in signatures]
    if not places or len(places) != len(signatures):
        raise Refused("it is not signed, or something else in it is")
    signed = [verified(root, place, certificates) for place in places]
    found = signed[-1] if places[-1] is not root else signed[-1].find("a:Assertion", _NAMES)
    if found is None:
        raise Refused("the signature covers no assertion")
    return found


def _encrypted_assertion(root: etree._Element, expected: Expected) -> etree._Element:
    """The one assertion, decrypted: signed itself, or within a Response that is."""
    if expected.key is None:
        raise Refused("it is encrypted, and there is no key for that")
    if len(list(root.iter(f"{{{ASSERTION}}}EncryptedAssertion"))) != 1 or list(root.iter(f"{{{ASSERTION}}}Assertion")):
        raise Refused("it holds several assertions")
    places = [one.getparent() for one in root.iter(f"{{{SIGNATURES}}}Signature")]
    if places not in ([], [root]):
        raise Refused("something else in it is signed")
    signed = verified(root, root, expected.certificates) if places else root
    encrypted = signed.find("a:EncryptedAssertion", _NAMES)
    if encrypted is None:
        raise Refused("the signature covers no assertion")
    try:
        data = decrypt(encrypted, expected.key, is_signed=bool(places))
        assertion = read_xml(data, data.decode("utf-8"), f"{{{ASSERTION}}}Assertion")
    except (NotDecrypted, UnicodeDecodeError):
        raise Refused("it can't be decrypted") from None
    own = [one.getparent() for one in assertion.iter(f"{{{SIGNATURES}}}Signature")]
    if own not in ([], [assertion]) or not (own or places):
        raise Refused("it is not signed, or something else in it is")
    return verified(assertion, assertion, expected.certificates) if own else assertion


def verified(root: etree._Element, place: etree._Element, certificates: Sequence[Certificate]) -> etree._Element:
    """An element as its signature covers it: parsed anew from the very bytes that were signed."""
    signature = place.find("d:Signature", _NAMES)
    name = place.get("ID")
    if signature is None or not name or not name.isascii():
        raise Refused("what is signed has no id")
    references = signature.findall("d:SignedInfo/d:Reference", _NAMES)
    if len(references) != 1 or references[0].get("URI") != f"#{name}":
        raise Refused("the signature is not about where it stands")
    transforms = [one.get("Algorithm") for one in references[0].findall("d:Transforms/d:Transform", _NAMES)]
    if not transforms or not _TRANSFORMS.issuperset(transforms):
        raise Refused("the signature transforms what it covers")
    for certificate in certificates:
        result = _try(root, "./" if place is root else f"./{{{ASSERTION}}}Assertion/", certificate)
        if result is None:
            continue
        signed = result.signed_xml
        if signed is None or signed.tag != place.tag or signed.get("ID") != name:
            raise Refused("the signature covers another element")
        return signed
    raise Refused("no key of the provider's made the signature")


def _try(root: etree._Element, location: str, certificate: Certificate) -> VerifyResult | None:
    config = SignatureConfiguration(
        location=location,
        expect_references=1,
        signature_methods=_METHODS,
        digest_algorithms=_DIGESTS,
        ignore_ambiguous_key_info=True,
        # The provider's metadata say which keys are its own: a certificate only carries one, whatever its dates.
        verification_time=certificate.not_valid_before_utc,
    )
    try:
        result = XMLVerifier().verify(root, x509_cert=certificate, expect_config=config, id_attribute="ID")
    except (SignXMLException, WrongKey, etree.LxmlError, ValueError, TypeError, KeyError, AttributeError):
        return None
    return result if isinstance(result, VerifyResult) else None


def _check_envelope(root: etree._Element, expected: Expected) -> None:
    """What the Response says beside the assertion. It may be unsigned, so it can only refuse."""
    status = root.find("p:Status/p:StatusCode", _NAMES)
    if status is None or status.get("Value") != SUCCESS:
        raise Refused("the provider let nobody in")
    if root.get("InResponseTo") != expected.request_id:
        raise Refused("it answers another request, or none")
    if root.get("Destination", expected.recipient) != expected.recipient:
        raise Refused("it was meant for another address")
    issuer = root.find("a:Issuer", _NAMES)
    if issuer is not None and text_of(issuer) != expected.issuer:
        raise Refused("another provider sent it")


def _check_conditions(assertion: etree._Element, expected: Expected) -> None:
    found = assertion.findall("a:Conditions", _NAMES)
    if len(found) != 1:
        raise Refused("it says not for whom it is")
    (conditions,) = found
    if any(one.tag not in _KNOWN_CONDITIONS for one in conditions):
        raise Refused("it has a condition that we don't know")
    if not _is_now(conditions, expected.now):
        raise Refused("it is too early or too late")
    restrictions = conditions.findall("a:AudienceRestriction", _NAMES)
    if not restrictions or not all(
        expected.audience in [text_of(one) for one in restriction.findall("a:Audience", _NAMES)]
        for restriction in restrictions
    ):
        raise Refused("it is for another service")


def _is_for_us(confirmation: etree._Element, expected: Expected) -> bool:
    """Whoever brings it may be whom it names, if it was made for our request, our address and this time."""
    data = confirmation.find("a:SubjectConfirmationData", _NAMES)
    return (
        confirmation.get("Method") == BEARER
        and data is not None
        and data.get("Recipient") == expected.recipient
        and data.get("InResponseTo") == expected.request_id
        and data.get("NotOnOrAfter") is not None
        and _is_now(data, expected.now)
    )


def _is_now(element: etree._Element, now: datetime) -> bool:
    begins, ends = time_of(element.get("NotBefore")), time_of(element.get("NotOnOrAfter"))
    return (begins is None or begins <= now + LEEWAY) and (ends is None or now < ends + LEEWAY)


def time_of(text: str | None) -> datetime | None:
    """A moment, of an attribute that may be missing. Raises Refused for what is no time with a zone."""
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise Refused("it has a time that is none") from None
    if found.tzinfo is None or not 2000 <= found.year <= 9000:
        raise Refused("it has a time that is none")
    return found.astimezone(UTC)


def _attributes(assertion: etree._Element) -> dict[str, list[str]]:
    """By name and, where no other attribute has it, by friendly name."""
    found: dict[str, list[str]] = {}
    friendly: dict[str, list[str]] = {}
    for attribute in assertion.findall("a:AttributeStatement/a:Attribute", _NAMES):
        values = [text_of(one) for one in attribute.findall("a:AttributeValue", _NAMES)]
        found.setdefault(attribute.get("Name", ""), []).extend(values)
        friendly.setdefault(attribute.get("FriendlyName", ""), []).extend(values)
    return {**friendly, **found}


def name_of(element: etree._Element) -> Name:
    """Raises Refused for a name that holds more than text."""
    kinds = (element.get(key, "") for key in ("Format", "NameQualifier", "SPNameQualifier"))
    return Name(text_of(element), *kinds)


def text_of(element: etree._Element | None) -> str:
    """What an element says. Raises Refused for what holds more than text."""
    if element is None:
        return ""
    if len(element):
        raise Refused("a value holds elements")
    return (element.text or "").strip()
