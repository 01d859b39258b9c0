"""A receiver of events that does everything a receiver may do, as the seed decides, and remembers what it was told."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

import msgspec

from gateway.core.delivery import RETRY_AFTER, Reply

URL: Final = "https://receiver.test/events"
DELAYS: Final = (0.0, 0.01, 3.0, 14.0)  # seconds
REFUSALS: Final = (
    Reply(status=None, detail="connection refused"),
    Reply(status=500),
    Reply(status=429, retry_after=timedelta(seconds=90)),
)


class Told(msgspec.Struct):
    """What the body of a post says that is looked at here."""

    seq: int
    type: str


@dataclass
class Receiver:
    """Outlives every crash of the gateway. `published`: the number of the newest event that is committed."""

    chance: random.Random
    trouble: float  # how often it does something else than take an event, from 0 to 1
    published: Callable[[], int]
    fault: Callable[[str], None]
    alive: Callable[[], bool]
    down: bool = False
    posts: Counter[int] = field(default_factory=Counter)  # by the event's number
    taken: set[int] = field(default_factory=set)

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        """What `gateway.posting.Poster` does: an answer, or why there is none."""
        told = msgspec.json.decode(body, type=Told)
        if self.alive():
            self._look(told)
        slow = self.chance.random() < self.trouble
        if self.down or (slow and self.chance.random() < 0.5):
            await asyncio.sleep(self.chance.choice(DELAYS))
            return self.chance.choice(REFUSALS)
        await asyncio.sleep(self.chance.choice(DELAYS) if slow else 0)
        if self.alive():
            self.taken.add(told.seq)
        return Reply(status=200)

    def _look(self, told: Told) -> None:
        """Nobody hears of what is not committed; what was never posted is posted in the events' order."""
        if told.seq > self.published():
            self.fault(f"event {told.seq} is posted before it is committed")
        if told.seq not in self.posts and self.posts and told.seq < max(self.posts):
            self.fault(f"event {told.seq} is posted for the first time after event {max(self.posts)}")
        self.posts[told.seq] += 1

    def owed(self, seq: int) -> bool:
        """At the end: whether this event was lost; one that was refused at each of its attempts may be given up."""
        return seq not in self.taken and self.posts[seq] <= len(RETRY_AFTER)
