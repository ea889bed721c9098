"""Encrypts assertions as identity providers do, with xmlsec's own program."""

from __future__ import annotations

import base64
import subprocess
from pathlib import Path

from lxml import etree

from tests.kit.programs import program
from tests.kit.saml_idp import Answer, Key

GCM = "http://www.w3.org/2009/xmlenc11#aes256-gcm"
CBC = "http://www.w3.org/2001/04/xmlenc#aes128-cbc"
OAEP = "http://www.w3.org/2001/04/xmlenc#rsa-oaep-mgf1p"
PKCS1 = "http://www.w3.org/2001/04/xmlenc#rsa-1_5"
_ASSERTION = "urn:oasis:names:tc:SAML:2.0:assertion"
_TEMPLATE = (
    '<e:EncryptedData xmlns:e="http://www.w3.org/2001/04/xmlenc#" Type="http://www.w3.org/2001/04/xmlenc#Element">'
    '<e:EncryptionMethod Algorithm="{method}"/><d:KeyInfo xmlns:d="http://www.w3.org/2000/09/xmldsig#">'
    '<e:EncryptedKey><e:EncryptionMethod Algorithm="{transport}"/><d:KeyInfo/><e:CipherData><e:CipherValue/>'
    "</e:CipherData></e:EncryptedKey></d:KeyInfo><e:CipherData><e:CipherValue/></e:CipherData></e:EncryptedData>"
)


def encrypted(answer: Answer, ours: Key, folder: Path, *, method: str = GCM, transport: str = OAEP) -> str:
    """The answer with its assertion encrypted for `ours`; what is signed is signed before, or the Response after."""
    signs, answer.signs = answer.signs, "assertion" if answer.signs == "assertion" else ""
    root = etree.fromstring(base64.b64decode(answer.encoded()))
    assertion = root.find(f"{{{_ASSERTION}}}Assertion")
    assert assertion is not None
    # By itself it says its namespaces, as it must once it is alone.
    text = etree.tostring(etree.fromstring(etree.tostring(assertion))).decode()
    place = f'<a:EncryptedAssertion xmlns:a="{_ASSERTION}">{text}</a:EncryptedAssertion>'
    whole = etree.tostring(root).decode()
    begins, ends = whole.index("<a:Assertion"), whole.index("</a:Assertion>") + len("</a:Assertion>")
    (folder / "ours.crt").write_bytes(ours.certificate)
    (folder / "plain.xml").write_text(whole[:begins] + place + whole[ends:])
    (folder / "template.xml").write_text(_TEMPLATE.format(method=method, transport=transport))
    bits = "256" if method == GCM else "128"
    chosen = ["--session-key", f"aes-{bits}", "--pubkey-cert-pem", str(folder / "ours.crt")]
    where = ["--node-xpath", "//*[local-name()='EncryptedAssertion']/*[1]", "--xml-data", str(folder / "plain.xml")]
    done = subprocess.run(
        [program("xmlsec1"), "--encrypt", *chosen, *where, str(folder / "template.xml")],
        capture_output=True,
        check=True,
        timeout=60,
    )
    written = etree.tostring(etree.fromstring(done.stdout)).decode()
    if signs == "response":
        answer.signs = signs
        written = answer.signed(written)
    return base64.b64encode(written.encode()).decode()
