"""The kept connections of one sender: handed out one message at a time, replaced when spent, closed when idle."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

from gateway import NotSent, Retry
from gateway_email.session import Session, Unusable

LOWERED_SECONDS: Final = 30.0  # how long a server's own limit on connections is believed before one more is tried


class Pool:
    """At most `limit` connections at once. Every session that `acquire` gives must come back by `release` or `discard`.

    A server that refuses one more connection while others work has a limit of its own: then the sessions there are
    serve all messages for a while. Only when there is none left does a failure to connect reach the caller.
    """

    def __init__(
        self, connect: Callable[[], Awaitable[Session]], *, limit: int, uses: int, idle_seconds: float
    ) -> None:
        """`uses`: messages after which a connection is replaced. `idle_seconds`: then one without work is closed."""
        self._connect = connect
        self._limit = limit
        self._uses = uses
        self._idle_seconds = idle_seconds
        self._idle: list[Session] = []  # the last one back is the first one out: the others grow old and are closed
        self._size = 0  # connections that exist or are being made
        self._established = 0  # connections that exist
        self._waiters: deque[asyncio.Future[Session | None]] = deque()
        self._lowered_to = limit
        self._lowered_until = 0.0
        self._sweep: asyncio.TimerHandle | None = None
        self._farewells: set[asyncio.Task[None]] = set()

    @property
    def size(self) -> int:
        """How many connections exist or are being made."""
        return self._size

    async def acquire(self) -> Session:
        """A session that is this caller's alone: a kept one, a new one, or the next that comes back.

        Raises what connecting raises. Cancelled while waiting, it leaves nothing behind.
        """
        while True:
            session = self._take_idle()
            if session is None and self._size < self._ceiling():
                session = await self._grow()
            elif session is None:
                session = await self._wait_for_one()
            if session is not None:
                return session

    def release(self, session: Session) -> None:
        """The session is in order and may serve another message."""
        if not session.alive:
            self.discard(session)
        elif session.transactions >= self._uses:
            self._forget(session)
            self._say_goodbye(session)
        elif not self._hand_on(session):
            session.idle_since = asyncio.get_running_loop().time()
            self._idle.append(session)
            self._plan_sweep()

    def discard(self, session: Session) -> None:
        """The session is not in order: close it now."""
        session.abort()
        self._forget(session)

    async def close(self) -> None:
        """Close what is idle, politely but within two seconds. Nothing may be in use any more."""
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        while self._idle:
            session = self._idle.pop()
            self._forget(session)
            self._say_goodbye(session)
        if self._farewells:
            await asyncio.wait(self._farewells)

    # ---- inside ---------------------------------------------------------------------------------------------------

    def _take_idle(self) -> Session | None:
        while self._idle:
            session = self._idle.pop()
            if session.alive:
                return session
            self.discard(session)
        return None

    def _ceiling(self) -> int:
        lowered = asyncio.get_running_loop().time() < self._lowered_until
        return min(self._limit, max(1, self._lowered_to)) if lowered else self._limit

    async def _grow(self) -> Session | None:
        """A new session. None if the server takes no more, but some are at work that can be waited for."""
        self._size += 1
        try:
            session = await self._connect()
        except BaseException as exc:
            self._size -= 1
            self._wake_one()
            if self._established and _may_be_a_limit(exc):
                self._lowered_to = self._established
                self._lowered_until = asyncio.get_running_loop().time() + LOWERED_SECONDS
                return None
            raise
        self._established += 1
        return session

    async def _wait_for_one(self) -> Session | None:
        """A session that came back, or None: there is room for a new one."""
        waiter: asyncio.Future[Session | None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.cancelled():
                self._waiters.remove(waiter)
            elif (session := waiter.result()) is not None:  # it was handed over in the very moment of the cancellation
                self.release(session)
            else:
                self._wake_one()
            raise

    def _hand_on(self, session: Session | None) -> bool:
        """Give the session, or the room for one, to who has waited longest. False if nobody waits."""
        while self._waiters:
            waiter = self._waiters[0]
            if not waiter.done():
                self._waiters.popleft()
                waiter.set_result(session)
                return True
            self._waiters.rotate(-1)  # cancelled, and about to remove itself
            if all(other.done() for other in self._waiters):
                return False
        return False

    def _wake_one(self) -> None:
        self._hand_on(None)

    def _forget(self, session: Session) -> None:
        self._size -= 1
        self._established -= 1
        self._wake_one()

    def _say_goodbye(self, session: Session) -> None:
        """QUIT beside everything else: no message waits for it."""
        task = asyncio.get_running_loop().create_task(session.quit())
        self._farewells.add(task)
        task.add_done_callback(self._farewells.discard)

    def _plan_sweep(self) -> None:
        if self._sweep is None:
            self._sweep = asyncio.get_running_loop().call_later(self._idle_seconds, self._close_idle)

    def _close_idle(self) -> None:
        self._sweep = None
        oldest = asyncio.get_running_loop().time() - self._idle_seconds
        for session in [session for session in self._idle if session.idle_since <= oldest]:
            self._idle.remove(session)
            self._forget(session)
            self._say_goodbye(session)
        if self._idle:
            self._plan_sweep()


def _may_be_a_limit(exc: BaseException) -> bool:
    """Whether a failure to connect may come from too many connections, and not from credentials or a cancellation."""
    return isinstance(exc, NotSent) or (isinstance(exc, Unusable) and isinstance(exc.outcome, Retry))
