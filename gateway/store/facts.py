"""The costly facts that a policy may ask for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from gateway.core.ids import ContactKey, OrgId
from gateway.store.codec import instant_or_none, to_micros
from gateway.store.database import Database

_DAY: Final = timedelta(days=1)
_WEEK: Final = timedelta(days=7)

# Handed to a provider; or about to be, or nobody knows; or a single message that was accepted and waits. A message that
# waits for a further attempt is the one that is being judged.
_WENT: Final = (
    "(accepted_at > {since} OR (created_at > {since} AND (status IN (1, 2) OR status = 0 AND action IS NULL)))"
)


@dataclass(frozen=True, slots=True)
class SentCounts:
    """How many messages went to one person, in the last 24 hours and 7 days, on all channels and on one."""

    day: int = 0
    week: int = 0
    day_on_channel: int = 0
    week_on_channel: int = 0


class FactStore:
    """Reads over the communication log. A contact's messages count whatever address they went to."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def sent_counts(
        self, org: OrgId, contact: ContactKey | None, address: str, channel: str, now: datetime
    ) -> SentCounts:
        """Messages that went to this person, or are about to."""
        day, week = _WENT.format(since=":day"), _WENT.format(since=":week")
        row = await self._database.read(
            lambda conn: conn.execute(
                f"SELECT count(*) FILTER (WHERE {day}), count(*) FILTER (WHERE {week}), "
                f"count(*) FILTER (WHERE {day} AND channel = :channel), "
                f"count(*) FILTER (WHERE {week} AND channel = :channel) "
                f"FROM messages WHERE {_person(contact)} AND direction = 0",
                {
                    "org": org,
                    "contact": contact,
                    "address": address,
                    "channel": channel,
                    "day": to_micros(now - _DAY),
                    "week": to_micros(now - _WEEK),
                },
            ).fetchone()
        )
        return SentCounts(*row)

    async def last_inbound(self, org: OrgId, contact: ContactKey | None, address: str) -> datetime | None:
        """When this person last wrote."""
        row = await self._database.read(
            lambda conn: conn.execute(
                f"SELECT max(created_at) FROM messages WHERE {_person(contact)} AND direction = 1",
                {"org": org, "contact": contact, "address": address},
            ).fetchone()
        )
        return instant_or_none(row[0])


def _person(contact: ContactKey | None) -> str:
    """A SQL condition over `:org`, `:contact` and `:address` that an index answers."""
    if contact is not None:
        return "contact = :contact AND org = :org"
    return "contact IS NULL AND org = :org AND address = :address"
