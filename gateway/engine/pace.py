"""How fast one sender may send: its token bucket and its daily total, going on where the last process stopped."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from gateway.core.bucket import Bucket
from gateway.core.drip import WaitReason
from gateway.engine.catalogue import Sender
from gateway.store.senders import Pace as StoredPace

SOON = timedelta(seconds=1)  # a shorter wait for a token is not worth telling


class Pace:
    """One per sender. The stored half is written by each turn, in its own transaction."""

    def __init__(self, sender: Sender, now: datetime) -> None:
        self._sender = sender
        self._zone = ZoneInfo(sender.org.time_zone)
        self.bucket = Bucket(rate=sender.rate, burst=sender.burst, tokens=sender.burst, at=now)
        self.day = self._local_day(now)
        self._sent_today = 0

    def restore(self, stored: StoredPace, now: datetime) -> None:
        """Go on with the tokens and the total that the last process left."""
        self._sent_today = stored.sent_today
        if stored.tokens is not None and stored.tokens_at is not None:
            before = Bucket(rate=self._sender.rate, burst=self._sender.burst, tokens=stored.tokens, at=stored.tokens_at)
            self.bucket = before.refilled(now)

    def begin(self, now: datetime) -> Bucket:
        """The bucket for a turn at `now`; the day may have changed."""
        day = self._local_day(now)
        if day != self.day:
            self.day, self._sent_today = day, 0
        return self.bucket.refilled(now)

    def left_today(self, places: int) -> int:
        """`places`, or fewer where the daily cap is near."""
        cap = self._sender.daily_cap
        return places if cap is None else max(0, min(places, cap - self._sent_today))

    def spent(self, bucket: Bucket, messages: int) -> None:
        """A turn was committed: this is left in the bucket, so many more were sent today."""
        self.bucket = bucket
        self._sent_today += messages

    def why_waiting(self, now: datetime, cost: int) -> tuple[WaitReason | None, datetime | None]:
        """Why a message of this cost cannot go now, and until when; (None, None) if it can, or nearly."""
        cap = self._sender.daily_cap
        if cap is not None and self._sent_today >= cap:
            tomorrow = now.astimezone(self._zone).date() + timedelta(days=1)
            return WaitReason.DAILY_CAP, datetime.combine(tomorrow, time(), self._zone).astimezone(UTC)
        ready = self.bucket.refilled(now).ready_at(cost)
        return (WaitReason.RATE, ready) if ready - now > SOON else (None, None)

    def _local_day(self, now: datetime) -> str:
        return now.astimezone(self._zone).date().isoformat()
