"""When messages give up waiting: one timer for all of them, where a timer each would cost more than their parsing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gateway_email.transaction import Phase, Transaction


class Deadlines:
    """Watches messages until their text is written; what becomes of a text is the engine's deadline's business."""

    def __init__(self, expire: Callable[[Transaction], None]) -> None:
        self._expire = expire
        self._watched: dict[Transaction, None] = {}  # in order
        self._timer: asyncio.TimerHandle | None = None
        self._next = 0.0  # when it rings

    def watch(self, message: Transaction) -> None:
        """Until `forget`, `expire` is called once its deadline has passed before its text."""
        self._watched[message] = None
        if self._timer is None or message.deadline < self._next:
            self._set(message.deadline)

    def forget(self, message: Transaction) -> None:
        """It has ended."""
        self._watched.pop(message, None)

    def stop(self) -> None:
        """Watch nothing any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set(self, at: float) -> None:
        self.stop()
        self._next = at
        self._timer = asyncio.get_running_loop().call_at(at, self._ring)

    def _ring(self) -> None:
        self._timer = None
        now = asyncio.get_running_loop().time()
        waiting = [message for message in self._watched if message.phase < Phase.TEXT]
        for message in waiting:
            if message.deadline <= now:
                del self._watched[message]
                self._expire(message)
        left = [message.deadline for message in waiting if message.deadline > now]
        if left:
            self._set(min(left))
