"""Pictures that were barred are known again when they are made smaller or saved anew; others pass."""

from __future__ import annotations

import io

import pytest
from PIL import Image, ImageDraw

from admin.spam.rules import Lists, Wordlist
from tests.admin.people import Crew
from tests.admin.spam.test_rules_over_http import SPAM, put, rule
from tests.kit.server import Answered, Client, RunningServer

UPLOAD = "/_matrix/media/v3/upload"


def picture(turned: bool = False) -> Image.Image:
    made = Image.linear_gradient("L").convert("RGB")
    draw = ImageDraw.Draw(made)
    draw.ellipse((40, 60, 160, 200), fill="white")
    draw.rectangle((150, 20, 240, 90), fill="black")
    return made.rotate(90) if turned else made


def saved(image: Image.Image, kind: str, **options: int) -> bytes:
    output = io.BytesIO()
    image.save(output, kind, **options)
    return output.getvalue()


async def upload(client: Client, data: bytes) -> Answered:
    return await client.request("POST", UPLOAD, data=data, headers={"Content-Type": "image/png"})


async def test_what_looks_nearly_so_is_refused(server: RunningServer, crew: Crew) -> None:
    """Bytes that are no picture, or a broken one, are no fault of the check."""
    await put(crew, "looks", rule('"barred" in event.lists', when=("media",)))
    worker_says = "0619383030383936"
    body = {"kind": "media", "entries": [f"look:{worker_says}"]}
    (await crew.moderator.put(SPAM + "/lists/{}", "barred", body=body)).ok()
    original = picture()
    again = (
        saved(original, "PNG"),
        saved(original.resize((90, 90)), "PNG"),
        saved(original, "JPEG", quality=30),
    )
    for data in again:
        (await upload(crew.user, data)).refused(403, "M_FORBIDDEN")
    for data in (saved(picture(turned=True), "PNG"), b"GIF89a broken", b"no picture", again[0][:60]):
        (await upload(crew.user, data)).ok()


@pytest.mark.parametrize(("look", "is_near"), [("0f", True), ("7f", False), ("", False)])
def test_how_near_is_near(look: str, is_near: bool) -> None:
    lists = Lists([Wordlist(name="barred", kind="media", entries=("look:0000000000000000", "look:nonsense"))])
    assert lists.of_look(look.rjust(16, "0") if look else "") == ({"barred"} if is_near else set())
