"""Which internet addresses belong to the public internet: what a URL from outside may make the gateway connect to."""

from __future__ import annotations

import ipaddress
from typing import Final, TypeAlias

Address: TypeAlias = "ipaddress.IPv4Address | ipaddress.IPv6Address"

_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")  # the last 32 bits are an IPv4 address: RFC 6052, 2.1
_ISATAP: Final = 0x5EFE  # in the middle of an address, before the IPv4 address of a tunnel: RFC 5214, 6.1
_NOT_PUBLIC: Final[tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]] = (
    # Translation that is a network's own business; where the IPv4 address stands in it, only that network knows.
    ipaddress.IPv6Network("64:ff9b:1::/48"),  # RFC 8215
    ipaddress.IPv6Network("::ffff:0:0:0/96"),  # RFC 2765
    ipaddress.IPv6Network("fec0::/10"),  # site-local, deprecated and still in use: RFC 3879
    ipaddress.IPv6Network("5f00::/16"),  # segment routing within a network: RFC 9602
    ipaddress.IPv6Network("3fff::/20"),  # documentation: RFC 9637
    ipaddress.IPv4Network("100.64.0.0/10"),  # carriers' own networks: RFC 6598
    ipaddress.IPv4Network("192.0.0.0/24"),  # protocols between neighbours: RFC 6890
    ipaddress.IPv4Network("192.88.99.0/24"),  # relays of tunnels, deprecated: RFC 7526
)
_V4_COMPATIBLE: Final = ipaddress.IPv6Network("::/96")  # deprecated, still routed to IPv4 by some systems


def is_public(text: str) -> bool:
    """Whether an IP address, as text, is one of the public internet; false for what is no IP address.

    An IPv6 address that carries an IPv4 address (mapped, 6to4, Teredo, ISATAP, NAT64) is judged by that one as well.
    """
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return all(_is_global(each) for each in (address, *_carried(address)))


def _is_global(address: Address) -> bool:
    if address in _NAT64:
        return True  # judged by the IPv4 address in it
    if any(address in network for network in _NOT_PUBLIC):
        return False
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)


def _carried(address: Address) -> list[ipaddress.IPv4Address]:
    if isinstance(address, ipaddress.IPv4Address):
        return []
    found = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    tunnel = (int(address) >> 32) & 0xFDFF_FFFF == _ISATAP  # with the bit that says whether IPv4 is global, or not
    if tunnel or address in _NAT64 or address in _V4_COMPATIBLE:
        found.append(ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF))
    return [each for each in found if each is not None]
