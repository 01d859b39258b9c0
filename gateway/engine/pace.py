"""How fast one sender may send: its token bucket and the daily totals, going on where the last process stopped."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from datetime import datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from gateway.core.bucket import Bucket
from gateway.core.drip import WaitReason
from gateway.core.ids import SenderId
from gateway.core.window import instant_of
from gateway.engine.catalogue import Sender
from gateway.store.senders import Pace as StoredPace
from gateway.store.turn import Granted

SOON: Final = timedelta(seconds=1)  # a shorter wait for a token is not worth telling
TOGETHER: Final = timedelta(milliseconds=1)  # tokens that come quicker than this are waited for together


def next_midnight(now: datetime, zone: ZoneInfo) -> datetime:
    """When the next day begins, and with it every daily cap anew."""
    tomorrow = now.astimezone(zone).date() + timedelta(days=1)
    return instant_of(datetime.combine(tomorrow, time()), zone)


class Pace:
    """One per sender. The stored half is written by each turn, in its own transaction."""

    def __init__(self, sender: Sender, now: datetime, stored: Callable[[SenderId, str], Awaitable[StoredPace]]) -> None:
        """`stored` reads what was written of a day."""
        self._sender = sender
        self._stored = stored
        self._zone = ZoneInfo(sender.org.time_zone)
        self.bucket = Bucket(rate=sender.rate, burst=sender.burst, tokens=sender.burst, at=now)
        self.day = ""
        self._sent_today = 0
        self._org_sent_today = 0  # as of this sender's last turn; the turn's transaction counts again

    async def begin(self, now: datetime) -> Bucket:
        """The bucket for a turn at `now`. What was sent on a day is read when it begins, or is come back to."""
        day = now.astimezone(self._zone).date().isoformat()
        if day != self.day:
            stored = await self._stored(self._sender.id, day)
            if not self.day and stored.tokens is not None and stored.tokens_at is not None:
                self.bucket = replace(self.bucket, tokens=stored.tokens, at=stored.tokens_at)
            self.day, self._sent_today, self._org_sent_today = day, stored.sent_today, stored.org_sent_today
        return self.bucket.refilled(now)

    def left_today(self, places: int) -> int:
        """`places`, or fewer where a daily cap is near, the sender's or its org's."""
        for cap, sent in self._caps():
            places = min(places, cap - sent)
        return max(0, places)

    def spent(self, bucket: Bucket, granted: Granted) -> None:
        """A turn was committed: this is left in the bucket, and these messages were granted."""
        self.bucket = bucket
        self._sent_today += len(granted.messages)
        self._org_sent_today = granted.org_sent

    def why_waiting(self, now: datetime, cost: int) -> tuple[WaitReason | None, datetime | None]:
        """Why a message of this cost cannot go now, and until when; (None, None) if it can, or nearly."""
        ready = self.ready_at(now, cost)
        if self._spent_today:
            return WaitReason.DAILY_CAP, ready
        return (WaitReason.RATE, ready) if ready - now > SOON else (None, None)

    def ready_at(self, now: datetime, cost: int) -> datetime:
        """When a message of this cost may go, as far as is known now: at midnight where a cap is spent."""
        ready = self.bucket.refilled(now).ready_at(cost)
        if ready > now and self.bucket.rate * TOGETHER.total_seconds() > 1:
            ready = max(ready, now + TOGETHER)
        return max(ready, next_midnight(now, self._zone)) if self._spent_today else ready

    @property
    def _spent_today(self) -> bool:
        return any(sent >= cap for cap, sent in self._caps())

    def _caps(self) -> Iterator[tuple[int, int]]:
        """Each daily cap there is, and what counts against it."""
        if self._sender.daily_cap is not None:
            yield self._sender.daily_cap, self._sent_today
        if self._sender.org.daily_cap is not None:
            yield self._sender.org.daily_cap, self._org_sent_today
