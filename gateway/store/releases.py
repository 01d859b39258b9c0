"""The scheduler's transactions: which actions want a look, releasing a batch, waiting, pausing, coming to an end."""

from __future__ import annotations

import heapq
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from gateway.core.ids import ActionId, IdSequence, MessageId, OrgId, SenderId
from gateway.core.progress import next_event
from gateway.core.states import ACTIONS, FINAL_ACTIONS, ActionEvent, ActionStatus, Counts, RecipientState
from gateway.store.codec import instant_or_none, micros_or_none, to_json, to_micros
from gateway.store.counters import Moves
from gateway.store.counters import look as look_at_once
from gateway.store.database import Database
from gateway.store.looks import LOOK, ActionLook, read_look
from gateway.store.outbox import publish_of_action

LOOK_AGAIN_MICROSECONDS: Final = 30_000_000  # far longer than a look takes, short enough to mend one that failed


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """Where the operator wants to be told of a pause: `[operator] notify`."""

    sender: SenderId
    org: OrgId
    channel: str
    address: str


class Releases:
    """Transactions of the scheduler. `_floors` only says where to start reading; it is not needed to be right."""

    def __init__(self, database: Database, ids: IdSequence, notice: Notice | None = None) -> None:
        self._database = database
        self._ids = ids
        self._notice = notice
        self._floors: dict[tuple[ActionId, int], int] = {}

    async def due(self, now: datetime, limit: int = 100) -> tuple[ActionLook, ...]:
        """Take the actions that want to be looked at, those that were changed first.

        Taking one moves its `look_at` a little ahead: a change that comes in while the scheduler decides sets it to 0
        again and so is not lost, and a look that is never finished is repeated.
        """
        micros = to_micros(now)
        taken = micros + LOOK_AGAIN_MICROSECONDS

        def operation(conn: sqlite3.Connection) -> tuple[ActionLook, ...]:
            rows = conn.execute(f"{LOOK} WHERE a.look_at <= ? ORDER BY a.look_at LIMIT ?", (micros, limit)).fetchall()
            looks = tuple(read_look(conn, row, micros, taken) for row in rows)
            conn.executemany("UPDATE bulk_actions SET look_at = ? WHERE id = ?", [(taken, look.id) for look in looks])
            return looks

        return await self._database.write(operation)

    async def next_look(self) -> datetime | None:
        """When the next action wants to be looked at."""
        # Without the condition no index answers it.
        row = self._database.read_now(
            lambda conn: conn.execute("SELECT min(look_at) FROM bulk_actions WHERE look_at IS NOT NULL").fetchone()
        )
        return instant_or_none(row[0])

    async def want_look(self, actions: Sequence[ActionId]) -> None:
        """Have these actions looked at."""

        def operation(conn: sqlite3.Connection) -> None:
            for action in actions:
                look_at_once(conn, action)

        await self._database.write(operation)

    async def remaining_by_zone(self, action: ActionId, now: datetime) -> Mapping[str, int]:
        """For a drip in the recipients' own zones: how many in each zone may be released."""
        micros = to_micros(now)

        def query(conn: sqlite3.Connection) -> dict[str, int]:
            counted = conn.execute(
                "SELECT zone, count(*) FROM recipients INDEXED BY recipients_zone "
                "WHERE action = ? AND zone IS NOT NULL AND state = 0 AND batch IS NULL GROUP BY zone",
                (action,),
            )
            zones: dict[str, int] = dict(counted.fetchall())
            waiting = conn.execute(
                "SELECT zone, count(*) FROM recipients INDEXED BY recipients_later WHERE action = ? AND not_before > ? "
                "AND zone IS NOT NULL AND state = 0 AND batch IS NULL GROUP BY zone",
                (action, micros),
            )
            for zone, number in waiting.fetchall():
                zones[zone] -= number
            return {zone: number for zone, number in zones.items() if number > 0}

        return await self._database.read(query)

    async def wait(
        self, look: ActionLook, until: datetime | None, reason: str | None, next_batch_at: datetime | None
    ) -> None:
        """Look again at `until` (None: when something changes); at once, if a lane has said something since: it would
        not say it again. Keeps an earlier request that came in meanwhile."""

        def operation(conn: sqlite3.Connection) -> None:
            seen = (look.id, look.revision, look.status, look.wait_reason, micros_or_none(look.next_batch_at))
            told = conn.execute(
                "UPDATE bulk_actions SET wait_reason = ?, next_batch_at = ? WHERE (id, revision, status) = (?, ?, ?) "
                "AND wait_reason IS ? AND next_batch_at IS ?",
                (reason, micros_or_none(next_batch_at), *seen),
            )
            self._looked(conn, look, micros_or_none(until) if told.rowcount else 0)

        await self._database.write(operation)

    async def start_settling(self, look: ActionLook) -> None:
        """The start is due: first the sweeper takes out who cannot be reached, see `sweeps`."""

        def operation(conn: sqlite3.Connection) -> None:
            conn.execute(
                "UPDATE bulk_actions SET work = 'settle', work_position = 0, look_at = NULL "
                "WHERE id = ? AND work IS NULL AND status IN ('queued', 'processing')",
                (look.id,),
            )

        await self._database.write(operation)

    async def start_with_nobody(self, look: ActionLook, now: datetime) -> None:
        """Nobody is left to be released before the first batch was: it starts all the same, so that it can end."""

        def operation(conn: sqlite3.Connection) -> None:
            if _still(conn, look):
                _started(conn, look, now)
                self._looked(conn, look, 0)

        await self._database.write(operation)

    async def release_all(self, look: ActionLook, planned_at: datetime, now: datetime) -> bool:
        """Release everybody in one batch. False if the action was edited, paused or cancelled meanwhile."""

        def operation(conn: sqlite3.Connection) -> bool:
            if not _still(conn, look):
                return False
            (unreleased,) = conn.execute("SELECT unreleased FROM action_counts WHERE action = ?", (look.id,)).fetchone()
            number = _next_number(conn, look.id)
            _insert_batch(conn, look, number, planned_at, now, unreleased)
            conn.execute("UPDATE action_counts SET unreleased = 0 WHERE action = ?", (look.id,))
            _started(conn, look, now)
            self._looked(conn, look, 0)
            return True

        return await self._database.write(operation)

    async def release(
        self, look: ActionLook, planned_at: datetime, now: datetime, quantity: int, zones: Sequence[str] | None
    ) -> int | None:
        """Release the next `quantity` recipients of a drip, in the order of the snapshot (of these zones, if given).

        The number of people released; None if the action was edited, paused or cancelled meanwhile.
        """

        def operation(conn: sqlite3.Connection) -> int | None:
            if not _still(conn, look):
                return None
            seqs = self._next_recipients(conn, look, quantity, zones, to_micros(now))
            if seqs:
                number = _next_number(conn, look.id)
                conn.execute(
                    "UPDATE recipients SET batch = ?, not_before = NULL "
                    "WHERE action = ? AND seq IN (SELECT value FROM json_each(?))",
                    (number, look.id, to_json(seqs)),
                )
                _insert_batch(conn, look, number, planned_at, now, len(seqs), min(seqs))
                moves = Moves()
                moves.release(look.id, number, len(seqs))
                moves.write(conn, to_micros(now))
                _started(conn, look, now)
            self._looked(conn, look, 0)
            return len(seqs)

        return await self._database.write(operation)

    async def take_back(self, look: ActionLook, now: datetime) -> int:
        """The window has closed: who was released and never tried leaves the batch. How many did."""

        def operation(conn: sqlite3.Connection) -> int:
            rows = conn.execute(
                "SELECT number FROM batches WHERE action = ? AND untried > 0 ORDER BY number", (look.id,)
            ).fetchall()
            moves = Moves()
            total = 0
            for (number,) in rows:
                taken = conn.execute(
                    "UPDATE recipients SET batch = NULL WHERE action = ? AND batch = ? AND state = 0 AND attempts = 0",
                    (look.id, number),
                ).rowcount
                moves.take_back(look.id, number, taken)
                total += taken
            moves.write(conn, to_micros(now))
            self._floors.pop((look.id, look.round), None)
            return total

        return await self._database.write(operation)

    async def conclude(self, look: ActionLook, now: datetime) -> ActionStatus | None:
        """Drain, settle or recompute the outcome, as the books say now. The new status, or None if nothing changed."""

        def operation(conn: sqlite3.Connection) -> ActionStatus | None:
            row = conn.execute(f"{LOOK} WHERE a.id = ?", (look.id,)).fetchone()
            present = read_look(conn, row, to_micros(now), look.taken)
            if present.work is not None:
                return None
            event = next_event(
                present.status,
                present.counts,
                sends=present.operation == "send_message",
                open_unknown=_open_unknown(conn, look.id) if present.counts.unknown else 0,
            )
            if event is None:
                return None
            status = ACTIONS[present.status, event]
            final = status in FINAL_ACTIONS
            conn.execute(
                "UPDATE bulk_actions SET status = ?, completed_at = ?, wait_reason = NULL, next_batch_at = NULL, "
                "look_at = ? WHERE id = ?",
                (
                    status,
                    to_micros(now) if final else None,
                    None if final or event is ActionEvent.DRAIN else 0,
                    look.id,
                ),
            )
            _tell_end(conn, look.id, present.status, event, present.counts, to_micros(now))
            return status

        return await self._database.write(operation)

    async def pause(self, action: ActionId, reason: str, detail: str, now: datetime) -> bool:
        """Pause by itself, and write the operator a message in the same transaction. False: it was not running."""

        def operation(conn: sqlite3.Connection) -> bool:
            row = conn.execute(
                "UPDATE bulk_actions SET paused_from = status, status = 'paused', pause_reason = ?, pause_detail = ?, "
                "wait_reason = NULL, next_batch_at = NULL, look_at = NULL, resumed_at = NULL "
                "WHERE id = ? AND status IN ('queued', 'processing') RETURNING label",
                (reason, detail, action),
            ).fetchone()
            if row is None:
                return False
            conn.execute("UPDATE action_counts SET failing = 0 WHERE action = ?", (action,))
            publish_of_action(conn, action, "paused", to_micros(now), pause_reason=reason, pause_detail=detail)
            if self._notice is not None:
                _notify(conn, self._notice, MessageId(self._ids.take()), (row[0], reason, detail), now)
            return True

        return await self._database.write(operation)

    async def explain(self, sender: SenderId, reason: str | None, until: datetime | None) -> None:
        """Say on a sender's running actions why it does not send: the rate, the daily cap; None: it does."""
        await self._database.write(
            lambda conn: conn.execute(
                "UPDATE bulk_actions SET wait_reason = ?, next_batch_at = ? WHERE sender = ? AND status = 'processing' "
                "AND (wait_reason IS NULL OR wait_reason IN ('rate', 'daily_cap', 'previous_batch'))",
                (reason, micros_or_none(until), sender),
            )
        )

    def _looked(self, conn: sqlite3.Connection, look: ActionLook, at: int | None) -> None:
        """Set when to look again, unless somebody asked for a look since this one was taken."""
        conn.execute("UPDATE bulk_actions SET look_at = ? WHERE id = ? AND look_at = ?", (at, look.id, look.taken))

    def _next_recipients(
        self, conn: sqlite3.Connection, look: ActionLook, quantity: int, zones: Sequence[str] | None, now: int
    ) -> list[int]:
        """Those whose deferral is over come first: they stand earlier in the snapshot."""
        of_zones = "" if zones is None else "AND zone IN (SELECT value FROM json_each(:zones))"
        over = conn.execute(
            "SELECT seq FROM recipients INDEXED BY recipients_later WHERE action = :action AND not_before <= :now "
            f"AND state = 0 AND batch IS NULL {of_zones} ORDER BY seq LIMIT :quantity",
            {"action": look.id, "now": now, "quantity": quantity, "zones": to_json(zones)},
        )
        seqs = [seq for (seq,) in over.fetchall()]
        wanted = quantity - len(seqs)
        if wanted == 0:
            return seqs
        if zones is not None:
            return seqs + list(_first_of_zones(conn, look.id, zones, wanted))
        key = (look.id, look.round)
        fresh = conn.execute(
            "SELECT seq FROM recipients WHERE action = ? AND seq >= ? AND state = 0 AND batch IS NULL "
            "AND not_before IS NULL ORDER BY seq LIMIT ?",
            (look.id, self._floors.get(key, 0), wanted),
        ).fetchall()
        if fresh:
            self._floors[key] = fresh[-1][0] + 1
        return seqs + [seq for (seq,) in fresh]


