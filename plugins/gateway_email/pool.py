"""The kept connections of one sender: handed out one message at a time, replaced when spent, closed when idle."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

from gateway import Misconfigured, NotSent
from gateway_email.session import Session, Unusable

LOWERED_SECONDS: Final = 30.0  # how long a server's own limit on connections is believed before one more is tried


class Pool:
    """At most `limit` connections at once. Every session that `acquire` gives must come back by `release` or `discard`.

    While there is none, one caller connects and the others wait for how that ends: bad credentials are tried once, not
    once for each message in flight, and a server that is down is told to all of them at once. A server that refuses
    one more connection while others work has a limit of its own: what there is then serves all messages for a while.
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
            if session is None:
                session = await (self._grow() if self._may_grow() else self._wait_for_one())
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

    def _may_grow(self) -> bool:
        if not self._established:
            return self._size == 0
        lowered = asyncio.get_running_loop().time() < self._lowered_until
        return self._size < (min(self._limit, self._lowered_to) if lowered else self._limit)

    async def _grow(self) -> Session | None:
        """A new session. None if the server takes no more, but there are others that can be waited for."""
        self._size += 1
        try:
            session = await self._connect()
        except (NotSent, Unusable) as exc:
            self._size -= 1
            if self._size == 0:
                self._fail_all(exc)
                raise
            if isinstance(exc, Unusable) and isinstance(exc.outcome, Misconfigured):
                raise
            self._lowered_to = self._size
            self._lowered_until = asyncio.get_running_loop().time() + LOWERED_SECONDS
            return None
        except BaseException:
            self._size -= 1
            self._hand_on(None)
            raise
        self._established += 1
        if self._established == 1:
            self._wake_all()
        return session

    async def _wait_for_one(self) -> Session | None:
        """A session that came back, or None: look again. Raises what kept another caller from connecting."""
        waiter: asyncio.Future[Session | None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.cancelled():
                self._waiters.remove(waiter)
            elif waiter.exception() is None:  # it was served in the very moment of the cancellation
                session = waiter.result()
                self._hand_on(None) if session is None else self.release(session)
            raise

    def _hand_on(self, session: Session | None) -> bool:
        """Give the session, or the room for one, to who has waited longest. False if nobody waits."""
        for waiter in self._waiters:
            if not waiter.done():  # else it is cancelled, and about to remove itself
                self._waiters.remove(waiter)
                waiter.set_result(session)
                return True
        return False

    def _wake_all(self) -> None:
        while self._hand_on(None):
            pass

    def _fail_all(self, exc: NotSent | Unusable) -> None:
        for waiter in [waiter for waiter in self._waiters if not waiter.done()]:
            self._waiters.remove(waiter)
            waiter.set_exception(exc)

    def _forget(self, session: Session) -> None:
        self._size -= 1
        self._established -= 1
        self._hand_on(None)

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
