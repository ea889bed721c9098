"""The configuration: what is taken, and what is said about what isn't."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeserver.config import Config, ConfigError, Secret, load_config, read_config
from homeserver.config.pages import as_json, in_force
from homeserver.web.addresses import AddressFilter

TEN_LINES_ABOVE = "\n" * 10


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "hansa.toml"
    path.touch(mode=0o600)
    return path


def problem(file: Path | None, text: str = "", **env: str) -> str:
    if file is not None:
        file.write_text(text)
    with pytest.raises(ConfigError) as raised:
        load_config(file, env)
    return str(raised.value)


def test_nothing_needs_to_be_set() -> None:
    config = load_config(None, {})
    assert (config.server_name, config.rooms.default_version, config.registration.mode) == ("localhost", "12", "open")
    assert config.base_url == "http://localhost:8008"
    assert config.signing_key_path == Path("data/signing.key")


@pytest.mark.parametrize(
    ("text", "line", "message", "hint"),
    [
        ("server_nme = 'x'", 1, "`server_nme` is not an option", "did you mean `server_name`?"),
        ("[federation]\nrequest_timeout = 3", 2, "`federation.request_timeout`", "`federation.request_timeout_s`"),
        ("[registration]\nopne = true", 2, "`registration.opne` is not", "nearest are `registration."),
        ("pool_size_max = 3", 1, "`pool_size_max` is not an option", "did you mean `database.pool_size_max`?"),
        ("[[listeners]]\nport = 1\n\n[[listeners]]\nprot = 2", 5, "`listeners[1].prot`", "`listeners[1].port`"),
        ("[registration]\nmode = 'opn'", 2, "one of `open`, `token`, `off`, not `opn`", "`mode ="),
        ("[limits]\njson_depth_max = 9", 2, "must be 10 to 100, got 9", "nesting"),
        ("[database]\npool_size_min = 20", 2, "above `pool_size_max` (10)", "raise"),
        ("[password]\ntime_cost = true", 2, "must be a whole number, not true", "`time_cost = 3`"),
        ("server_name = 'not a name'", 1, "not a server name such as `example.org`", "colon"),
        ("[federation]\ndeny_ip_ranges = [\n  '10.0.0.0/33',\n]", 2, "not an IP range", "Ranges"),
        ("[rooms]\ndefault_version = '13'", 2, "not one of the room versions 1, 2", "Version"),
        ("x = '''\n[database]\n'''\n[rooms]\nversion = 1", 1, "`x` is not an option", "every option"),
        ("database = 3", 1, "must be a table", "`[database]`"),
        ("listeners = 3", 1, "must be a list of tables", "`[[listeners]]`"),
        ("[[listeners]]\napis = ['client', 'metrics']", 2, "beside what strangers reach", "listener of its own"),
        ("[[listeners]]\napis = ['health']", 1, "no listener serves `client`", "add `client`"),
        ("[[listeners]]\ntls_certificate_path = 'x'", 1, "half of what TLS needs", "or neither"),
        ("[archive]\nstore = 's3'", 2, "no bucket is named", "archive.s3.bucket"),
        ("[turn]\nuris = ['turn:host']", 2, "needs `turn.shared_secret`", "secret"),
        ("[[well_known.support_contacts]]\nrole = 'm.role.admin'", 1, "can't be reached", "`email_address`"),
    ],
)
def test_a_wrong_line_is_named_with_the_right_one(file: Path, text: str, line: int, message: str, hint: str) -> None:
    said = problem(file, TEN_LINES_ABOVE + text)
    assert f"hansa.toml:{line + 10}: " in said
    assert message in said
    assert hint in said.partition("hint:")[2]


def test_what_is_not_toml_is_said_with_its_line(file: Path) -> None:
    assert "line 2" in problem(file, "a = 1\nserver_name = localhost")
    file.write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="UTF-8"):
        load_config(file, {})
    with pytest.raises(ConfigError, match="No such file"):
        load_config(file.with_name("other.toml"), {})


def test_all_that_is_wrong_is_said_at_once(file: Path) -> None:
    said = problem(file, "a = 1\nb = 2", HANSA_C="3")
    assert [name for name in "abc" if f"`{name}` is not an option" in said] == ["a", "b", "c"]
    assert "HANSA_C: " in said


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("DATABASE__POOL_SIZE_MAX", "20", 20),
        ("PASSWORD__LOGIN", "off", False),
        ("LIMITS__REQUEST_TIME_S", "2.5", 2.5),
        ("TURN__URIS", "turn:a, turns:b", ("turn:a", "turns:b")),
        ("FEDERATION__ALLOW_SERVERS", "", None),
        ("RATE_LIMITS__MESSAGE__PER_SECOND", "7", 7.0),
        ("RATE_LIMITS__MESSAGE__ENABLED", "0", False),
        ("DATA_DIR", "elsewhere", Path("elsewhere")),
    ],
)
def test_the_environment_has_the_last_word(file: Path, name: str, text: str, value: object) -> None:
    file.write_text("[turn]\nshared_secret = 'of the relay'\n[database]\npool_size_max = 11")
    found: object = load_config(file, {f"HANSA_{name}": text})
    for part in name.lower().split("__"):
        found = getattr(found, part)
    assert found == value


def test_a_rate_limit_is_switched_off_by_false(file: Path) -> None:
    file.write_text("[rate_limits]\nmessage = false")
    config = load_config(file, {"HANSA_RATE_LIMITS__JOIN": "false"})
    assert {"message", "join"}.isdisjoint(config.rate_limits.in_force())
    assert "invite_room" in config.rate_limits.in_force()
    assert not load_config(None, {"HANSA_RATE_LIMITS__ENABLED": "false"}).rate_limits.in_force()


def test_variables_of_others_are_left_alone() -> None:
    assert load_config(None, {"PATH": "x", "HANSA_CONFIG": "y", "HANSATEST": "z"}) == load_config(None, {})


@pytest.mark.parametrize(
    ("env", "mode"),
    [
        ({"HANSA_SERVER_NAME": "example.org"}, "off"),
        ({"HANSA_LISTENERS": '[{"bind": "0.0.0.0"}]'}, "off"),
        ({"HANSA_SERVER_NAME": "example.org", "HANSA_REGISTRATION__MODE": "token"}, "token"),
        ({}, "open"),
    ],
)
def test_registration_is_closed_where_strangers_come(env: dict[str, str], mode: str) -> None:
    """T-I14: closed by default wherever others can reach the server."""
    assert load_config(None, env).registration.mode == mode


def test_open_registration_must_be_meant() -> None:
    """T-I14: refuses to start open on a server that others can reach, unless that is said twice."""
    env = {"HANSA_SERVER_NAME": "example.org", "HANSA_REGISTRATION__MODE": "open"}
    assert "spammers" in problem(None, **env)
    assert load_config(None, {**env, "HANSA_REGISTRATION__OPEN_TO_STRANGERS": "true"}).registration.mode == "open"


def test_private_networks_are_denied_to_remote_names() -> None:
    """T-L3: the safe default; labs allow ranges on purpose."""
    federation = load_config(None, {}).federation
    addresses = AddressFilter(deny=federation.deny_ip_ranges, allow=federation.allow_ip_ranges)
    for private in ("127.0.0.1", "10.1.2.3", "169.254.169.254", "192.168.0.1", "::1", "fe80::1", "fc00::1", "::"):
        assert not addresses.is_allowed(private), private
    assert addresses.is_allowed("8.8.8.8") and addresses.is_allowed("2a00:1450:4001::1")
    assert federation.allow_ip_ranges == ()


@pytest.mark.parametrize(("mode", "taken"), [(0o600, True), (0o640, False), (0o604, False), (0o666, False)])
def test_files_with_secrets_are_private(file: Path, mode: int, taken: bool) -> None:
    """T-O14: a configuration or a secret's file that others can open is refused, with the command that repairs it."""
    secret = file.with_name("secret")
    secret.write_text("of the registration\n")
    for holder, text in ((file, "shared_secret = 'of the registration'"), (secret, f"shared_secret_path = '{secret}'")):
        file.chmod(0o600)
        secret.chmod(0o600)
        file.write_text(f"[registration]\n{text}")
        holder.chmod(mode)
        if taken:
            assert load_config(file, {}).registration.shared_secret == Secret("of the registration")
        else:
            with pytest.raises(ConfigError, match=f"chmod 600 {holder}"):
                load_config(file, {})


