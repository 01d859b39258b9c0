"""Receipts are merged into messages, recipients and books: part of whatever transaction brings them.

Many at once, by a handful of statements whatever their number: read what they are about, decide in memory, write what
has changed.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from gateway.contract import Receipt, Status
from gateway.core.ids import MESSAGE, MessageId, OrgId, SenderId, parse_id
from gateway.core.receipts import after_receipt, is_too_early, recipient_event
from gateway.core.states import NEGATIVE, POSITIVE, MessageStatus, RecipientEvent, RecipientState
from gateway.store.codec import to_json, to_micros
from gateway.store.consent import suppress
from gateway.store.counters import Moves
from gateway.store.outbox import publish_statuses

STATUSES: Final[Mapping[Status, MessageStatus]] = {status: MessageStatus[status.name] for status in Status}
_STATUS_OF: Final = {status.value: status for status in MessageStatus}  # calling the enum takes ten times as long
_LABELS: Final = {status: status.label for status in MessageStatus}
_SAID_AT: Final = {
    MessageStatus.ACCEPTED: "accepted_at",
    MessageStatus.SENT: "sent_at",
    MessageStatus.DELIVERED: "delivered_at",
    MessageStatus.READ: "read_at",
}
_ENDED: Final = POSITIVE | NEGATIVE


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptContext:
    """What of a sender matters to its receipts. `receipt_deadline`: microseconds."""

    sender: SenderId
    org: OrgId
    awaits_receipts: bool
    receipt_deadline: int


@dataclass(slots=True)
class _Message:
    """A message as its receipts change it. `before`: its status when they came."""

    id: MessageId
    before: MessageStatus
    action: int | None
    seq: int | None
    attempted_at: int | None
    due_at: int | None
    named: bool  # the provider's ids of it are known
    said: dict[str, int | None]  # when each status was reached
    status: MessageStatus = MessageStatus.PENDING
    last_word: Receipt | None = None  # the receipt that gave it its status
    news: list[tuple[int, str, str | None]] = field(default_factory=list)  # instant, status, reason
    provider_ids: tuple[str, ...] = ()
    dead: Receipt | None = None  # it says that nobody has this address

    def too_early(self, receipt: Receipt) -> bool:
        """Bad news of an attempt that another one is to follow."""
        return is_too_early(self.status, STATUSES[receipt.status])

    def hear(self, receipt: Receipt, now: int) -> None:
        """Take one receipt in. One that says nothing new changes nothing."""
        reported = STATUSES[receipt.status]
        after = after_receipt(self.status, reported)
        said = _SAID_AT.get(reported)
        first = said is not None and self.said[said] is None
        if not self.named and receipt.provider_ids:
            self.named, self.provider_ids = True, receipt.provider_ids
        if after is self.status and not first:
            return
        at = now if receipt.at is None else to_micros(receipt.at)
        if said is not None and first:
            self.said[said] = at
        if after is not self.status:
            self.status, self.last_word = after, receipt
            if after not in NEGATIVE and self.said["accepted_at"] is None:
                self.said["accepted_at"] = at
            if receipt.address_dead and after in NEGATIVE:
                self.dead = receipt
        self.news.append((at, _LABELS[reported], receipt.reason))


def merge_receipts(
    conn: sqlite3.Connection, context: ReceiptContext, receipts: Sequence[Receipt], now: int, moves: Moves
) -> int:
    """Merge them, or park them: where their messages are not known by that id yet, and bad news of an attempt that is
    to be repeated. How many were merged.

    Order and repetition do not matter: merging them again changes nothing.
    """
    meant = _meant(conn, context.sender, receipts)
    merged = 0
    for receipt, message in zip(receipts, meant, strict=True):
        if message is None or message.too_early(receipt):
            _park(conn, context.sender, receipt, now)
            continue
        names = not message.named and bool(receipt.provider_ids)
        message.hear(receipt, now)
        merged += 1
        if names or message.before is MessageStatus.PENDING:
            for parked in _unpark(conn, context.sender, receipt.provider_ids):
                message.hear(parked, now)
    known = {message.id: message for message in meant if message is not None}
    heard = [message for message in known.values() if message.news or message.provider_ids]
    if heard:
        _write(conn, context, heard, moves, now)
    return merged


def name_messages(
    conn: sqlite3.Connection,
    context: ReceiptContext,
    named: Sequence[tuple[MessageId, Sequence[str]]],
    now: int,
    moves: Moves,
) -> None:
    """Messages got ids at their provider: write them down, and merge the receipts that were quicker than this."""
    _keep_ids(conn, context.sender, named)
    parked = _unpark(conn, context.sender, [provider_id for _, ids in named for provider_id in ids])
    if parked:
        merge_receipts(conn, context, parked, now, moves)


def message_by_provider_id(conn: sqlite3.Connection, sender: int, provider_ids: Iterable[str]) -> MessageId | None:
    """The message that the provider knows by the first known of these ids."""
    for provider_id in provider_ids:
        row = conn.execute(
            "SELECT message FROM provider_ids WHERE sender = ? AND provider_id = ?", (sender, provider_id)
        ).fetchone()
        if row is not None:
            return MessageId(row[0])
    return None


def message_meant(
    conn: sqlite3.Connection, sender: int, ref: str | None, provider_ids: Iterable[str]
) -> MessageId | None:
    """The message of this sender that a provider speaks of: by our `ref`, else by its own ids."""
    number = None if ref is None else parse_id(MESSAGE, ref)
    if number is not None:
        row = conn.execute("SELECT 1 FROM messages WHERE id = ? AND sender = ?", (number, sender)).fetchone()
        if row is not None:
            return MessageId(number)
    return message_by_provider_id(conn, sender, provider_ids)


def purge_parked(conn: sqlite3.Connection, before: int) -> int:
    """Forget parked receipts that came before this instant (microseconds); how many."""
    return conn.execute("DELETE FROM parked_receipts WHERE received_at < ?", (before,)).rowcount


def _meant(conn: sqlite3.Connection, sender: int, receipts: Sequence[Receipt]) -> list[_Message | None]:
    """For each receipt its message: by our ref if this sender has sent such a one, else by the provider's ids."""
    refs = [None if receipt.ref is None else parse_id(MESSAGE, receipt.ref) for receipt in receipts]
    messages = _read(conn, sender, {ref for ref in refs if ref is not None})
    targets = [
        ref if ref in messages else message_by_provider_id(conn, sender, receipt.provider_ids)
        for ref, receipt in zip(refs, receipts, strict=True)
    ]
    others = {target for target in targets if target is not None} - messages.keys()
    if others:
        messages |= _read(conn, sender, others)
    return [None if target is None else messages.get(target) for target in targets]


