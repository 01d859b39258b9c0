"""When a delivery to a webhook is tried again, and what a row of failures means for the webhook."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

RETRY_AFTER: Final = (
    timedelta(seconds=5),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=5),
    timedelta(hours=10),
    timedelta(hours=14),
    timedelta(hours=20),
    timedelta(hours=24),
)
"""How long after each failure in turn an event is tried again; Standard Webhooks' own example, over three days."""

PROBE_AFTER: Final = (
    timedelta(seconds=5),
    timedelta(seconds=30),
    timedelta(minutes=2),
    timedelta(minutes=10),
    timedelta(minutes=30),
)
"""How long after each failure in turn a webhook that is held is tried again; the last one ever after."""

FAILURES_MAX: Final = 5  # in a row: then the receiver is down, rather than at odds with one event
FAILING_MAX: Final = timedelta(days=7)  # without one success: then nobody is there any more
ASKED_MAX: Final = timedelta(hours=24)  # a receiver that asks for more patience is tried again after this
JITTER: Final = 0.1  # what failed together does not come back together


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What became of one attempt. `status` None: no answer came, for the reason in `detail`."""

    status: int | None
    detail: str = ""
    retry_after: timedelta | None = None  # as the receiver asked

    @property
    def ok(self) -> bool:
        """Whether the receiver took it."""
        return self.status is not None and 200 <= self.status < 300

    @property
    def gone(self) -> bool:
        """Whether the receiver wants nothing any more."""
        return self.status == 410


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """How a receiver has been of late. `probe_at`: it is held, and tried with one event then; None: it is not held."""

    failures: int = 0  # in a row
    failing_since: datetime | None = None
    probe_at: datetime | None = None
    probes: int = 0  # failed ones of this hold

    @property
    def held(self) -> bool:
        """Whether nothing goes to it but one probe at a time."""
        return self.probe_at is not None

    def failed(self, reply: Reply, at: datetime, unit: float, *, probe: bool) -> Health:
        """After a failure. `unit`: a random number from [0, 1); `probe`: the webhook was held before this attempt."""
        failures = self.failures + 1
        since = self.failing_since or at
        if not probe and (self.held or failures < FAILURES_MAX):
            return replace(self, failures=failures, failing_since=since)
        wait = PROBE_AFTER[min(self.probes, len(PROBE_AFTER) - 1)]
        return Health(
            failures=failures,
            failing_since=since,
            probe_at=at + _stretched(wait, reply.retry_after, unit),
            probes=self.probes + 1,
        )

    def hopeless(self, now: datetime) -> bool:
        """Whether it has failed for so long that nothing more is tried."""
        return self.failing_since is not None and now - self.failing_since >= FAILING_MAX


def retry_after(attempts: int, reply: Reply, unit: float) -> timedelta | None:
    """How long after its failed attempt number `attempts` (from 1) an event is tried again; None: no more."""
    if attempts > len(RETRY_AFTER):
        return None
    return _stretched(RETRY_AFTER[attempts - 1], reply.retry_after, unit)


def _stretched(wait: timedelta, asked: timedelta | None, unit: float) -> timedelta:
    """With jitter to both sides; never sooner than the receiver asked."""
    jittered = wait * (1 - JITTER + 2 * JITTER * unit)
    return jittered if asked is None else max(jittered, min(asked, ASKED_MAX))
