"""The program of a sandboxed process: reads a job and a file, writes what it made of it, again and again.

It runs on its own (`python -I worker.py`) and imports nothing of ours.
"""

from __future__ import annotations

import codecs
import io
import json
import re
import resource
import struct
import sys
from collections.abc import Callable, Iterator
from typing import Any

_HEADER = struct.Struct(">I")
# More frames than this are shown as a still picture.
FRAMES_MAX = 150
# Elements of a page may be nested so deeply.
DEPTH_MAX = 2_000
ANIMATED_PIXELS_MAX = 60_000_000
_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
)
_AVIF = (b"avif", b"avis")
_BRANDS_BYTES_MAX = 256
_BRANDS = {
    **dict.fromkeys(_AVIF, "AVIF"),
    **dict.fromkeys((b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"), "HEIF"),
}
_CHARSET = re.compile(rb"<meta[^>]{0,200}charset=[\"' ]*([A-Za-z0-9_-]{1,40})", re.IGNORECASE)
_TAG = re.compile(r"<(/?)([A-Za-z][A-Za-z0-9]*)")
_VOID = frozenset("area base br col embed hr img input link meta p li param source track wbr".split())
_NO_PICTURE = {"error": "this is no picture that can be made smaller"}

Made = tuple[dict[str, Any], bytes]


def sniff(source: bytes) -> str | None:
    """The format by the first bytes; None for any that isn't decoded here."""
    for magic, kind in _MAGIC:
        if source.startswith(magic):
            return kind
    if source[:4] == b"RIFF" and source[8:12] == b"WEBP":
        return "WEBP"
    if source[4:8] == b"ftyp":
        brands = source[16 : min(int.from_bytes(source[:4]), _BRANDS_BYTES_MAX)]
        # The first brand may say no more than that it is a picture, or several; those that follow say which coding.
        if source[8:12] in (b"mif1", b"msf1") and any(brands[at : at + 4] in _AVIF for at in range(0, len(brands), 4)):
            return "AVIF"
        return _BRANDS.get(source[8:12])
    return None


def thumbnail(job: dict[str, Any], source: bytes) -> Made:
    """A smaller picture: `method` is crop (exactly this shape) or scale; at most this large, and never larger."""
    from PIL import Image

    kind = sniff(source)
    if kind is None:
        return _NO_PICTURE, b""
    if kind == "HEIF":
        import pi_heif

        pi_heif.register_heif_opener(thumbnails=False)
    Image.MAX_IMAGE_PIXELS = job["pixels_max"]
    with Image.open(io.BytesIO(source), formats=(kind,)) as opened:
        pixels, frames = opened.width * opened.height, getattr(opened, "n_frames", 1)
        if pixels > job["pixels_max"]:
            return {"error": "this picture has too many pixels"}, b""
        if job["animated"] and 1 < frames <= FRAMES_MAX and pixels * frames <= ANIMATED_PIXELS_MAX:
            return _animated(opened, job)
        return _still(opened, job)


def _still(opened: Any, job: dict[str, Any]) -> Made:
    # A JPEG is decoded at a fraction of its size: most of the work is never done.
    opened.draft("RGB", (job["width"] * 2, job["height"] * 2))
    picture = _fitted(opened, job)
    has_alpha = picture.mode == "RGBA"
    output = io.BytesIO()
    # What was kept without loss (drawings, text on a screen) stays so.
    is_lossless = has_alpha or opened.format == "PNG"
    if is_lossless:
        picture.save(output, "PNG")
    else:
        picture.save(output, "JPEG", quality=82)
    return {"content_type": "image/png" if is_lossless else "image/jpeg", **_shape(picture)}, output.getvalue()


def _animated(opened: Any, job: dict[str, Any]) -> Made:
    from PIL import ImageSequence

    frames, durations = [], []
    for frame in ImageSequence.Iterator(opened):
        durations.append(int(frame.info.get("duration", 100)) or 100)
        frames.append(_fitted(frame, job))
    output = io.BytesIO()
    loop = opened.info.get("loop", 1)
    frames[0].save(
        output, "WEBP", save_all=True, append_images=frames[1:], duration=durations, loop=loop, quality=70, method=2
    )
    return {"content_type": "image/webp", **_shape(frames[0])}, output.getvalue()


def _fitted(picture: Any, job: dict[str, Any]) -> Any:
    from PIL import ImageOps

    picture = ImageOps.exif_transpose(picture)
    has_alpha = picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info
    picture = picture.convert("RGBA" if has_alpha else "RGB")
    size = (job["width"], job["height"])
    if job["method"] == "crop":
        # The shape that was asked for, but nothing is made larger.
        factor = min(1, picture.width / size[0], picture.height / size[1])
        return ImageOps.fit(picture, (max(1, round(size[0] * factor)), max(1, round(size[1] * factor))))
    picture.thumbnail(size, reducing_gap=2.0)
    return picture


def _shape(picture: Any) -> dict[str, int]:
    return {"width": picture.width, "height": picture.height}


def measure(job: dict[str, Any], source: bytes) -> Made:
    """Width, height and type of a picture, from its header alone."""
    from PIL import Image

    kind = sniff(source)
    if kind is None or kind == "HEIF":
        return _NO_PICTURE, b""
    with Image.open(io.BytesIO(source), formats=(kind,)) as opened:
        return {"content_type": f"image/{kind.lower()}", **_shape(opened)}, b""


def page(job: dict[str, Any], source: bytes) -> Made:
    """What a web page says of itself: title, description, meta properties, its oEmbed link."""
    from selectolax.lexbor import LexborHTMLParser

    text_max = job["text_chars_max"]
    tree = LexborHTMLParser(_shallow(_decoded(source, job["charset"])))
    metas: dict[str, str] = {}
    for meta in tree.css("meta"):
        name = meta.attributes.get("property") or meta.attributes.get("name")
        content = meta.attributes.get("content")
        if name and content and len(metas) < job["metas_max"]:
            metas.setdefault(name.strip().lower()[:100], content.strip()[:text_max])
    oembed = next(
        (
            link.attributes.get("href")
            for link in tree.css("link")
            if (link.attributes.get("type") or "").lower() == "application/json+oembed"
            and "alternate" in (link.attributes.get("rel") or "").lower()
        ),
        None,
    )
    title = tree.css_first("title")
    picture = next((image.attributes.get("src") for image in tree.css("img") if image.attributes.get("src")), None)
    found = {
        "metas": metas,
        "title": " ".join(title.text().split())[:text_max] if title is not None else None,
        "text": _first_text(tree, text_max),
        "oembed": oembed[:2_000] if oembed else None,
        "picture": picture[:2_000] if picture else None,
        "language": (tree.root.attributes.get("lang") or "")[:20] if tree.root is not None else "",
    }
    return found, b""


def _shallow(text: str) -> str:
    """The page up to where its elements are nested too deeply: a parser's work grows with the square of that."""
    depth = 0
    for tag in _TAG.finditer(text):
        if tag[2].lower() not in _VOID:
            depth += -1 if tag[1] else 1
            if depth > DEPTH_MAX:
                return text[: tag.start()]
    return text


def _decoded(source: bytes, charset: str | None) -> str:
    """By the header's word, the page's own, or as UTF-8; what doesn't fit is replaced."""
    named = _CHARSET.search(source[:2048])
    for name in (charset, named[1].decode("ascii") if named else None, "utf-8"):
        try:
            if name and codecs.lookup(name)._is_text_encoding:
                return source.decode(name, "replace")
        except (LookupError, ValueError):
            continue
    return source.decode("utf-8", "replace")


def _first_text(tree: Any, text_max: int) -> str:
    """The beginning of what the page says, without scripts, styles and navigation."""
    tree.strip_tags(["script", "style", "noscript", "nav", "header", "footer", "aside", "form", "svg", "template"])

    def pieces() -> Iterator[str]:
        size = 0
        for node in tree.css("p, h1, h2, h3, li, td"):
            text = " ".join(node.text(deep=True).split())
            if text:
                yield text
                size += len(text)
                if size >= text_max:
                    return

    return " ".join(pieces())[:text_max]


def look(job: dict[str, Any], source: bytes) -> Made:
    """What stays of a picture that is made smaller or saved anew: which of 64 spots are lighter than the next."""
    from PIL import Image

    kind = sniff(source)
    if kind is None or kind == "HEIF":
        return _NO_PICTURE, b""
    Image.MAX_IMAGE_PIXELS = job["pixels_max"]
    with Image.open(io.BytesIO(source), formats=(kind,)) as opened:
        if opened.width * opened.height > job["pixels_max"]:
            return _NO_PICTURE, b""
        opened.draft("L", (64, 64))
        spots = list(opened.convert("L").resize((9, 8)).tobytes())
    bits = [spots[row * 9 + place] > spots[row * 9 + place + 1] for row in range(8) for place in range(8)]
    return {"look": f"{sum(1 << place for place, is_lighter in enumerate(bits) if is_lighter):016x}"}, b""


JOBS: tuple[tuple[str, Callable[[dict[str, Any], bytes], Made]], ...] = (
    ("thumbnail", thumbnail),
    ("measure", measure),
    ("look", look),
    ("page", page),
)


def _bound(memory_bytes: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))


def _bound_time(seconds: int) -> None:
    """So much more processor time, from now on; past it the kernel ends this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + seconds, resource.RLIM_INFINITY))


def main(memory_bytes: int, seconds: int) -> None:
    _bound(memory_bytes)
    jobs = dict(JOBS)
    read, write = sys.stdin.buffer, sys.stdout.buffer
    while header := read.read(_HEADER.size):
        _bound_time(seconds)
        job = json.loads(read.read(_HEADER.unpack(header)[0]))
        source = read.read(job["size_bytes"])
        try:
            answer, data = jobs[job["job"]](job, source)
        except Exception:  # whatever a decoder makes of hostile bytes: it is no picture
            answer, data = _NO_PICTURE, b""
        del source
        encoded = json.dumps({**answer, "size_bytes": len(data)}).encode()
        write.write(_HEADER.pack(len(encoded)) + encoded + data)
        write.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
