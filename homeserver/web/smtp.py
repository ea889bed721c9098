"""Sending mail by SMTP. Certificates are always verified. spec: RFC 5321, RFC 8314

A mail waits in a bounded queue, so that no answer tells by its time whether one was sent. One that can't be delivered
now (the server is away, or puts strangers off at first) is tried again a few times, while others go; one that is
refused for good is given up at once. Whoever waits for it asks again.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import formatdate
from typing import Literal

import aiosmtplib
import structlog

from homeserver.config.options import Secret
from homeserver.runtime.bell import Bell
from homeserver.runtime.clock import Clock
from homeserver.runtime.ids import Randomness

log = structlog.get_logger()

QUEUE_MAX = 1_000
# After the first try, the second, and so on. Servers that put off what they don't know want some minutes.
RETRIES_AFTER_S = (20.0, 60.0, 330.0, 900.0)
TIMEOUT_S = 30.0  # for each step
DELIVERY_S = 90.0
IDLE_S = 3_600.0

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
    # For one mail, all its steps together.
    delivery_s: float = DELIVERY_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Mail:
    """A mail to one address, as plain text. `unsubscribe` is a URL that ends such mails when it is posted to."""

    to: str
    subject: str
    text: str
    unsubscribe: str | None = None


class MailQueue:
    """Takes mails and hands them to the server, one after the other."""

    def __init__(self, server: SmtpServer, clock: Clock, randomness: Randomness) -> None:
        self._server = server
        self._clock = clock
        self._randomness = randomness
        self._waiting: deque[tuple[Mail, int]] = deque()
        # Put off until a time; the number keeps mails of one time apart.
        self._later: list[tuple[float, int, Mail, int]] = []
        self._put_off = 0
        self._bell = Bell()

    def put(self, mail: Mail) -> bool:
        """False when too many wait already: then it is dropped."""
        if len(self._waiting) + len(self._later) >= QUEUE_MAX:
            log.warning("mail_dropped", waiting=len(self._waiting), put_off=len(self._later))
            return False
        self._waiting.append((mail, 1))
        self._bell.ring()
        return True

    async def run(self) -> None:
        """One mail, as a background task does it again and again."""
        mail, attempt = await self._next()
        try:
            async with asyncio.timeout(self._server.delivery_s):
                await self._send(mail)
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            again = attempt <= len(RETRIES_AFTER_S) and not _is_for_good(error)
            log.warning("mail_not_sent", attempt=attempt, error=type(error).__name__, again=again)
            if again:
                self._put_off += 1
                due = self._clock.monotonic_s() + RETRIES_AFTER_S[attempt - 1]
                heapq.heappush(self._later, (due, self._put_off, mail, attempt + 1))

    async def _next(self) -> tuple[Mail, int]:
        """New ones first: whoever sends many that can't be delivered holds up nobody."""
        while True:
            self._bell.answer()
            if self._waiting:
                return self._waiting.popleft()
            wait_s = self._later[0][0] - self._clock.monotonic_s() if self._later else IDLE_S
            if wait_s <= 0:
                _, _, mail, attempt = heapq.heappop(self._later)
                return mail, attempt
            await self._bell.wait(self._clock, wait_s)

    async def _send(self, mail: Mail) -> None:
        server = self._server
        message = EmailMessage()
        message["From"] = server.sender
        message["To"] = mail.to
        message["Subject"] = mail.subject
        message["Date"] = formatdate(self._clock.now_ms() / 1000)
        message["Message-ID"] = f"<{self._randomness.token(16)}@{server.sender.rpartition('@')[2].strip('> ')}>"
        message["Auto-Submitted"] = "auto-generated"
        if mail.unsubscribe is not None:
            # Readers show a button for it. RFC 8058
            message["List-Unsubscribe"] = f"<{mail.unsubscribe}>"
            message["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
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


def _is_for_good(error: Exception) -> bool:
    """Whether another try can't help: the server's answer is final. RFC 5321, section 4.2.1"""
    if isinstance(error, aiosmtplib.SMTPRecipientsRefused):
        return all(one.code >= 500 for one in error.recipients)
    if isinstance(error, aiosmtplib.SMTPAuthenticationError):
        return False  # the operator mends it
    return isinstance(error, aiosmtplib.SMTPResponseException) and error.code >= 500
