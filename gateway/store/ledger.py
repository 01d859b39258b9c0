"""The consent ledger: what was wished, when, and what proves it. Nothing in it is ever changed or removed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from gateway.core.ids import MessageId, OrgId
from gateway.store.codec import from_micros
from gateway.store.database import Database


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerEntry:
    """One wish. `message`: the one that says it, or that it is about. `by`: the API key of whoever entered it.

    `callback` is the provider's own request, which is kept for some days.
    """

    seq: int
    wish: Literal["out", "in"]
    channel: str
    address: str | None
    contact_id: str | None
    category: str
    source: str
    reason: str | None
    message: MessageId | None
    callback: int | None
    by: str | None
    at: datetime


class Ledger:
    """Reads of the ledger; every change of the suppression list writes into it by itself."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def after(self, org: OrgId, seq: int, limit: int) -> tuple[LedgerEntry, ...]:
        """The entries behind `seq`, oldest first."""
        rows = await self._database.read(
            lambda conn: conn.execute(
                "SELECT l.seq, l.wish, l.channel, l.address, c.public_id, l.category, l.source, l.reason, l.message, "
                "l.callback, l.by, l.at FROM consent_ledger AS l LEFT JOIN contacts AS c ON c.id = l.contact "
                "WHERE l.org = ? AND l.seq > ? ORDER BY l.seq LIMIT ?",
                (org, seq, limit),
            ).fetchall()
        )
        return tuple(
            LedgerEntry(
                seq=seq,
                wish=wish,
                channel=channel,
                address=address,
                contact_id=contact_id,
                category=category,
                source=source,
                reason=reason,
                message=None if message is None else MessageId(message),
                callback=callback,
                by=by,
                at=from_micros(at),
            )
            for seq, wish, channel, address, contact_id, category, source, reason, message, callback, by, at in rows
        )
