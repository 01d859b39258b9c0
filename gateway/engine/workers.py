"""W long-lived coroutines that call one sender's adapter: no task is made for a message."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import structlog

from gateway.contract import Accepted, NotSent, Outcome, Unknown
from gateway.engine.catalogue import Sender
from gateway.engine.crash import CrashPoints
from gateway.engine.gatekeeper import Prepared
from gateway.engine.metrics import SendMetrics
from gateway.engine.rulings import Unreached


class Attempt(NamedTuple):
    """One call of the adapter that ended."""

    prepared: Prepared
    outcome: Outcome | Unreached


class Deadlines:
    """Cancels attempts that take too long, by one timer for all of them: what began first runs out first."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._begun: dict[asyncio.Task[None], float] = {}  # when the attempt of each worker runs out, first one first
        self._expired: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, worker: asyncio.Task[None], now: float) -> None:
        """Its attempt begins. `now`: by the loop's clock."""
        self._begun[worker] = now + self._seconds
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_at(now + self._seconds, self._expire)

    def end(self, worker: asyncio.Task[None]) -> bool:
        """Its attempt ended. True: it was cancelled here because its time was over, and by nobody else."""
        self._begun.pop(worker, None)
        if worker not in self._expired:
            return False
        self._expired.remove(worker)
        return worker.uncancel() == 0

    def close(self) -> None:
        """Nothing more is cancelled."""
        if self._timer is not None:
            self._timer.cancel()

    def _expire(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = None
        for worker, runs_out_at in list(self._begun.items()):
            if runs_out_at > loop.time():
                self._timer = loop.call_at(runs_out_at, self._expire)
                return
            del self._begun[worker]
            self._expired.add(worker)
            worker.cancel()


class Workers:
    """Takes messages whose intent is on disk, and keeps what came back until the next turn records it."""

    def __init__(self, sender: Sender, crash: CrashPoints, metrics: SendMetrics, ended: Callable[[], None]) -> None:
        """`ended` is called after each attempt."""
        self._sender = sender
        self._crash = crash
        self._metrics = metrics
        self._ended = ended
        self._jobs: deque[Prepared] = deque()
        self._idle: deque[asyncio.Future[Prepared]] = deque()
        self._finished: list[Attempt] = []
        self._deadlines = Deadlines(sender.deadline.total_seconds())
        self._log = structlog.get_logger("gateway.workers").bind(sender=sender.name)

    def submit(self, prepared: Prepared) -> None:
        """Hand over one message; its intent is committed."""
        while self._idle:
            worker = self._idle.popleft()
            if not worker.done():
                worker.set_result(prepared)
                return
        self._jobs.append(prepared)

    def take_finished(self) -> list[Attempt]:
        """The attempts that have ended since the last call."""
        finished, self._finished = self._finished, []
        return finished

    def put_back(self, attempts: list[Attempt]) -> None:
        """They could not be recorded; the next turn tries again."""
        self._finished = attempts + self._finished

    async def run(self) -> None:
        """All W of them, until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self._sender.concurrency):
                    group.create_task(self._work())
        finally:
            self._deadlines.close()

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        me = asyncio.current_task()
        assert me is not None
        while True:
            prepared = self._jobs.popleft() if self._jobs else await self._next(loop)
            started = loop.time()
            outcome = await self._attempt(prepared, me, started)
            if me.cancelling():  # and the adapter has swallowed it
                raise asyncio.CancelledError
            self._crash.passed("provider_answered")
            self._metrics.answered(self._sender.name, outcome, loop.time() - started)
            self._finished.append(Attempt(prepared, outcome))
            self._ended()

    async def _next(self, loop: asyncio.AbstractEventLoop) -> Prepared:
        job: asyncio.Future[Prepared] = loop.create_future()
        self._idle.append(job)
        return await job

    async def _attempt(self, prepared: Prepared, me: asyncio.Task[None], now: float) -> Outcome | Unreached:
        self._deadlines.begin(me, now)
        late = False
        try:
            try:
                return Accepted() if self._sender.dry_run else await self._sender.adapter.send(prepared.outbound)
            finally:
                late = self._deadlines.end(me)
        except asyncio.CancelledError:
            if late:
                return Unknown(reason=f"no answer within {self._sender.deadline.total_seconds():g} s")
            if me.cancelling():
                raise
            # A library's own: it would end this worker in silence, and its place among the W would never be free again.
            self._log.error("adapter_cancelled_itself")
            return Unknown(reason="the adapter cancelled itself")
        except NotSent as exc:
            return Unreached(reason=str(exc) or "the provider could not be reached")
        # Whatever else an adapter raises, the message may have left: that is `unknown`, never `failed`.
        except Exception as exc:  # noqa: BLE001
            self._log.error("adapter_raised", error=type(exc).__name__, exc_info=exc, may_quote=True)
            return Unknown(reason=f"the adapter raised {type(exc).__name__}")
