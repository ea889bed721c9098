"""What a client says of itself, and where it may have people sent. spec: client-server-api/#client-registration"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import SplitResult, urlsplit

from homeserver.accounts.oauth.errors import OAuthError

REDIRECTS_MAX = 20
URL_CHARS_MAX = 2_000
NAME_CHARS_MAX = 200
CODE_GRANT, REFRESH_GRANT = "authorization_code", "refresh_token"
DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
GRANTS = (CODE_GRANT, REFRESH_GRANT, DEVICE_GRANT)
# What people read, each also as `client_name#fr`.
FOR_PEOPLE = ("client_name", "logo_uri", "tos_uri", "policy_uri")
TRANSLATIONS_MAX = 100
_LANGUAGE = re.compile(r"[A-Za-z0-9]{1,8}(?:-[A-Za-z0-9]{1,8}){0,7}", re.ASCII)
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def checked_metadata(given: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata that are kept. Raises OAuthError (invalid_client_metadata, invalid_redirect_uri)."""
    client_uri = _url(given.get("client_uri"), "client_uri")
    if client_uri.scheme != "https" or client_uri.username is not None or not client_uri.hostname:
        raise OAuthError("invalid_client_metadata", "client_uri must be an https address")
    if given.get("token_endpoint_auth_method", "none") != "none":
        raise OAuthError("invalid_client_metadata", "token_endpoint_auth_method must be none")
    kind = given.get("application_type", "web")
    if kind not in ("web", "native"):
        raise OAuthError("invalid_client_metadata", "application_type must be web or native")
    grants = _strings(given.get("grant_types", [CODE_GRANT]), "grant_types")
    responses = _strings(given.get("response_types", ["code"]), "response_types")
    kept_grants = [grant for grant in GRANTS if grant in grants]
    if not kept_grants or (CODE_GRANT in kept_grants and "code" not in responses):
        raise OAuthError("invalid_client_metadata", "no grant type of this server is asked for")
    redirects = _strings(given.get("redirect_uris", []), "redirect_uris")
    if len(redirects) > REDIRECTS_MAX or (CODE_GRANT in kept_grants and not redirects):
        raise OAuthError("invalid_redirect_uri", f"redirect_uris must have 1 to {REDIRECTS_MAX} addresses")
    for redirect in redirects:
        _check_redirect(redirect, kind, client_uri.hostname)
    kept: dict[str, Any] = {
        "client_uri": given["client_uri"],
        "application_type": kind,
        "grant_types": kept_grants,
        "response_types": ["code"],
        "redirect_uris": redirects,
        "token_endpoint_auth_method": "none",
    }
    return kept | _for_people(given, client_uri.hostname)


def name_of(metadata: Mapping[str, Any], language: str = "") -> str:
    """What people read as the client's name."""
    return in_language(metadata, "client_name", language) or str(metadata["client_uri"])


def in_language(metadata: Mapping[str, Any], field: str, language: str) -> str | None:
    """One of `FOR_PEOPLE` in this language (`zh`, which `zh-Hans` is too) where the client gave it so."""
    tagged = {key.lower(): value for key, value in metadata.items() if key.startswith(f"{field}#")}
    wanted = f"{field}#{language}"
    near = next((tagged[key] for key in sorted(tagged) if key.startswith(f"{wanted}-")), None)
    found: str | None = tagged.get(wanted) or near or metadata.get(field)
    return found


def is_registered(redirect: str, metadata: Mapping[str, Any]) -> bool:
    """Whether this is exactly one of the client's addresses; on this machine whatever its port is (RFC 8252)."""
    if redirect in metadata["redirect_uris"]:
        return True
    wanted = _without_port(redirect)
    return wanted is not None and any(_without_port(known) == wanted for known in metadata["redirect_uris"])


def form_target(redirect: str) -> str:
    """What a Content-Security-Policy must let forms lead to, for this address."""
    parts = urlsplit(redirect)
    return f"{parts.scheme}://{parts.netloc}" if parts.scheme in ("http", "https") else f"{parts.scheme}:"


def _for_people(given: Mapping[str, Any], client_host: str) -> dict[str, str]:
    """What is kept of `FOR_PEOPLE`, in each language. spec: RFC 7591 section 2.2"""
    kept: dict[str, str] = {}
    for key, value in given.items():
        field, mark, language = key.partition("#")
        if field not in FOR_PEOPLE or (mark and _LANGUAGE.fullmatch(language) is None):
            continue
        if _is_name(value) if field == "client_name" else _is_of(value, client_host):
            kept[key] = value
    if len(kept) > TRANSLATIONS_MAX:
        raise OAuthError("invalid_client_metadata", f"names and addresses may come in {TRANSLATIONS_MAX} forms")
    return kept


def _is_name(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= NAME_CHARS_MAX and value.isprintable()


def _check_redirect(text: str, kind: str, client_host: str) -> None:
    parts = _url(text, "redirect_uris")
    if parts.fragment or "#" in text or parts.username is not None or any(char in text for char in "\"'<>\\ "):
        raise OAuthError("invalid_redirect_uri", "a redirect address has no fragment, no user and no quotes")
    if parts.scheme == "https":
        if _is_host_of(parts.hostname, client_host):
            return
        raise OAuthError("invalid_redirect_uri", "an https redirect address must be on client_uri's host")
    if kind != "native":
        raise OAuthError("invalid_redirect_uri", "web clients are redirected to https addresses")
    if parts.scheme == "http":
        if parts.hostname in _LOOPBACK and parts.port is None:
            return
        raise OAuthError("invalid_redirect_uri", "an http redirect address must be on this machine, without a port")
    reverse = ".".join(reversed(client_host.split(".")))
    is_reverse = parts.scheme == reverse.lower() or parts.scheme.startswith(reverse.lower() + ".")
    if not is_reverse or "." not in parts.scheme or text[len(parts.scheme) :].startswith("://"):
        raise OAuthError("invalid_redirect_uri", "a scheme of one's own is client_uri's host in reverse, without //")


def _without_port(text: str) -> tuple[str, str, str] | None:
    parts = urlsplit(text)
    if parts.scheme != "http" or parts.hostname not in _LOOPBACK:
        return None
    return (parts.hostname or "", parts.path, parts.query)


def _is_of(value: object, client_host: str) -> bool:
    if not isinstance(value, str) or len(value) > URL_CHARS_MAX:
        return False
    try:
        parts = urlsplit(value)
    except ValueError:
        return False
    return parts.scheme == "https" and parts.username is None and _is_host_of(parts.hostname, client_host)


def _is_host_of(host: str | None, client_host: str) -> bool:
    return host is not None and (host == client_host or host.endswith("." + client_host))


def _url(value: object, name: str) -> SplitResult:
    if not isinstance(value, str) or not 0 < len(value) <= URL_CHARS_MAX or not value.isprintable():
        raise OAuthError("invalid_client_metadata", f"{name} must hold addresses")
    try:
        parts = urlsplit(value)
        _ = parts.port
    except ValueError:
        raise OAuthError("invalid_client_metadata", f"{name} must hold addresses") from None
    return parts


def _strings(value: object, name: str) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise OAuthError("invalid_client_metadata", f"{name} must be a list of strings")
    return list(dict.fromkeys(value))
