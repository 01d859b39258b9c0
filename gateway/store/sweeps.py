"""Work on many rows, in chunks that never hold the writer for long: `bulk_actions.work` says what is to be done.

    snapshot   expand the selection into recipients (`selections.snapshot_chunk`)
    settle     before the first batch: take out who cannot be reached, and note the recipients' time zones
    cancel     turn who is still pending into `cancelled`
    retry      bring the recipients in the states asked for back to `pending`, in the new round

Each chunk is one transaction and moves `work_position`, so that a killed process goes on where it stopped; every chunk
can also be repeated without harm.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from gateway.contract import Channel
from gateway.core.ids import ActionId
from gateway.core.states import MessageStatus, RecipientEvent, RecipientState
from gateway.store.addresses import address_sql, is_bad_sql
from gateway.store.codec import from_json, to_json, to_micros
from gateway.store.consent import opted_out_sql
from gateway.store.counters import Moves, look
from gateway.store.database import Database
from gateway.store.selections import BEYOND_HELP, snapshot_chunk

CHUNK: Final = 5_000  # recipients per transaction: some 10 to 20 ms of the writer's time
FIRST_CHUNK: Final = 500  # of a snapshot, then doubled: the first messages are not to wait behind all the others


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """What one chunk did. `done`: the action needs the sweeper no more, or not for this."""

    action: ActionId
    work: str
    rows: int
    done: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Action:
    id: ActionId
    org: int
    operation: str
    channel: str | None
    status: str
    work: str
    position: int
    argument: Mapping[str, Any]
    round: int
    message: Mapping[str, Any]
    schedule: Mapping[str, Any]


class Sweeps:
    """The sweeper's transactions. `channels` are the installed ones, by name."""

    def __init__(self, database: Database, channels: Mapping[str, Channel]) -> None:
        self._database = database
        self._channels = channels
        self._turn = 0
        self._sizes: dict[ActionId, int] = {}  # of the next chunk of snapshots that are being taken

    async def step(self, now: datetime) -> Sweep | None:
        """Do the next chunk of one action, the actions taking turns; None if there is nothing to do."""
        if not await self._database.read(_has_work):
            return None
        sweep = await self._database.write(lambda conn: self._step(conn, to_micros(now)))
        self._turn += 1
        return sweep

    def _step(self, conn: sqlite3.Connection, now: int) -> Sweep | None:
        rows = conn.execute(
            "SELECT id, org, operation, channel, status, work, work_position, work_argument, round, message, schedule "
            "FROM bulk_actions INDEXED BY bulk_actions_work WHERE work IS NOT NULL ORDER BY id LIMIT 16"
        ).fetchall()
        if not rows:
            return None
        id, org, operation, channel, status, work, position, argument, round_, message, schedule = rows[
            self._turn % len(rows)
        ]
        action = _Action(
            id=id,
            org=org,
            operation=operation,
            channel=channel,
            status=status,
            work=work,
            position=position,
            argument=from_json(argument) or {},
            round=round_,
            message=from_json(message) or {},
            schedule=from_json(schedule),
        )
        chunk = {"snapshot": self._snapshot, "settle": self._settle, "cancel": _cancel, "retry": _retry}[work]
        moves = Moves()
        count, done = chunk(conn, action, moves, now)
        moves.write(conn, now)
        if done:
            _finish(conn, action)
        return Sweep(action=action.id, work=work, rows=count, done=done)

    def _snapshot(self, conn: sqlite3.Connection, action: _Action, moves: Moves, now: int) -> tuple[int, bool]:
        before = _last_seq(conn, action.id)
        size = self._sizes.pop(action.id, FIRST_CHUNK)
        chunk = snapshot_chunk(conn, action.id, size)
        if not chunk.done:
            self._sizes[action.id] = min(2 * size, CHUNK)
        if action.schedule["mode"] == "now" and action.operation == "send_message":
            self._settle_range(conn, action, moves, (before, _last_seq(conn, action.id)))
        return chunk.inserted, chunk.done

    def _settle(self, conn: sqlite3.Connection, action: _Action, moves: Moves, now: int) -> tuple[int, bool]:
        first = action.position
        last = _nth_after(conn, action.id, first)
        if last is None:
            return 0, True
        self._settle_range(conn, action, moves, (first, last))
        drip = action.schedule.get("drip")
        if drip is not None and drip["time_zone_mode"] == "contact":
            _note_zones(conn, action, (first, last))
        _move_on(conn, action.id, last)
        return last - first, False

    def _settle_range(self, conn: sqlite3.Connection, action: _Action, moves: Moves, seqs: tuple[int, int]) -> None:
        """Take out of (after, up to) whoever cannot be reached, before anybody takes a place in a batch."""
        channel = self._channels.get(action.channel or "")
        if channel is None:
            return  # its plugin is gone: the action waits, nobody fails
        batch = _only_batch(conn, action)
        for code, event, condition in _unreachable(channel, action):
            rows = conn.execute(
                f"UPDATE recipients AS r SET state = :state, code = :code, batch = COALESCE(r.batch, :batch) FROM ("
                f"  SELECT r.seq AS s FROM recipients AS r LEFT JOIN contacts AS c ON c.id = r.contact"
                f"  WHERE r.action = :action AND r.seq > :first AND r.seq <= :last AND r.state = 0"
                f"  AND r.message IS NULL AND {condition} LIMIT -1)"
                f" WHERE r.action = :action AND r.seq = s RETURNING seq",
                {
                    "state": RecipientState.SKIPPED if event is RecipientEvent.REFUSE else RecipientState.FAILED,
                    "code": code,
                    "batch": batch,
                    "action": action.id,
                    "org": action.org,
                    "channel": channel.name,
                    "category": action.message.get("category", "general"),
                    "first": seqs[0],
                    "last": seqs[1],
                },
            ).fetchall()
            if rows:
                moves.move(action.id, batch, RecipientState.PENDING, event, len(rows))
                if batch is not None:
                    moves.tried(action.id, batch, len(rows))


