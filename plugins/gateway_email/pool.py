"""The kept connections of one sender: messages are handed to them, they are replaced when spent, closed when idle."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Final

from gateway import Misconfigured, NotSent
from gateway_email.deadlines import Deadlines
from gateway_email.handshake import Unusable
from gateway_email.replies import Reply
from gateway_email.session import Session
from gateway_email.transaction import Transaction

LOWERED_SECONDS: Final = 30.0  # how long a server's own limit on connections is believed before one more is tried
QUICK_SECONDS: Final = 0.02  # a server that answers a text sooner is sent the next one behind it, rather than beside it


class Pool:
    """At most `limit` connections at once, and a queue of the messages that wait for one.

    While there is none, one is tried, and all wait for how that ends: bad credentials are tried once, not once for each
    message in flight, and a server that is down is told to all of them at once. A server that refuses one more
    connection while others work has a limit of its own: what there is then serves all messages for a while.

    Where the server takes the next envelope behind a text (`Session.capacity`) and is quick, two messages share a
    connection: half the connections, half the system calls. A slow one gets a connection for each as far as allowed,
    for there the second would wait for the first.
    """

    def __init__(
        self, connect: Callable[[], Coroutine[None, None, Session]], *, limit: int, uses: int, idle_seconds: float
    ) -> None:
        """`uses`: messages after which a connection is replaced. `idle_seconds`: then one without work is closed."""
        self._connect = connect
        self._limit = limit
        self._uses = uses
        self._idle_seconds = idle_seconds
        self._sessions: set[Session] = set()
        self._idle: dict[
            Session, None
        ] = {}  # the last one back is the first one out: the others grow old and are closed
        self._roomy: dict[Session, None] = {}  # at work, with room for one more; the first one is served first
        self._waiting: deque[Transaction] = deque()
        self._connecting: set[asyncio.Task[Session]] = set()
        self._deadlines = Deadlines(self._expire)
        self._shared = 1  # messages that a new connection is expected to serve at once
        self._lowered_to = limit
        self._lowered_until = 0.0
        self._sweep: asyncio.TimerHandle | None = None
        self._farewells: set[asyncio.Task[None]] = set()

    @property
    def size(self) -> int:
        """How many connections exist or are being made."""
        return len(self._sessions) + len(self._connecting)

    async def hand_over(self, message: Transaction) -> Reply:
        """Send it over a kept connection, a new one, or the next that has room; the answer to its text.

        Raises what the message ended with (`Transaction`), or what kept us from connecting. Cancelled, it leaves
        nothing behind.
        """
        self._deadlines.watch(message)
        session = None if self._waiting else self._with_room()
        if session is None:
            self._waiting.append(message)
            self._place()
        else:
            session.take(message)
            self._file(session)
        try:
            return await message.answer
        except asyncio.CancelledError:
            self._withdraw(message)
            raise
        finally:
            self._deadlines.forget(message)

    async def close(self) -> None:
        """Close what is idle, politely but within two seconds. Nothing may be in use any more."""
        self._deadlines.stop()
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        for session in list(self._sessions):
            self._forget(session)
            self._say_goodbye(session)
        self._stop_connecting()
        ending: set[asyncio.Task[None] | asyncio.Task[Session]] = {*self._farewells, *self._connecting}
        if ending:
            await asyncio.wait(ending)

    # ---- messages to sessions -------------------------------------------------------------------------------------

    def _place(self) -> None:
        """Hand out what waits as far as there is room, and connect for the rest."""
        while self._waiting:
            session = self._with_room()
            if session is None:
                self._grow()
                return
            message = self._waiting.popleft()
            if not message.answer.done():  # else it is cancelled, and about to withdraw
                session.take(message)
                self._file(session)

    def _with_room(self) -> Session | None:
        """The session for the next message: behind another one's text, idle, or none yet."""
        if self._roomy:
            session = next(iter(self._roomy))
            if session.answer_seconds < QUICK_SECONDS or not (self._idle or self._may_grow()):
                return session
        return next(reversed(self._idle)) if self._idle else None

    def _file(self, session: Session) -> None:
        """Put it where it is found: its load has changed."""
        load = session.load
        if load >= session.capacity or not session.usable or session.transactions >= self._uses:
            self._idle.pop(session, None)
            self._roomy.pop(session, None)
            if load == 0 and session in self._sessions:
                self._forget(session)
                self._say_goodbye(session)
        elif load:
            self._idle.pop(session, None)
            self._roomy[session] = None
        else:
            self._roomy.pop(session, None)
            self._idle[session] = None
            session.idle_since = asyncio.get_running_loop().time()
            self._plan_sweep()

    def _freed(self, session: Session) -> None:
        self._file(session)
        if self._waiting:
            self._place()

    def _withdraw(self, message: Transaction) -> None:
        """It is given up. What was being made for it alone is given up too."""
        if message not in self._waiting:
            any(session.withdraw(message) for session in list(self._sessions))
            return
        self._waiting.remove(message)
        if not self._waiting:
            self._stop_connecting()

    def _expire(self, message: Transaction) -> None:
        message.overdue()
        self._withdraw(message)

    # ---- connections that come and go -----------------------------------------------------------------------------

    def _may_grow(self) -> bool:
        if not self._sessions:
            return not self._connecting
        lowered = asyncio.get_running_loop().time() < self._lowered_until
        return self.size < (min(self._limit, self._lowered_to) if lowered else self._limit)

    def _grow(self) -> None:
        while len(self._waiting) > self._shared * len(self._connecting) and self._may_grow():
            task = asyncio.get_running_loop().create_task(self._connect())
            self._connecting.add(task)
            task.add_done_callback(self._connected)

    def _connected(self, task: asyncio.Task[Session]) -> None:
        self._connecting.discard(task)
        if not task.cancelled():
            exc = task.exception()
            if exc is None and task.result().usable:
                self._adopt(task.result())
            else:
                self._failed(exc or NotSent("The mail server closed the connection before the first message."))
        self._place()

    def _adopt(self, session: Session) -> None:
        self._sessions.add(session)
        self._shared = session.capacity
        session.when_free = self._freed
        session.when_lost = self._forget
        self._file(session)

    def _failed(self, exc: BaseException) -> None:
        """No connection came of it. Whoever waits is told if there is no other, or if somebody has to see to it."""
        if self.size == 0:
            while self._waiting:
                self._waiting.popleft().failed(exc)
        elif isinstance(exc, Unusable) and isinstance(exc.outcome, Misconfigured):
            if self._waiting:
                self._waiting.popleft().failed(exc)
        else:
            self._lowered_to = self.size
            self._lowered_until = asyncio.get_running_loop().time() + LOWERED_SECONDS

    def _stop_connecting(self) -> None:
        for task in self._connecting:
            task.cancel()

    def _forget(self, session: Session) -> None:
        """It serves nobody any more: there is room for another one."""
        if session in self._sessions:
            self._sessions.remove(session)
            self._idle.pop(session, None)
            self._roomy.pop(session, None)
            self._place()

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
            self._forget(session)
            self._say_goodbye(session)
        if self._idle:
            self._plan_sweep()
