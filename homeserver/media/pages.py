"""From what a page says of itself to what is shown of it. Pure.

spec: client-server-api/#get_matrixclientv1mediapreview_url

Whatever comes from a page is text of bounded length: no markup, no number that isn't one, no URL but of a picture.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

URL_CHARS_MAX = 2_000
TITLE_CHARS_MAX = 300
TEXT_CHARS_MAX = 500
_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")
_SPACES = re.compile(r"\s+")
_TAGS = re.compile(r"<[^>]{0,2000}>")

# Hosts whose pages say little, and that tell more where oEmbed asks. https://oembed.com/#section7
_PROVIDERS = (
    (re.compile(r"(?:www\.|m\.)?youtube\.com|youtu\.be", re.ASCII), "https://www.youtube.com/oembed"),
    (re.compile(r"(?:www\.)?vimeo\.com", re.ASCII), "https://vimeo.com/api/oembed.json"),
    (re.compile(r"(?:www\.|mobile\.)?(?:twitter|x)\.com", re.ASCII), "https://publish.twitter.com/oembed"),
    (re.compile(r"(?:www\.)?tiktok\.com", re.ASCII), "https://www.tiktok.com/oembed"),
    (re.compile(r"open\.spotify\.com", re.ASCII), "https://open.spotify.com/oembed"),
    (re.compile(r"(?:www\.)?soundcloud\.com", re.ASCII), "https://soundcloud.com/oembed"),
    (re.compile(r"(?:www\.)?flickr\.com", re.ASCII), "https://www.flickr.com/services/oembed"),
    (re.compile(r"(?:www\.)?reddit\.com", re.ASCII), "https://www.reddit.com/oembed"),
)


@dataclass(frozen=True, slots=True)
class Shown:
    """What is shown of a page, and the picture that is to be fetched for it."""

    properties: dict[str, Any]
    picture: str | None = None


def web_address(url: str) -> str | None:
    """The URL in the form in which it is fetched and remembered; None unless it is one that may be."""
    if len(url) > URL_CHARS_MAX or _CONTROL.search(url):
        return None
    try:
        parts = urlsplit(url.strip())
        host, _ = parts.hostname, parts.port
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or not host or "@" in parts.netloc:
        return None
    path = quote(parts.path or "/", safe="/%:=&?~#+!$,;'@()*[]-._")
    query = quote(parts.query, safe="/%:=&?~#+!$,;'@()*[]-._|")
    try:
        netloc = parts.netloc.encode("idna").decode() if not parts.netloc.isascii() else parts.netloc
    except UnicodeError:
        return None
    return f"{parts.scheme}://{netloc}{path}" + (f"?{query}" if query else "")


def is_denied(url: str, hosts: Sequence[str]) -> bool:
    """Whether the operator wants no previews of this host, or of what is below it."""
    host = (urlsplit(url).hostname or "").rstrip(".").lower()
    return any(host == denied or host.endswith("." + denied) for denied in (name.lower().strip(".") for name in hosts))


def oembed_address(url: str) -> str | None:
    """Where the host's own oEmbed is asked for this page; None for hosts that aren't known to have one."""
    host = (urlsplit(url).hostname or "").lower()
    for pattern, address in _PROVIDERS:
        if pattern.fullmatch(host):
            return f"{address}?format=json&url={quote(url, safe='')}"
    return None


def page_shown(page: Mapping[str, Any], url: str) -> Shown:
    """From what the sandbox found in a page."""
    metas: Mapping[str, str] = page["metas"]
    properties = {
        "og:title": text(metas.get("og:title") or metas.get("twitter:title") or page["title"], TITLE_CHARS_MAX),
        "og:description": text(
            metas.get("og:description") or metas.get("twitter:description") or metas.get("description") or page["text"],
            TEXT_CHARS_MAX,
        ),
        "og:site_name": text(metas.get("og:site_name"), TITLE_CHARS_MAX),
        "og:type": text(metas.get("og:type"), 50),
        "og:url": absolute(metas.get("og:url"), url) or url,
        "og:image:alt": text(metas.get("og:image:alt"), TEXT_CHARS_MAX),
    }
    named = metas.get("og:image:secure_url") or metas.get("og:image") or metas.get("twitter:image") or page["picture"]
    return Shown({name: value for name, value in properties.items() if value}, absolute(named, url))


def oembed_shown(answer: Any, url: str) -> Shown | None:
    """From an oEmbed answer; None for what isn't one."""
    if not isinstance(answer, dict) or answer.get("type") not in ("photo", "video", "link", "rich"):
        return None
    author, markup = answer.get("author_name"), answer.get("html")
    words = text(html.unescape(_TAGS.sub(" ", markup)), TEXT_CHARS_MAX) if isinstance(markup, str) else None
    properties = {
        "og:title": text(answer.get("title") or author, TITLE_CHARS_MAX),
        "og:description": words if answer["type"] == "rich" and words else text(author, TEXT_CHARS_MAX),
        "og:site_name": text(answer.get("provider_name"), TITLE_CHARS_MAX),
        "og:url": url,
        "og:type": "video.other" if answer["type"] == "video" else None,
    }
    picture = answer.get("url") if answer["type"] == "photo" else answer.get("thumbnail_url")
    return Shown({name: value for name, value in properties.items() if value}, absolute(picture, url))


def text(value: object, chars_max: int) -> str | None:
    """Words of a page, on one line and of bounded length."""
    if not isinstance(value, str):
        return None
    plain = _SPACES.sub(" ", _CONTROL.sub(" ", value.encode("utf-8", "replace").decode())).strip()
    return plain if len(plain) <= chars_max else plain[: chars_max - 1].rstrip() + "…"


def absolute(value: object, base: str) -> str | None:
    """A web address that a page names, seen from that page."""
    if not isinstance(value, str) or not value or len(value) > URL_CHARS_MAX:
        return None
    try:
        return web_address(urljoin(base, value.strip()))
    except ValueError:
        return None
