"""The recipients of a bulk action as they are shown, and the ones that a person names."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gateway.contract import Channel
from gateway.core.ids import ActionId, MessageId
from gateway.core.states import RecipientState
from gateway.store.addresses import address_sql
from gateway.store.codec import instant_or_none, to_json
from gateway.store.database import Database
from gateway.store.selections import BEYOND_HELP


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipientView:
    """One recipient. `recipient` is what names it in a retry: the contact's public id, or the address as given.

    `beyond_help`: there is nothing behind it that could be tried again.
    """

    seq: int
    recipient: str
    contact_id: str | None
    name: str | None
    address: str | None
    state: RecipientState
    code: str | None
    reason: str | None
    provider_code: str | None
    message: MessageId | None
    batch: int | None
    round: int
    not_before: datetime | None
    beyond_help: bool


class RecipientReads:
    """Reads of an action's recipients. The caller has found the action in its org."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(
        self, action: ActionId, channel: Channel | None, states: Sequence[RecipientState], after: int, limit: int
    ) -> tuple[RecipientView, ...]:
        """In the order of the snapshot, behind `after`; in these states, or in any."""
        rows = await self._database.read(lambda conn: _page(conn, action, channel, states, after, limit))
        return tuple(_view(row) for row in rows)

    async def ended(
        self, action: ActionId, names: Sequence[str]
    ) -> Mapping[str, list[tuple[int, RecipientState, bool]]]:
        """By name, the recipients that have ended badly or were left out: (seq, state, whether beyond help).

        Reads all of an action's ended recipients once: about half a second for a million.
        """
        rows = await self._database.read(
            lambda conn: conn.execute(
                f"SELECT COALESCE(c.public_id, r.given), r.seq, r.state, {BEYOND_HELP.format(row='r')} "
                "FROM recipients AS r INDEXED BY recipients_ended LEFT JOIN contacts AS c ON c.id = r.contact "
                "WHERE r.action = ? AND r.state >= 4 "
                "AND COALESCE(c.public_id, r.given) IN (SELECT value FROM json_each(?))",
                (action, to_json(names)),
            ).fetchall()
        )
        found: dict[str, list[tuple[int, RecipientState, bool]]] = {}
        for name, seq, state, hopeless in rows:
            found.setdefault(name, []).append((seq, RecipientState(state), bool(hopeless)))
        return found

    async def any_retryable(self, action: ActionId, states: Sequence[RecipientState]) -> bool:
        """Whether there is anybody in these states that could be tried again."""
        row = await self._database.read(
            lambda conn: conn.execute(
                "SELECT 1 FROM recipients AS r INDEXED BY recipients_ended WHERE r.action = ? AND r.state >= 4 "
                "AND r.state IN (SELECT value FROM json_each(?)) "
                f"AND NOT COALESCE({BEYOND_HELP.format(row='r')}, 0) LIMIT 1",
                (action, to_json([int(state) for state in states])),
            ).fetchone()
        )
        return row is not None


def _page(
    conn: sqlite3.Connection,
    action: ActionId,
    channel: Channel | None,
    states: Sequence[RecipientState],
    after: int,
    limit: int,
) -> list[tuple[Any, ...]]:
    address = "NULL" if channel is None else address_sql(channel)
    sql = f"""
        SELECT r.seq, COALESCE(c.public_id, r.given), c.public_id,
            COALESCE(c.name, NULLIF(trim(COALESCE(c.first_name, '') || ' ' || COALESCE(c.last_name, '')), '')),
            COALESCE(m.address, {address}, CASE WHEN r.code IS NOT 'contact_not_found' THEN r.given END),
            r.state, r.code, COALESCE(r.reason, m.reason), m.provider_code, r.message, r.batch, r.round, r.not_before,
            {BEYOND_HELP.format(row="r")}
        FROM ({_seqs(states)}) AS near JOIN recipients AS r ON r.action = :action AND r.seq = near.seq
        LEFT JOIN contacts AS c ON c.id = r.contact LEFT JOIN messages AS m ON m.id = r.message
        ORDER BY r.seq LIMIT :limit"""
    return conn.execute(sql, {"action": action, "after": after, "limit": limit}).fetchall()


def _seqs(states: Sequence[RecipientState]) -> str:
    """The next seqs; by the short index for each state that it holds, so that a page costs no more than a page."""
    if not states:
        return "SELECT seq FROM recipients WHERE action = :action AND seq > :after ORDER BY seq LIMIT :limit"
    parts = []
    for state in sorted(set(states)):
        indexed = state >= RecipientState.FAILED
        source = "recipients INDEXED BY recipients_ended" if indexed else "recipients"
        short = "AND state >= 4" if indexed else ""
        parts.append(
            f"SELECT seq FROM (SELECT seq FROM {source} WHERE action = :action AND state = {int(state)} {short} "
            "AND seq > :after ORDER BY seq LIMIT :limit)"
        )
    return f"SELECT seq FROM ({' UNION ALL '.join(parts)}) ORDER BY seq LIMIT :limit"


def _view(row: tuple[Any, ...]) -> RecipientView:
    (seq, recipient, contact_id, name, address, state, code, reason, provider_code, message, batch, *rest) = row
    round_, not_before, hopeless = rest
    return RecipientView(
        seq=seq,
        recipient=recipient,
        contact_id=contact_id,
        name=name,
        address=address,
        state=RecipientState(state),
        code=code,
        reason=reason,
        provider_code=provider_code,
        message=message,
        batch=batch,
        round=round_,
        not_before=instant_or_none(not_before),
        beyond_help=bool(hopeless),
    )
