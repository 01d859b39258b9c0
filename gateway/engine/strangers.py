"""Awaiting a plugin's code from a loop that must neither end by it nor outlive its own end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


class CancelledWithin(Exception):
    """What was awaited cancelled something of its own, and nobody had cancelled the task that awaited it."""


async def ask(stranger: Awaitable[T]) -> T:
    """What it answers or raises, but that CancelledError always means that this task is being cancelled.

    A cancellation that a library made for itself would end a loop without a word, for a task group takes it for an end
    that somebody asked for: CancelledWithin stands for it. And code that swallows our own cancellation, to answer or to
    raise something else, would leave a loop behind that nobody ends any more.
    """
    try:
        answer = await stranger
    except BaseException as exc:
        if being_cancelled():
            raise asyncio.CancelledError from exc
        if isinstance(exc, asyncio.CancelledError):
            raise CancelledWithin("it was cancelled from within") from exc
        raise
    if being_cancelled():
        raise asyncio.CancelledError
    return answer


def being_cancelled() -> bool:
    """Whether somebody has asked for the end of the running task, or of the time limit around it."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
