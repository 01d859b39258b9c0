"""Forgetting a person: what is theirs goes, the books and the wish not to be written to stay.

Messages keep their ids, states and instants, so that every action's books still balance. An opt-out stays as a keyed
hash of its address: nobody can read it, and a later contact with that address is still not written to.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from gateway.clock import Clock
from gateway.contract import Channel
from gateway.core.ids import ContactKey, OrgId
from gateway.core.people import SCALARS
from gateway.core.states import MessageStatus, RecipientEvent, RecipientState
from gateway.core.suppression import HASH_FUNCTION
from gateway.store.addresses import address_sql, holders_sql
from gateway.store.codec import to_json, to_micros
from gateway.store.counters import Moves
from gateway.store.database import Database
from gateway.store.outbox import publish_each

PURGE_STEP: Final = 50  # contacts forgotten in one transaction
_ERASED: Final = "erased"


@dataclass(frozen=True, slots=True)
class _Place:
    """An address of the person that is nobody else's: on one channel, or several."""

    channel: str
    address: str


class Erasure:
    """Use cases of forgetting."""

    def __init__(self, database: Database, clock: Clock, channels: Mapping[str, Channel]) -> None:
        self._database = database
        self._clock = clock
        self._channels = channels

    async def erase(self, org: OrgId, public_id: str) -> bool:
        """Forget a contact, deleted or not. False if there is none by this id; then nothing was changed."""
        now = to_micros(self._clock.now())

        def operation(conn: sqlite3.Connection) -> bool:
            row = conn.execute(
                "SELECT id FROM contacts WHERE org = ? AND public_id = ? AND deleted_at IS NOT 0", (org, public_id)
            ).fetchone()
            if row is None:
                return False
            self._forget(conn, org, ContactKey(row[0]), now)
            publish_each(conn, org, "contact.deleted", now, [public_id], {_ERASED: True})
            return True

        return await self._database.write(operation)

    async def purge(self, deleted_before: datetime) -> int:
        """Forget those who were deleted before, and cannot be restored; how many, a few in each transaction."""
        before, now = to_micros(deleted_before), to_micros(self._clock.now())

        def operation(conn: sqlite3.Connection) -> int:
            rows = conn.execute(
                "SELECT id, org FROM contacts INDEXED BY contacts_deleted "
                "WHERE deleted_at > 0 AND deleted_at < ? LIMIT ?",
                (before, PURGE_STEP),
            ).fetchall()
            for contact, org in rows:
                self._forget(conn, org, contact, now)
            return len(rows)

        total, forgotten = 0, PURGE_STEP
        while forgotten == PURGE_STEP:
            forgotten = await self._database.write(operation)
            total += forgotten
        return total

    def _forget(self, conn: sqlite3.Connection, org: OrgId, contact: ContactKey, now: int) -> None:
        places = self._places(conn, org, contact)
        self._keep_wishes(conn, org, contact, places, now)
        messages = _messages(conn, org, contact, places)
        _forget_messages(conn, messages, now)
        _forget_conversations(conn, org, contact, places)
        _forget_bare_recipients(conn, org, places, now)
        _forget_callbacks(conn, places)
        _forget_contact(conn, contact)

    def _places(self, conn: sqlite3.Connection, org: OrgId, contact: ContactKey) -> Sequence[_Place]:
        """A shared number stays: it is somebody else's too."""
        places = []
        for channel in self._channels.values():
            (address,) = conn.execute(
                f"SELECT {address_sql(channel)} FROM contacts AS c WHERE c.id = ?", (contact,)
            ).fetchone()
            if address is None:
                continue
            holders = conn.execute(
                f"SELECT DISTINCT id FROM ({holders_sql(channel, '?1', '?2')}) WHERE id <> ?3 LIMIT 1",
                (org, address, contact),
            ).fetchone()
            if holders is None:
                places.append(_Place(channel.name, address))
        return places

    def _keep_wishes(
        self, conn: sqlite3.Connection, org: OrgId, contact: ContactKey, places: Sequence[_Place], now: int
    ) -> None:
        """Opt-outs become hashes of the addresses; the ledger keeps its rows under the same hash."""
        for place in places:
            pair = (org, place.channel, place.address, contact)
            conn.execute(
                f"INSERT OR IGNORE INTO erased_opt_outs (org, channel, hash, category, at) "
                f"SELECT org, channel, {HASH_FUNCTION}(channel, ?3), category, ?5 FROM opt_outs "
                "WHERE org = ?1 AND channel = ?2 AND (address = ?3 OR contact = ?4)",
                (*pair, now),
            )
            conn.execute(
                "DELETE FROM opt_outs WHERE org = ?1 AND channel = ?2 AND (address = ?3 OR contact = ?4)", pair
            )
            conn.execute(
                f"UPDATE consent_ledger SET address = {HASH_FUNCTION}(channel, address), contact = NULL, reason = NULL "
                "WHERE org = ?1 AND channel = ?2 AND (address = ?3 OR (contact = ?4 AND address IS NOT NULL))",
                pair,
            )
        conn.execute("DELETE FROM opt_outs WHERE org = ? AND contact = ?", (org, contact))
        conn.execute(
            "UPDATE consent_ledger SET contact = NULL, reason = NULL WHERE org = ? AND contact = ?", (org, contact)
        )


