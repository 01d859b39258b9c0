"""Going out to URLs that came from callers: to the public internet only, unless the operator allows more.

Such a URL must not make the daemon ask its own machine or network. A name is resolved once, to public addresses only,
and the connection goes to one of those; whatever spelling of an address gets past that, its socket is never made.
"""

from __future__ import annotations

import socket
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

from gateway.core.public import is_public

SCHEMES: Final = frozenset({"http", "https"})


class PublicOnly(AbstractResolver):
    """Resolves names to public addresses. OSError where there is none, as if the name did not exist."""

    def __init__(self) -> None:
        self._inner = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = [each for each in await self._inner.resolve(host, port, family) if is_public(each["host"])]
        if not found:
            raise OSError(None, f"{host} has no public address")
        return found

    async def close(self) -> None:
        await self._inner.close()


def connector(connections: int, *, allow_private: bool) -> aiohttp.TCPConnector:
    """For a session that goes to callers' URLs, with at most so many connections to all of them together."""
    if allow_private:
        return aiohttp.TCPConnector(limit=connections)
    return aiohttp.TCPConnector(limit=connections, resolver=PublicOnly(), socket_factory=_public_socket)


def refusal(url: str, *, allow_private: bool) -> str | None:
    """Why nobody goes to `url`, as the end of a sentence; None if its name only has to be resolved.

    aiohttp does not resolve addresses that are written as numbers: they are looked at here.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError as exc:
        return f"is no URL: {exc}"
    if parts.scheme not in SCHEMES or not host:
        return "is no http or https URL"
    home = host.rstrip(".").endswith(".localhost") or host.rstrip(".") == "localhost"  # RFC 6761, 6.3
    if not allow_private and (home or (_is_number(host) and not is_public(host))):
        return f"leads to {host}, which is not on the public internet"
    return None


def _is_number(host: str) -> bool:
    """What aiohttp connects to without asking the resolver: an address in its usual spelling."""
    return ":" in host or host.replace(".", "").isdigit()


def _public_socket(address: tuple[Any, ...]) -> socket.socket:
    """The last look, at the address that is about to be connected to."""
    family, kind, protocol, _, where = address
    if not is_public(where[0]):
        raise OSError(None, f"{where[0]} is not on the public internet")
    return socket.socket(family=family, type=kind, proto=protocol)
