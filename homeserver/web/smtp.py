"""Sending mail by SMTP. Certificates are always verified. spec: RFC 5321, RFC 8314

A mail waits in a bounded queue, so that no answer tells by its time whether one was sent. One that can't be delivered
is tried three times and then given up: whoever waits for it asks again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import formatdate
from typing import Literal

import aiosmtplib
import structlog

from homeserver.config.options import Secret
from homeserver.runtime.clock import Clock
from homeserver.runtime.ids import Randomness

log = structlog.get_logger()

QUEUE_MAX = 1_000
TRIES_MAX = 3
RETRY_AFTER_S = 20.0
TIMEOUT_S = 30.0

Tls = Literal["starttls", "tls", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SmtpServer:
    """The server that takes our mail. `tls = "none"` is for one on this machine."""

    host: str
    port: int
    tls: Tls
    sender: str
    username: str | None = None
    password: Secret | None = None
    ca_path: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Mail:
    """A mail to one address, as plain text."""

    to: str
    subject: str
    text: str


class MailQueue:
    """Takes mails and hands them to the server, one after the other."""

    def __init__(self, server: SmtpServer, clock: Clock, randomness: Randomness) -> None:
        self._server = server
        self._clock = clock
        self._randomness = randomness
        self._waiting: deque[tuple[Mail, int]] = deque()
        self._arrived = asyncio.Event()

    def put(self, mail: Mail) -> bool:
        """False when too many wait already: then it is dropped."""
        if len(self._waiting) >= QUEUE_MAX:
            log.warning("mail_dropped", waiting=len(self._waiting))
            return False
        self._waiting.append((mail, 1))
        self._arrived.set()
        return True

    async def run(self) -> None:
        """One mail, as a background task does it again and again."""
        while not self._waiting:
            self._arrived.clear()
            await self._arrived.wait()
        mail, attempt = self._waiting.popleft()
        try:
            await self._send(mail)
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            log.warning("mail_not_sent", attempt=attempt, error=type(error).__name__)
            if attempt < TRIES_MAX and not isinstance(error, aiosmtplib.SMTPRecipientsRefused):
                self._waiting.append((mail, attempt + 1))
                await self._clock.sleep(RETRY_AFTER_S * attempt)

    async def _send(self, mail: Mail) -> None:
        server = self._server
        message = EmailMessage()
        message["From"] = server.sender
        message["To"] = mail.to
        message["Subject"] = mail.subject
        message["Date"] = formatdate(self._clock.now_ms() / 1000)
        message["Message-ID"] = f"<{self._randomness.token(16)}@{server.sender.rpartition('@')[2].strip('> ')}>"
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(mail.text)
        await aiosmtplib.send(
            message,
            hostname=server.host,
            port=server.port,
            use_tls=server.tls == "tls",
            start_tls=server.tls == "starttls",
            username=server.username,
            password=server.password.reveal() if server.password else None,
            cert_bundle=server.ca_path,
            timeout=TIMEOUT_S,
            local_hostname="localhost",
        )
