"""When a message that was certainly not sent is tried again, and when nobody tries any more."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final

BASE: Final = timedelta(seconds=30)
CAP: Final = timedelta(hours=1)
ASKED_CAP: Final = timedelta(hours=6)  # a provider that asks for more is asked again after this
_DOUBLINGS_MAX: Final = 20  # the cap is reached long before; keeps the power small


def backoff(
    attempt: int,
    random_unit: float,
    asked: timedelta | None = None,
    *,
    base: timedelta = BASE,
    cap: timedelta = CAP,
    asked_cap: timedelta = ASKED_CAP,
) -> timedelta:
    """How long to wait after attempt number `attempt` (from 1).

    Full jitter: a random part (`random_unit`, from [0, 1)) of an exponential, so that a crowd that failed together does
    not come back together; never less than a second. What the provider asked for is honoured up to `asked_cap`, with a
    tenth of jitter on top.
    """
    if asked is not None and asked > timedelta(0):
        return min(asked, asked_cap) * (1 + random_unit / 10)
    ceiling = min(cap, base * int(2 ** min(max(attempt, 1) - 1, _DOUBLINGS_MAX)))
    return max(timedelta(seconds=1), ceiling * random_unit)


def give_up(first_attempt_at: datetime, again_at: datetime, retry_for: timedelta) -> bool:
    """Whether a further attempt at `again_at` would be too late."""
    return again_at - first_attempt_at > retry_for


def parse_retry_after(text: str, now: datetime) -> timedelta | None:
    """The HTTP header Retry-After (RFC 9110, 10.2.3): seconds, or a date. None if it is neither.

    Never negative; an enormous number of seconds is what it says, `backoff` caps it.
    """
    stripped = text.strip()
    if stripped.isascii() and stripped.isdigit():
        return timedelta(seconds=min(int(stripped[:12]), 10**9))
    try:
        instant = parsedate_to_datetime(stripped)
    except (ValueError, OverflowError):  # no date, or one that no calendar has
        return None
    if instant.tzinfo is None:
        instant = instant.replace(tzinfo=UTC)
    return max(timedelta(0), instant - now)
