"""Telling systemd how the daemon is: the whole of sd_notify(3) that it needs."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

READY = "READY=1"
STOPPING = "STOPPING=1"
ALIVE = "WATCHDOG=1"


def notify(state: str, environ: Mapping[str, str] = os.environ) -> bool:
    """Send one state (`READY`, `STOPPING`, `ALIVE`, `"STATUS=..."`) to the service manager.

    False if nobody listens: not started by systemd, or its socket is gone. Never raises, never waits.
    """
    path = environ.get("NOTIFY_SOCKET", "")
    if not path.startswith(("/", "@")):
        return False
    address = f"\0{path[1:]}" if path.startswith("@") else path  # @ stands for the abstract namespace
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as messenger:
        messenger.setblocking(False)
        try:
            messenger.sendto(state.encode(), address)
        except OSError:
            return False
    return True


def watchdog_seconds(environ: Mapping[str, str] = os.environ, pid: int | None = None) -> float | None:
    """After how many seconds without `ALIVE` systemd kills the daemon: send it twice in that time. None: never."""
    microseconds = environ.get("WATCHDOG_USEC", "")
    watched = environ.get("WATCHDOG_PID", "")
    if not microseconds.isdecimal() or int(microseconds) == 0:
        return None
    if watched and watched != str(os.getpid() if pid is None else pid):
        return None  # meant for another process, of which we inherited the environment
    return int(microseconds) / 1_000_000