def _read(conn: sqlite3.Connection, sender: int, ids: Iterable[int]) -> dict[int, _Message]:
    """This sender's among them."""
    rows = conn.execute(
        "SELECT m.id, m.status, m.action, m.seq, m.attempted_at, m.due_at, m.provider_ids IS NOT NULL, "
        "m.accepted_at, m.sent_at, m.delivered_at, m.read_at "
        "FROM json_each(?) AS j CROSS JOIN messages AS m ON m.id = j.value WHERE m.sender = ?",
        (to_json(sorted(ids)), sender),
    ).fetchall()
    messages = {}
    for id, status, action, seq, attempted_at, due_at, named, *said in rows:
        instants = dict(zip(_SAID_AT.values(), said, strict=True))
        present = _STATUS_OF[status]
        messages[id] = _Message(
            MessageId(id), present, action, seq, attempted_at, due_at, bool(named), instants, present
        )
    return messages


def _park(conn: sqlite3.Connection, sender: int, receipt: Receipt, now: int) -> None:
    """Only one with the provider's own id can find its message later: a `ref` is on our disk before the hand-over."""
    if receipt.provider_ids:
        conn.execute(
            "INSERT INTO parked_receipts (sender, provider_id, receipt, received_at) VALUES (?, ?, ?, ?)",
            (sender, receipt.provider_ids[0], to_json(receipt), now),
        )


def _unpark(conn: sqlite3.Connection, sender: int, provider_ids: Sequence[str]) -> list[Receipt]:
    """Take out what was parked under these ids."""
    rows = conn.execute(
        "DELETE FROM parked_receipts WHERE sender = ? AND provider_id IN (SELECT value FROM json_each(?)) "
        "RETURNING receipt",
        (sender, to_json(provider_ids)),
    ).fetchall()
    return [msgspec.json.decode(text, type=Receipt) for (text,) in rows]


def _write(
    conn: sqlite3.Connection, context: ReceiptContext, heard: Sequence[_Message], moves: Moves, now: int
) -> None:
    moved = [message for message in heard if message.status is not message.before]
    _write_instants(conn, [message for message in heard if message.status is message.before])
    if moved:
        _write_moves(conn, context, moved)
        _tell(conn, context, moved, now)
        _move_recipients(conn, context, moved, moves)
    conn.execute(
        "INSERT INTO message_history (message, at, kind, status, detail) "
        "SELECT value ->> 0, value ->> 1, 'receipt', value ->> 2, value ->> 3 FROM json_each(?)",
        (to_json([(message.id, *news) for message in heard for news in message.news]),),
    )
    named = [(message.id, message.provider_ids) for message in heard if message.provider_ids]
    if named:
        _keep_ids(conn, context.sender, named)
        conn.executemany(
            "UPDATE messages SET provider_ids = ? WHERE id = ?", [(to_json(ids), message) for message, ids in named]
        )
    for message in moved:
        if message.dead is not None:
            suppress(conn, [message.id], category="all", reason=message.dead.reason, source="bounce", now=now)


def _keep_ids(conn: sqlite3.Connection, sender: int, named: Sequence[tuple[MessageId, Sequence[str]]]) -> None:
    conn.execute(
        "INSERT OR IGNORE INTO provider_ids (sender, provider_id, message) "
        "SELECT ?, value ->> 0, value ->> 1 FROM json_each(?)",
        (sender, to_json([(provider_id, message) for message, ids in named for provider_id in ids])),
    )


