"""What is known about a person: the costly facts that a policy may ask for, and how they stand on one channel."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from gateway.contract import Channel
from gateway.core.ids import ContactKey, OptOutId, OrgId
from gateway.store.addresses import address_sql, is_bad_sql
from gateway.store.codec import from_json, from_micros, instant_or_none, to_json, to_micros
from gateway.store.consent import opted_out_sql
from gateway.store.database import Database

_DAY: Final = timedelta(days=1)
_WEEK: Final = timedelta(days=7)

# Handed to a provider; or about to be, or nobody knows; or a single message that was accepted and waits. A message that
# waits for a further attempt is the one that is being judged.
_WENT: Final = (
    "direction = 0 AND (accepted_at > {since} "
    "OR (created_at > {since} AND (status IN (1, 2) OR status = 0 AND action IS NULL)))"
)
_DAYS, _WEEKS = _WENT.format(since=":day"), _WENT.format(since=":week")
_HISTORY: Final = (
    f"json_array(count(*) FILTER (WHERE {_DAYS}), count(*) FILTER (WHERE {_WEEKS}), "
    f"count(*) FILTER (WHERE {_DAYS} AND channel = :channel), count(*) FILTER (WHERE {_WEEKS} AND channel = :channel), "
    "max(created_at) FILTER (WHERE direction = 1))"
)
# Two conditions rather than one with OR: each by an index of its own.
_HISTORIES: Final = f"""
    SELECT json_group_array(json(iif(p.value ->> 0 IS NOT NULL,
        (SELECT {_HISTORY} FROM messages WHERE contact = p.value ->> 0 AND org = :org),
        (SELECT {_HISTORY} FROM messages WHERE contact IS NULL AND org = :org AND address = p.value ->> 1))))
    FROM json_each(:people) AS p"""


@dataclass(frozen=True, slots=True)
class SentCounts:
    """How many messages went to one person, in the last 24 hours and 7 days, on all channels and on one."""

    day: int = 0
    week: int = 0
    day_on_channel: int = 0
    week_on_channel: int = 0


@dataclass(frozen=True, slots=True)
class History:
    """What passed between an org and one person. `last_inbound_at`: when the person last wrote."""

    sent: SentCounts = SentCounts()
    last_inbound_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StandingOptOut:
    """One opt-out that stands against a message. `category` `all`: against every one on the channel."""

    id: OptOutId
    category: str
    source: str
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ContactStanding:
    """A contact on one channel, with what the gate judges by (`engine.standing.Standing`)."""

    contact: ContactKey
    deleted: bool
    address: str | None
    bad_address: bool
    opted_out: bool
    opt_outs: tuple[StandingOptOut, ...]
    time_zone: str | None
    phone: str | None
    tags: frozenset[str]
    duplicate: bool = False


class FactStore:
    """Reads only. A contact's messages count whatever address they went to."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def histories(
        self, org: OrgId, channel: str, people: Sequence[tuple[ContactKey | None, str]], now: datetime
    ) -> list[History]:
        """What passed between the org and each of `people`: contacts by our keys, others (None) by their addresses."""
        if not people:
            return []
        parameters = {
            "people": to_json(people),
            "org": org,
            "channel": channel,
            "day": to_micros(now - _DAY),
            "week": to_micros(now - _WEEK),
        }
        (rows,) = await self._database.read(lambda conn: conn.execute(_HISTORIES, parameters).fetchone())
        return [History(SentCounts(*counts), instant_or_none(inbound)) for *counts, inbound in from_json(rows)]

    async def standing(self, org: OrgId, channel: Channel, public_id: str, category: str) -> ContactStanding | None:
        """A contact by its public id, deleted or not, for messages of one category; None if there is none."""
        return await self._database.read(lambda conn: _standing(conn, org, channel, public_id, category))


def _standing(
    conn: sqlite3.Connection, org: OrgId, channel: Channel, public_id: str, category: str
) -> ContactStanding | None:
    address = address_sql(channel)
    parameters = {"org": org, "channel": channel.name, "public_id": public_id, "category": category}
    row = conn.execute(
        f"""SELECT c.id, c.deleted_at IS NOT NULL, {address}, {is_bad_sql(channel)},
                {opted_out_sql(":org", ":channel", address, "c.id", ":category")}, c.time_zone, c.phone,
                (SELECT json_group_array(tag) FROM contact_tags WHERE contact = c.id)
            FROM contacts AS c WHERE c.org = :org AND c.public_id = :public_id""",
        parameters,
    ).fetchone()
    if row is None:
        return None
    contact, deleted, found, bad_address, opted_out, time_zone, phone, tags = row
    opt_outs = conn.execute(
        """SELECT id, category, source, created_at FROM opt_outs
            WHERE org = :org AND channel = :channel AND category IN ('all', :category)
                AND (address = :address OR contact = :contact) ORDER BY created_at, id""",
        {**parameters, "address": found, "contact": contact},
    ).fetchall()
    return ContactStanding(
        contact=contact,
        deleted=bool(deleted),
        address=found,
        bad_address=bool(bad_address),
        opted_out=bool(opted_out),
        opt_outs=tuple(
            StandingOptOut(id=OptOutId(id), category=of, source=source, since=from_micros(at))
            for id, of, source, at in opt_outs
        ),
        time_zone=time_zone,
        phone=phone,
        tags=frozenset(from_json(tags)),
    )
