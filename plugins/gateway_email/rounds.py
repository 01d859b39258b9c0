"""Gathers what connections write during a round of the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Rounds:
    """Calls back one round later, so that what becomes ready meanwhile leaves in the same write.

    An answer to one message is followed, a round later, by the next message of whoever waited for it. What is written
    after that round carries the text that the server asked for and that next message's envelope in one system call.
    """

    def __init__(self) -> None:
        self._due: list[Callable[[], None]] = []

    def later(self, write: Callable[[], None]) -> None:
        """Call `write` at the end of the next round."""
        if not self._due:
            asyncio.get_running_loop().call_soon(self._next)
        self._due.append(write)

    def _next(self) -> None:
        asyncio.get_running_loop().call_soon(self._run)

    def _run(self) -> None:
        due, self._due = self._due, []
        for write in due:
            write()
