"""Where a request comes from and which address its sender wrote: known directly, or told by trusted proxies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


def read_address(text: str) -> Address | None:
    """Read an address as proxies write it: with a port, in brackets, as IPv4 inside of IPv6. None for anything else."""
    text = text.strip().strip('"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def is_within(address: Address | None, networks: Sequence[Network]) -> bool:
    """Say whether an address lies in one of these networks; what is no address lies nowhere."""
    return address is not None and any(address in network for network in networks)


class Proxies:
    """Reads `X-Forwarded-*`, of those proxies that are trusted."""

    def __init__(self, trusted: Sequence[Network], public_url: str | None) -> None:
        self._trusted = trusted
        self._public_url = public_url

    def client(self, peer: str, headers: Mapping[str, str]) -> Address | None:
        """Return who has sent a request: `X-Forwarded-For` from the right, up to the first that is no trusted proxy.

        What stands further left anybody may have written. None when a trusted proxy names something else.
        """
        address = read_address(peer)
        hops = [hop for hop in headers.get("x-forwarded-for", "").split(",") if hop.strip()]
        while hops and is_within(address, self._trusted):
            address = read_address(hops.pop())
        return address

    def address(self, peer: str, headers: Mapping[str, str], target: str) -> str:
        """Return the address of a request, as its sender has written it.

        That is the setting `url`; without it what a trusted proxy says of scheme and host, and else the request itself.
        """
        if self._public_url is not None:
            return self._public_url + target
        scheme, host = "http", headers.get("host", "")
        if is_within(read_address(peer), self._trusted):
            scheme = _last(headers.get("x-forwarded-proto", "")) or scheme
            host = _last(headers.get("x-forwarded-host", "")) or host
        return f"{scheme}://{host}{target}"


def _last(value: str) -> str:
    return value.rpartition(",")[2].strip()
