"""Options of signing in, of mail, and of what the server itself says."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from homeserver.config import checks
from homeserver.config.options import Secret, option


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerNotices:
    """What the server itself says to its users, in a room of their own."""

    localpart: str = option("_server", "The account that notices come from; nobody can register or use it.")
    display_name: str = option("Server", "Its name.")
    room_name: str = option("Server notices", "Name of the room.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhooks:
    """What other programs say in rooms, and rooms tell other programs."""

    localpart: str = option("_webhooks", "The account that says it; nobody can register or use it.")
    display_name: str = option("Webhooks", "Its name.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Captcha:
    """A test that those who register are people: reCAPTCHA, a service that answers like it, or work of our own."""

    site_key: str | None = option(None, "Public key that clients show the test with; none asks for nothing.")
    proof_of_work: int = option(
        0,
        "How many hashes whoever registers has their machine try, with no service asked; 200000 take about a second. "
        "0 asks for none.",
        low=0,
        high=100_000_000,
    )
    secret: Secret | None = option(None, "Key with which the answer is checked.")
    verify_url: str = option(
        "https://www.google.com/recaptcha/api/siteverify", "Where answers are checked.", check=checks.http_url
    )
    script_url: str = option(
        "https://www.google.com/recaptcha/api.js",
        "The script that shows the test on our own pages, in an element of the class `g-recaptcha`.",
        check=checks.http_url,
    )
    script_sources: tuple[str, ...] = option(
        (
            "https://www.google.com/recaptcha/",
            "https://www.gstatic.com/recaptcha/",
            "https://recaptcha.google.com/recaptcha/",
        ),
        "Where that script may load more from, and show frames of.",
        check=checks.each(checks.content_source),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Email:
    """Mail that Hansa sends: to confirm addresses and to set new passwords."""

    smtp_host: str | None = option(None, "The server that takes our mail; without one no mail is sent.")
    smtp_port: int = option(587, "Its port.", low=1, high=65_535)
    smtp_tls: Literal["starttls", "tls", "none"] = option(
        "starttls", "How the connection is encrypted; `none` only for a server on this machine."
    )
    smtp_username: str | None = option(None, "User name there.")
    smtp_password: Secret | None = option(None, "Password there.")
    smtp_ca_path: Path | None = option(
        None, "File (PEM) with the authority of its certificate; none means the system's."
    )
    sender: str = option("Hansa <noreply@localhost>", "From whom mails are.")
    link_lifetime_s: int = option(3_600, "How long the link in a mail is good.", low=60)
    next_link_hosts: tuple[str, ...] = option(
        (), "Hosts of apps that the page behind a link may lead on to.", check=checks.each(checks.server_name)
    )
    allow_domains: tuple[str, ...] = option(
        (), "Domains whose addresses are taken (`*` and `?` match parts of a name); none means all."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SsoProvider:
    """A service at which people sign in, by OpenID Connect."""

    id: str = option("sso", "Its short name in addresses; people's accounts hang on `issuer`, not on this.")
    name: str = option("Single sign-on", "What people read on its button.")
    brand: str | None = option(None, "A hint for apps which picture to show, such as `github`.")
    issuer: str = option("https://localhost", "Its address; below it lies its metadata.", check=checks.http_url)
    client_id: str = option("", "The name under which it knows this server.")
    client_secret: Secret | None = option(None, "The secret that it gave this server.")
    scopes: tuple[str, ...] = option(("openid", "profile"), "What it is asked for.")
    localpart_claim: str = option("preferred_username", "What a new account is named after.")
    timeout_s: int = option(15, "How long it may take for an answer.", low=1, high=30)
    logout_there: bool = option(
        False, "Whether people who sign out everywhere on our pages are shown the way to sign out there too."
    )
    backchannel_logout_enabled: bool = option(
        False, "Whether it may end the sessions that were opened by it (OpenID Connect Back-Channel Logout)."
    )
    backchannel_logout_ignore_sub: bool = option(
        False, "Whether it may call people otherwise (`sub`) then than when they signed in; it must name the session."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class CasService:
    """A service at which people sign in, by CAS (protocol 3.0)."""

    id: str = option("cas", "Its short name in addresses.")
    name: str = option("Single sign-on", "What people read on its button.")
    brand: str | None = option(None, "A hint for apps which picture to show.")
    url: str = option(
        "https://localhost/cas",
        "Its address; people's accounts hang on this and their name there.",
        check=checks.http_url,
    )
    display_name_attribute: str = option("displayName", "The attribute that a new account is called by.")
    single_logout: bool = option(True, "Whether it may end the sessions that were opened by it.")
    logout_there: bool = option(
        False, "Whether people who sign out everywhere on our pages are shown the way to sign out there too."
    )
    timeout_s: int = option(15, "How long it may take for an answer.", low=1, high=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class SamlService:
    """An identity provider at which people sign in, by SAML 2.0."""

    id: str = option("saml", "Its short name in addresses; it stands in our own address and name there.")
    name: str = option("Single sign-on", "What people read on its button.")
    brand: str | None = option(None, "A hint for apps which picture to show.")
    metadata_path: Path | None = option(
        None, "File with its metadata (XML): its entity id, address and keys. People's accounts hang on the entity id."
    )
    encryption_path: Path | None = option(
        None,
        "File (PEM) with a private RSA key and its certificate, for assertions that the provider encrypts; without it "
        "these are refused.",
    )
    signing_path: Path | None = option(
        None,
        "File (PEM) with a private RSA key and its certificate, with which requests and answers about log-out are "
        "signed; without it answers aren't signed, and nothing is asked.",
    )
    single_logout: bool = option(True, "Whether it may end the sessions that were opened by it.")
    logout_there: bool = option(
        False, "Whether people who sign out everywhere on our pages are shown the way to sign out there too."
    )
    entity_id: str | None = option(
        None, "What this server is called there.", default_text="the address of its metadata for this service"
    )
    subject_attribute: str | None = option(
        None, "The attribute that somebody is known by, for ever; none means the NameID, which must be a lasting one."
    )
    localpart_attribute: str = option("uid", "The attribute that a new account is named after.")
    display_name_attribute: str = option("displayName", "The attribute that a new account is called by.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mas:
    """A Matrix Authentication Service (MAS), where people sign in in place of this server."""

    endpoint: str | None = option(
        None,
        "Where this server reaches it, such as `http://localhost:8080`; without it people sign in here.",
        check=checks.optional(checks.http_url),
    )
    secret: Secret | None = option(None, "What both know: it opens `/_synapse/mas/` here, and introspection there.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ldap:
    """A directory of the operator's people: they log in with the password that they have there."""

    url: str | None = option(None, "`ldaps://` or `ldap://` and its host; without one no directory is asked.")
    starttls: bool = option(False, "Whether an `ldap://` connection is encrypted before anything is said.")
    ca_path: Path | None = option(None, "File (PEM) with the authority of its certificate; none means the system's.")
    user_dn: str = option(
        "uid={name},ou=people,dc=example,dc=org", "Whose entry a user name means, where there is no `bind_dn`."
    )
    bind_dn: str | None = option(None, "An account that may search the directory for the entry of a user name.")
    bind_password: Secret | None = option(None, "Its password.")
    base_dn: str = option("ou=people,dc=example,dc=org", "Where it searches.")
    filter: str = option("(&(objectClass=person)(uid={name}))", "What it searches for.")
    id_attribute: str = option(
        "entryUUID",
        "What an entry is known by, whatever its name: `entryUUID`, `ipaUniqueID`, `objectGUID`.",
    )
    display_name_attribute: str = option("displayName", "What a new account is called.")
    timeout_s: int = option(10, "How long it may take to say whose password something is.", low=1, high=60)


@dataclass(frozen=True, slots=True, kw_only=True)
class JwtLogin:
    """Log-in by tokens that a service of yours signs (`org.matrix.login.jwt`)."""

    secret: Secret | None = option(None, "The key shared with it; without this or `public_key_path` it is off.")
    public_key_path: Path | None = option(None, "Its public key (PEM), for algorithms with two keys.")
    algorithm: Literal["HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "ES256", "ES384", "EdDSA"] = (
        option("HS256", "The only algorithm that is taken.")
    )
    subject_claim: str = option("sub", "The claim that holds the user name.")
    issuer: str | None = option(None, "Who must have issued a token.")
    audiences: tuple[str, ...] = option((), "Whom a token must be meant for: one of these.")
    needs_expiry: bool = option(True, "Whether a token must say when it ends.")
    makes_accounts: bool = option(True, "Whether somebody without an account gets one.")
