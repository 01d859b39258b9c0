"""The rate of one sender: a token bucket as a value, so that it can be stored and survive a restart."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

_MICROSECONDS: Final = 1_000_000
_NOISE: Final = 0.001  # microseconds that sums of fractions may be off


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """`tokens` cost units may be spent at once at instant `at`; they grow by `rate` a second up to `burst`.

    A message that costs more than `burst` may go when the bucket is full, and leaves it in debt. Instants are whole
    microseconds: what is missing at one for less than the next is lent, so that waiting until `ready_at` is enough and
    roundings do not add up.
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
        return self.tokens - besides + self.rate / _MICROSECONDS > min(cost, self.burst)

    def spent(self, cost: float) -> Bucket:
        """The bucket after a message of this cost."""
        return replace(self, tokens=self.tokens - cost)

    def ready_at(self, cost: float) -> datetime:
        """When a message of this cost may go."""
        return self.holds_at(min(cost, self.burst))

    def holds_at(self, tokens: float) -> datetime:
        """When so many tokens will have come, though it were more than it holds: the last of many is sent then."""
        missing = tokens - self.tokens
        if missing <= 0:
            return self.at
        return self.at + timedelta(microseconds=math.floor(missing / self.rate * _MICROSECONDS + _NOISE))

    def coming_before(self, bound: datetime) -> int:
        """How many of cost 1 may go one after the other, the last of them before `bound`."""
        seconds = (bound - self.at).total_seconds() - _NOISE / _MICROSECONDS
        return math.ceil(seconds * self.rate + self.tokens) - 1