def _first_of_zones(conn: sqlite3.Connection, action: ActionId, zones: Sequence[str], wanted: int) -> Iterable[int]:
    """The earliest of the snapshot over several zones: each zone's own first ones, merged."""
    each = [
        conn.execute(
            "SELECT seq FROM recipients INDEXED BY recipients_zone WHERE action = ? AND zone = ? AND zone IS NOT NULL "
            "AND state = 0 AND batch IS NULL AND not_before IS NULL ORDER BY seq LIMIT ?",
            (action, zone, wanted),
        ).fetchall()
        for zone in zones
    ]
    merged = heapq.merge(*([seq for (seq,) in rows] for rows in each))
    return (seq for seq, _ in zip(merged, range(wanted), strict=False))


def _still(conn: sqlite3.Connection, look: ActionLook) -> bool:
    """The action is as it was read: an edit and a start cannot both win."""
    row = conn.execute(
        "SELECT 1 FROM bulk_actions WHERE id = ? AND revision = ? AND round = ? AND status = ? "
        "AND status IN ('queued', 'processing')",
        (look.id, look.revision, look.round, look.status),
    ).fetchone()
    return row is not None


def _next_number(conn: sqlite3.Connection, action: ActionId) -> int:
    (number,) = conn.execute("SELECT COALESCE(max(number), 0) + 1 FROM batches WHERE action = ?", (action,)).fetchone()
    return int(number)