def test_a_secret_cannot_be_printed(file: Path) -> None:
    """T-J6, T-O10: no way of showing a configuration shows a secret."""
    file.write_text("[registration]\nshared_secret = 'canary-canary'\n[database]\ndsn = 'postgresql://a:canary@b/c'")
    loaded = read_config(file, {})
    secret = loaded.config.registration.shared_secret
    assert secret is not None and secret.reveal() == "canary-canary"
    shown = [repr(loaded), str(secret), f"{secret:>20}", in_force(loaded), json.dumps(as_json(loaded.config))]
    assert not [text for text in shown if "canary" in text]
    with pytest.raises(TypeError):
        pickle.dumps(secret)
    assert copy.deepcopy(secret) is secret


def test_no_secret_has_a_default() -> None:
    """T-A9: what is not set is missing, and never a value that others know."""
    found = dict(secrets_of(Config, "config"))
    assert {"config.turn.shared_secret", "config.database.dsn", "config.sso.client_secret"} <= found.keys()
    assert set(found.values()) == {None}
    config = load_config(None, {})
    assert (config.registration.shared_secret, config.turn.shared_secret, config.database.dsn) == (None, None, None)


def secrets_of(kind: type, name: str) -> Iterator[tuple[str, object]]:
    """Every option that holds a secret, in lists of sections too, with its default."""
    hints = get_type_hints(kind)
    for field in fields(kind):
        inner = [hints[field.name], *get_args(hints[field.name])]
        if Secret in inner:
            yield f"{name}.{field.name}", field.default
        for section in (one for one in inner if isinstance(one, type) and is_dataclass(one)):
            yield from secrets_of(section, f"{name}.{field.name}")


def test_a_secret_is_given_once(file: Path) -> None:
    assert "give one of the two" in problem(file, "[turn]\nshared_secret = 'a'\nshared_secret_path = 'b'")


def test_values_in_force_are_toml_again(file: Path, tmp_path: Path) -> None:
    """What `config show` prints is a configuration that means the same."""
    file.write_text(
        "server_name = 'example.org'\n[rate_limits.join]\nburst = 3\n[well_known.client_extra]\n'a.b' = [1]"
    )
    loaded = read_config(file, {"HANSA_TURN__URIS": "turn:a", "HANSA_TURN__SHARED_SECRET": "s"})
    text = in_force(loaded)
    assert "burst = 3  # " in text and "# HANSA_TURN__URIS" in text
    again = tmp_path / "again.toml"
    again.write_text(text.replace('"<secret>"', '"s"'))
    again.chmod(0o600)
    assert load_config(again, {}) == loaded.config


@given(st.text(max_size=200))
def test_any_text_gives_a_config_or_our_error(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.mktemp("any") / "hansa.toml"
    path.write_text(text, encoding="utf-8", errors="replace")
    try:
        assert isinstance(load_config(path, {}), Config)
    except ConfigError as error:
        assert error.hint
