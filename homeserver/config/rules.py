"""What options must be together, and defaults that depend on others."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import replace
from itertools import chain

from homeserver.config.schema import Config, Listener

Trail = tuple[str | int, ...]
# Where, what is wrong, what to do.
Broken = tuple[Trail, str, str]


def settle(config: Config, given: Collection[Trail]) -> Config:
    """The same with the defaults that depend on other options, unless those were given."""
    delegated = config.mas.endpoint is not None
    if ("registration", "mode") not in given and config.is_local and not delegated:
        config = replace(config, registration=replace(config.registration, mode="open"))
    if ("password", "login") not in given and delegated:
        config = replace(config, password=replace(config.password, login=False))
    if ("log", "format") not in given and sys.stderr.isatty():
        config = replace(config, log=replace(config.log, format="console"))
    return config


def broken_rules(config: Config) -> Iterator[Broken]:
    """All rules over several options that don't hold."""
    return chain(_listeners(config), _registration(config), _mail(config), _delegated(config), _others(config))


def _listeners(config: Config) -> Iterator[Broken]:
    if not any("client" in listener.apis for listener in config.listeners):
        yield ("listeners",), "no listener serves `client`", "add `client` to the `apis` of one listener"
    places = Counter((listener.bind, listener.port) for listener in config.listeners if listener.port)
    for index, listener in enumerate(config.listeners):
        trail = ("listeners", index)
        yield from _listener(listener, trail)
        if places[listener.bind, listener.port] > 1:
            message = f"`listeners[{index}]`: two listeners share {listener.bind}:{listener.port}"
            yield (*trail, "port"), message, "give each a port of its own, or join their `apis`"


def _listener(listener: Listener, trail: Trail) -> Iterator[Broken]:
    name = f"`listeners[{trail[-1]}]`"
    if (listener.tls_certificate_path is None) != (listener.tls_private_key_path is None):
        hint = "give `tls_certificate_path` and `tls_private_key_path`, or neither"
        yield trail, f"{name} has half of what TLS needs", hint
    if "metrics" in listener.apis and set(listener.apis) - {"metrics", "health"}:
        hint = "give `metrics` a listener of its own, on an address that only your monitoring reaches"
        yield (*trail, "apis"), f"{name} serves `metrics` beside what strangers reach", hint
    if not listener.apis:
        yield (*trail, "apis"), f"{name} serves nothing", "name its `apis`, or remove it"


def _registration(config: Config) -> Iterator[Broken]:
    registration = config.registration
    if registration.mode == "open" and not config.is_local and not registration.open_to_strangers:
        yield (
            ("registration", "mode"),
            "`registration.mode` is `open` on a server that others can reach",
            'write `mode = "token"`, or `open_to_strangers = true` if spammers shall be welcome too',
        )
    if registration.terms_version is not None and registration.terms_url is None:
        yield ("registration", "terms_version"), "`registration.terms_version` has no text", "give `terms_url` too"
    secret = registration.shared_secret
    if secret is not None and len(secret.reveal()) < 8:
        yield (
            ("registration", "shared_secret"),
            "`registration.shared_secret` is too short to be one",
            "use a random one, for example from `openssl rand -hex 32`",
        )


