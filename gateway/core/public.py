"""Which internet addresses belong to the public internet: what a URL from outside may make the gateway connect to."""

from __future__ import annotations

import ipaddress
from typing import Final, TypeAlias

Address: TypeAlias = "ipaddress.IPv4Address | ipaddress.IPv6Address"

_NAT64: Final = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("64:ff9b:1::/48"))  # RFC 6052, RFC 8215
_SHARED: Final = ipaddress.IPv4Network("100.64.0.0/10")  # carriers' own networks, RFC 6598
_V4_COMPATIBLE: Final = ipaddress.IPv6Network("::/96")  # deprecated, still routed to IPv4 by some systems


def is_public(text: str) -> bool:
    """Whether an IP address, as text, is one of the public internet; false for what is no IP address.

    An IPv6 address that carries an IPv4 address (mapped, 6to4, Teredo, NAT64) is judged by that one as well.
    """
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return all(_is_global(each) for each in (address, *_carried(address)))


def _is_global(address: Address) -> bool:
    if isinstance(address, ipaddress.IPv6Address) and any(address in network for network in _NAT64):
        return True  # judged by the IPv4 address in it
    if isinstance(address, ipaddress.IPv4Address) and address in _SHARED:
        return False
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)


def _carried(address: Address) -> list[ipaddress.IPv4Address]:
    if isinstance(address, ipaddress.IPv4Address):
        return []
    found = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if any(address in network for network in _NAT64) or address in _V4_COMPATIBLE:
        found.append(ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF))
    return [each for each in found if each is not None]
