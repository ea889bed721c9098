"""Checks of what others see: the name, `.well-known`, the client and federation APIs, the clock beside theirs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import msgspec

from homeserver.config import Config
from homeserver.operator.machine import local_only
from homeserver.runtime.clock import Clock
from homeserver.runtime.findings import Finding, failed, skipped, warning, well
from homeserver.runtime.probes import Fetched, Probes, Unreachable

_SKEW_MS_MAX = 5_000


class _BaseUrl(msgspec.Struct):
    base_url: str = ""


class _ClientWellKnown(msgspec.Struct):
    homeserver: _BaseUrl = msgspec.field(name="m.homeserver", default_factory=_BaseUrl)


class _ServerWellKnown(msgspec.Struct):
    server: str = msgspec.field(name="m.server", default="")


class _ServerKeys(msgspec.Struct):
    server_name: str = ""


async def network_findings(config: Config, probes: Probes, clock: Clock) -> AsyncIterator[Finding]:
    """Asks for the server's own name, as a client and as another server would."""
    if (local := local_only(config, "network")) is not None:
        yield local
        return
    yield await _name(config, probes)
    yield await _client_well_known(config, probes)
    finding, answer = await _client_api(config, probes)
    yield finding
    if config.federation.enabled:
        yield await _federation(config, probes)
    yield _clock(answer, clock)


async def _name(config: Config, probes: Probes) -> Finding:
    host = _host(config.server_name)
    try:
        found = await probes.addresses(host)
    except Unreachable as error:
        hint = f"make an A or AAAA record for {host}, or serve `.well-known` from a host that has one"
        return failed("DNS", f"{host} has no address: {error}", hint)
    return well("DNS", f"{host} is {', '.join(found)}")


def _host(server_name: str) -> str:
    return urlsplit(f"//{server_name}").hostname or server_name


async def _client_well_known(config: Config, probes: Probes) -> Finding:
    name = ".well-known/matrix/client"
    url = f"https://{config.server_name}/.well-known/matrix/client"
    wanted = (config.well_known.client_base_url or config.base_url).rstrip("/")
    hint = f'serve {{"m.homeserver": {{"base_url": "{wanted}"}}}} there, or pass the path on to Hansa'
    try:
        answer = await probes.fetch(url, ca_path=config.federation.ca_path)
    except Unreachable as error:
        return warning(name, f"{url} can't be reached ({error}): people must type {wanted} into their client", hint)
    try:
        given = msgspec.json.decode(answer.body, type=_ClientWellKnown).homeserver.base_url.rstrip("/")
    except msgspec.MsgspecError:
        return warning(name, f"{url} is not what clients expect (status {answer.status})", hint)
    if given != wanted:
        return failed(name, f"{url} names {given or 'no server'}, the configuration {wanted}", hint)
    return well(name, f"leads clients to {wanted}")


async def _client_api(config: Config, probes: Probes) -> tuple[Finding, Fetched | None]:
    url = f"{config.base_url}/_matrix/client/versions"
    hint = "start the server, and let the proxy pass /_matrix to it; check port, firewall and certificate"
    try:
        answer = await probes.fetch(url, ca_path=config.federation.ca_path)
    except Unreachable as error:
        return failed("client API", f"{url} can't be reached: {error}", hint), None
    if answer.status != 200 or b'"versions"' not in answer.body:
        return failed("client API", f"{url} answers {answer.status}", hint), answer
    return well("client API", f"{url} answers"), answer


async def _federation(config: Config, probes: Probes) -> Finding:
    name = "federation"
    target = await _delegated(config, probes)
    url = f"https://{target}/_matrix/key/v2/server"
    hint = "let port 8448 (or the one `.well-known/matrix/server` names) reach a listener with the API `federation`"
    try:
        answer = await probes.fetch(url, ca_path=config.federation.ca_path)
    except Unreachable as error:
        return failed(name, f"{url} can't be reached: {error}", hint)
    try:
        claimed = msgspec.json.decode(answer.body, type=_ServerKeys).server_name
    except msgspec.MsgspecError:
        return failed(name, f"{url} answers {answer.status}, without keys", hint)
    if claimed != config.server_name:
        return failed(name, f"{target} says that it is {claimed or 'nobody'}", "point the name at this server")
    return well(name, f"other servers find {config.server_name} at {target}")


async def _delegated(config: Config, probes: Probes) -> str:
    try:
        answer = await probes.fetch(f"https://{config.server_name}/.well-known/matrix/server")
        target = msgspec.json.decode(answer.body, type=_ServerWellKnown).server
    except (Unreachable, msgspec.MsgspecError):
        target = ""
    target = target or config.server_name
    return target if urlsplit(f"//{target}").port else f"{target}:8448"


def _clock(answer: Fetched | None, clock: Clock) -> Finding:
    if answer is None or answer.date_ms is None:
        return skipped("clock", "no answer to compare it with")
    skew_ms = abs(clock.now_ms() - answer.date_ms)
    if skew_ms > _SKEW_MS_MAX:
        hint = "switch on time synchronisation: `timedatectl set-ntp true`"
        return failed("clock", f"the clock is {skew_ms / 1000:.0f} s off", hint)
    return well("clock", f"within {_SKEW_MS_MAX // 1000} s of others")
