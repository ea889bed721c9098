"""Which IP addresses no stranger may make us connect to. Pure: values in, a verdict out."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

JUDGED_MAX = 10_000
# Networks whose last 32 bits are an IPv4 address: NAT64 (its own prefix and a network's own), the stateless translation
# of RFC 2765, and the tunnels of RFC 4291, section 2.5.5.1, which are no more, but in some kernels.
_CARRIERS = [ip_network(text) for text in ("64:ff9b::/96", "64:ff9b:1::/48", "::ffff:0:0:0/96", "::/96")]
_NO_CARRIERS = (ip_address("::"), ip_address("::1"))


class AddressFilter:
    """Denied ranges, and the ranges that are let through although they are denied.

    An IPv6 address that carries an IPv4 address (mapped, translated, tunnelled) passes only where both may.
    """

    def __init__(self, *, deny: Iterable[str], allow: Iterable[str] = ()) -> None:
        self._deny = [ip_network(network, strict=False) for network in deny]
        self._allow = [ip_network(network, strict=False) for network in allow]
        self._judged: dict[str, bool] = {}

    def is_allowed(self, address: str) -> bool:
        """Whether this literal may be connected to; what is no IP literal may not. About 20 µs, once for each."""
        known = self._judged.get(address)
        if known is None:
            if len(self._judged) >= JUDGED_MAX:
                self._judged.clear()
            known = self._judged[address] = self._judge(address)
        return known

    def _judge(self, address: str) -> bool:
        try:
            parsed = ip_address(address.partition("%")[0])
        except ValueError:
            return False
        if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is not None:
            return self._may(parsed.ipv4_mapped)
        return self._may(parsed) and all(map(self._may, _carried(parsed)))

    def _may(self, address: IPv4Address | IPv6Address) -> bool:
        if any(address in network for network in self._allow):
            return True
        return not any(address in network for network in self._deny)


def _carried(address: IPv4Address | IPv6Address) -> list[IPv4Address]:
    """The IPv4 addresses that packets to this one may end up at."""
    if isinstance(address, IPv4Address):
        return []
    carried = [found for found in (address.sixtofour, *(address.teredo or ())) if found is not None]
    if address not in _NO_CARRIERS and any(address in network for network in _CARRIERS):
        carried.append(IPv4Address(int(address) & 0xFFFFFFFF))
    return carried
