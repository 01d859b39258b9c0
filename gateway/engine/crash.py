"""Named points at which a test makes the process die, as kill -9 would: `GATEWAY_CRASH_AT=intent_committed:17`.

snapshot_chunk      a chunk of recipients is committed
batch_released      a batch is committed
intent_committed    intents are committed, no provider has been called for them
provider_answered   a provider has answered, nothing is recorded
outcome_committed   results are committed
receipt_stored      a raw callback is committed, not yet answered
receipt_merged      a receipt is merged
edit_committed      an edit is committed, not yet answered
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from typing import Final

POINTS: Final = (
    "snapshot_chunk",
    "batch_released",
    "intent_committed",
    "provider_answered",
    "outcome_committed",
    "receipt_stored",
    "receipt_merged",
    "edit_committed",
)


class CrashPoints:
    """Counts how often each point is passed and dies at the one that was asked for."""

    def __init__(self, wanted: str | None = None) -> None:
        """`wanted`: `"point:number"`, or None to live. ValueError names an unknown point."""
        point, _, number = (wanted or "").partition(":")
        if wanted and point not in POINTS:
            raise ValueError(f"GATEWAY_CRASH_AT names {point!r}; the points are {', '.join(POINTS)}")
        self._point = point
        self._number = int(number or 1)
        self._passed: Counter[str] = Counter()

    def passed(self, point: str) -> None:
        """Dies if this is the point, and the time, that was asked for."""
        if point != self._point:
            return
        self._passed[point] += 1
        if self._passed[point] == self._number:
            os.kill(os.getpid(), signal.SIGKILL)
