"""The daily caps of an org and of its senders, and what is left of them: for whoever wants to know beforehand.

The lane counts by itself (`pace`), and the turn's transaction has the last word.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from gateway.clock import Clock
from gateway.engine.catalogue import Catalogue, Org, Sender
from gateway.engine.pace import next_midnight
from gateway.store.allowances import Allowances


@dataclass(frozen=True, slots=True)
class Cap:
    """So many messages a day (None: no limit), and so many are sent today."""

    most: int | None
    sent: int

    @property
    def left(self) -> int | None:
        return None if self.most is None else max(0, self.most - self.sent)


@dataclass(frozen=True, slots=True, kw_only=True)
class DayOfOrg:
    """An org's day up to now; `ends_at` is midnight in its time zone, when every cap begins anew."""

    org: Cap
    senders: Mapping[str, Cap]  # by name, each with its own cap only
    ends_at: datetime

    def tightest(self, sender: Sender) -> Cap:
        """The sender's cap and its org's as one: the lower limit, and the lesser rest."""
        caps = [cap for cap in (self.senders[sender.name], self.org) if cap.most is not None]
        if not caps:
            return self.senders[sender.name]
        most = min(cap.most or 0 for cap in caps)
        return Cap(most, most - min(cap.left or 0 for cap in caps))


class DailyCaps:
    """Reads for the API and for forecasts."""

    def __init__(self, allowances: Allowances, catalogue: Catalogue, clock: Clock) -> None:
        self._allowances = allowances
        self._catalogue = catalogue
        self._clock = clock

    async def of(self, org: Org) -> DayOfOrg:
        """What was sent since the last midnight."""
        now = self._clock.now()
        zone = ZoneInfo(org.time_zone)
        sent = await self._allowances.sent(org.id, now.astimezone(zone).date().isoformat())
        senders = [sender for sender in self._catalogue.senders.values() if sender.org.id == org.id]
        return DayOfOrg(
            org=Cap(org.daily_cap, sum(sent.values())),
            senders={sender.name: Cap(sender.daily_cap, sent.get(sender.name, 0)) for sender in senders},
            ends_at=next_midnight(now, zone),
        )
