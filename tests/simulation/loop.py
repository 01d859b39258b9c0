"""An event loop without threads, sockets and real time: it runs one callback when it is told to, as a seed decides."""

from __future__ import annotations

import asyncio
import heapq
import math
import random
from asyncio import events
from collections.abc import Callable, Coroutine, Sequence
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar, TypeVarTuple, Unpack

from gateway.clock import SystemClock
from gateway.store import database as store

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

RESOLUTION: Final = 1e-7  # seconds; sums of seconds are a hair off
LAGS: Final = (5, 20, 60, 200)  # for how many callbacks one that is ready may be held up
UNWINDING_STEPS_MAX: Final = 20_000  # callbacks that a life may need to end once all its tasks are cancelled
UNWINDING_TIMERS_MAX: Final = 100  # and time-outs that it may sit out meanwhile


@dataclass
class Timeline:
    """Time of a simulated machine: what its loops count by, and what its clock on the wall says.

    Counted in whole microseconds, as instants are stored: sums of fractions would have the two clocks drift apart.
    """

    micros: int = 0  # since the machine was started; never goes back
    wall: datetime = field(default=datetime(2026, 6, 1, 8, 0, tzinfo=UTC))
    latest: datetime = field(default=datetime(2026, 6, 1, 8, 0, tzinfo=UTC))  # that the wall has ever shown
    jumped_at: int = 0  # microseconds, too

    @property
    def monotonic(self) -> float:
        """Seconds."""
        return self.micros / 1_000_000

    def pass_by(self, seconds: float) -> None:
        """Time passes: so many microseconds that a timer which is due by then is due."""
        micros = math.ceil((seconds - RESOLUTION) * 1_000_000)
        self.micros += micros
        self.wall += timedelta(microseconds=micros)
        self.latest = max(self.latest, self.wall)

    def jump(self, by: timedelta) -> None:
        """Somebody sets the clock on the wall."""
        self.jumped_at = self.micros
        self.wall += by
        self.latest = max(self.latest, self.wall)


class SimulatedClock(SystemClock):
    """The clock of the daemon itself, on a machine whose time is simulated."""

    def __init__(self, timeline: Timeline) -> None:
        self._timeline = timeline

    def now(self) -> datetime:
        return self._timeline.wall


class _Ready(asyncio.Handle):
    """A callback that is ready, without what is for debugging: half of the time of making one."""

    __slots__ = ()

    def __init__(
        self, callback: Callable[..., object], args: Sequence[Any], loop: SimulatedLoop, context: Context | None
    ) -> None:
        self._context = copy_context() if context is None else context
        self._loop = loop
        self._callback = callback
        self._args = args
        self._cancelled = False
        self._repr = None
        self._source_traceback = None

    def run(self) -> None:
        """Whatever it raises is raised."""
        self._context.run(self._callback, *self._args)


