"""Orgs and senders as rows: what configuration names gets an id, and what a sender must not forget over a restart."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from gateway.core.ids import OrgId, SenderId
from gateway.store.allowances import sent_by_org
from gateway.store.codec import from_micros, instant_or_none, to_json, to_micros
from gateway.store.database import Database
from gateway.store.outbox import publish


@dataclass(frozen=True, slots=True, kw_only=True)
class SenderSetting:
    """A sender as the configuration describes it."""

    name: str
    org: str
    channel: str
    adapter: str
    in_flight_limit: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldState:
    """Whether a sender is held, why, and since when. `held`: `manual`, `misconfigured` or `outage`."""

    held: str | None = None
    detail: str | None = None
    since: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """A sender's token bucket as it was stored, and what it and its whole org have sent today."""

    tokens: float | None
    tokens_at: datetime | None
    sent_today: int
    org_sent_today: int
    in_flight: int


class SenderStore:
    """Rows of `orgs`, `senders` and `sender_days`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def register(
        self, orgs: Sequence[str], senders: Sequence[SenderSetting]
    ) -> tuple[Mapping[str, OrgId], Mapping[str, SenderId]]:
        """Give every org and sender of the configuration its row; those that vanished keep theirs."""

        def operation(conn: sqlite3.Connection) -> tuple[Mapping[str, OrgId], Mapping[str, SenderId]]:
            conn.execute(
                "INSERT INTO orgs (name) SELECT value FROM json_each(?) WHERE true ON CONFLICT DO NOTHING",
                (to_json(orgs),),
            )
            conn.execute(
                "INSERT INTO senders (org, name, channel, adapter, in_flight_limit) "
                "SELECT o.id, value ->> 'name', value ->> 'channel', value ->> 'adapter', value ->> 'in_flight_limit' "
                "FROM json_each(?) JOIN orgs AS o ON o.name = value ->> 'org' WHERE true "
                "ON CONFLICT (name) DO UPDATE SET org = excluded.org, channel = excluded.channel, "
                "adapter = excluded.adapter, in_flight_limit = excluded.in_flight_limit",
                (to_json(senders),),
            )
            org_ids = {name: OrgId(id) for name, id in conn.execute("SELECT name, id FROM orgs").fetchall()}
            sender_ids = {name: SenderId(id) for name, id in conn.execute("SELECT name, id FROM senders").fetchall()}
            return org_ids, sender_ids

        return await self._database.write(operation)

    async def hold(self, sender: SenderId, held: str, detail: str, now: datetime) -> bool:
        """Hold a sender, and have its waiting actions say so. A hold by hand is not replaced. True if it was free."""

        def operation(conn: sqlite3.Connection) -> bool:
            row = conn.execute("SELECT held, org, name FROM senders WHERE id = ?", (sender,)).fetchone()
            if row is None or (row[0] == "manual" and held != "manual"):
                return False
            conn.execute(
                "UPDATE senders SET held = ?, held_detail = ?, held_at = COALESCE(held_at, ?) WHERE id = ?",
                (held, detail, to_micros(now), sender),
            )
            if row[0] != held:
                publish(conn, row[1], "sender.held", to_micros(now), {"sender": row[2], "held": held})
            _look_at_all(conn, sender)
            return row[0] is None

        return await self._database.write(operation)

    async def release(self, sender: SenderId, now: datetime, *, by_hand: bool) -> bool:
        """Let a sender go on. Only a person lifts a hold made by hand. True if it was held."""

        def operation(conn: sqlite3.Connection) -> bool:
            row = conn.execute(
                "UPDATE senders SET held = NULL, held_detail = NULL, held_at = NULL "
                "WHERE id = ? AND held IS NOT NULL AND (? OR held <> 'manual') RETURNING org, name",
                (sender, by_hand),
            ).fetchone()
            if row is not None:
                publish(conn, row[0], "sender.released", to_micros(now), {"sender": row[1]})
            _look_at_all(conn, sender)
            return row is not None

        return await self._database.write(operation)

    async def holds(self, org: OrgId | None = None) -> Mapping[str, HoldState]:
        """The holds of an org's senders (None: of all), by name."""
        rows = await self._database.read(
            lambda conn: conn.execute(
                "SELECT name, held, held_detail, held_at FROM senders WHERE org = ? OR ? IS NULL", (org, org)
            ).fetchall()
        )
        return {
            name: HoldState(held=held, detail=detail, since=None if at is None else from_micros(at))
            for name, held, detail, at in rows
        }

    async def pace(self, sender: SenderId, day: str) -> Pace:
        """What the dispatcher needs to go on where the last process stopped."""

        def query(conn: sqlite3.Connection) -> Pace:
            org, tokens, at, sent, in_flight = conn.execute(
                "SELECT org, tokens, tokens_at, "
                "COALESCE((SELECT sent FROM sender_days WHERE sender = s.id AND day = ?), 0), "
                "(SELECT count(*) FROM messages WHERE sender = s.id AND status = 1) FROM senders AS s WHERE id = ?",
                (day, sender),
            ).fetchone()
            return Pace(
                tokens=tokens,
                tokens_at=instant_or_none(at),
                sent_today=sent,
                org_sent_today=sent_by_org(conn, org, day),
                in_flight=in_flight,
            )

        return await self._database.read(query)


def _look_at_all(conn: sqlite3.Connection, sender: SenderId) -> None:
    conn.execute(
        "UPDATE bulk_actions SET look_at = 0 WHERE sender = ? AND status IN ('queued', 'processing')", (sender,)
    )