def _write_instants(conn: sqlite3.Connection, unmoved: Sequence[_Message]) -> None:
    if not unmoved:
        return
    conn.execute(
        "UPDATE messages SET accepted_at = j.value ->> 1, sent_at = j.value ->> 2, delivered_at = j.value ->> 3, "
        "read_at = j.value ->> 4 FROM (SELECT value FROM json_each(?) LIMIT -1) AS j WHERE id = j.value ->> 0",
        (to_json([(message.id, *message.said.values()) for message in unmoved]),),
    )


def _write_moves(conn: sqlite3.Connection, context: ReceiptContext, moved: Sequence[_Message]) -> None:
    rows = []
    for message in moved:
        last = message.last_word if message.status in NEGATIVE else None
        code, reason, provider_code = (
            (None, None, None) if last is None else (_code(last), last.reason, last.provider_code)
        )
        due_at = _due_at(context, message)
        rows.append((message.id, *message.said.values(), message.status, code, reason, provider_code, due_at))
    conn.execute(
        "UPDATE messages SET accepted_at = j.value ->> 1, sent_at = j.value ->> 2, delivered_at = j.value ->> 3, "
        "read_at = j.value ->> 4, status = j.value ->> 5, code = j.value ->> 6, reason = j.value ->> 7, "
        "provider_code = j.value ->> 8, due_at = j.value ->> 9, lease_until = NULL, not_before = NULL "
        "FROM (SELECT value FROM json_each(?) LIMIT -1) AS j WHERE id = j.value ->> 0",
        (to_json(rows),),
    )


def _tell(conn: sqlite3.Connection, context: ReceiptContext, moved: Sequence[_Message], now: int) -> None:
    """One event for each, all that are alike together."""
    alike: dict[tuple[MessageStatus, int | None, str | None], list[int]] = {}
    for message in moved:
        last = message.last_word if message.status in NEGATIVE else None
        code = None if last is None else _code(last)
        alike.setdefault((message.status, message.action, code), []).append(message.id)
    for (status, action, code), ids in alike.items():
        publish_statuses(conn, context.org, status, now, ids, action=action, code=code)


def _due_at(context: ReceiptContext, message: _Message) -> int | None:
    """When the reconciler must look at it again: a message that is at its end never."""
    if message.status in _ENDED or not context.awaits_receipts:
        return None
    if message.before in (MessageStatus.ACCEPTED, MessageStatus.SENT):
        return message.due_at  # None: it is settled, by its deadline or by a person
    return (message.attempted_at or 0) + context.receipt_deadline


def _move_recipients(
    conn: sqlite3.Connection, context: ReceiptContext, moved: Sequence[_Message], moves: Moves
) -> None:
    """Those whose present message this is; somebody in a later round has another one."""
    by_id = {message.id: message for message in moved if message.action is not None}
    if not by_id:
        return
    rows = conn.execute(
        "SELECT r.action, r.seq, r.message, r.state, r.batch, r.attempts, r.code "
        "FROM json_each(?) AS j CROSS JOIN recipients AS r ON r.action = j.value ->> 1 AND r.seq = j.value ->> 2 "
        "WHERE r.message = j.value ->> 0",
        (to_json([(message.id, message.action, message.seq) for message in by_id.values()]),),
    ).fetchall()
    changes = [change for row in rows for change in _moved(context, by_id[row[2]], row, moves)]
    if changes:
        conn.execute(
            "UPDATE recipients SET state = j.value ->> 2, code = j.value ->> 3, reason = j.value ->> 4, "
            "attempts = attempts + (j.value ->> 5), not_before = NULL "
            "FROM (SELECT value FROM json_each(?) LIMIT -1) AS j "
            "WHERE action = j.value ->> 0 AND seq = j.value ->> 1",
            (to_json(changes),),
        )


def _moved(
    context: ReceiptContext, message: _Message, row: Sequence[Any], moves: Moves
) -> Iterable[tuple[int, int, RecipientState, str | None, str | None, bool]]:
    """What becomes of one recipient: its new state, code and reason, and whether this was an attempt."""
    action, seq, _, number, batch, attempts, code = row
    state = RecipientState(number)
    confirmed = code == "unconfirmed" and message.status in _ENDED
    if confirmed:
        moves.unconfirmed(action, -1)
    event = recipient_event(state, message.status, awaits_receipts=context.awaits_receipts)
    if event is None:
        if confirmed:
            yield action, seq, state, None, None, False
        return
    last = message.last_word if event is RecipientEvent.FAIL else None
    if batch is not None and attempts == 0 and state in (RecipientState.IN_FLIGHT, RecipientState.PENDING):
        moves.tried(action, batch)
    yield (
        action,
        seq,
        moves.move(action, batch, state, event),
        None if last is None else _code(last),
        None if last is None else last.reason,
        state is RecipientState.IN_FLIGHT,
    )


def _code(receipt: Receipt) -> str:
    """Why it failed: what the adapter says, else what became of it."""
    return receipt.status.value if receipt.code is None else receipt.code.value
