"""Which network addresses outgoing requests may reach: the public internet, and what the operator opened.

The guard judges the address of the socket that is about to connect, after all name resolution. So spellings
(`2130706433`, `0x7f.1`, `[::ffff:127.0.0.1]`) and names that change their address between two look-ups do not matter.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# IANA IPv4 Special-Purpose Address Registry, with multicast and the reserved block. Written out because `is_global`
# differs between patch releases of Python 3.11 and counts multicast as global.
_CLOSED_V4 = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/3",
    )
)
_GLOBAL_UNICAST = IPv6Network("2000::/3")
# Inside of it: protocol assignments with Teredo and ORCHID, documentation, 6to4 (an IPv4 address in disguise).
_CLOSED_V6 = tuple(IPv6Network(text) for text in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"))
_NAT64 = IPv6Network("64:ff9b::/96")


class BlockedAddressError(OSError):
    """A socket was about to connect to an address that is not open; errno is EACCES."""

    def __init__(self) -> None:
        super().__init__(errno.EACCES, "the address is private or reserved")


def plain(address: Address) -> Address:
    """Return the IPv4 address that an IPv6 address stands for: IPv4-mapped, or NAT64 by the well-known prefix."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _NAT64:
            return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address


def is_public(address: Address) -> bool:
    """Tell whether an address belongs to the public internet."""
    address = plain(address)
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _CLOSED_V4)
    return address in _GLOBAL_UNICAST and not any(address in network for network in _CLOSED_V6)


class NetworkGuard:
    """Decides about addresses and makes sockets only for those that are open."""

    def __init__(self, allow: Sequence[Network | str] = ()) -> None:
        self._allowed = tuple(ip_network(network) for network in allow)

    def allows(self, address: Address) -> bool:
        """Tell whether a connection to this address may be made."""
        if is_public(address):
            return True
        return any(form in network for form in {address, plain(address)} for network in self._allowed)

    def make_socket(self, info: tuple[int, int, int, str, tuple[object, ...]]) -> socket.socket:
        """Make the socket for one result of getaddrinfo, just before it connects; raises BlockedAddressError."""
        family, kind, protocol, _, where = info
        if not self.allows(ip_address(str(where[0]).partition("%")[0])):
            raise BlockedAddressError
        return socket.socket(family=family, type=kind, proto=protocol)
