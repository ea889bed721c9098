"""E-mail addresses as they are compared and written to. spec: appendices/#e-mail, RFC 5321"""

from __future__ import annotations

import re

from homeserver.core.errors import InvalidParam

ADDRESS_CHARS_MAX = 254
_LOCALPART = re.compile(r"[^\x00-\x20\x7f@<>()\[\]\\,;:\"\ud800-\udfff]{1,64}")
_LABEL = r"[0-9a-z](?:[0-9a-z-]{0,61}[0-9a-z])?"
_DOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})+", re.ASCII)


def parse_email_address(text: str) -> str:
    """The address in its one form: case-folded, the domain in ASCII. What passes is exactly what is written to.

    Raises InvalidParam for anything but one plain `name@domain`: quoted names, comments and lists too.
    """
    if not 3 <= len(text) <= ADDRESS_CHARS_MAX:
        raise InvalidParam(f"an e-mail address has 3 to {ADDRESS_CHARS_MAX} characters")
    localpart, _, domain = text.strip(" ").casefold().rpartition("@")
    try:
        ascii_domain = domain.encode("idna").decode("ascii").lower()
    except (UnicodeError, ValueError):
        raise InvalidParam("the domain of this e-mail address is none") from None
    if _LOCALPART.fullmatch(localpart) is None or localpart.startswith(".") or localpart.endswith("."):
        raise InvalidParam("this is not an e-mail address")
    if _DOMAIN.fullmatch(ascii_domain) is None or ".." in localpart:
        raise InvalidParam("this is not an e-mail address")
    return f"{localpart}@{ascii_domain}"
