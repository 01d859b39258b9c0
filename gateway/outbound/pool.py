"""The kept connections of one sender, to whatever hosts it speaks: bounded in number, and closed when they are idle."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import deque
from functools import cache
from typing import Final, NamedTuple

import aiohappyeyeballs

from gateway.contract import NotSent
from gateway.outbound.connection import Connection

CONNECT_SECONDS: Final = 10.0  # until there is a connection: waiting for a place, name, TCP and TLS together
IDLE_SECONDS: Final = 15.0  # shorter than what most servers keep a connection for
KEEP_MARGIN_SECONDS: Final = 1.0  # before the end that a server announces: a request on its way must not meet it
ADDRESSES_SECONDS: Final = 10.0  # of a name: connections are made in crowds
NAMES_MAX: Final = 64  # whose addresses are kept; a sender speaks to one or two
EYEBALLS_SECONDS: Final = 0.25  # before the next address is tried beside the first (RFC 8305, 5)


class Origin(NamedTuple):
    """What a connection leads to."""

    secure: bool
    host: str  # as names are looked up: no brackets, nothing but ASCII
    port: int


class _Waiter(NamedTuple):
    """Somebody for whom there is no place yet. The future: a connection, or None for the place of one."""

    origin: Origin
    turn: asyncio.Future[Connection | None]


class Pool:
    """At most `limit` connections at once. Whatever `acquire` gives must come back by `release` or `discard`."""

    def __init__(self, limit: int, tls: ssl.SSLContext | None) -> None:
        """`tls`: None for this machine's own trust."""
        self._limit = limit
        self._tls = tls
        self._idle: dict[Origin, list[Connection]] = {}  # the last one back is the first one out: the others grow old
        self._size = 0  # connections that exist or are being made
        self._waiters: deque[_Waiter] = deque()
        self._addresses: dict[tuple[str, int], tuple[float, asyncio.Task[list[aiohappyeyeballs.AddrInfoType]]]] = {}
        self._sweep: asyncio.TimerHandle | None = None

    @property
    def size(self) -> int:
        """How many connections exist or are being made."""
        return self._size

    def take(self, origin: Origin) -> Connection | None:
        """A kept connection that can be used at once; None: `acquire` one."""
        idle = self._idle.get(origin)
        return idle.pop() if idle and idle[-1].quiet and self._now() < idle[-1].kept_until else None

    async def acquire(self, origin: Origin) -> Connection:
        """A connection that is this caller's alone. NotSent if none can be had within `CONNECT_SECONDS`."""
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                return await self._settled(origin) or await self._grown(origin)
        except TimeoutError as exc:
            raise NotSent(f"{origin.host}:{origin.port} gave no connection within {CONNECT_SECONDS:g} s") from exc

    def release(self, connection: Connection, origin: Origin) -> None:
        """The exchange is over; if the connection is in order it may serve another."""
        if not connection.usable:
            self.discard(connection)
            return
        waiter = self._next_waiter()
        if waiter is None:
            self._keep(connection, origin)
        elif waiter.origin == origin:
            waiter.turn.set_result(connection)
        else:
            connection.abort()
            waiter.turn.set_result(None)

    def discard(self, connection: Connection) -> None:
        """Close it now."""
        connection.abort()
        self._give_up_place()

    def close(self) -> None:
        """Close what is idle. Nothing may be in use any more."""
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        for _, task in self._addresses.values():
            task.cancel()
        self._addresses.clear()
        while self._evict():
            pass

    # ---- inside ---------------------------------------------------------------------------------------------------

    def _keep(self, connection: Connection, origin: Origin) -> None:
        now, said = self._now(), connection.keep_seconds
        connection.kept_until = now + (IDLE_SECONDS if said is None else min(IDLE_SECONDS, said - KEEP_MARGIN_SECONDS))
        self._idle.setdefault(origin, []).append(connection)
        if self._sweep is None:
            self._sweep = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._close_idle)

    async def _settled(self, origin: Origin) -> Connection | None:
        """A kept connection that is still in order when what came over it unasked has been heard.

        Most often that is its end; over TLS it may be tickets for later sessions, which mean nothing.
        """
        idle = self._idle.get(origin, [])
        while idle:
            connection = idle.pop()
            try:
                # In the loop's first round the sockets are asked, in its second what they had to say has been heard.
                await asyncio.sleep(0)
                await asyncio.sleep(0)
            except asyncio.CancelledError:
                self.discard(connection)
                raise
            if connection.quiet and self._now() < connection.kept_until:
                return connection
            self.discard(connection)
        return None

    async def _grown(self, origin: Origin) -> Connection:
        """A new connection, in a place of its own: a free one, that of an idle connection, or the next."""
        while self._size >= self._limit and not self._evict():
            connection = await self._wait(origin)
            if connection is None:
                break
            if connection.quiet:
                return connection
            self.discard(connection)
        else:
            self._size += 1
        try:
            return await self._connect(origin)
        except BaseException:
            self._give_up_place()
            raise

    async def _wait(self, origin: Origin) -> Connection | None:
        """The next connection to `origin` that comes back, or None: the place of another is ours."""
        waiter = _Waiter(origin, asyncio.get_running_loop().create_future())
        self._waiters.append(waiter)
        try:
            return await waiter.turn
        except asyncio.CancelledError:
            if waiter in self._waiters:
                self._waiters.remove(waiter)
            elif not waiter.turn.cancelled():  # it was served in the very moment of the cancellation
                served = waiter.turn.result()
                self._give_up_place() if served is None else self.release(served, origin)
            raise

    async def _connect(self, origin: Origin) -> Connection:
        """NotSent. Cancellation leaves nothing open."""
        loop = asyncio.get_running_loop()
        tls, name = (self._tls or trusting_context(), origin.host) if origin.secure else (None, None)
        try:
            addresses = await self._resolved(origin)
            sock = await aiohappyeyeballs.start_connection(
                addresses, happy_eyeballs_delay=EYEBALLS_SECONDS, interleave=1, loop=loop
            )
            try:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                _, connection = await loop.create_connection(Connection, sock=sock, ssl=tls, server_hostname=name)
            except BaseException:
                sock.close()
                raise
        except (OSError, UnicodeError) as exc:
            raise NotSent(f"{origin.host}:{origin.port} cannot be reached: {type(exc).__name__} {exc}") from exc
        if not connection.usable:  # it was greeted with something, or with the end
            raise NotSent(f"{origin.host}:{origin.port} ended the connection before anything was written")
        return connection

    async def _resolved(self, origin: Origin) -> list[aiohappyeyeballs.AddrInfoType]:
        """The addresses of a host, looked up once for all who want them at the same time."""
        key = (origin.host, origin.port)
        since, task = self._addresses.get(key, (0.0, None))
        if task is None or self._now() - since > ADDRESSES_SECONDS or (task.done() and not _succeeded(task)):
            task = asyncio.ensure_future(look_up(origin))
            task.add_done_callback(_succeeded)  # whoever asked may be gone: its exception has been looked at
            if len(self._addresses) >= NAMES_MAX:
                self._addresses.clear()
            self._addresses[key] = (self._now(), task)
        return await asyncio.shield(task)

    def _next_waiter(self) -> _Waiter | None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.turn.done():  # else it is cancelled
                return waiter
        return None

    def _give_up_place(self) -> None:
        waiter = self._next_waiter()
        if waiter is None:
            self._size -= 1
        else:
            waiter.turn.set_result(None)

    def _evict(self) -> bool:
        """Close the connection that has been idle for the longest time; False if there is none."""
        oldest = min((idle for idle in self._idle.values() if idle), key=lambda idle: idle[0].kept_until, default=None)
        if oldest is None:
            return False
        self.discard(oldest.pop(0))
        return True

    def _close_idle(self) -> None:
        self._sweep = None
        now = self._now()
        for origin, idle in list(self._idle.items()):
            ended = [one for one in idle if not one.usable or now >= one.kept_until]
            for connection in ended:
                idle.remove(connection)
                self.discard(connection)
            if not idle:
                del self._idle[origin]
        if self._idle:
            self._sweep = asyncio.get_running_loop().call_later(IDLE_SECONDS / 3, self._close_idle)

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()


@cache
def trusting_context() -> ssl.SSLContext:
    """TLS with the certificates that this machine trusts, names checked. Making it takes a tenth of a second."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


async def look_up(origin: Origin) -> list[aiohappyeyeballs.AddrInfoType]:
    return list(await asyncio.get_running_loop().getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM))


def _succeeded(task: asyncio.Task[list[aiohappyeyeballs.AddrInfoType]]) -> bool:
    return not task.cancelled() and task.exception() is None
