"""The rate of one sender: a token bucket as a value, so that it can be stored and survive a restart."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """`tokens` cost units may be spent at once at instant `at`; they grow by `rate` a second up to `burst`.

    A message that costs more than `burst` may go when the bucket is full, and leaves it in debt.
    """

    rate: float
    burst: float
    tokens: float
    at: datetime

    def refilled(self, now: datetime) -> Bucket:
        """The bucket at `now`. A clock that stepped back gives no tokens and takes none."""
        seconds = (now - self.at).total_seconds()
        if seconds <= 0:
            return replace(self, at=now)
        return replace(self, tokens=min(self.burst, self.tokens + seconds * self.rate), at=now)

    def affords(self, cost: float, *, besides: float = 0) -> bool:
        """Whether a message of this cost may go now, beside others that are about to."""
        return self.tokens - besides >= min(cost, self.burst)

    def spent(self, cost: float) -> Bucket:
        """The bucket after a message of this cost."""
        return replace(self, tokens=self.tokens - cost)

    def ready_at(self, cost: float) -> datetime:
        """When a message of this cost may go."""
        missing = min(cost, self.burst) - self.tokens
        return self.at if missing <= 0 else self.at + timedelta(seconds=missing / self.rate)