def _has_work(conn: sqlite3.Connection) -> bool:
    query = "SELECT 1 FROM bulk_actions INDEXED BY bulk_actions_work WHERE work IS NOT NULL LIMIT 1"
    return conn.execute(query).fetchone() is not None


def _unreachable(channel: Channel, action: _Action) -> list[tuple[str, RecipientEvent, str]]:
    """Code, event and SQL condition, in the order in which they are tested."""
    address = f"COALESCE({address_sql(channel)}, r.given)"
    rules = [
        ("contact_deleted", RecipientEvent.REFUSE, "c.deleted_at IS NOT NULL"),
        ("no_address", RecipientEvent.FAIL, f"r.given IS NULL AND {address_sql(channel)} IS NULL"),
        ("invalid_address", RecipientEvent.FAIL, f"r.given IS NULL AND {is_bad_sql(channel)}"),
        ("opted_out", RecipientEvent.REFUSE, opted_out_sql(":org", ":channel", address, "r.contact", ":category")),
    ]
    if action.message.get("on_duplicate_address", "skip") == "skip":
        same = "SELECT 1 FROM recipients AS o WHERE o.action = r.action AND o.given = r.given AND o.seq < r.seq"
        rules.append(("duplicate_address", RecipientEvent.REFUSE, f"r.given IS NOT NULL AND EXISTS ({same})"))
    return rules


def _cancel(conn: sqlite3.Connection, action: _Action, moves: Moves, now: int) -> tuple[int, bool]:
    last = _nth_after(conn, action.id, action.position)
    if last is None:
        return 0, True
    _lose_sight_of_doubtful(conn, action, moves, last)
    released = _only_batch(conn, action)
    rows = conn.execute(
        "UPDATE recipients SET state = ?, batch = COALESCE(batch, ?), not_before = NULL "
        "WHERE action = ? AND seq > ? AND seq <= ? AND state = 0 RETURNING batch, attempts, message",
        (RecipientState.CANCELLED, released, action.id, action.position, last),
    ).fetchall()
    for (batch, untried), number in Counter((batch, attempts == 0) for batch, attempts, _ in rows).items():
        moves.move(action.id, batch, RecipientState.PENDING, RecipientEvent.CANCEL, number)
        if batch is not None and untried:
            moves.tried(action.id, batch, number)
    conn.execute(
        "UPDATE messages SET status = ?, not_before = NULL WHERE id IN (SELECT value FROM json_each(?)) AND status = 0",
        (MessageStatus.CANCELLED, to_json([message for _, _, message in rows if message is not None])),
    )
    _move_on(conn, action.id, last)
    return len(rows), False


def _lose_sight_of_doubtful(conn: sqlite3.Connection, action: _Action, moves: Moves, last: int) -> None:
    """Who was in doubt, and was to be sent to again, still is: called cancelled, they might be sent to twice."""
    rows = conn.execute(
        "UPDATE recipients SET state = ?, not_before = NULL, reason = 'an earlier attempt is in doubt' "
        "WHERE action = ? AND seq > ? AND seq <= ? AND state = 0 AND message IS NOT NULL "
        "AND EXISTS (SELECT 1 FROM message_history AS h WHERE h.message = recipients.message AND h.status = 'unknown') "
        "RETURNING batch, message",
        (RecipientState.UNKNOWN, action.id, action.position, last),
    ).fetchall()
    for batch, number in Counter(batch for batch, _ in rows).items():
        moves.move(action.id, batch, RecipientState.PENDING, RecipientEvent.LOSE_SIGHT, number)
    conn.execute(
        "UPDATE messages SET status = ?, not_before = NULL WHERE id IN (SELECT value FROM json_each(?)) AND status = 0",
        (MessageStatus.UNKNOWN, to_json([message for _, message in rows])),
    )


