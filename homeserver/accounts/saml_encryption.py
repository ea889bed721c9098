"""Assertions that an identity provider encrypted for us. Pure: the encrypted element in, its bytes out.

Only what is sound today: keys come by RSA-OAEP, never by RSA with PKCS #1 v1.5; contents by AES. All that goes wrong
looks alike. spec: XML Encryption 1.1
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from lxml import etree

_ENC, _ENC11, _SIG = (
    "http://www.w3.org/2001/04/xmlenc#",
    "http://www.w3.org/2009/xmlenc11#",
    "http://www.w3.org/2000/09/xmldsig#",
)
_NAMES = {"e": _ENC, "f": _ENC11, "d": _SIG}
KEYS_MAX = 4
_BLOCK, _NONCE, _TAG = 16, 12, 16
# How long the key of each is.
_GCM: Mapping[str, int] = {f"{_ENC11}aes{bits}-gcm": bits // 8 for bits in (128, 192, 256)}
_CBC: Mapping[str, int] = {f"{_ENC}aes{bits}-cbc": bits // 8 for bits in (128, 192, 256)}
_OAEP_SHA1, _OAEP = f"{_ENC}rsa-oaep-mgf1p", f"{_ENC11}rsa-oaep"
_SHA1 = hashes.SHA1  # OAEP is sound with it: nobody has to find a collision
_DIGESTS: Mapping[str, type[hashes.HashAlgorithm]] = {
    f"{_SIG}sha1": _SHA1,
    f"{_ENC}sha256": hashes.SHA256,
    f"{_ENC}sha512": hashes.SHA512,
    "http://www.w3.org/2001/04/xmldsig-more#sha384": hashes.SHA384,
}
_MASKS: Mapping[str, type[hashes.HashAlgorithm]] = {
    f"{_ENC11}mgf1sha1": _SHA1,
    f"{_ENC11}mgf1sha256": hashes.SHA256,
    f"{_ENC11}mgf1sha384": hashes.SHA384,
    f"{_ENC11}mgf1sha512": hashes.SHA512,
}


class NotDecrypted(Exception):
    """It is not for this key, was tampered with, or uses what we don't take."""


def decrypt(encrypted: etree._Element, key: RSAPrivateKey, *, is_signed: bool) -> bytes:
    """What the EncryptedData of an EncryptedAssertion holds. Raises NotDecrypted.

    `is_signed` says that the ciphertext is just as the provider wrote it. Without that, nothing is taken whose
    padding would tell somebody who changes the ciphertext what was in it: AES-CBC.
    """
    data = encrypted.findall("e:EncryptedData", _NAMES)
    keys = list(encrypted.iter(f"{{{_ENC}}}EncryptedKey"))
    if len(data) != 1 or not 0 < len(keys) <= KEYS_MAX:
        raise NotDecrypted
    algorithm = _algorithm(data[0])
    length = _GCM.get(algorithm) or (_CBC.get(algorithm) if is_signed else None)
    if length is None:
        raise NotDecrypted
    value = _value(data[0])
    for one in keys:
        try:
            content_key = key.decrypt(_value(one), _padding(one))
            if len(content_key) == length:
                return _plain(algorithm, content_key, value)
        except (ValueError, InvalidTag):
            continue
    raise NotDecrypted


def _plain(algorithm: str, key: bytes, value: bytes) -> bytes:
    """Raises ValueError, InvalidTag."""
    if algorithm in _GCM:
        if len(value) <= _NONCE + _TAG:
            raise ValueError("too short")
        return AESGCM(key).decrypt(value[:_NONCE], value[_NONCE:], None)
    if len(value) < 2 * _BLOCK or len(value) % _BLOCK:
        raise ValueError("no whole blocks")
    decryptor = Cipher(AES(key), CBC(value[:_BLOCK])).decryptor()
    padded = decryptor.update(value[_BLOCK:]) + decryptor.finalize()
    if not 0 < padded[-1] <= _BLOCK:
        raise ValueError("no padding")
    return padded[: -padded[-1]]


def _padding(encrypted_key: etree._Element) -> OAEP:
    """Raises ValueError for a way to wrap keys that we don't take."""
    algorithm = _algorithm(encrypted_key)
    method = encrypted_key.find("e:EncryptionMethod", _NAMES)
    assert method is not None
    digest, mask = method.find("d:DigestMethod", _NAMES), method.find("f:MGF", _NAMES)
    hashed = _DIGESTS.get(digest.get("Algorithm", "") if digest is not None else f"{_SIG}sha1")
    masked = _MASKS.get(mask.get("Algorithm", "") if mask is not None else f"{_ENC11}mgf1sha1")
    if algorithm == _OAEP_SHA1:
        masked = _SHA1
    has_label = method.find("e:OAEPparams", _NAMES) is not None
    if algorithm not in (_OAEP_SHA1, _OAEP) or hashed is None or masked is None or has_label:
        raise ValueError("another way to wrap keys")
    return OAEP(mgf=MGF1(masked()), algorithm=hashed(), label=None)


def _algorithm(element: etree._Element) -> str:
    method = element.find("e:EncryptionMethod", _NAMES)
    return method.get("Algorithm", "") if method is not None else ""


def _value(element: etree._Element) -> bytes:
    """Raises NotDecrypted."""
    text = element.findtext("e:CipherData/e:CipherValue", "", _NAMES)
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise NotDecrypted from None
