"""The container files, checked without an engine: pinned, confined, and in step with the code."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from homeserver.config import load_config
from homeserver.runtime.metrics import Metrics

DOCKER = Path(__file__).resolve().parent.parent / "docker"
COMPOSE: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yaml").read_text("utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
# A name, and a version of at least two numbers: never `latest`, never a moving tag.
PINNED = re.compile(r"[a-z0-9/._-]+:v?\d+\.\d+(\.\d+)*(-[a-z0-9.-]+)?(@sha256:[0-9a-f]{64})?")
MADE_BY_PREPARE = {"hansa.toml"}
# What else a service may do as root: PostgreSQL hands its folder to its own user, the proxy has the web's ports.
CAPABILITIES = {"postgres": {"CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID"}, "proxy": {"NET_BIND_SERVICE"}}
# Ways into the machine.
OPENINGS = (
    "privileged network_mode pid ipc uts userns_mode cgroup cgroup_parent devices device_cgroup_rules volumes_from "
    "group_add env_file sysctls gpus"
).split()


def dockerfile() -> list[tuple[str, str]]:
    """The instructions of the Dockerfile, lines joined."""
    text = (DOCKER / "Dockerfile").read_text("utf-8")
    lines = re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE)).splitlines()
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in lines if line.strip())]


@pytest.mark.parametrize("name", SERVICES)
def test_services_are_pinned_and_confined(name: str) -> None:
    """T-O15: read-only root, no capabilities but those it needs, no new privileges, nothing of the machine."""
    service = SERVICES[name]
    assert PINNED.fullmatch(service["image"]), f"pin {service['image']} to a version"
    assert service["read_only"] is True and service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "max-size" in service["logging"]["options"]
    assert name == "hansa" or "healthcheck" in service
    assert set(service.get("cap_add", ())) == CAPABILITIES.get(name, set())
    assert not [opening for opening in OPENINGS if service.get(opening)]
    for mount in service.get("volumes", ()):
        source, _, rest = mount.partition(":")
        assert source in COMPOSE["volumes"] or (source.startswith("./") and ".." not in source), mount
        assert source in COMPOSE["volumes"] or rest.endswith(":ro"), f"{mount} can be written"


def test_the_server_is_nobody_with_one_folder() -> None:
    """T-O15: also where the image's own user were another."""
    service = SERVICES["hansa"]
    assert service["user"] == "10001:10001" and not service.get("entrypoint")
    assert [mount for mount in service["volumes"] if not mount.endswith(":ro")] == ["hansa:/data"]


