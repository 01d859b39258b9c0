"""What an org has used up of its limits."""

from __future__ import annotations

from gateway.clock import Clock
from gateway.core.ids import OrgId
from gateway.store.actions import RATE_PERIOD
from gateway.store.codec import to_micros
from gateway.store.database import Database


class Allowances:
    """Reads; whoever uses something up counts it in a transaction of their own."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def creations(self, org: OrgId) -> int:
        """How many bulk actions the org has created or retried within the last minute."""
        since = to_micros(self._clock.now() - RATE_PERIOD)
        row = await self._database.read(
            lambda conn: conn.execute(
                "SELECT count(*) FROM creations WHERE org = ? AND at > ?", (org, since)
            ).fetchone()
        )
        return int(row[0])
