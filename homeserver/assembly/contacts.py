"""E-mail addresses of accounts: proving them, keeping them, telling identity servers."""

from __future__ import annotations

from dataclasses import dataclass

from homeserver.accounts.bindings import Bindings
from homeserver.accounts.captcha import Captcha
from homeserver.accounts.contacts import Contacts
from homeserver.accounts.email_stage import EmailProofs
from homeserver.accounts.email_validation import EmailValidation, MailTools
from homeserver.accounts.identity_servers import IdentityServers
from homeserver.accounts.uia import CAPTCHA, EMAIL
from homeserver.assembly.accounts import AccountParts
from homeserver.assembly.base import Base
from homeserver.client_api.address_proofs import AddressProofs
from homeserver.client_api.bindings import BindingEndpoints
from homeserver.client_api.contacts import ContactEndpoints, EmailTokens
from homeserver.web.pages import Pages, Widget
from homeserver.web.smtp import MailQueue, SmtpServer


@dataclass(frozen=True, slots=True, kw_only=True)
class ContactParts:
    """What other parts use of it."""

    pages: Pages
    mails: MailQueue | None
    validation: EmailValidation
    proofs: EmailProofs
    address_proofs: AddressProofs
    captcha: Captcha | None
    bindings: Bindings
    contacts: Contacts
    endpoints: list[object]


def build_contacts(base: Base, accounts: AccountParts) -> ContactParts:
    db, clock, config = base.world.db, base.world.clock, base.config
    pages, queue = Pages(base.server_name), _mail_queue(base)
    tools = MailTools(config.email, config.base_url, pages, queue)
    validation = EmailValidation(db, clock, base.world.randomness, tools)
    contacts = Contacts(db, clock, validation)
    proofs = EmailProofs(db, validation, contacts)
    address_proofs = AddressProofs(validation, base.limiter, base.world.randomness)
    bindings = Bindings(db, contacts, IdentityServers(base.outgoing, base.signer))
    captcha = None
    if config.captcha.site_key is not None and config.captcha.secret is not None:
        chosen = config.captcha
        captcha = Captcha(
            base.outgoing,
            site_key=chosen.site_key or "",
            secret=config.captcha.secret,
            verify_url=chosen.verify_url,
            widget=Widget(chosen.script_url, chosen.script_sources),
        )
        accounts.uia.add_stage(CAPTCHA, captcha.stage)
    accounts.uia.add_stage(EMAIL, proofs.stage)
    return ContactParts(
        pages=pages,
        mails=queue,
        validation=validation,
        proofs=proofs,
        address_proofs=address_proofs,
        captcha=captcha,
        bindings=bindings,
        contacts=contacts,
        endpoints=[
            pages,
            ContactEndpoints(contacts, accounts.uia),
            BindingEndpoints(bindings),
            EmailTokens(validation, address_proofs, pages),
        ],
    )


def _mail_queue(base: Base) -> MailQueue | None:
    chosen = base.config.email
    if chosen.smtp_host is None:
        return None
    server = SmtpServer(
        host=chosen.smtp_host,
        port=chosen.smtp_port,
        tls=chosen.smtp_tls,
        sender=chosen.sender,
        username=chosen.smtp_username,
        password=chosen.smtp_password,
        ca_path=str(chosen.smtp_ca_path) if chosen.smtp_ca_path else None,
    )
    queue = MailQueue(server, base.world.clock, base.world.randomness)
    base.tasks.forever(queue.run, name="mail")
    return queue