def _retry(conn: sqlite3.Connection, action: _Action, moves: Moves, now: int) -> tuple[int, bool]:
    """Those of earlier rounds in the states asked for, but for those behind whom there is nobody to try."""
    last = _nth_after(conn, action.id, action.position)
    if last is None:
        return 0, True
    rows = conn.execute(
        "SELECT r.seq FROM recipients AS r WHERE r.action = ? AND r.seq > ? AND r.seq <= ? AND r.round < ? "
        f"AND +r.state IN (SELECT value FROM json_each(?)) AND NOT COALESCE({BEYOND_HELP.format(row='r')}, 0)",
        (action.id, action.position, last, action.round, to_json(action.argument["states"])),
    ).fetchall()
    bring_back(conn, action.id, [seq for (seq,) in rows], action.round, moves)
    _move_on(conn, action.id, last)
    return len(rows), False


def bring_back(conn: sqlite3.Connection, action: ActionId, seqs: list[int], round_: int, moves: Moves) -> int:
    """Put ended recipients back to pending, in no batch, for a new round with a message of its own. How many moved."""
    before = conn.execute(
        "SELECT seq, state, batch FROM recipients WHERE action = ? AND seq IN (SELECT value FROM json_each(?)) "
        "AND state >= 4",
        (action, to_json(seqs)),
    ).fetchall()
    conn.execute(
        "UPDATE recipients SET state = 0, batch = NULL, round = ?, attempts = 0, not_before = NULL, code = NULL, "
        "reason = NULL, message = NULL WHERE action = ? AND seq IN (SELECT value FROM json_each(?))",
        (round_, action, to_json([seq for seq, _, _ in before])),
    )
    for (state, batch), number in Counter((state, batch) for _, state, batch in before).items():
        moves.bring_back(action, batch, RecipientState(state), number)
    return len(before)


def _note_zones(conn: sqlite3.Connection, action: _Action, seqs: tuple[int, int]) -> None:
    """A recipient without a zone of its own has the action's."""
    conn.execute(
        "UPDATE recipients "
        "SET zone = COALESCE(zone, (SELECT time_zone FROM contacts WHERE id = recipients.contact), ?) "
        "WHERE action = ? AND seq > ? AND seq <= ?",
        (action.schedule["time_zone"], action.id, *seqs),
    )


def _finish(conn: sqlite3.Connection, action: _Action) -> None:
    """An action that was cancelled while its snapshot was being taken is swept next; everything else wants a look."""
    (status,) = conn.execute("SELECT status FROM bulk_actions WHERE id = ?", (action.id,)).fetchone()
    following = "cancel" if status == "cancelled" and action.work != "cancel" else None
    settled = action.work == "settle" or (action.work == "snapshot" and action.schedule["mode"] == "now")
    conn.execute(
        "UPDATE bulk_actions SET work = ?, work_position = 0, work_argument = NULL, settled = max(settled, ?) "
        "WHERE id = ?",
        (following, settled, action.id),
    )
    look(conn, action.id)


def _only_batch(conn: sqlite3.Connection, action: _Action) -> int | None:
    """Where no drip gives out numbers: the batch of whoever has no number yet, once it is released.

    Whoever leaves `pending` without an intent gets the number then: a retry takes them out of that batch's books by it.
    """
    return current_batch(conn, action.id) if action.schedule["mode"] != "drip" else None


def current_batch(conn: sqlite3.Connection, action: ActionId) -> int | None:
    """The newest batch's number, if the action's round has released one; an undripped one has just one a round."""
    row = conn.execute(
        "SELECT max(b.number) FROM batches AS b JOIN bulk_actions AS a ON a.id = b.action AND a.round = b.round "
        "WHERE b.action = ?",
        (action,),
    ).fetchone()
    found: int | None = row[0]
    return found


def _last_seq(conn: sqlite3.Connection, action: ActionId) -> int:
    (seq,) = conn.execute("SELECT COALESCE(max(seq), 0) FROM recipients WHERE action = ?", (action,)).fetchone()
    found: int = seq
    return found


def _nth_after(conn: sqlite3.Connection, action: ActionId, position: int) -> int | None:
    """The seq of the last recipient of the next chunk; None if there is none after `position`."""
    row = conn.execute(
        "SELECT max(seq) FROM (SELECT seq FROM recipients WHERE action = ? AND seq > ? ORDER BY seq LIMIT ?)",
        (action, position, CHUNK),
    ).fetchone()
    found: int | None = row[0]
    return found


def _move_on(conn: sqlite3.Connection, action: ActionId, position: int) -> None:
    conn.execute("UPDATE bulk_actions SET work_position = ? WHERE id = ?", (position, action))
