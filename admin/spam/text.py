"""What rules see of a text: one spelling for the many that look alike, its links, and whom it is close to. Pure.

Cost grows with the text alone, which is cut at TEXT_CHARS_MAX.
"""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections import Counter
from functools import lru_cache

TEXT_CHARS_MAX = 8_192
LINKS_MAX = 50

# Letters of other scripts that are drawn like a Latin one. Both sides of a comparison are folded, so that words
# of those scripts are still found.
_LOOKS_LIKE = str.maketrans(
    "аеорсухівкмнтјѕԁԛԝһɡӏαβεηικμνορτυχωϲɑοıł",
    "aeopcyxibkmhtjsdqwhglabenikmvoptuxwcaoil",
)
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\u0300-\u036f\U000e0000-\U000e0fff]"
)
_LETTER = re.compile("[A-Za-z]")
_SPACES = re.compile(r"\s+")
_LINK = re.compile(r"(?:https?://|\bwww\.)[^\s<>\"'\]]{1,2000}")
_HOST = re.compile(r"^(?:https?://)?(?:[^/@\s]*@)?([^/:?#\s]{1,253})")
_MENTION = re.compile(r"@[^\s:@]{1,255}:[\w.\-\[\]]{1,230}")
# Under these, and a country's two letters, names are given away one level further down.
_SECOND_LEVEL = frozenset("ac co com edu gob gov go ne net nom or org".split())


def folded(text: str) -> str:
    """The text in the spelling that rules compare: compatibility forms, cases, look-alikes and invisible marks are one.

    Idempotent: what is folded once folds to itself.
    """
    text = text[:TEXT_CHARS_MAX]
    if text.isascii():
        return " ".join(text.lower().split())
    plain = unicodedata.normalize("NFKC", text).casefold()
    plain = _INVISIBLE.sub("", unicodedata.normalize("NFKD", plain)).translate(_LOOKS_LIKE)
    return _SPACES.sub(" ", unicodedata.normalize("NFC", plain)).strip()


def links_in(text: str) -> list[str]:
    """The web addresses of a text, each once, LINKS_MAX at most."""
    cut = text[:TEXT_CHARS_MAX]
    if "http" not in cut and "www." not in cut and "HTTP" not in cut:
        return []
    found = dict.fromkeys(link.rstrip(".,;:!?)") for link in _LINK.findall(cut.replace("HTTP", "http")))
    return list(found)[:LINKS_MAX]


def domain_of_link(link: str) -> str | None:
    """The domain that somebody registered for this address: `shop.example.co.uk` is `example.co.uk`.

    By rule of thumb, without a list of all suffixes. An IP address stays whole.
    """
    matched = _HOST.match(link)
    if matched is None:
        return None
    host = folded(matched[1]).removeprefix("www.").strip(".")
    labels = host.split(".")
    if len(labels) < 2 or labels[-1].isdigit():
        return host or None
    take = 3 if len(labels) > 2 and len(labels[-1]) == 2 and labels[-2] in _SECOND_LEVEL else 2
    return ".".join(labels[-take:])


def mentions_in(text: str) -> int:
    """How many user ids are named."""
    return len(_MENTION.findall(text[:TEXT_CHARS_MAX])) if "@" in text else 0


# For each value of a byte: its eight bits, spread into counters of 16 bits each.
_SPREAD = [sum(1 << 16 * bit for bit in range(8) if value >> bit & 1) for value in range(256)]
_TOKENS_MAX = 64
_TOKENS_MIN = 4
FINGERPRINT_BITS = 32


def fingerprint(text: str) -> int:
    """A simhash of FINGERPRINT_BITS of a folded text: near texts differ in few bits. 0 for texts too short to compare.

    Of its words; of pairs of characters where words aren't parted by spaces. At most 60 µs.
    """
    tokens = text.split()[:_TOKENS_MAX]
    if len(tokens) < _TOKENS_MIN:
        if len(text) < 2 * _TOKENS_MIN or text.isascii():
            return 0
        tokens = [text[at : at + 2] for at in range(min(len(text) - 1, _TOKENS_MAX))]
    low = high = third = fourth = 0
    for token in tokens:
        code = zlib.crc32(token.encode())
        low += _SPREAD[code & 255]
        high += _SPREAD[code >> 8 & 255]
        third += _SPREAD[code >> 16 & 255]
        fourth += _SPREAD[code >> 24]
    half, made = len(tokens) / 2, 0
    for place, counters in enumerate((low, high, third, fourth)):
        for bit in range(8):
            if (counters >> 16 * bit & 0xFFFF) > half:
                made |= 1 << (8 * place + bit)
    return made or 1


def language_guess(text: str) -> str:
    """`zh`, `ja`, `ko`, `ru`, `ar` or `latin` by the script that most letters are of; empty where there are none."""
    begun = text[:512]
    if begun.isascii():
        return "latin" if _LETTER.search(begun) else ""
    counts = Counter(_script(character) for character in begun if character.isalpha())
    if not counts:
        return ""
    if counts.get("ja", 0) and counts.get("zh", 0):
        return "ja"
    return max(counts, key=lambda name: counts[name])


_SCRIPTS = (
    (0x3040, 0x30FF, "ja"),
    (0x3400, 0x9FFF, "zh"),
    (0x20000, 0x3FFFF, "zh"),
    (0xAC00, 0xD7AF, "ko"),
    (0x0400, 0x052F, "ru"),
    (0x0600, 0x06FF, "ar"),
)


@lru_cache(maxsize=8_192)
def _script(character: str) -> str:
    code = ord(character)
    return next((name for first, last, name in _SCRIPTS if first <= code <= last), "latin")