class SimulatedLoop(asyncio.BaseEventLoop):
    """Runs tasks as asyncio's loops do, but in an order of the seed's: any ready callback may be the next one.

    What a thread would do (`run_in_executor`) is one more ready callback.
    """

    def __init__(self, chance: random.Random, timeline: Timeline, disorder: float, lag: float) -> None:
        """`disorder`: how often something else than the oldest ready callback is the next one, from 0 to 1.

        `lag`: how often the answer of a thread is held up while dozens of other callbacks run, from 0 to 1.
        """
        super().__init__()
        self._chance = chance
        self._timeline = timeline
        self._disorder = disorder
        self._lag = lag
        self._handles: list[_Ready] = []
        self._late: list[tuple[int, _Ready]] = []  # one at most, and for how many callbacks it is held up
        self._alarms: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._made = 0
        self.failures: list[BaseException] = []

    @property
    def next_timer(self) -> float | None:
        """Seconds until the next timer that somebody still waits for."""
        while self._alarms and self._alarms[0][2].cancelled():
            heapq.heappop(self._alarms)
        return max(0.0, self._alarms[0][0] - self.time()) if self._alarms else None

    def run_ready(self, most: int, after: Callable[[], None]) -> int:
        """Run up to `most` callbacks, with `after` behind each, until none is ready. How many there were."""
        handles, chance, disorder = self._handles, self._chance.random, self._disorder
        events._set_running_loop(self)  # as every event loop does
        try:
            for done in range(most):
                if self._late:
                    self._catch_up()
                elif self._lag and len(handles) > 1 and chance() < self._lag:
                    self._hold_up()
                if not handles:
                    return done
                place = 0
                if len(handles) > 1 and chance() < disorder:
                    place = int(chance() * len(handles))
                handle = handles.pop(place)
                if not handle._cancelled:
                    try:
                        handle.run()
                    except Exception as exc:  # noqa: BLE001 - told at the next `after`, as loops do it
                        self.failures.append(exc)
                after()
        finally:
            events._set_running_loop(None)
        return most

    def _hold_up(self) -> None:
        """One of the answers of threads, if there are any: to a read, or to a write that is committed."""
        answers = [place for place, one in enumerate(self._handles) if one._callback in _OF_THREADS]
        if answers:
            place = self._chance.choice(answers)
            self._late.append((self._chance.choice(LAGS), self._handles.pop(place)))

    def _catch_up(self) -> None:
        """Whoever is held up waits for one callback less; where nothing else is ready, nobody is held up."""
        left, handle = self._late.pop()
        if left and self._handles:
            self._late.append((left - 1, handle))
        else:
            self._handles.append(handle)

    def pass_by(self, seconds: float) -> None:
        """Time passes, and the timers that are due by then fire."""
        self._timeline.pass_by(seconds)
        now = self.time() + RESOLUTION  # as asyncio's loops do
        while self._alarms and self._alarms[0][0] <= now:
            handle = heapq.heappop(self._alarms)[2]
            if not handle.cancelled():
                self._handles.append(_Ready(_ring, (handle,), self, None))

    def unwind(self, task: asyncio.Task[Any]) -> None:
        """End what a killed process would have left behind. Nothing of it reaches the world any more."""
        for left in sorted(asyncio.all_tasks(self), key=lambda one: one.get_name()):
            left.cancel()
        for _ in range(UNWINDING_TIMERS_MAX):
            self.run_ready(UNWINDING_STEPS_MAX, lambda: None)
            if (wait := self.next_timer) is None:
                break
            self.pass_by(wait)
        if not task.done():
            raise AssertionError("The engine does not end when it is cancelled.")
        if not task.cancelled():
            task.exception()
        self.close()

    # What asyncio's tasks, futures and time-outs ask of a loop.

    def time(self) -> float:
        return self._timeline.monotonic

    def call_soon(
        self, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        handle = _Ready(callback, args, self, context)
        self._handles.append(handle)
        return handle

    def call_soon_threadsafe(
        self, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        return self.call_soon(callback, *args, context=context)

    def call_later(
        self, delay: float, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context or copy_context())
        if when <= self.time():  # a loop would find it due before it waits again
            self._handles.append(_Ready(_ring, (handle,), self, None))
            return handle
        self._made += 1
        heapq.heappush(self._alarms, (when, self._made, handle))
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """It is left in the heap, and passed over there."""

    def create_task(self, coro: Any, *, name: object = None, context: Context | None = None) -> asyncio.Task[Any]:
        self._made += 1
        return asyncio.Task(coro, loop=self, name=str(name or f"task {self._made:09}"), context=context)

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:  # type: ignore[override]
        future: asyncio.Future[T] = self.create_future()
        self.call_soon(_carry_out, future, func, args)
        return future

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        failure = context.get("exception")
        self.failures.append(failure if failure is not None else AssertionError(context.get("message")))

    def spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """A task of the world outside."""
        return self.create_task(work)


def _ring(timer: asyncio.TimerHandle) -> None:
    if not timer.cancelled():  # since it was due
        timer._run()


def _carry_out(future: asyncio.Future[T], func: Callable[..., T], args: tuple[Any, ...]) -> None:
    if future.done():
        return
    try:
        future.set_result(func(*args))
    except Exception as exc:  # noqa: BLE001 - whatever it is, it is the caller's
        future.set_exception(exc)


_OF_THREADS: Final = frozenset({_carry_out, store._resolve})
