"""The costly facts that a policy may ask for."""

from __future__ import annotations

from datetime import datetime, timedelta

from gateway.core.ids import ContactKey, OrgId
from gateway.store.codec import instant_or_none, to_micros
from gateway.store.database import Database

_PERSON = (
    "((:contact IS NOT NULL AND contact = :contact) OR (:contact IS NULL AND contact IS NULL AND address = :address))"
)


class FactStore:
    """Reads over the communication log. A contact's messages count whatever address they went to."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def sent_counts(self, org: OrgId, contact: ContactKey | None, address: str, now: datetime) -> tuple[int, int]:
        """How many messages were handed to providers for this person in the last 24 hours, and in the last 7 days."""
        parameters = {
            "org": org,
            "contact": contact,
            "address": address,
            "day": to_micros(now - timedelta(days=1)),
            "week": to_micros(now - timedelta(days=7)),
        }
        day, week = await self._database.read(
            lambda conn: conn.execute(
                "SELECT count(*) FILTER (WHERE accepted_at > :day), count(*) FILTER (WHERE accepted_at > :week) "
                f"FROM messages WHERE org = :org AND {_PERSON} AND direction = 0",
                parameters,
            ).fetchone()
        )
        return day, week

    async def last_inbound(self, org: OrgId, contact: ContactKey | None, address: str) -> datetime | None:
        """When this person last wrote."""
        row = await self._database.read(
            lambda conn: conn.execute(
                f"SELECT max(created_at) FROM messages WHERE org = :org AND {_PERSON} AND direction = 1",
                {"org": org, "contact": contact, "address": address},
            ).fetchone()
        )
        return instant_or_none(row[0])
