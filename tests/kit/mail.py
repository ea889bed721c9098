"""A real SMTP server that keeps what it is given."""

from __future__ import annotations

import asyncio
import email
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import policy
from typing import Any
from urllib.parse import urlsplit

from aiosmtpd.smtp import SMTP, Envelope, Session

from tests.kit.clock import FakeClock

ARRIVES_WITHIN_S = 60.0


@dataclass(frozen=True, slots=True)
class Arrived:
    """One mail as its reader sees it."""

    to: str
    subject: str
    text: str
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def link(self) -> str:
        """Path and query of the link in it."""
        [url] = re.findall(r"^https?://\S+$", self.text, re.MULTILINE)
        parts = urlsplit(url)
        return f"{parts.path}?{parts.query}"


@dataclass(slots=True)
class PostOffice:
    """What arrived, in order. `refusals` mails are refused first; `answers` is said to recipients, by address."""

    port: int = 0
    mails: list[Arrived] = field(default_factory=list)
    refusals: int = 0
    answers: dict[str, list[str]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        self.asked.append(address)
        said = self.answers.get(address)
        if said:
            return said.pop(0)
        envelope.rcpt_tos.append(address)
        return "250 fine"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        if self.refusals:
            self.refusals -= 1
            return "451 try again later"
        content = envelope.content
        assert isinstance(content, bytes)
        message: Any = email.message_from_bytes(content, policy=policy.default)
        [recipient] = envelope.rcpt_tos
        assert recipient == message["To"]
        headers = {str(name): str(value) for name, value in message.items()}
        text = message.get_content().replace("\r\n", "\n")
        self.mails.append(Arrived(recipient, message["Subject"], text, headers))
        return "250 kept"

    async def next(self, count: int = 1, *, clock: FakeClock | None = None) -> Arrived:
        """The newest mail once there are `count`. A clock that is given runs meanwhile."""
        async with asyncio.timeout(ARRIVES_WITHIN_S):
            for _ in range(100_000):
                if len(self.mails) >= count:
                    break
                if clock is not None:
                    clock.advance(1)
                await asyncio.sleep(0.01)
        return self.mails[-1]


@asynccontextmanager
async def post_office(*, starttls: ssl.SSLContext | None = None) -> AsyncIterator[PostOffice]:
    """With `starttls` nothing is taken before the connection is secured by it."""
    office = PostOffice()

    def speak() -> SMTP:
        return SMTP(office, tls_context=starttls, require_starttls=starttls is not None)

    server = await asyncio.get_running_loop().create_server(speak, "127.0.0.1", 0)
    office.port = server.sockets[0].getsockname()[1]
    try:
        yield office
    finally:
        server.close()


def mail_config(office: PostOffice) -> str:
    """The section of the configuration that sends mail there."""
    return (
        f'[email]\nsmtp_host = "127.0.0.1"\nsmtp_port = {office.port}\nsmtp_tls = "none"\n'
        'sender = "Hansa <noreply@hansa.test>"\nnext_link_hosts = ["app.hansa.test"]\n'
    )
