"""Which addresses requests may reach."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis.strategies import ip_addresses

from hark.actions.network_guard import BlockedAddressError, NetworkGuard, is_public

CLOSED = [
    *("0.0.0.0", "10.1.2.3", "100.64.0.1", "127.0.0.1", "127.8.8.8", "169.254.169.254", "172.16.0.1", "172.31.255.255"),
    *("192.0.0.8", "192.0.2.1", "192.168.1.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.1.1.1"),
    *("240.0.0.1", "255.255.255.255"),
    *("::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::10.0.0.1", "64:ff9b::a9fe:a9fe"),
    *("64:ff9b:1::1", "100::1", "fc00::1", "fd12:3456::1", "fe80::1", "fec0::1", "ff02::1", "2001:db8::1", "3fff::1"),
    *("2002:7f00:1::1", "2002:808:808::1", "2001::1", "2001:10::1"),
]
OPEN = ["1.1.1.1", "8.8.8.8", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8"]


@pytest.mark.parametrize("address", CLOSED)
def test_what_is_not_the_public_internet_is_closed(address: str) -> None:
    assert not NetworkGuard().allows(ip_address(address))


@pytest.mark.parametrize("address", OPEN)
def test_the_public_internet_is_open(address: str) -> None:
    assert NetworkGuard().allows(ip_address(address))


@given(ip_addresses(v=4))
def test_every_ipv4_address_is_judged_the_same_in_its_ipv6_forms(address: IPv4Address) -> None:
    for form in (f"::ffff:{address}", f"64:ff9b::{address}"):
        assert is_public(IPv6Address(form)) == is_public(address)


def test_an_operator_opens_networks_also_in_their_mapped_form() -> None:
    guard = NetworkGuard(["10.0.0.0/8", "fd00::/8"])
    assert guard.allows(ip_address("10.9.9.9"))
    assert guard.allows(ip_address("::ffff:10.9.9.9"))
    assert guard.allows(ip_address("fd00::1"))
    assert not guard.allows(ip_address("127.0.0.1"))


def test_no_socket_is_made_for_a_closed_address() -> None:
    with pytest.raises(BlockedAddressError):
        NetworkGuard().make_socket((socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("fe80::1%eth0", 80, 0, 2)))


def test_a_socket_is_made_for_an_open_address() -> None:
    made = NetworkGuard().make_socket((socket.AF_INET, socket.SOCK_STREAM, 6, "", ("8.8.8.8", 80)))
    try:
        assert made.family == socket.AF_INET
    finally:
        made.close()