def _mail(config: Config) -> Iterator[Broken]:
    if config.registration.email != "off" and config.email.smtp_host is None:
        yield ("registration", "email"), "`registration.email` needs a server that takes mail", "give `email.smtp_host`"
    if (config.captcha.site_key is None) != (config.captcha.secret is None):
        yield ("captcha",), "`captcha` has half of what it needs", "give `site_key` and `secret`, or neither"
    names = Counter(
        [*(one.id for one in config.sso), *(one.id for one in config.cas), *(one.id for one in config.saml)]
    )
    for index, provider in enumerate(config.sso):
        if not provider.client_id or names[provider.id] > 1 or not provider.id.replace("-", "").isalnum():
            message = f"`sso[{index}]` has no `client_id`, or its `id` is no short name of its own"
            yield ("sso", index), message, "give each a `client_id`, and an `id` of letters and digits"
    for index, service in enumerate(config.cas):
        if names[service.id] > 1 or not service.id.isalnum():
            yield (
                ("cas", index),
                f"the `id` of `cas[{index}]` is no short name of its own",
                "give each an `id` of letters and digits that no other service has",
            )
    for index, provider_of_saml in enumerate(config.saml):
        alone = names[provider_of_saml.id] == 1 and provider_of_saml.id.isalnum() and provider_of_saml.id.isascii()
        if provider_of_saml.metadata_path is None or not alone:
            message = f"`saml[{index}]` has no `metadata_path`, or its `id` is no short name of its own"
            yield ("saml", index), message, "give each a `metadata_path`, and an `id` of letters and digits"
    local = ("localhost", "127.0.0.1", "::1")
    if config.email.smtp_host not in (None, *local) and config.email.smtp_tls == "none":
        yield (
            ("email", "smtp_tls"),
            "`email.smtp_tls` is `none` for a server on another machine",
            "use `starttls` or `tls`: mails hold links that set passwords",
        )


def _delegated(config: Config) -> Iterator[Broken]:
    """With a Matrix Authentication Service, nobody gets in by another way: it alone knows who may."""
    mas = config.mas
    if (mas.endpoint is None) != (mas.secret is None):
        yield ("mas",), "`mas` has half of what it needs", "give `endpoint` and `secret`, or neither"
    if mas.secret is not None and len(mas.secret.reveal()) < 16:
        hint = "use a random one, for example from `openssl rand -hex 32`"
        yield ("mas", "secret"), "`mas.secret` is too short to be one", hint
    if mas.endpoint is None:
        return
    others: dict[Trail, bool] = {
        ("password", "login"): config.password.login,
        ("registration", "mode"): config.registration.mode != "off",
        ("registration", "guests"): config.registration.guests,
        ("registration", "shared_secret"): config.registration.shared_secret is not None,
        ("sso",): bool(config.sso),
        ("cas",): bool(config.cas),
        ("saml",): bool(config.saml),
        ("jwt",): config.jwt.secret is not None or config.jwt.public_key_path is not None,
        ("ldap",): config.ldap.url is not None,
    }
    for trail, is_on in others.items():
        if is_on:
            name = ".".join(str(part) for part in trail)
            yield trail, f"`{name}` lets people in beside `mas`", f"leave `{name}` out: the service decides"


def _others(config: Config) -> Iterator[Broken]:
    database = config.database
    if database.pool_size_min > database.pool_size_max:
        yield (
            ("database", "pool_size_min"),
            f"`database.pool_size_min` ({database.pool_size_min}) is above `pool_size_max` ({database.pool_size_max})",
            "raise `pool_size_max`, or lower `pool_size_min`",
        )
    if config.password.memory_kib < 8 * config.password.parallelism:
        yield (
            ("password", "memory_kib"),
            "`password.memory_kib` is less than 8 for each of `parallelism`",
            f"write `memory_kib = {8 * config.password.parallelism}` or more",
        )
    if config.turn.uris and config.turn.shared_secret is None:
        yield ("turn", "uris"), "`turn.uris` needs `turn.shared_secret`", "give the secret that the TURN server knows"
    if config.archive.store == "s3" and not config.archive.s3.bucket:
        yield ("archive", "store"), "`archive.store` is `s3`, and no bucket is named", "give `archive.s3.bucket`"
    rtc = config.rtc
    if len({option is None for option in (rtc.livekit_url, rtc.livekit_key, rtc.livekit_secret)}) > 1:
        yield (
            ("rtc",),
            "`rtc` has only a part of what LiveKit needs",
            "give `livekit_url`, `livekit_key` and `livekit_secret`, or none of them",
        )
    for index, contact in enumerate(config.well_known.support_contacts):
        if contact.email_address is None and contact.matrix_id is None:
            yield (
                ("well_known", "support_contacts", index),
                f"`well_known.support_contacts[{index}]` can't be reached",
                "give `email_address`, `matrix_id` or both",
            )
