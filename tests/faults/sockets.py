"""How much of what was written to a socket of this machine the process at its other end has read."""

from __future__ import annotations

import asyncio
import fcntl
import struct
import termios
from pathlib import Path

ESTABLISHED = "01"  # proc(5), net/tcp: include/net/tcp_states.h
LOOK_SECONDS = 0.001


async def read_by_the_other(writer: asyncio.StreamWriter) -> bool:
    """Wait until everything that was written has been read by the other process; False: it has closed instead.

    What lies in a buffer of this process or of either socket does not count as read.
    """
    ours, theirs = (writer.get_extra_info(name)[1] for name in ("sockname", "peername"))
    while not writer.transport.is_closing():
        # In the order of the way, or what is between two of them would be missed.
        waiting = writer.transport.get_write_buffer_size() + _unsent(writer.get_extra_info("socket").fileno())
        unread = _unread(theirs, ours)
        if unread is None:
            return False
        if not waiting and not unread:
            return True
        await asyncio.sleep(LOOK_SECONDS)
    return False


def _unsent(descriptor: int) -> int:
    """Octets that have not arrived in the other socket (tcp(7), SIOCOUTQ)."""
    (octets,) = struct.unpack("i", fcntl.ioctl(descriptor, termios.TIOCOUTQ, bytes(4)))
    return int(octets)


def _unread(local: int, remote: int) -> int | None:
    """Octets in the socket from port `local` to port `remote` that its process has not read. None: it is closed."""
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, here, there, state, queues, *_ = line.split()
        if (_port(here), _port(there), state) == (local, remote, ESTABLISHED):
            return int(queues.partition(":")[2], 16)
    return None


def _port(address: str) -> int:
    return int(address.partition(":")[2], 16)