def _insert_batch(
    conn: sqlite3.Connection,
    look: ActionLook,
    number: int,
    planned_at: datetime,
    now: datetime,
    quantity: int,
    first_seq: int = 0,
) -> None:
    conn.execute(
        "INSERT INTO batches (action, number, round, planned_at, released_at, quantity, revision, untried, pending, "
        "first_seq) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            look.id,
            number,
            look.round,
            to_micros(planned_at),
            to_micros(now),
            quantity,
            look.revision,
            quantity,
            quantity,
            first_seq,
        ),
    )


def _started(conn: sqlite3.Connection, look: ActionLook, now: datetime) -> None:
    conn.execute(
        "UPDATE bulk_actions SET status = 'processing', started_at = COALESCE(started_at, ?) WHERE id = ?",
        (to_micros(now), look.id),
    )
    if look.status is ActionStatus.QUEUED:
        publish_of_action(conn, look.id, "started", to_micros(now))


def _tell_end(
    conn: sqlite3.Connection, action: ActionId, before: ActionStatus, event: ActionEvent, counts: Counts, now: int
) -> None:
    """Everything is handed over, or settled, or settled otherwise than before."""
    if event is ActionEvent.DRAIN:
        publish_of_action(conn, action, "delegated", now)
    elif before in FINAL_ACTIONS:
        publish_of_action(conn, action, "outcome_changed", now, counts=counts)
    elif ACTIONS[before, event] in FINAL_ACTIONS:
        publish_of_action(conn, action, "completed", now, counts=counts)


def _open_unknown(conn: sqlite3.Connection, action: ActionId) -> int:
    """Unknown recipients whose deadline has not passed: their messages still have an instant to be looked at."""
    (number,) = conn.execute(
        "SELECT count(*) FROM recipients AS r JOIN messages AS m ON m.id = r.message "
        "WHERE r.action = ? AND r.state = ? AND m.due_at IS NOT NULL",
        (action, RecipientState.UNKNOWN),
    ).fetchone()
    return int(number)


def _notify(
    conn: sqlite3.Connection, notice: Notice, message: MessageId, about: tuple[str | None, str, str], now: datetime
) -> None:
    label, reason, detail = about
    name = label or "a bulk action"
    content = {
        "subject": f"Paused: {name}",
        "body": f"The gateway has paused {name} ({reason}): {detail}\nIt waits until you resume it.",
    }
    conn.execute(
        "INSERT INTO messages (id, org, channel, sender, address, source, status, category, content, created_at) "
        "VALUES (?, ?, ?, ?, ?, 6, 0, 'operator', ?, ?)",
        (message, notice.org, notice.channel, notice.sender, notice.address, to_json(content), to_micros(now)),
    )
