"""What every conformance suite shares: how a promise is tried on many values, and how a test runs in an event loop."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, TypeVar

from hypothesis import HealthCheck, given, settings
from hypothesis.errors import FlakyFailure, HypothesisWarning
from hypothesis.strategies import SearchStrategy

from gateway.testing.conformance_checks import Broken, promise

T = TypeVar("T")

PATIENCE_SECONDS: Final = 30.0  # for one test: what has not ended by then never will
__tracebackhide__: Final = True  # a broken promise is told by its message


def for_all(values: SearchStrategy[T], judge: Callable[[T], object]) -> None:
    """Try `judge` on values; Hypothesis shows the smallest one that breaks.

    As many as the active profile of Hypothesis says: a nightly run loads a larger one.
    """

    @settings(database=None, deadline=None, report_multiple_bugs=False, suppress_health_check=list(HealthCheck))
    @given(values)
    def holds(value: T) -> None:
        judge(value)

    try:
        with warnings.catch_warnings():
            # Of values that are long to show: where warnings are errors, it would hide what is wrong.
            warnings.simplefilter("ignore", HypothesisWarning)
            holds()
    except FlakyFailure as exc:  # broken once, and not when it was tried again: as what remembers something is
        raise exc.exceptions[0] from exc


def run(test: Callable[[], Coroutine[Any, Any, None]], who: str) -> None:
    """Run an asynchronous test in an event loop of its own, at whose end nothing may be left running."""

    async def limited() -> None:
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await test()
        except TimeoutError as exc:
            raise Broken(f"{who} did not come to an end within {PATIENCE_SECONDS:g} s.") from exc
        left = asyncio.all_tasks() - {asyncio.current_task()}
        names = sorted(task.get_coro().__qualname__ for task in left)  # type: ignore[union-attr]
        promise(
            not left, f"{who} leaves tasks running: {names}. End them in `close`, and in `send` when it is cancelled."
        )

    asyncio.run(limited())


async def ending(doing: Awaitable[T]) -> T | Exception:
    """What comes of a call of the adapter's: its answer, or what escapes, which has a meaning of its own."""
    try:
        return await doing
    except Exception as exc:  # noqa: BLE001
        return exc
