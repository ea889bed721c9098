"""What the operator reads when the server is up."""

from __future__ import annotations

from homeserver.config import Config, Listener


def welcome(config: Config, *, first_start: bool, command: str = "hansa") -> str:
    """Where it listens, which client to point where; at the first start also how to begin.

    `command` is what to type for `hansa` to reach this server: where the program is, and its configuration.
    """
    lines = [f"Hansa serves {config.server_name}"]
    lines += [f"  {_url(listener)}  {', '.join(listener.apis)}" for listener in config.listeners]
    lines += [f"  database   {'yours (database.dsn)' if config.database.dsn else config.database.embedded_path}", ""]
    if first_start:
        lines += [
            "First steps",
            f"  make an admin     {command} user create --admin NAME",
            f"  chat              in Element (or any client) choose the homeserver {config.base_url}",
            f"  new accounts      {_registration(config, command)}",
            f"  is all well?      {command} doctor",
            f"  the console       {config.base_url}/admin",
            "",
        ]
    return "\n".join(lines)


def _url(listener: Listener) -> str:
    scheme = "https" if listener.tls_certificate_path else "http"
    host = f"[{listener.bind}]" if ":" in listener.bind else listener.bind
    return f"{scheme}://{host}:{listener.port}"


def _registration(config: Config, command: str) -> str:
    return {
        "open": "anyone who reaches this server can register",
        "token": "by registration token",
        "off": f"made by you: {command} user create NAME",
    }[config.registration.mode]
