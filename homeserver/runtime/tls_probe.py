"""One TLS handshake, for people who look why another server can't be reached."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

_WAIT_S = 8.0


class NoConnection(Exception):
    """Nothing that speaks TLS answers there; the text says why."""


class BadCertificate(Exception):
    """There is a certificate, and it isn't to be trusted; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """A certificate that was verified. `names` are what it is valid for, `tls` is the protocol spoken."""

    names: tuple[str, ...]
    issuer: str
    valid_until_ms: int
    tls: str


class TlsProbe(Protocol):
    async def certificate(self, address: str, port: int, name: str) -> Certificate:
        """The certificate of whoever listens at an IP address, verified for a name.

        Raises NoConnection and BadCertificate.
        """
        ...


class SystemTlsProbe:
    """Implements TlsProbe. `ca_path` names authorities that are trusted beside the system's."""

    def __init__(self, ca_path: Path | None = None) -> None:
        self._context = ssl.create_default_context()
        if ca_path is not None:
            self._context.load_verify_locations(ca_path)

    async def certificate(self, address: str, port: int, name: str) -> Certificate:
        try:
            async with asyncio.timeout(_WAIT_S):
                _, writer = await asyncio.open_connection(address, port, ssl=self._context, server_hostname=name)
        except ssl.SSLCertVerificationError as error:
            raise BadCertificate(error.verify_message or str(error)) from None
        except TimeoutError:
            raise NoConnection(f"no answer in {_WAIT_S:.0f} s") from None
        except ssl.SSLError as error:
            raise NoConnection(f"no TLS: {error.reason or error}") from None
        except (OSError, ValueError) as error:
            raise NoConnection(str(error)) from None
        try:
            return _read(writer.get_extra_info("ssl_object"))
        finally:
            writer.close()
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(1.0):
                    await writer.wait_closed()


def _read(connection: Any) -> Certificate:
    found = connection.getpeercert()
    issuer = {name: value for part in found.get("issuer", ()) for name, value in part}
    return Certificate(
        names=tuple(str(value) for _, value in found.get("subjectAltName", ())),
        issuer=str(issuer.get("organizationName") or issuer.get("commonName") or "somebody unnamed"),
        valid_until_ms=int(ssl.cert_time_to_seconds(found["notAfter"])) * 1000,
        tls=str(connection.version()),
    )
