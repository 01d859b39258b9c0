"""The names that a daemon on loopback answers to."""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from urllib.parse import urlsplit

from gateway.errors import Refused


def loopback_hosts(public_url: str | None) -> frozenset[str]:
    """The names that a daemon on loopback answers to: `localhost`, loopback addresses, and that of its public URL.

    A page in a browser on this machine can have its own name resolved to 127.0.0.1 (DNS rebinding); its requests carry
    that name in `Host`, and are refused.
    """
    public = urlsplit(public_url).hostname if public_url else None
    return frozenset({"localhost"} | ({public} if public else set()))


def check_host(host: str, hosts: frozenset[str] | None) -> None:
    """Refused where a request was sent to another name. None: any will do."""
    if hosts is not None and not is_ours(host, hosts):
        detail = f"This daemon does not answer to the name {host!r}: set [server] public_url if it is yours."
        raise Refused("host_not_allowed", detail)


@lru_cache(maxsize=256)
def is_ours(host: str, hosts: frozenset[str]) -> bool:
    """Whether a name, with or without a port, is one of `hosts` or a loopback address."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name in hosts or ipaddress.ip_address(name).is_loopback
    except ValueError:  # a name that is none of ours, or nothing that could be a name
        return False
