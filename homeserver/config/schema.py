"""The options of Hansa: type, default, one sentence, and the unit in the name.

An empty configuration works: it is a server named `localhost` for this machine alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from immutables import Map

from homeserver.config import checks
from homeserver.config.archive import Archive
from homeserver.config.buckets import MediaBucket
from homeserver.config.options import Secret, option, section
from homeserver.config.profiles import Profiles
from homeserver.config.search import Search
from homeserver.config.sign_in import (
    Captcha,
    CasService,
    Email,
    JwtLogin,
    Ldap,
    Mas,
    SamlService,
    ServerNotices,
    SsoProvider,
    Webhooks,
)

Act = Literal["erase", "impersonate", "delete_room", "purge_history", "search_content"]
Api = Literal["client", "federation", "admin", "media", "health", "metrics"]

NOTHING: Mapping[str, object] = Map()

# What an event, an answer or a file may hold at most. One place, so that limits that hang together are seen together.
MIB = 1024 * 1024
# Networks that no stranger may make us talk to: this machine, private, link-local and special ones.
_SPECIAL_RANGES = (
    "0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.2.0/24 "
    "192.88.99.0/24 192.168.0.0/16 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/4 240.0.0.0/4 "
    # Of IPv6 all but 2000::/3, which is all that was ever given to the internet, and what is special in that.
    "::/3 4000::/2 8000::/1 2001::/23 2001:db8::/32 2002::/16 3fff::/20"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """One address that Hansa answers on, and what it answers there."""

    bind: str = option("127.0.0.1", "Address to listen on; `0.0.0.0` or `::` for every one.")
    port: int = option(8008, "Port to listen on; 0 takes a free one.", low=0, high=65_535)
    tls_certificate_path: Path | None = option(None, "Certificate chain (PEM); without it this listener speaks HTTP.")
    tls_private_key_path: Path | None = option(
        None, "Private key (PEM) of the certificate, readable by its owner only."
    )
    apis: tuple[Api, ...] = option(
        ("client", "federation", "admin", "health"),
        "What is served here. `client` includes media; `metrics` needs a listener of its own.",
    )
    compress: bool = option(
        True, "Whether JSON is compressed for clients that take zstd or gzip; off where a proxy does it."
    )
    trusted_proxies: tuple[str, ...] = option(
        ("127.0.0.0/8", "::1/128"),
        "Address ranges of the proxies whose `X-Forwarded-For` is believed.",
        check=checks.each(checks.ip_range),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    """PostgreSQL: one that Hansa starts and owns, or yours."""

    dsn: Secret | None = option(
        None,
        "Connection string of your PostgreSQL (`postgresql://user:password@host/name`); "
        "without it Hansa runs one of its own.",
    )
    embedded_path: Path = option(Path("{data_dir}/postgres"), "Where the database that Hansa owns keeps its files.")
    pool_size_min: int = option(2, "Connections that are kept open.", low=1, high=1000)
    pool_size_max: int = option(10, "Connections that may be open at once.", low=1, high=1000)
    statement_timeout_s: float = option(30.0, "Longest time that one statement may run.", low=0.1, high=3600)


@dataclass(frozen=True, slots=True, kw_only=True)
class ThumbnailSize:
    """One size in which thumbnails are made."""

    width: int = option(320, "Width in pixels.", low=1, high=4096)
    height: int = option(240, "Height in pixels.", low=1, high=4096)
    method: Literal["crop", "scale"] = option("scale", "Whether the picture is cut to the shape or kept whole.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scanner:
    """A virus scanner that looks at each file before anybody gets it: ClamAV's clamd."""

    address: str | None = option(
        None,
        "Where clamd listens: `unix:/run/clamav/clamd.ctl` or `host:port`; without it nothing is scanned.",
        check=checks.optional(checks.socket_address),
    )
    timeout_s: float = option(60.0, "Longest time for one file.", low=0.1, high=3600)
    when_unreachable: Literal["refuse", "allow"] = option("refuse", "What happens with files that can't be scanned.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Media:
    """Uploaded files and their thumbnails."""

    store_path: Path = option(Path("{data_dir}/media"), "Folder that keeps uploaded files and thumbnails.")
    upload_bytes_max: int = option(50 * MIB, "Largest file that may be uploaded.", low=1)
    pending_uploads_max: int = option(5, "Media ids that one user may have created and not yet filled.", low=1)
    pending_upload_lifetime_s: int = option(86_400, "How long a created media id waits for its file.", low=1)
    image_pixels_max: int = option(40_000_000, "Largest picture, in pixels, of which thumbnails are made.", low=1)
    upload_bytes_per_s_min: int = option(1024, "A file that arrives more slowly is refused.", low=0)
    upload_patience_s: float = option(
        30.0, "How long a sender may be silent, and how long it may be slower at the beginning.", low=0.1
    )
    decoding_processes: int = option(2, "Processes that make thumbnails and read web pages.", low=1, high=64)
    user_bytes_max: int | None = option(None, "All that one user may keep here; none means no bound.", low=1)
    remote_bytes_max: int = option(10 * 1024 * MIB, "Room for files of other servers; those unused longest go.", low=0)
    remote_retention_s: int = option(30 * 86_400, "How long a file of another server stays unused.", low=60)
    scanner: Scanner = section(Scanner(), "A virus scanner.")
    s3: MediaBucket = section(MediaBucket(), "A bucket, where its name is given, in place of `media.store_path`.")
    thumbnail_sizes: tuple[ThumbnailSize, ...] = section(
        (
            *(ThumbnailSize(width=side, height=side, method="crop") for side in (32, 96, 320, 640)),
            *(ThumbnailSize(width=4 * n, height=3 * n, method="scale") for n in (80, 160, 200, 400)),
        ),
        "Sizes that thumbnails come in; a request gets the next larger one.",
    )
    legacy_access: Literal["frozen", "open", "open_fetching", "off"] = option(
        "frozen",
        "Downloads without a token: `frozen` serves only what was uploaded before media needed one, "
        "`open` serves all files of this server, `open_fetching` fetches other servers' files too (whoever asks makes "
        "this server fetch), `off` none.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Previews:
    """Previews of the web pages that messages link to; no address that `federation` denies is connected to."""

    enabled: bool = option(True, "Whether clients get previews of links.")
    deny_hosts: tuple[str, ...] = option((), "Hosts of which there are no previews, nor of what is below them.")
    language: str = option("en", "Languages in which pages are asked for, as in `Accept-Language`.")
    page_bytes_max: int = option(1 * MIB, "How much of a page is read.", low=1024)
    picture_bytes_max: int = option(10 * MIB, "Largest picture that is shown beside.", low=1024)
    all_pictures_bytes_max: int = option(2048 * MIB, "Room for all those pictures; the oldest go.", low=0)
    timeout_s: float = option(10.0, "Longest time for one fetch.", low=0.1, high=120)
    redirects_max: int = option(5, "How often a fetch is led on.", low=0, high=20)
    lifetime_s: int = option(3600, "How long a preview is given before the page is fetched again.", low=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """Who may make an account."""

    mode: Literal["open", "token", "off"] = option(
        "off",
        "`open` for anyone, `token` for who has a registration token, `off` for nobody but the operator.",
        default_text="`open` while the server is named `localhost` and listens to this machine alone, otherwise `off`",
    )
    open_to_strangers: bool = option(
        False,
        'Must be true for `mode = "open"` on a server that others can reach: spammers look for such servers.',
    )
    guests: bool = option(False, "Whether guests may look around without an account.")
    shared_secret: Secret | None = option(
        None, "Key of `/_synapse/admin/v1/register`, for scripts that make accounts; without it that endpoint is off."
    )
    email: Literal["off", "optional", "required"] = option(
        "off", "Whether a new user gives an e-mail address, which is confirmed by a link."
    )
    terms_version: str | None = option(None, "Version of the terms a new user must accept; none asks for nothing.")
    terms_name: str = option("Terms of service", "Title of the terms.")
    terms_url: str | None = option(None, "Where the terms can be read.", check=checks.optional(checks.http_url))
    reserved_localparts: tuple[str, ...] = option(
        ("admin", "administrator", "abuse", "hostmaster", "postmaster", "root", "security", "support", "webmaster"),
        "Localparts that can't be registered except by the operator.",
    )
    auto_join_rooms: tuple[str, ...] = option((), "Aliases of rooms that a new user joins.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Password:
    """Argon2id, which makes a stolen password table expensive to search."""

    time_cost: int = option(3, "Passes over the memory; 1 is the fastest.", low=1, high=100)
    memory_kib: int = option(65_536, "Memory that one hash takes; 8 is the least, for tests.", low=8, high=4_194_304)
    parallelism: int = option(1, "Threads that one hash uses.", low=1, high=64)
    length_min: int = option(8, "Shortest password that is taken.", low=1, high=512)
    needs: tuple[Literal["digit", "lowercase", "uppercase", "symbol"], ...] = option(
        (), "What a new password must hold at least one of, each."
    )
    denied_path: Path | None = option(
        None, "File with passwords that are not taken, such as those known from thefts: one a line, in UTF-8."
    )
    login: bool = option(True, "Whether people log in with a password.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sessions:
    """Logins: how long they last and how many there may be."""

    access_token_lifetime_s: int | None = option(
        None, "How long an access token of a client without refresh tokens is good; none means until logout.", low=1
    )
    refreshable_token_lifetime_s: int = option(
        300, "How long an access token of a client with refresh tokens is good.", low=1
    )
    refresh_token_lifetime_s: int | None = option(
        None, "How long a refresh token may stay unused; none means for ever.", low=1
    )
    login_token_lifetime_s: int = option(120, "How long a token for `m.login.token` is good.", low=1)
    user_interactive_auth_lifetime_s: int = option(900, "How long a started authentication may take.", low=1)
    devices_per_user_max: int = option(1000, "Devices that one user may have.", low=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rooms:
    """New rooms."""

    default_version: str = option("12", "Version of a room whose creator names none.", check=checks.room_version)
    encrypt_by_default: Literal["none", "invite", "all"] = option(
        "none", "Which new rooms start encrypted: none, those by invitation only, or all."
    )
    public_list_needs_login: bool = option(True, "Whether only users may read the list of public rooms.")
    public_list_over_federation: bool = option(False, "Whether other servers may read the list of public rooms.")
    redacted_retention_s: int = option(
        7 * 86_400,
        "How long what a redacted event said, and media that it alone showed, stay in storage, hidden from everybody; "
        "0 erases them at once.",
        low=0,
    )
    retention: bool = option(
        False, "Whether messages expire where a room says so (`m.room.retention`), or where the next options do."
    )
    retention_default_s: int = option(
        0, "How long messages are kept in rooms that don't say; 0 keeps them for ever.", low=0
    )
    retention_least_s: int = option(86_400, "No room's messages are kept shorter than this.", low=0)
    retention_most_s: int = option(0, "None are kept longer than this; 0 sets no limit.", low=0)
    expiring_messages: bool = option(
        False,
        "Whether a message may say when it goes: at a time (`org.matrix.self_destruct_after`), or so long after it was "
        "read (`org.matrix.msc2228.self_destruct`).",
    )
    check_content: bool = option(
        False,
        "Whether what users of this server send must have the fields that its type needs (messages, reactions, "
        "places, names); some clients break on events without them.",
    )
    event_delay_max_s: int = option(
        86_400, "Longest delay of an event that is sent later (calls need it); 0 allows none.", low=0
    )
    invites_per_creation_max: int = option(100, "Invitations that one room creation may carry.", low=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimit:
    """So many a second on average, and so many at once after a quiet time."""

    enabled: bool = option(True, "False switches this limit off; so does `false` in place of the section.")
    per_second: float = option(1.0, "How many are let through in a second, in the long run.", low=0.000_01)
    burst: int = option(10, "How many are let through at once after a quiet time.", low=1)


def _limit(per_second: float, burst: int, sentence: str) -> RateLimit:
    return section(RateLimit(per_second=per_second, burst=burst), sentence)


@dataclass(frozen=True, slots=True, kw_only=True)
class Admin:
    """What operators need each other for."""

    second_operator_for: tuple[Act, ...] = option(
        (),
        "Acts that a second operator must approve before they are done; `impersonate` includes new passwords, "
        "addresses and identities.",
    )
    spam_plugins: tuple[str, ...] = option(
        (), "Packages of your own that judge what spam rules can't: names of entry points under `hansa.spam_plugins`."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimits:
    """What one user, address or room may ask of the server; each limit can be switched off."""

    enabled: bool = option(True, "False switches off every limit of this section.")
    requests_address: RateLimit = _limit(50, 500, "Requests without a token, by address.")
    requests_user: RateLimit = _limit(50, 500, "Requests, by user.")
    registration: RateLimit = _limit(0.17, 5, "Registrations, by address.")
    username_available: RateLimit = _limit(1, 10, "Questions whether a user name is free, by address.")
    registration_token_check: RateLimit = _limit(0.1, 5, "Checks of registration tokens, by address.")
    email_address: RateLimit = _limit(0.002, 5, "Mails to one address.")
    email_requester: RateLimit = _limit(0.02, 10, "Mails asked for, by user or address.")
    contacts: RateLimit = _limit(0.2, 20, "Changes of e-mail addresses, by user.")
    page: RateLimit = _limit(1, 60, "Pages for people, by address.")
    console: RateLimit = _limit(5, 200, "Pages of the console, by address.")
    console_code: RateLimit = _limit(0.02, 5, "Codes of the second factor that are typed, by user.")
    oauth_client: RateLimit = _limit(0.05, 20, "Registrations of OAuth clients, by address.")
    oauth_token: RateLimit = _limit(2, 60, "Requests for tokens, by address.")
    sign_out: RateLimit = _limit(20, 500, "Orders of sign-in services to end sessions, by address.")
    oauth_user_code: RateLimit = _limit(0.02, 10, "Codes of devices that are typed, by user.")
    login_token: RateLimit = _limit(0.02, 5, "Tokens for other devices to log in with, by user.")
    login_address: RateLimit = _limit(0.2, 10, "Logins, by address.")
    login_account: RateLimit = _limit(0.2, 10, "Logins, by account.")
    login_failed: RateLimit = _limit(0.05, 5, "Logins that failed, by account and address.")
    authentication_failed: RateLimit = _limit(0.05, 5, "Stages of interactive authentication that failed, by user.")
    password_change: RateLimit = _limit(0.05, 5, "Changes of password, by user.")
    message: RateLimit = _limit(5, 50, "Events sent, by user.")
    redaction: RateLimit = _limit(2, 50, "Redactions, by user.")
    create_room: RateLimit = _limit(0.1, 10, "Rooms created, by user.")
    join: RateLimit = _limit(0.2, 20, "Joins, by user.")
    knock: RateLimit = _limit(0.1, 5, "Knocks, by user.")
    invite_sender: RateLimit = _limit(0.3, 20, "Invitations sent, by user.")
    invite_recipient: RateLimit = _limit(0.1, 20, "Invitations that users of this server send, by who is invited.")
    invite_room: RateLimit = _limit(0.5, 50, "Invitations, by room.")
    alias: RateLimit = _limit(0.2, 10, "Aliases made, by user.")
    directory: RateLimit = _limit(2, 30, "Looks into the directories of rooms and users, by user.")
    hierarchy: RateLimit = _limit(1, 20, "Pages of spaces and summaries of rooms, by user.")
    search: RateLimit = _limit(1, 20, "Searches in messages, by user.")
    member_list: RateLimit = _limit(10, 300, "Lists of a room's members or state, by user; 500 members are one more.")
    profile: RateLimit = _limit(0.2, 10, "Changes of profile, by user.")
    presence: RateLimit = _limit(1, 20, "Changes of presence, by user.")
    typing: RateLimit = _limit(5, 50, "Typing notices, by user.")
    receipt: RateLimit = _limit(10, 100, "Receipts and read markers, by user.")
    account_data: RateLimit = _limit(5, 100, "Changes of account data, by user.")
    to_device: RateLimit = _limit(20, 500, "To-device requests, by user.")
    keys_upload: RateLimit = _limit(2, 50, "Uploads of keys and signatures, by user.")
    keys_query: RateLimit = _limit(10, 200, "Queries and claims of keys, by user.")
    key_backup: RateLimit = _limit(10, 200, "Writes to key backups, by user.")
    media_upload: RateLimit = _limit(1, 50, "Uploads of files, by user.")
    media_create: RateLimit = _limit(1, 20, "Media ids created before their files, by user.")
    media_download: RateLimit = _limit(20, 500, "Downloads and thumbnails, by user or address.")
    fetched_bytes_user: RateLimit = _limit(
        256 * 1024, 1024 * MIB, "Bytes of other servers' files and of web pages that are fetched, by user or address."
    )
    fetched_bytes_host: RateLimit = _limit(4 * MIB, 4096 * MIB, "The same, by the server or site that they come from.")
    openid: RateLimit = _limit(0.5, 20, "Tokens that prove to others who one is, by user.")
    call_token: RateLimit = _limit(0.5, 20, "Tokens for calls, by address.")
    turn: RateLimit = _limit(0.5, 20, "Credentials for the relay of calls, by user.")
    delayed_event: RateLimit = _limit(5, 100, "Looks at and changes of delayed events, by user or address.")
    webhook: RateLimit = _limit(1, 60, "Deliveries, by webhook; webhooks made, by user.")
    rendezvous: RateLimit = _limit(0.2, 20, "Meeting points for signing in by a QR code, by address.")
    url_preview: RateLimit = _limit(1, 30, "Previews of web pages, by user.")
    report: RateLimit = _limit(0.1, 10, "Reports of content, by user.")
    federation: RateLimit = _limit(100, 2000, "Requests of other servers that have no limit of their own, by server.")
    federation_join: RateLimit = _limit(2, 50, "Joins and knocks through us, by server.")
    federation_invite: RateLimit = _limit(2, 50, "Invites of other servers, by server.")
    federation_invite_recipient: RateLimit = _limit(
        0.05, 20, "Invites of other servers, of all together, by the user who is invited."
    )
    federation_policy: RateLimit = _limit(50, 500, "Events that rooms' servers want looked at, by server.")
    federation_state: RateLimit = _limit(2, 50, "Questions for whole states, by server.")
    federation_auth: RateLimit = _limit(10, 200, "Questions for what an event rests on, by server.")
    federation_media: RateLimit = _limit(20, 500, "Downloads of our files, by server.")
    federation_keys: RateLimit = _limit(10, 200, "Questions for servers' signing keys, by address.")

    def in_force(self) -> Mapping[str, RateLimit]:
        """The limits that aren't switched off, by name."""
        limits = {name: getattr(self, name) for name in self.__slots__ if name != "enabled"}
        return {name: limit for name, limit in limits.items() if self.enabled and limit.enabled}


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustedKeyServer:
    """A server that is asked for the keys of servers that don't answer."""

    server_name: str = option("matrix.org", "Its name.", check=checks.server_name)
    verify_keys: Mapping[str, str] = option(Map(), "Its keys by key id, when they shall not be learnt from itself.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Federation:
    """Other servers."""

    enabled: bool = option(True, "Whether Hansa talks with other servers at all.")
    ca_path: Path | None = option(None, "File (PEM) with further authorities whose certificates are trusted.")
    allow_ip_ranges: tuple[str, ...] = option(
        (), "Ranges that may be connected to although they are denied.", check=checks.each(checks.ip_range)
    )
    deny_ip_ranges: tuple[str, ...] = option(
        tuple(_SPECIAL_RANGES.split()),
        "Ranges that no remote name or URL makes us connect to.",
        check=checks.each(checks.ip_range),
        default_text="this machine, private, link-local and special-purpose networks",
    )
    allow_servers: tuple[str, ...] | None = option(
        None, "The only servers to talk with (`*` and `?` match parts of a name); none means all."
    )
    deny_servers: tuple[str, ...] = option((), "Servers that are not talked with (`*` and `?` match parts of a name).")
    trusted_key_servers: tuple[TrustedKeyServer, ...] = section((), "Servers asked for keys of servers that are gone.")
    request_timeout_s: float = option(30.0, "Longest wait for an answer of another server.", low=0.1, high=600)
    answer_bytes_max: int = option(100 * MIB, "Largest answer taken from another server.", low=1024)
    device_names: bool = option(False, "Whether other servers are told what our users call their devices.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Appservices:
    """Bridges and bots that have a registration file."""

    registration_paths: tuple[Path, ...] = option(
        (), "Registration files (YAML), readable by their owner only, or folders with such files."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """The relay for calls between people behind firewalls."""

    uris: tuple[str, ...] = option((), "Addresses of the TURN server.", check=checks.each(checks.turn_uri))
    shared_secret: Secret | None = option(None, "The secret shared with it (`static-auth-secret` of coturn).")
    user_lifetime_s: int = option(86_400, "How long a user may use the credentials.", low=60)
    guests: bool = option(False, "Whether guests may call.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rtc:
    """Calls of many over LiveKit, as Element Call makes them."""

    livekit_url: str | None = option(None, "Where clients reach LiveKit.", check=checks.optional(checks.websocket_url))
    livekit_api_url: str | None = option(
        None,
        "Where Hansa reaches it.",
        check=checks.optional(checks.http_url),
        default_text="`livekit_url` with `https` for `wss`",
    )
    livekit_key: str | None = option(None, "The name of the key that Hansa and LiveKit share.")
    livekit_secret: Secret | None = option(None, "That key's secret.")
    livekit_service_url: str | None = option(
        None,
        "Where clients get their tokens for LiveKit.",
        check=checks.optional(checks.http_url),
        default_text="Hansa itself, where `livekit_url`, key and secret are given",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Contact:
    """Somebody to turn to about this server; needs an address or a Matrix id."""

    role: str = option("m.role.admin", "`m.role.admin`, `m.role.moderator`, `m.role.dpo` or `m.role.security`.")
    email_address: str | None = option(None, "Their e-mail address.")
    matrix_id: str | None = option(None, "Their Matrix id.", check=checks.optional(checks.user_id))


@dataclass(frozen=True, slots=True, kw_only=True)
class WellKnown:
    """What `/.well-known/matrix/…` says of this server."""

    client_base_url: str | None = option(
        None,
        "Where clients find the server.",
        check=checks.optional(checks.http_url),
        default_text="`public_base_url`",
    )
    server: str | None = option(None, "Host and port where other servers find this one (`matrix.example.org:443`).")
    client_extra: Mapping[str, object] = option(NOTHING, "Further keys of `/.well-known/matrix/client`, as they are.")
    support_page: str | None = option(None, "A page with help.", check=checks.optional(checks.http_url))
    support_contacts: tuple[Contact, ...] = section((), "Whom to turn to about this server.")
    policy_server_key: str | None = option(
        None, "Public key (Ed25519, unpadded base64) of the policy server that this name offers to rooms."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """Log lines; they never hold secrets or messages."""

    format: Literal["json", "console"] = option(
        "json",
        "One JSON object a line, or text for people.",
        default_text="`console` when the output is a terminal, otherwise `json`",
    )
    level: Literal["debug", "info", "warning", "error"] = option("info", "The least important lines that are written.")
    value_chars_max: int = option(2000, "Longest value in a line; the rest is cut off.", low=50)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one request may take. The server answers with the spec's error when it is more."""

    body_bytes_max: int = option(1 * MIB, "Largest body of a request, uploads of files apart.", low=65_536)
    json_depth_max: int = option(100, "Deepest nesting of JSON.", low=10, high=100)
    header_bytes_max: int = option(16_384, "Largest single header line.", low=4096)
    header_time_s: float = option(10.0, "Longest time until a new connection has sent its first request.", low=0.1)
    request_time_s: float = option(60.0, "Longest time for a request, waits of /sync apart.", low=0.1)
    body_read_time_s: float = option(30.0, "Longest time in which a body must arrive.", low=0.1)
    answer_stall_s: float = option(
        60.0, "Longest time in which a client may take (nearly) nothing of an answer.", low=0.1
    )
    sync_timeout_s: float = option(300.0, "Longest wait that /sync grants.", low=0)
    open_requests_per_user_max: int = option(100, "Requests of one user that may be open at once.", low=1)
    open_connections_max: int = option(10_000, "Connections of all listeners that may be open at once.", low=1)
    connections_per_address_max: int = option(
        1_000, "Connections of one address (an IPv6 /64 counts as one) that may be open at once, proxies apart.", low=1
    )
    shutdown_time_s: float = option(15.0, "How long running requests may take to end at shutdown.", low=0)
    free_disk_bytes_min: int = option(256 * MIB, "With less free disk than this, writes are refused.", low=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Presence:
    """Who is there."""

    enabled: bool = option(True, "Whether users see who is online.")
    idle_after_s: int = option(300, "After how long without activity a user counts as away.", low=1)
    offline_after_s: int = option(60, "How long after the last /sync a user counts as offline.", low=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Push:
    """Notifications to phones, by the gateways that apps name."""

    include_content: bool = option(
        True, "Whether gateways get an event's content, where the app didn't ask for its id alone."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """All of it."""

    server_name: str = option(
        "localhost",
        "The part after the colon in `@alice:example.org`. It can't be changed once users exist.",
        check=checks.server_name,
    )
    public_base_url: str | None = option(
        None,
        "Where clients reach this server.",
        check=checks.optional(checks.http_url),
        default_text="`https://` and the server name, or the first client listener while the name is `localhost`",
    )
    data_dir: Path = option(Path("data"), "Folder for all that has no place of its own; `{data_dir}` stands for it.")
    signing_key_path: Path = option(
        Path("{data_dir}/signing.key"), "The key that signs for this server; made at the first start."
    )
    listeners: tuple[Listener, ...] = section(
        (Listener(), Listener(port=9008, apis=("metrics", "health"))),
        "Where Hansa listens; a list given here replaces the default as a whole.",
    )
    database: Database = section(Database(), "The database.")
    registration: Registration = section(Registration(), "Who may make an account.")
    admin: Admin = section(Admin(), "Who runs the server, and how.")
    server_notices: ServerNotices = section(ServerNotices(), "What the server itself says to its users.")
    webhooks: Webhooks = section(Webhooks(), "What other programs say in rooms, and rooms tell other programs.")
    captcha: Captcha = section(Captcha(), "A test that those who register are people.")
    email: Email = section(Email(), "Mail that Hansa sends.")
    sso: tuple[SsoProvider, ...] = section((), "Services at which people sign in.")
    cas: tuple[CasService, ...] = section((), "Services at which people sign in by CAS.")
    saml: tuple[SamlService, ...] = section((), "Identity providers at which people sign in by SAML.")
    jwt: JwtLogin = section(JwtLogin(), "Log-in by tokens that a service of yours signs.")
    ldap: Ldap = section(Ldap(), "A directory of the operator's people.")
    mas: Mas = section(Mas(), "A Matrix Authentication Service, where people sign in in place of this server.")
    password: Password = section(Password(), "How passwords are hashed.")
    sessions: Sessions = section(Sessions(), "How long logins last.")
    rooms: Rooms = section(Rooms(), "How new rooms begin.")
    media: Media = section(Media(), "Uploaded files.")
    previews: Previews = section(Previews(), "Previews of links.")
    presence: Presence = section(Presence(), "Who is there.")
    profiles: Profiles = section(Profiles(), "What people tell of themselves.")
    push: Push = section(Push(), "Notifications to phones.")
    search: Search = section(Search(), "Search in messages.")
    archive: Archive = section(Archive(), "The cold archive of messages.")
    rate_limits: RateLimits = section(RateLimits(), "What one user, address or room may ask.")
    limits: Limits = section(Limits(), "What one request may take.")
    federation: Federation = section(Federation(), "Other servers.")
    appservices: Appservices = section(Appservices(), "Bridges and bots.")
    turn: Turn = section(Turn(), "The relay for calls.")
    rtc: Rtc = section(Rtc(), "Calls of many.")
    well_known: WellKnown = section(WellKnown(), "What other programs learn about this server by its name.")
    log: Log = section(Log(), "Log lines.")

    @property
    def is_local(self) -> bool:
        """Whether this is a server for its own machine: named so, and every listener on the loopback."""
        named_local = self.server_name.split(":")[0] in ("localhost", "127.0.0.1")
        return named_local and all(
            listener.bind in ("localhost", "::1") or listener.bind.startswith("127.") for listener in self.listeners
        )

    @property
    def base_url(self) -> str:
        """`public_base_url`, or what its default comes to; no slash at its end."""
        if self.public_base_url is not None:
            return self.public_base_url.rstrip("/")
        if self.server_name.split(":")[0] != "localhost":
            return f"https://{self.server_name}"
        client = next((listener for listener in self.listeners if "client" in listener.apis), Listener())
        return f"{'https' if client.tls_certificate_path else 'http'}://localhost:{client.port}"
