"""The programs whose webhooks are understood: how each one signs, names its events, and is put into words. Pure."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from enum import Enum

from homeserver.webhooks import alerts, forges, plain
from homeserver.webhooks.messages import Message, Payload


class Source(Enum):
    """What a webhook is fed by."""

    GITHUB = "github"
    GITEA = "gitea"
    GITLAB = "gitlab"
    JENKINS = "jenkins"
    ALERTMANAGER = "alertmanager"
    GRAFANA = "grafana"
    SENTRY = "sentry"
    SLACK = "slack"
    JSON = "json"


# Where a source says which delivery this is: a repeated one is said once.
_DELIVERY = {
    Source.GITHUB: "X-GitHub-Delivery",
    Source.GITEA: "X-Gitea-Delivery",
    # Not its X-Gitlab-Event-UUID: events that come of one another share that.
    Source.GITLAB: "Idempotency-Key",
    Source.SENTRY: "Request-ID",
}

# How GitLab's signing tokens begin; its secret tokens, which are sent along, may be any text.
_SIGNING_TOKEN = "whsec_"


def render(source: Source, headers: Mapping[str, str], payload: Payload, template: str | None) -> Message | None:
    """What it says, or None for what people needn't hear of. `headers` is case-insensitive."""
    match source:
        case Source.GITHUB:
            return forges.github(headers.get("X-GitHub-Event", ""), payload)
        case Source.GITEA:
            return forges.gitea(headers.get("X-Gitea-Event", ""), payload)
        case Source.GITLAB:
            return forges.gitlab(payload)
        case Source.JENKINS:
            return alerts.jenkins(payload)
        case Source.ALERTMANAGER | Source.GRAFANA:
            return alerts.alertmanager(payload)
        case Source.SENTRY:
            return alerts.sentry(headers.get("Sentry-Hook-Resource", ""), payload)
        case Source.SLACK:
            return plain.slack(payload)
        case Source.JSON:
            return plain.json(payload, template)


def delivery_id(source: Source, headers: Mapping[str, str]) -> str | None:
    """What the source calls this delivery, also when it sends it again."""
    name = _DELIVERY.get(source)
    found = headers.get(name, "")[:200] if name is not None else ""
    return found or None


def is_signed(source: Source, headers: Mapping[str, str], body: bytes, secret: str) -> bool:
    """Whether the source proves that it knows the secret, in its own way; compared in constant time."""
    match source:
        case Source.GITHUB:
            return _is(headers.get("X-Hub-Signature-256", ""), "sha256=" + _digest(secret, body))
        case Source.GITEA:
            return _is(headers.get("X-Gitea-Signature", ""), _digest(secret, body))
        case Source.GITLAB if secret.startswith(_SIGNING_TOKEN):
            return _is_signed_as_standard(headers, body, secret)
        case Source.GITLAB:
            return _is(headers.get("X-Gitlab-Token", ""), secret)
        case Source.SENTRY:
            return _is(headers.get("Sentry-Hook-Signature", ""), _digest(secret, body))
        case Source.GRAFANA if "X-Grafana-Alerting-Signature" in headers:
            stamp = headers.get("X-Grafana-Alerting-Timestamp")
            signed = f"{stamp}:".encode() + body if stamp is not None else body
            return _is(headers.get("X-Grafana-Alerting-Signature", ""), _digest(secret, signed))
        case _:
            return _is(headers.get("Authorization", ""), f"Bearer {secret}")


def _is_signed_as_standard(headers: Mapping[str, str], body: bytes, secret: str) -> bool:
    """By a key in base64, over id, time and body. https://www.standardwebhooks.com"""
    try:
        key = base64.b64decode(secret.removeprefix(_SIGNING_TOKEN), validate=True)
    except (binascii.Error, ValueError):
        return False
    told = f"{headers.get('webhook-id', '')}.{headers.get('webhook-timestamp', '')}."
    signed = told.encode("utf-8", "surrogatepass") + body
    wanted = "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    # While a key is replaced there are several.
    return any(_is(given, wanted) for given in headers.get("webhook-signature", "").split(" ")[:10])


def _digest(secret: str, body: bytes) -> str:
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def _is(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), wanted.encode("utf-8", "surrogatepass"))
