"""`hansa doctor rtc`: each thing that calls lack, with what to do."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from homeserver.config import load_config
from homeserver.operator.calls import call_findings
from homeserver.runtime.clock import SystemClock
from homeserver.runtime.probes import Fetched
from tests.operator.test_doctor import World

SERVICE = "https://example.org/_matrix/livekit/jwt"
FOCI = f'{{"org.matrix.msc4143.rtc_foci": [{{"type": "livekit", "livekit_service_url": "{SERVICE}"}}]}}'
WELL: Mapping[str, str | Fetched] = {
    "https://livekit.example.org/rtc/validate": "success",
    SERVICE + "/healthz": "{}",
    "https://example.org/.well-known/matrix/client": FOCI,
}
GIVEN = {
    "HANSA_SERVER_NAME": "example.org",
    "HANSA_RTC__LIVEKIT_URL": "wss://livekit.example.org",
    "HANSA_RTC__LIVEKIT_KEY": "key",
    "HANSA_RTC__LIVEKIT_SECRET": "a secret that LiveKit knows",
}


class Calls(World):
    """As the table says; what is asked about our key is one page."""

    async def fetch(self, url: str, *, ca_path: Path | None = None) -> Fetched:
        return await super().fetch(url.partition("?")[0], ca_path=ca_path)


async def seen(pages: Mapping[str, str | Fetched], given: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    config = load_config(None, given)
    found = call_findings(config, Calls(pages), SystemClock())
    return {finding.check: (finding.verdict, finding.hint) async for finding in found}


async def test_all_is_well_but_for_what_is_not_there() -> None:
    found = await seen(WELL, GIVEN)
    assert {check for check, (verdict, _) in found.items() if verdict == "ok"} == set(found) - {"turn"}
    assert found["turn"][0] == "warning"


@pytest.mark.parametrize(
    ("page", "said", "check", "hint"),
    [
        ("https://livekit.example.org/rtc/validate", Fetched(401, b"", None), "livekit", "livekit_secret"),
        ("https://livekit.example.org/rtc/validate", None, "livekit", "start LiveKit"),
        (SERVICE + "/healthz", Fetched(404, b"", None), "token service", "proxy"),
        ("https://example.org/.well-known/matrix/client", "{}", "well-known", "rtc_foci"),
        ("https://example.org/.well-known/matrix/client", "<html>", "well-known", "rtc_foci"),
    ],
)
async def test_what_is_wrong_comes_with_what_to_do(
    page: str, said: str | Fetched | None, check: str, hint: str
) -> None:
    pages = {url: answer for url, answer in {**WELL, page: said}.items() if answer is not None}
    verdict, told = (await seen(pages, GIVEN))[check]
    assert verdict == "failed" and hint in told


async def test_without_livekit_it_says_so() -> None:
    found = await seen({}, {"HANSA_SERVER_NAME": "example.org"})
    assert list(found) == ["transport"] and "rtc.livekit_url" in found["transport"][1]
