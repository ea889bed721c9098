"""The ways out: the guarded client and the DNS."""

from __future__ import annotations

from homeserver.config import Config
from homeserver.web.addresses import AddressFilter
from homeserver.web.outgoing import OutgoingClient


def build_outgoing(config: Config) -> OutgoingClient:
    chosen = config.federation
    addresses = AddressFilter(deny=chosen.deny_ip_ranges, allow=chosen.allow_ip_ranges)
    return OutgoingClient(addresses, ca_path=chosen.ca_path)
