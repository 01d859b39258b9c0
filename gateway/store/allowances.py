"""What an org has used up of its limits."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from gateway.clock import Clock
from gateway.core.ids import OrgId
from gateway.errors import Refused
from gateway.store.codec import micros_of, to_micros
from gateway.store.database import Database

RATE_PERIOD: Final = timedelta(minutes=1)


class Allowances:
    """Reads; whoever uses something up counts it in a transaction of their own."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def sent(self, org: OrgId, day: str) -> Mapping[str, int]:
        """How many messages each sender of the org has handed over on that day, by its name."""
        rows = await self._database.read(
            lambda conn: conn.execute(
                "SELECT s.name, d.sent FROM senders AS s CROSS JOIN sender_days AS d ON d.sender = s.id "
                "WHERE s.org = ? AND d.day = ?",
                (org, day),
            ).fetchall()
        )
        return dict(rows)

    async def creations(self, org: OrgId) -> int:
        """How many bulk actions the org has created or retried within the last minute."""
        since = to_micros(self._clock.now() - RATE_PERIOD)
        row = await self._database.read(
            lambda conn: conn.execute(
                "SELECT count(*) FROM creations WHERE org = ? AND at > ?", (org, since)
            ).fetchone()
        )
        return int(row[0])


def sent_by_org(conn: sqlite3.Connection, org: OrgId, day: str) -> int:
    """How many messages all senders of an org have handed over on a day of its time zone."""
    (sent,) = conn.execute(
        "SELECT COALESCE(sum(d.sent), 0) FROM senders AS s CROSS JOIN sender_days AS d ON d.sender = s.id "
        "WHERE s.org = ? AND d.day = ?",
        (org, day),
    ).fetchone()
    return int(sent)


def take_creation(conn: sqlite3.Connection, org: OrgId, now: int, rate_max: int) -> None:
    """One of the org's creations of this minute. Raising undoes it, so a refused request costs nothing."""
    since = now - micros_of(RATE_PERIOD)
    conn.execute("DELETE FROM creations WHERE org = ? AND at <= ?", (org, since))
    number, oldest = conn.execute("SELECT count(*), min(at) FROM creations WHERE org = ?", (org,)).fetchone()
    if number >= rate_max:
        seconds = RATE_PERIOD.seconds if oldest is None else max(1, -((since - oldest) // 1_000_000))
        raise Refused(
            "bulk_action_rate",
            f"{number} bulk actions were created or retried within the last minute, {rate_max} are allowed: "
            f"try again in {seconds} s.",
            more={"retry_after": seconds},
        )
    conn.execute("INSERT INTO creations (org, at) VALUES (?, ?)", (org, now))
