"""Keeps a test on this machine: connections and look-ups of names beyond loopback are refused, and told."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final
from unittest.mock import patch

from gateway.testing.conformance_checks import promise

HERE: Final = frozenset({"", "localhost", "localhost.localdomain", "ip6-localhost"})


class BeyondLoopback(ConnectionRefusedError):
    """A test tried to reach another machine."""


def is_here(host: object) -> bool:
    """Whether a host, as given to `connect` or `getaddrinfo`, is this machine."""
    if host is None:
        return True
    name = host.decode("ascii", "replace") if isinstance(host, bytes) else str(host)
    try:
        return ipaddress.ip_address(name.partition("%")[0]).is_loopback
    except ValueError:
        return name.lower() in HERE


@contextmanager
def loopback() -> Iterator[list[str]]:
    """Until the block ends, whatever leaves this machine is refused. Broken at its end if anything tried.

    The list is of what tried. It sees Python's own sockets: asyncio's event loop, `http.client`, `requests`; a library
    with sockets of its own (uvloop, libcurl) goes unseen.
    """
    tried: list[str] = []

    def refuse(host: object) -> None:
        tried.append(str(host))
        raise BeyondLoopback(f"{host} is beyond this machine")

    def guarded(original: Callable[..., Any]) -> Callable[..., Any]:
        """`connect(address)`, `sendto(bytes, address)`, `sendto(bytes, flags, address)`: the address comes last."""

        def reach(self: socket.socket, *arguments: Any) -> Any:
            if self.family in {socket.AF_INET, socket.AF_INET6} and not is_here(arguments[-1][0]):
                refuse(arguments[-1][0])
            return original(self, *arguments)

        return reach

    resolve = socket.getaddrinfo

    def getaddrinfo(host: Any, *arguments: Any, **named: Any) -> Any:
        if not is_here(host):
            refuse(host)
        return resolve(host, *arguments, **named)

    with (
        patch.object(socket, "getaddrinfo", getaddrinfo),
        patch.object(socket.socket, "connect", guarded(socket.socket.connect)),
        patch.object(socket.socket, "connect_ex", guarded(socket.socket.connect_ex)),
        patch.object(socket.socket, "sendto", guarded(socket.socket.sendto)),
    ):
        yield tried
    promise(
        not tried,
        f"The code under test tried to reach {sorted(set(tried))}. Tests speak to nothing beyond this machine: "
        "use `tools.http`, or a server on 127.0.0.1.",
    )
