"""Which addresses a URL from outside may lead to: the tricks that are known, each of them."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.public import is_public


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "64:ff9b::808:808", "2002:808:808::1"])
def test_addresses_of_the_internet_are_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.255.255.254",
        "0.0.0.0",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",  # carriers' own networks
        "169.254.169.254",  # the metadata of many clouds
        "192.0.2.1",
        "198.18.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "fe80::1",
        "fe80::1%eth0",
        "fc00::1",
        "fd00:ec2::254",  # the metadata of a cloud, in its IPv6
        "ff02::1",
        "2001:db8::1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "::7f00:1",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "2002:7f00:1::",
        "2001:0:7f00:1::",
        "2606:4700::5efe:7f00:1",  # the address of a tunnel
        "2606:4700::200:5efe:a9fe:a9fe",
        "64:ff9b:1:7f00:0:100:808:808",  # 127.0.0.1 as RFC 6052 puts it behind 48 bits, beside a decoy
        "::ffff:0:127.0.0.1",
        "fec0::1",  # site-local
        "5f00::1",
        "3fff::1",
        "192.0.0.8",
        "192.88.99.1",
        "localhost",
        "2130706433",
        "0x7f.1",
        "",
    ],
)
def test_everything_else_is_not(address: str) -> None:
    assert not is_public(address)


@given(st.ip_addresses(network="127.0.0.0/8") | st.ip_addresses(network="10.0.0.0/8"))
def test_no_way_of_writing_a_private_address_into_ipv6_makes_it_public(
    private: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    number = int(private)
    for base in ("::ffff:0:0", "::", "64:ff9b::"):
        assert not is_public(str(ipaddress.IPv6Address(int(ipaddress.IPv6Address(base)) + number)))
    assert not is_public(str(ipaddress.IPv6Address((0x2002 << 112) + (number << 80))))
