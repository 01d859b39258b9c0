"""The suppression list: who does not want to be written to, and the ledger of what proves it.

An opt-out holds for an address or for a contact, on one channel, for one category or for `all`. The check is part of
the statements of the send path (`opted_out_sql`), so nobody can leave it out.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from gateway.clock import Clock
from gateway.contract import Channel
from gateway.core.ids import ContactKey, IdSequence, OptOutId, OrgId
from gateway.store.addresses import address_sql
from gateway.store.codec import from_micros, micros_or_none, to_json, to_micros
from gateway.store.database import Database
from gateway.store.outbox import publish_wish


def opted_out_sql(org: str, channel: str, address: str, contact: str, category: str) -> str:
    """A SQL condition over SQL expressions: this person, or this address, has opted out. Three probes of an index.

    The third is for who is known under another address than this, which is where their wishes stand. A fourth is for
    addresses of people who were forgotten, whose hash is made only in an org that has forgotten somebody: CASE promises
    to look no further otherwise, AND does not.
    """
    known = f"known.org = {org} AND known.channel = {channel} AND known.alias = {address}"
    forgotten = f"FROM erased_opt_outs AS e WHERE e.org = {org}"
    of_list = f"opt_outs.org = {org} AND opt_outs.channel = {channel}"
    categories = f"opt_outs.category IN ('all', {category})"
    return (
        f"(EXISTS (SELECT 1 FROM opt_outs WHERE {of_list} AND opt_outs.address = {address} AND {categories})"
        f" OR EXISTS (SELECT 1 FROM opt_outs WHERE {of_list} AND opt_outs.contact = {contact} AND {categories})"
        f" OR EXISTS (SELECT 1 FROM address_aliases AS known CROSS JOIN opt_outs ON {of_list} "
        f"AND opt_outs.address = known.address AND {categories} WHERE {known})"
        f" OR CASE WHEN EXISTS (SELECT 1 {forgotten}) THEN EXISTS (SELECT 1 {forgotten} AND e.channel = {channel} "
        f"AND e.hash = suppression_hash({channel}, {address}) AND e.category IN ('all', {category})) ELSE 0 END)"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class OptOut:
    """One recorded wish not to be written to. Either `address` or `contact_id`, or both, is set."""

    id: OptOutId
    channel: str
    address: str | None
    contact_id: str | None
    category: str
    reason: str | None
    source: str
    created_at: datetime
    created_by: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewOptOut:
    """A wish to be recorded, of an address in its one spelling or of the contact with that public id."""

    channel: str
    address: str | None = None
    contact: str | None = None
    category: str = "all"
    reason: str | None = None

    def __post_init__(self) -> None:
        if (self.address is None) == (self.contact is None):
            raise ValueError("a wish has an address or a contact; who has both makes two wishes")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """What became of one wish: `new` false if it stood there already, with its own reason and instant."""

    opt_out: OptOut
    new: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """What became of all wishes. `unknown`: the places of those without such a contact; then none was recorded."""

    recorded: tuple[Recorded, ...] = ()
    unknown: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class OptOutFilter:
    """Which opt-outs to list. `addresses`: pairs of channel and address."""

    channel: str | None = None
    addresses: Sequence[tuple[str, str]] | None = None
    contact: str | None = None
    created_after: datetime | None = None  # inclusive
    created_before: datetime | None = None  # exclusive


class ConsentStore:
    """Use cases of the suppression list; every change is written to the ledger in the same transaction."""

    def __init__(self, database: Database, ids: IdSequence, clock: Clock) -> None:
        self._database = database
        self._ids = ids
        self._clock = clock

    async def record(self, org: OrgId, wishes: Sequence[NewOptOut], *, source: str, by: str | None) -> Recording:
        """Record all wishes in one transaction. After it no new message to these people starts on the channel.

        A deleted contact is known. Of two equal wishes the first one is recorded.
        """
        now = to_micros(self._clock.now())

        def operation(conn: sqlite3.Connection) -> Recording:
            keys = _keys(conn, org, [wish.contact for wish in wishes if wish.contact is not None])
            unknown = [
                place for place, wish in enumerate(wishes) if wish.contact is not None and wish.contact not in keys
            ]
            if unknown:
                return Recording(unknown=tuple(unknown))
            rows = [
                (self._ids.take(), wish.channel, wish.address, keys.get(wish.contact or ""), wish.category, wish.reason)
                for wish in wishes
            ]
            return Recording(recorded=_record(conn, org, to_json(rows), source, by, now))

        return await self._database.write(operation)

    async def list(self, org: OrgId, wanted: OptOutFilter, before: OptOutId | None, limit: int) -> tuple[OptOut, ...]:
        """The newest first."""
        where = ["o.org = ?"]
        parameters: list[object] = [org]
        for condition, value in (
            ("o.id < ?", before),
            ("o.channel = ?", wanted.channel),
            ("o.contact = (SELECT id FROM contacts WHERE contacts.org = o.org AND public_id = ?)", wanted.contact),
            ("o.created_at >= ?", micros_or_none(wanted.created_after)),
            ("o.created_at < ?", micros_or_none(wanted.created_before)),
        ):
            if value is not None:
                where.append(condition)
                parameters.append(value)
        if wanted.addresses is not None:
            where.append(
                "o.id IN (SELECT held.id FROM json_each(?) AS pair CROSS JOIN opt_outs AS held WHERE held.org = ? "
                "AND held.channel = pair.value ->> 0 AND held.address = pair.value ->> 1)"
            )
            parameters += [to_json(wanted.addresses), org]
        return await self._database.read(
            lambda conn: _opt_outs(conn, f"{' AND '.join(where)} ORDER BY o.id DESC LIMIT {int(limit)}", parameters)
        )

    async def get(self, org: OrgId, opt_out: OptOutId) -> OptOut | None:
        """One opt-out."""
        found = await self._database.read(lambda conn: _opt_outs(conn, "o.org = ? AND o.id = ?", [org, opt_out]))
        return next(iter(found), None)

    async def remove(self, org: OrgId, opt_out: OptOutId, *, reason: str, by: str | None) -> bool:
        """Take an opt-out off the list; the ledger keeps both the wish and its end. False if there is none."""
        now = to_micros(self._clock.now())

        def operation(conn: sqlite3.Connection) -> bool:
            conn.execute(
                "INSERT INTO consent_ledger (org, wish, channel, address, contact, category, source, reason, at, by) "
                "SELECT org, 'in', channel, address, contact, category, 'api', ?, ?, ? FROM opt_outs "
                "WHERE org = ? AND id = ?",
                (reason, now, by, org, opt_out),
            )
            row = conn.execute(
                "DELETE FROM opt_outs WHERE org = ? AND id = ? RETURNING channel, category, contact", (org, opt_out)
            ).fetchone()
            if row is None:
                return False
            channel, category, contact = row
            publish_wish(
                conn, org, "in", now, channel=channel, category=category, source="api", contact=contact, message=None
            )
            return True

        return await self._database.write(operation)


def opt_outs_of(
    conn: sqlite3.Connection, contacts: Sequence[ContactKey], channels: Sequence[Channel]
) -> dict[ContactKey, dict[str, datetime]]:
    """Since when these contacts, or their addresses, have opted out of everything on which of the channels."""
    since: dict[ContactKey, dict[str, datetime]] = {}
    for channel in channels:
        address = address_sql(channel)
        rows = conn.execute(
            f"""SELECT contact, min(created_at) FROM (
                    SELECT c.id AS contact, o.created_at FROM contacts AS c CROSS JOIN opt_outs AS o
                    WHERE c.id IN (SELECT value FROM json_each(?1)) AND o.org = c.org AND o.channel = ?2
                        AND o.contact = c.id AND o.category = 'all'
                    UNION ALL
                    SELECT c.id, o.created_at FROM contacts AS c CROSS JOIN opt_outs AS o
                    WHERE c.id IN (SELECT value FROM json_each(?1)) AND o.org = c.org AND o.channel = ?2
                        AND o.address = {address} AND o.category = 'all')
                GROUP BY contact""",
            (to_json(contacts), channel.name),
        )
        for contact, at in rows:
            since.setdefault(contact, {})[channel.name] = from_micros(at)
    return since


def _keys(conn: sqlite3.Connection, org: OrgId, contacts: Sequence[str]) -> dict[str, ContactKey]:
    return dict(
        conn.execute(
            "SELECT public_id, id FROM contacts WHERE org = ? AND public_id IN (SELECT value FROM json_each(?))",
            (org, to_json(contacts)),
        ).fetchall()
    )


def _record(
    conn: sqlite3.Connection, org: OrgId, wishes: str, source: str, by: str | None, now: int
) -> tuple[Recorded, ...]:
    """`wishes`: JSON rows of id, channel, address, contact, category and reason."""
    new = [
        id
        for (id,) in conn.execute(
            "INSERT INTO opt_outs "
            "(id, channel, address, contact, category, reason, org, source, created_at, created_by) "
            "SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, ?, ?, ?, ? "
            "FROM json_each(?) WHERE true ORDER BY key ON CONFLICT DO NOTHING RETURNING id",
            (org, source, now, by, wishes),
        ).fetchall()
    ]
    entered = conn.execute(
        "INSERT INTO consent_ledger (org, wish, channel, address, contact, category, source, reason, at, by) "
        "SELECT org, 'out', channel, address, contact, category, source, reason, created_at, created_by FROM opt_outs "
        "WHERE id IN (SELECT value FROM json_each(?)) ORDER BY id RETURNING channel, category, contact",
        (to_json(new),),
    ).fetchall()
    for channel, category, contact in entered:
        publish_wish(
            conn, org, "out", now, channel=channel, category=category, source=source, contact=contact, message=None
        )
    standing = [
        id
        for (id,) in conn.execute(
            """SELECT COALESCE(
                    (SELECT id FROM opt_outs WHERE org = ?1 AND channel = value ->> 1 AND address = value ->> 2
                        AND category = value ->> 4),
                    (SELECT id FROM opt_outs WHERE org = ?1 AND channel = value ->> 1 AND contact = value ->> 3
                        AND category = value ->> 4))
                FROM json_each(?2) ORDER BY key""",
            (org, wishes),
        ).fetchall()
    ]
    found = {
        each.id: each
        for each in _opt_outs(conn, "o.id IN (SELECT value FROM json_each(?))", [to_json(sorted(set(standing)))])
    }
    fresh = set(new)
    recorded = []
    for id in standing:
        recorded.append(Recorded(opt_out=found[id], new=id in fresh))
        fresh.discard(id)  # the same wish once more in this call stands there already
    return tuple(recorded)


def suppress(
    conn: sqlite3.Connection,
    messages: Sequence[int],
    *,
    category: str,
    reason: str | None,
    source: str,
    now: int,
) -> None:
    """The provider says that nothing more must, or can, go to the addresses of these messages: part of the turn.

    A message's id serves as the opt-out's: it is unique, and one message causes at most one.
    """
    rows = conn.execute(
        "SELECT id, org, channel, address, contact FROM messages WHERE id IN (SELECT value FROM json_each(?))",
        (to_json(messages),),
    ).fetchall()
    for message, org, channel, address, contact in rows:
        inserted = conn.execute(
            "INSERT INTO opt_outs (id, org, channel, address, category, reason, source, message, created_at) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (message, org, channel, address, category, reason, source, message, now),
        ).rowcount
        if inserted:
            conn.execute(
                "INSERT INTO consent_ledger "
                "(org, wish, channel, address, contact, category, source, reason, message, at) "
                "VALUES (?, 'out', ?, ?, ?, ?, ?, ?, ?, ?)",
                (org, channel, address, contact, category, source, reason, message, now),
            )
            publish_wish(
                conn,
                org,
                "out",
                now,
                channel=channel,
                category=category,
                source=source,
                contact=contact,
                message=message,
            )


def _opt_outs(conn: sqlite3.Connection, where: str, parameters: Sequence[object]) -> tuple[OptOut, ...]:
    rows = conn.execute(
        "SELECT o.id, o.channel, o.address, c.public_id, o.category, o.reason, o.source, o.created_at, o.created_by "
        f"FROM opt_outs AS o LEFT JOIN contacts AS c ON c.id = o.contact WHERE {where}",
        tuple(parameters),
    ).fetchall()
    return tuple(
        OptOut(
            id=OptOutId(id),
            channel=channel,
            address=address,
            contact_id=contact_id,
            category=category,
            reason=reason,
            source=source,
            created_at=from_micros(created_at),
            created_by=created_by,
        )
        for id, channel, address, contact_id, category, reason, source, created_at, created_by in rows
    )
