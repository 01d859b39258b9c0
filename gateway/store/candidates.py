"""Who may be sent to next: read ahead of the turn, with everything the gate judges by.

Nothing here decides: the turn's own transaction checks again whatever may have changed since.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

import msgspec

from gateway.contract import Channel
from gateway.core.ids import ActionId, ContactKey, MessageId, OrgId, SenderId
from gateway.core.people import SCALARS
from gateway.store.addresses import address_sql, is_bad_sql
from gateway.store.codec import from_json, from_micros, instant_or_none
from gateway.store.consent import opted_out_sql
from gateway.store.database import Database
from gateway.store.sending import duplicate_sql
from gateway.store.turn import SOURCES

_TIME_ZONE: Final = SCALARS.index("time_zone")
_PHONE: Final = SCALARS.index("phone")


@dataclass(frozen=True, slots=True, kw_only=True)
class SendingAction:
    """A bulk action that is being sent, with what its candidates need.

    `batch` is the newest batch's number, `first_seq` the first recipient of those batches that are not tried yet: after
    deferrals, and in the recipients' own time zones, a later batch may begin before an earlier one.
    """

    id: ActionId
    org: OrgId
    round: int
    batch: int
    first_seq: int
    message: str  # JSON of MessageContent
    schedule: str  # JSON of Schedule


class Candidate(msgspec.Struct, frozen=True):
    """One released, waiting recipient. `values` are what its template may use; frozen ones after the first attempt."""

    seq: int
    contact: ContactKey | None
    contact_id: str | None
    given: str | None
    zone: str | None
    batch: int | None
    message: MessageId | None
    attempt: int
    first_attempt_at: datetime | None
    seen_contact: int | None
    deleted: bool
    address: str | None
    bad_address: bool
    opted_out: bool
    duplicate: bool
    values: Mapping[str, Any]
    contact_zone: str | None
    contact_phone: str | None
    tags: frozenset[str]


@dataclass(frozen=True, slots=True)
class Single:
    """One waiting single message."""

    id: MessageId
    address: str
    contact: ContactKey | None
    contact_id: str | None
    contact_zone: str | None
    attempt: int
    first_attempt_at: datetime | None
    source: str
    category: str
    content: Mapping[str, Any]
    created_at: datetime
    tags: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateQuery:
    """Which candidates: of one action, after `floor`, or those whose time to wait is over (`later`)."""

    action: ActionId
    channel: Channel
    category: str
    dripped: bool
    skip_duplicates: bool
    wants_tags: bool
    now: int
    floor: int
    limit: int


class Candidates:
    """Reads for the dispatchers."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def actions(self, sender: SenderId) -> tuple[SendingAction, ...]:
        """The bulk actions that this sender has somebody to send to now, oldest first.

        Those with a batch in their present round: an action that is tried again is being processed at once, but may
        have to wait for its schedule. And of these, those with somebody released and waiting, by a short index.
        """
        rows = await self._database.read(
            lambda conn: conn.execute(
                """SELECT a.id, a.org, a.round, b.number,
                       (SELECT min(first_seq) FROM batches WHERE action = a.id AND untried > 0), a.message, a.schedule
                   FROM action_counts AS n INDEXED BY action_counts_ready
                   CROSS JOIN bulk_actions AS a ON a.id = n.action
                   JOIN batches AS b ON b.action = a.id AND b.round = a.round
                       AND b.number = (SELECT max(number) FROM batches WHERE action = a.id)
                   WHERE n.pending > n.unreleased AND a.sender = ? AND a.status = 'processing'
                       AND a.operation = 'send_message' ORDER BY a.id""",
                (sender,),
            ).fetchall()
        )
        return tuple(
            SendingAction(
                id=ActionId(id),
                org=OrgId(org),
                round=round_,
                batch=batch,
                first_seq=first or 0,
                message=message,
                schedule=schedule,
            )
            for id, org, round_, batch, first, message, schedule in rows
        )

    async def after(self, query: CandidateQuery) -> tuple[Candidate, ...]:
        """The next candidates in the order of the snapshot, none of which has to wait."""
        released = "AND r.batch IS NOT NULL" if query.dripped else ""
        where = f"r.seq > :floor AND r.not_before IS NULL {released}"
        return await self._read(query, "recipients AS r", where, "r.seq")

    async def later(self, query: CandidateQuery) -> tuple[Candidate, ...]:
        """The candidates whose time to wait is over, longest wait first."""
        released = "AND r.batch IS NOT NULL" if query.dripped else ""
        source = "recipients AS r INDEXED BY recipients_later"
        return await self._read(query, source, f"r.not_before <= :now {released}", "r.not_before")

    async def next_wait(self, action: ActionId, dripped: bool, now: int) -> int | None:
        """When the first of those may go who must not go by `now`, in microseconds; None if there are none."""
        released = "AND batch IS NOT NULL" if dripped else ""
        row = await self._database.read(
            lambda conn: conn.execute(
                f"SELECT min(not_before) FROM recipients INDEXED BY recipients_later "
                f"WHERE action = ? AND not_before > ? {released}",
                (action, now),
            ).fetchone()
        )
        found: int | None = row[0]
        return found

    async def singles(self, sender: SenderId, now: int, limit: int) -> tuple[tuple[Single, ...], int | None]:
        """Single messages that may go now, oldest first, and when the next of the waiting ones may."""
        return await self._database.read(lambda conn: _read_singles(conn, sender, now, limit))

    async def _read(self, query: CandidateQuery, source: str, where: str, order: str) -> tuple[Candidate, ...]:
        statement = _statement(query.channel, source, where, order, query.skip_duplicates, query.wants_tags)
        parameters = {
            "action": query.action,
            "channel": query.channel.name,
            "category": query.category,
            "now": query.now,
            "floor": query.floor,
            "limit": query.limit,
        }
        return await self._database.read(lambda conn: _found(conn, statement, parameters))