def test_no_secret_gets_into_the_image() -> None:
    """T-O15: the builder has the sources alone, and what the image runs with names no secret."""
    lines = Path(DOCKER.parent, ".dockerignore").read_text("utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    sources = "pyproject.toml README.md LICENSE requirements/ homeserver/ federation/ search/ admin/ docker/image.toml"
    assert rules == ["*", *(f"!{name}" for name in sources.split()), "**/__pycache__"]
    told = (DOCKER / "image.toml").read_text("utf-8")
    assert not re.search("password|secret|token|dsn|key", told, flags=re.IGNORECASE)


@pytest.mark.parametrize("name", SERVICES)
def test_no_secret_stands_in_the_compose_file(name: str) -> None:
    """T-O15: secrets come from files that docker/prepare makes."""
    environment = SERVICES[name].get("environment", {})
    spoken = [key for key in environment if re.search("PASSWORD|SECRET|TOKEN|DSN", key) and "FILE" not in key]
    assert not spoken


def test_only_the_proxy_can_be_reached() -> None:
    """T-J1, T-O11: neither the database nor the metrics have a port on the machine; Grafana only on the loopback."""
    published = {name: service["ports"] for name, service in SERVICES.items() if service.get("ports")}
    assert set(published) == {"proxy", "grafana"}
    assert all(port.startswith("127.0.0.1:") for port in published["grafana"])


def test_what_is_mounted_is_there() -> None:
    for name, service in SERVICES.items():
        for mount in service.get("volumes", []):
            source = mount.split(":")[0]
            if not source.startswith("./"):
                assert source in COMPOSE["volumes"], f"{name} mounts the unknown volume {source}"
            elif not source.startswith("./secrets/") and source.removeprefix("./") not in MADE_BY_PREPARE:
                assert (DOCKER / source).exists(), f"{name} mounts {source}, which is not there"


def test_secrets_that_are_mounted_are_made() -> None:
    """T-A9: each is random and made on the operator's machine."""
    made = set(re.findall(r"^make_secret (\w+)", (DOCKER / "prepare").read_text("utf-8"), flags=re.MULTILINE))
    mounted = set(re.findall(r"\./secrets/(\w+)", (DOCKER / "compose.yaml").read_text("utf-8")))
    assert mounted == made


def test_image_runs_without_root_and_from_the_lock() -> None:
    """T-O15, T-O16: a numbered user, hashed packages, no remote files, pinned bases."""
    instructions = dockerfile()
    stages = [rest for word, rest in instructions if word == "FROM"]
    assert all(PINNED.fullmatch(stage.split()[0]) for stage in stages)
    last = instructions[max(i for i, (word, _) in enumerate(instructions) if word == "FROM") :]
    assert [rest for word, rest in last if word == "USER"] == ["10001:10001"]
    assert {"HEALTHCHECK", "ENTRYPOINT", "STOPSIGNAL", "VOLUME"} <= {word for word, _ in last}
    assert not [rest for word, rest in instructions if word == "ADD"]
    installs = [
        step for word, rest in instructions if word == "RUN" for step in rest.split("&&") if "pip install" in step
    ]
    assert installs and all("--require-hashes" in step or "--no-index" in step for step in installs)
    assert not [rest for word, rest in instructions if word in ("ENV", "ARG") and re.search("PASSWORD|SECRET", rest)]


def test_what_the_image_copies_reaches_the_builder() -> None:
    allowed = {
        line[1:].rstrip("/")
        for line in Path(DOCKER.parent, ".dockerignore").read_text().splitlines()
        if line[:1] == "!"
    }
    for word, rest in dockerfile():
        if word == "COPY" and not rest.startswith("--from"):
            for source in shlex.split(rest)[:-1]:
                assert source == "." or source in allowed or source.split("/")[0] in allowed, f"{source} is ignored"


@pytest.mark.parametrize("name", ["image.toml", "hansa.example.toml"])
def test_configurations_can_be_used(name: str, tmp_path: Path) -> None:
    secret = tmp_path / "dsn"
    secret.touch(mode=0o600)
    secret.write_text("postgresql://hansa:x@postgres/hansa")
    file = tmp_path / name
    file.write_text((DOCKER / name).read_text("utf-8").replace("/run/secrets/database_dsn", str(secret)))
    config = load_config(file, {})
    assert config.registration.mode != "open"
    assert any("metrics" in listener.apis and listener.port == 9008 for listener in config.listeners)
    assert not [listener for listener in config.listeners if listener.bind == "0.0.0.0" and "admin" in listener.apis]


def test_prepare_makes_private_secrets(tmp_path: Path) -> None:
    """T-O14, T-A9: secrets are random, for their owner only, and made once."""
    for name in ("prepare", "hansa.example.toml"):
        shutil.copy(DOCKER / name, tmp_path / name)

    def made_by_a_run() -> dict[str, str]:
        subprocess.run([tmp_path / "prepare", "chat.example.net"], check=True, capture_output=True)
        return {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()}

    made = made_by_a_run()
    assert made_by_a_run() == made
    assert len(set(made.values())) == len(made) == 4
    assert all(path.stat().st_mode & 0o077 == 0 for path in (tmp_path / "secrets").iterdir())
    assert made["postgres_password"].strip() in made["database_dsn"]
    assert 'server_name = "chat.example.net"' in (tmp_path / "hansa.toml").read_text()


def test_dashboard_and_alerts_ask_for_what_is_measured() -> None:
    """Every metric that a panel or an alert names is one that the server gives."""
    dashboard = json.loads((DOCKER / "grafana" / "dashboards" / "hansa.json").read_text("utf-8"))
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    alerts = yaml.safe_load((DOCKER / "alerts.yml").read_text("utf-8"))
    asked += [rule["expr"] for group in alerts["groups"] for rule in group["rules"]]
    names = {re.sub("_bucket$", "", name) for text in asked for name in re.findall(r"\b(?:hansa|process)_\w+", text)}
    source = "".join(path.read_text("utf-8") for path in (DOCKER.parent / "homeserver").rglob("*.py"))
    rendered = Metrics().render().decode()
    missing = {name for name in names if f'"{name}"' not in source and f"# HELP {name} " not in rendered}
    assert not missing, f"no part of the server gives {', '.join(sorted(missing))}"
