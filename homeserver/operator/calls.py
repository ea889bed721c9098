"""`hansa doctor rtc`: what is missing for calls."""

from __future__ import annotations

from collections.abc import AsyncIterator

import orjson

from homeserver.accounts.calls import LiveKit, livekit_of, livekit_token
from homeserver.assembly.calls import transports_of
from homeserver.config import Config
from homeserver.runtime.clock import Clock
from homeserver.runtime.findings import Finding, failed, skipped, warning, well
from homeserver.runtime.probes import Probes, Unreachable

_KEY = "org.matrix.msc4143.rtc_foci"


async def call_findings(config: Config, probes: Probes, clock: Clock) -> AsyncIterator[Finding]:
    """Findings one by one, in the order in which a call needs things."""
    transports = transports_of(config)
    if not transports:
        hint = "run a LiveKit server and give `rtc.livekit_url`, `rtc.livekit_key` and `rtc.livekit_secret`"
        yield failed("transport", "nothing carries calls of many", hint)
        return
    service = str(transports[0]["livekit_service_url"])
    yield well("transport", f"LiveKit, with tokens from {service}")
    if config.rooms.event_delay_max_s < 60:
        hint = "leave `rooms.event_delay_max_s` at its default"
        yield failed("delayed events", "who vanishes stays in the call for ever", hint)
    else:
        yield well("delayed events", "who vanishes leaves the call")
    livekit = livekit_of(config.rtc)
    if livekit is None:
        yield skipped("livekit", "another service makes its tokens")
    else:
        yield await _livekit(livekit, probes, clock)
    yield await _service(service, probes)
    yield await _well_known(config, transports, probes)
    if config.turn.uris:
        yield well("turn", "calls of two have their relay")
    else:
        hint = "give `turn.uris` and `turn.shared_secret`; LiveKit has a relay of its own"
        yield warning("turn", "older clients' calls of two have no relay", hint)


async def _livekit(livekit: LiveKit, probes: Probes, clock: Clock) -> Finding:
    """Whether it answers, and takes what our key signs."""
    grant = {"room": "hansa-doctor", "roomJoin": True}
    token = livekit_token(livekit, clock.now_ms(), grant, "hansa-doctor")
    try:
        answer = await probes.fetch(f"{livekit.api_url}/rtc/validate?access_token={token}")
    except Unreachable as error:
        hint = "start LiveKit, and check `rtc.livekit_url` and `rtc.livekit_api_url`"
        return failed("livekit", f"{livekit.api_url} doesn't answer: {error}", hint)
    if answer.status in (401, 403):
        hint = "write the same `rtc.livekit_key` and `rtc.livekit_secret` as in LiveKit's `keys`"
        return failed("livekit", "it doesn't take our key", hint)
    return well("livekit", f"{livekit.api_url} answers, and takes our key")


async def _service(service: str, probes: Probes) -> Finding:
    try:
        answer = await probes.fetch(service + "/healthz")
    except Unreachable as error:
        return failed("token service", f"{service} doesn't answer: {error}", "check `public_base_url` and the proxy")
    if answer.status != 200:
        hint = "let the proxy pass `/_matrix` on to Hansa"
        return failed("token service", f"{service} answers {answer.status}", hint)
    return well("token service", "answers")


async def _well_known(config: Config, transports: list[dict[str, str]], probes: Probes) -> Finding:
    """Whether clients that know the server's name find what carries calls."""
    if config.is_local:
        return skipped("well-known", "this server is for its own machine")
    url = f"https://{config.server_name}/.well-known/matrix/client"
    hint = f"serve `{url}` from Hansa, or put `{_KEY}` into the file"
    try:
        answer = await probes.fetch(url, ca_path=config.federation.ca_path)
        found = orjson.loads(answer.body)
    except Unreachable as error:
        return failed("well-known", f"{url} can't be read: {error}", hint)
    except orjson.JSONDecodeError:
        return failed("well-known", f"{url} is no JSON", hint)
    if not isinstance(found, dict) or found.get(_KEY) != transports:
        return failed("well-known", f"{url} doesn't name our transport in `{_KEY}`", hint)
    return well("well-known", "names our transport")
