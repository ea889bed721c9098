"""A certificate authority for tests, and servers' certificates from it."""

from __future__ import annotations

import ssl
from pathlib import Path

import trustme


class Authority:
    """Made anew for each test; `ca_path` is what clients are told to trust."""

    def __init__(self, folder: Path) -> None:
        self._ca = trustme.CA()
        self._folder = folder
        self.ca_path = folder / "ca.pem"
        self._ca.cert_pem.write_to_path(str(self.ca_path))

    def server_context(self, *names: str) -> ssl.SSLContext:
        """TLS for a server that is any of these names or addresses."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._ca.issue_cert(*names).configure_cert(context)
        return context

    def server_files(self, *names: str) -> tuple[Path, Path]:
        """The certificate chain and the private key, as the configuration of a listener names them."""
        issued = self._ca.issue_cert(*names)
        certificate, key = self._folder / f"{names[0]}.crt", self._folder / f"{names[0]}.key"
        certificate.write_bytes(b"".join(part.bytes() for part in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(str(key))
        key.chmod(0o600)
        return certificate, key