def _messages(
    conn: sqlite3.Connection, org: OrgId, contact: ContactKey, places: Sequence[_Place]
) -> Sequence[tuple[int, int | None, int | None]]:
    """Every message to or from the person: id, and the recipient of a bulk action that it was for."""
    found = conn.execute(
        "SELECT id, action, seq FROM messages INDEXED BY messages_contact WHERE contact = ?", (contact,)
    ).fetchall()
    for place in places:
        found += conn.execute(
            "SELECT id, action, seq FROM messages INDEXED BY messages_stranger "
            "WHERE org = ? AND address = ? AND contact IS NULL",
            (org, place.address),
        ).fetchall()
    return found


def _forget_messages(
    conn: sqlite3.Connection, messages: Sequence[tuple[int, int | None, int | None]], now: int
) -> None:
    """What waits is not sent any more, and nobody asks about what is unknown: there is nothing left to ask with."""
    ids = to_json([id for id, _, _ in messages])
    conn.execute(
        "UPDATE messages SET status = ?, code = 'contact_deleted', not_before = NULL "
        "WHERE id IN (SELECT value FROM json_each(?)) AND status = ? AND action IS NULL",
        (MessageStatus.CANCELLED, ids, MessageStatus.PENDING),
    )
    conn.execute(f"UPDATE messages SET {FORGOTTEN} WHERE id IN (SELECT value FROM json_each(?))", (ids,))
    conn.execute(
        "UPDATE messages SET due_at = NULL WHERE id IN (SELECT value FROM json_each(?)) AND status = 2", (ids,)
    )
    conn.execute("UPDATE message_history SET detail = NULL WHERE message IN (SELECT value FROM json_each(?))", (ids,))
    conn.execute(
        "UPDATE recipients SET reason = NULL, variables = NULL FROM (SELECT value FROM json_each(?) LIMIT -1) AS j "
        "WHERE action = j.value ->> 0 AND seq = j.value ->> 1 AND state >= 2",
        (to_json([(action, seq) for _, action, seq in messages if action is not None]),),
    )


FORGOTTEN: Final = (
    "address = '', contact = NULL, content = CASE WHEN content IS NULL THEN NULL ELSE '{}' END, variables = NULL, "
    "reason = NULL, requested_by = NULL"
)
"""Of a SQL update: what a message no longer says. Its books, its codes and its ids at the provider stay."""


def _forget_conversations(conn: sqlite3.Connection, org: OrgId, contact: ContactKey, places: Sequence[_Place]) -> None:
    conn.execute(
        f"UPDATE conversations SET address = '{_ERASED} ' || id, name = NULL, contact = NULL, candidates = '[]' "
        "WHERE contact = ?",
        (contact,),
    )
    for place in places:
        pair = (org, place.channel, place.address)
        conn.execute(
            f"UPDATE conversations SET address = '{_ERASED} ' || id, name = NULL, contact = NULL, candidates = '[]' "
            "WHERE org = ? AND channel = ? AND address = ?",
            pair,
        )
        conn.execute(
            "DELETE FROM address_aliases WHERE org = ?1 AND channel = ?2 AND (address = ?3 OR alias = ?3)", pair
        )


def _forget_bare_recipients(conn: sqlite3.Connection, org: OrgId, places: Sequence[_Place], now: int) -> None:
    """Recipients that were given by the address alone; one that still waits is skipped."""
    addresses = to_json(sorted({place.address for place in places}))
    rows = conn.execute(
        "SELECT r.action, r.seq, r.state, r.batch, r.attempts FROM bulk_actions AS a CROSS JOIN json_each(?) AS j "
        "CROSS JOIN recipients AS r INDEXED BY recipients_given ON r.action = a.id AND r.given = j.value "
        "WHERE a.org = ? AND r.given IS NOT NULL",
        (addresses, org),
    ).fetchall()
    moves = Moves()
    for action, seq, state, batch, attempts in rows:
        if state == RecipientState.IN_FLIGHT:
            continue  # its message is leaving now; erasing once more finds it at rest
        waiting = state == RecipientState.PENDING
        after = moves.move(action, batch, RecipientState.PENDING, RecipientEvent.REFUSE) if waiting else state
        if waiting and batch is not None and attempts == 0:
            moves.tried(action, batch)
        conn.execute(
            "UPDATE recipients SET given = ?, variables = NULL, reason = NULL, state = ?, "
            "code = CASE WHEN ? THEN 'contact_deleted' ELSE code END WHERE action = ? AND seq = ?",
            (_ERASED, after, waiting, action, seq),
        )
    moves.write(conn, now)


def _forget_callbacks(conn: sqlite3.Connection, places: Sequence[_Place]) -> None:
    """Raw callbacks are kept for days only, and are few enough to be looked through."""
    for needle in sorted({place.address.lstrip("+") for place in places}):
        conn.execute(
            "DELETE FROM callbacks WHERE state <> 0 AND (instr(body, CAST(? AS BLOB)) > 0 OR instr(request, ?) > 0)",
            (needle, needle),
        )


def _forget_contact(conn: sqlite3.Connection, contact: ContactKey) -> None:
    """The row stays, for the books that name it; its id is free for somebody else."""
    emptied = ", ".join(f"{name} = NULL" for name in SCALARS)
    conn.execute("DELETE FROM contact_tags WHERE contact = ?", (contact,))
    conn.execute("DELETE FROM contact_addresses WHERE contact = ?", (contact,))
    conn.execute(
        f"UPDATE contacts SET {emptied}, addresses = NULL, attributes = NULL, bad = NULL, "
        f"public_id = '{_ERASED} ' || id, deleted_at = 0, updated_at = updated_at + 1 WHERE id = ?",
        (contact,),
    )
