"""Signing requests to an S3-compatible store: AWS Signature Version 4. Pure.

https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-authenticating-requests.html
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import quote

UNSIGNED = "UNSIGNED-PAYLOAD"
EMPTY = hashlib.sha256(b"").hexdigest()
_ALGORITHM = "AWS4-HMAC-SHA256"


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    access_key_id: str
    secret_access_key: str = field(repr=False)
    region: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request as it is signed. `path` is encoded; `query` and `headers` are plain, the host among them."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]


def signed_headers(asked: Asked, payload_hash: str, now_ms: int, credentials: Credentials) -> dict[str, str]:
    """The headers of the request with those that prove who sends it."""
    stamp = _stamp(now_ms)
    headers = {
        **{name.lower(): value for name, value in asked.headers.items()},
        "x-amz-content-sha256": payload_hash,
        "x-amz-date": stamp,
    }
    names = ";".join(sorted(headers))
    scope = _scope(stamp, credentials)
    signature = _signature(asked.method, asked.path, asked.query, headers, payload_hash, stamp, credentials)
    headers["authorization"] = (
        f"{_ALGORITHM} Credential={credentials.access_key_id}/{scope}, SignedHeaders={names}, Signature={signature}"
    )
    return headers


def presigned_query(asked: Asked, lifetime_s: int, now_ms: int, credentials: Credentials) -> str:
    """The query string with which anybody may make this request for so long."""
    stamp = _stamp(now_ms)
    query = {
        **asked.query,
        "X-Amz-Algorithm": _ALGORITHM,
        "X-Amz-Credential": f"{credentials.access_key_id}/{_scope(stamp, credentials)}",
        "X-Amz-Date": stamp,
        "X-Amz-Expires": str(lifetime_s),
        "X-Amz-SignedHeaders": ";".join(sorted(name.lower() for name in asked.headers)),
    }
    signature = _signature(asked.method, asked.path, query, asked.headers, UNSIGNED, stamp, credentials)
    return f"{query_string(query)}&X-Amz-Signature={signature}"


def query_string(query: Mapping[str, str]) -> str:
    """Sorted and encoded as the signature wants it."""
    pairs = sorted((quote(name, safe="-_.~"), quote(value, safe="-_.~")) for name, value in query.items())
    return "&".join(f"{name}={value}" for name, value in pairs)


def _signature(
    method: str,
    path: str,
    query: Mapping[str, str],
    headers: Mapping[str, str],
    payload_hash: str,
    stamp: str,
    credentials: Credentials,
) -> str:
    lowered = sorted((name.lower(), " ".join(value.split())) for name, value in headers.items())
    lines = [
        method,
        path,
        query_string(query),
        *(f"{name}:{value}" for name, value in lowered),
        "",
        ";".join(name for name, _ in lowered),
        payload_hash,
    ]
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    text = "\n".join([_ALGORITHM, stamp, _scope(stamp, credentials), digest])
    key = f"AWS4{credentials.secret_access_key}".encode()
    for part in (stamp[:8], credentials.region, "s3", "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.digest(key, text.encode(), "sha256").hex()


def _scope(stamp: str, credentials: Credentials) -> str:
    return f"{stamp[:8]}/{credentials.region}/s3/aws4_request"


def _stamp(now_ms: int) -> str:
    return datetime.fromtimestamp(now_ms / 1000, UTC).strftime("%Y%m%dT%H%M%SZ")