@lru_cache(maxsize=64)
def _statement(channel: Channel, source: str, where: str, order: str, skip_duplicates: bool, wants_tags: bool) -> str:
    address = address_sql(channel)
    present = f"COALESCE(m.address, {address}, r.given)"  # a further attempt goes where the first one went
    duplicate = duplicate_sql(channel, present) if skip_duplicates else "0"
    tags = "(SELECT json_group_array(tag) FROM contact_tags WHERE contact = c.id)" if wants_tags else "NULL"
    columns = [
        *("r.seq", "r.contact", "c.public_id", "r.given", "r.zone", "r.batch", "r.message", "m.attempt"),
        *("m.created_at", "c.updated_at", "c.deleted_at IS NOT NULL", present),
        f"m.id IS NULL AND {is_bad_sql(channel)}",
        opted_out_sql("a.org", ":channel", present, "r.contact", ":category"),
        *(duplicate, "m.variables", "r.variables", "c.attributes", tags),
        *(f"c.{field}" for field in SCALARS),
    ]
    # One row, an array in JSON: each row by itself would give up the interpreter and wait for it anew.
    return f"""
        SELECT json_group_array(json(found)) FROM (
            SELECT json_array({", ".join(columns)}) AS found
            FROM {source} JOIN bulk_actions AS a ON a.id = :action
            LEFT JOIN contacts AS c ON c.id = r.contact LEFT JOIN messages AS m ON m.id = r.message
            WHERE r.action = :action AND r.state = 0 AND {where} ORDER BY {order} LIMIT :limit)"""


def _found(conn: sqlite3.Connection, statement: str, parameters: Mapping[str, Any]) -> tuple[Candidate, ...]:
    (rows,) = conn.execute(statement, parameters).fetchone()
    return tuple(_candidate(row) for row in from_json(rows))


def _candidate(row: list[Any]) -> Candidate:
    (seq, contact, public_id, given, zone, batch, message, attempt, created_at, updated_at) = row[:10]
    (deleted, address, bad_address, opted_out, duplicate, frozen, variables, attributes, tags, *fields) = row[10:]
    return Candidate(
        seq=seq,
        contact=contact,
        contact_id=public_id,
        given=given,
        zone=zone,
        batch=batch,
        message=message,
        attempt=attempt or 0,
        first_attempt_at=instant_or_none(created_at),
        seen_contact=updated_at,
        deleted=bool(deleted),
        address=address,
        bad_address=bool(bad_address),
        opted_out=bool(opted_out),
        duplicate=bool(duplicate),
        values=from_json(frozen) if frozen is not None else values_of(public_id, fields, attributes, variables),
        contact_zone=fields[_TIME_ZONE],
        contact_phone=fields[_PHONE],
        tags=frozenset(tags or ()),  # an array inside the array
    )


def values_of(
    public_id: str | None, fields: list[Any], attributes: str | None, variables: str | None
) -> dict[str, Any]:
    """What a template may use: attributes, over them the contact's own fields, over them the recipient's variables.

    A contact field without a value is left out: it is undefined to the template, so that `default` applies.
    """
    values: dict[str, Any] = from_json(attributes) or {}
    values.update(zip(SCALARS, fields, strict=True))
    if public_id is not None:
        values["id"] = public_id
    if variables is not None:
        values.update(from_json(variables))
    return {name: value for name, value in values.items() if value is not None}


def _read_singles(
    conn: sqlite3.Connection, sender: SenderId, now: int, limit: int
) -> tuple[tuple[Single, ...], int | None]:
    rows = conn.execute(
        """SELECT m.id, m.address, m.contact, c.public_id, c.time_zone, m.attempt, m.attempted_at, m.source, m.category,
               m.content, m.created_at, (SELECT json_group_array(tag) FROM contact_tags WHERE contact = m.contact)
           FROM messages AS m LEFT JOIN contacts AS c ON c.id = m.contact
           WHERE m.sender = ? AND m.status = 0 AND m.action IS NULL AND COALESCE(m.not_before, 0) <= ?
           ORDER BY m.id LIMIT ?""",
        (sender, now, limit),
    ).fetchall()
    (waiting,) = conn.execute(
        "SELECT min(not_before) FROM messages WHERE sender = ? AND status = 0 AND action IS NULL AND not_before > ?",
        (sender, now),
    ).fetchone()
    singles = tuple(
        Single(
            id=MessageId(id),
            address=address,
            contact=contact,
            contact_id=contact_id,
            contact_zone=zone,
            attempt=attempt,
            first_attempt_at=instant_or_none(attempted_at),
            source=SOURCES[source],
            category=category or "general",
            content=from_json(content) or {},
            created_at=from_micros(created_at),
            tags=frozenset(from_json(tags) or ()),
        )
        for (id, address, contact, contact_id, zone, attempt, attempted_at, source, category, *rest) in rows
        for content, created_at, tags in (rest,)
    )
    return singles, waiting
