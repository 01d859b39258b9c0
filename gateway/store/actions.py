"""Bulk actions as a person changes them: creation, edits, stopping and starting. The loops do the rest.

Each method is one transaction unless it says otherwise. Whatever the scheduler decides by is changed together with
`look_at`, and what the sweeper has to do together with `work`: a loop that is nudged, or killed, finds it there.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from gateway.core.ids import ACTION, ActionId, OrgId, SenderId, format_id
from gateway.core.selection import Selection
from gateway.core.states import (
    ACTIONS,
    FINAL_ACTIONS,
    ActionEvent,
    ActionStatus,
    Counts,
    RecipientState,
)
from gateway.errors import NotFound, Refused
from gateway.store.allowances import take_creation
from gateway.store.codec import from_json, micros_or_none, to_json, to_micros
from gateway.store.counters import COLUMNS, Moves, look
from gateway.store.database import Database
from gateway.store.idempotency import Claim, remember
from gateway.store.outbox import publish_of_action
from gateway.store.selections import selection_json
from gateway.store.sweeps import bring_back

ORPHANS_AT_ONCE: Final = 50  # chunks of a list deleted in one transaction: 250,000 entries, some 10 ms


@dataclass(frozen=True, slots=True, kw_only=True)
class NewAction:
    """A bulk action that has passed every check. `message`, `parameters`, `schedule` and `warnings` are JSON."""

    id: ActionId
    org: OrgId
    label: str | None
    operation: str
    channel: str | None
    sender: SenderId | None
    selection: Selection
    message: str | None
    parameters: str
    schedule: str
    start_at: datetime | None
    warnings: str
    rerun_of: ActionId | None
    origin: str
    created_by: str | None
    requested_by: str | None
    now: datetime
    claim: Claim | None = None  # the Idempotency-Key under which it is created, and the public id is `made`
    made: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionChange:
    """The new content of an edited action; what was not edited is given as it was. JSON as in `NewAction`."""

    label: str | None
    sender: SenderId | None
    message: str | None
    schedule: str
    warnings: str
    requested_by: str | None = None  # who asked for the edit; None leaves it as it was
    settle_anew: bool = False  # what the pass before the first batch goes by has changed: it must run again


@dataclass(frozen=True, slots=True, kw_only=True)
class Present:
    """What an edit is judged by, read in the transaction that makes it."""

    status: ActionStatus
    paused_from: ActionStatus | None
    revision: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancelled:
    """What a cancel met: who will not be sent to, who is being sent to now, who has been sent to."""

    cancelled: int
    in_flight: int
    already_sent: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    status: ActionStatus
    paused_from: ActionStatus | None
    work: str | None
    round: int
    revision: int
    schedule: str
    selection: str
    counts: Counts


class ActionStore:
    """Changes of bulk actions. Every method takes the org, and answers NotFound for another org's ids."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add_chunk(self, action: ActionId, position: int, entries: str) -> None:
        """Store part of a list, a JSON array, ahead of its action. Until the action is created it is an orphan."""
        await self._database.write(
            lambda conn: conn.execute(
                "INSERT INTO selection_chunks (action, position, entries) VALUES (?, ?, ?)", (action, position, entries)
            )
        )

    async def drop_chunks(self, action: ActionId) -> None:
        """The action will not be created after all. Several transactions."""
        while await self._database.write(
            lambda conn: (
                conn.execute(
                    "DELETE FROM selection_chunks WHERE action = ?1 AND position IN "
                    "(SELECT position FROM selection_chunks WHERE action = ?1 LIMIT ?2) "
                    "AND NOT EXISTS (SELECT 1 FROM bulk_actions WHERE id = ?1)",
                    (action, ORPHANS_AT_ONCE),
                ).rowcount
            )
        ):
            pass

    async def remove_orphan_chunks(self) -> int:
        """At start: lists whose creation did not come to its end. How many lists; several transactions."""
        orphans = await self._database.read(
            lambda conn: conn.execute(
                "SELECT DISTINCT action FROM selection_chunks WHERE action NOT IN (SELECT id FROM bulk_actions)"
            ).fetchall()
        )
        for (action,) in orphans:
            await self.drop_chunks(action)
        return len(orphans)

    async def create(self, new: NewAction, rate_max: int) -> None:
        """Make it visible, with its list. Refused `bulk_action_rate` after `rate_max` creations in the last minute."""

        def operation(conn: sqlite3.Connection) -> None:
            now = to_micros(new.now)
            take_creation(conn, new.org, now, rate_max)
            _insert(conn, new, now)
            publish_of_action(conn, new.id, "created", now, operation=new.operation, requested_by=new.requested_by)
            if new.claim is not None:
                remember(conn, new.claim, new.made, now)

        await self._database.write(operation)

    async def edit(
        self, org: OrgId, action: ActionId, base: int, check: Callable[[Present], None], change: ActionChange
    ) -> int | None:
        """Replace the content of revision `base`. None if another edit came first; nothing is changed then.

        `check` raises the refusal of an edit that is not allowed in the state that it finds: between an edit and the
        release of the first batch the order of their transactions decides. The number of the next batch.
        """

        def operation(conn: sqlite3.Connection) -> int | None:
            row = _read(conn, org, action)
            check(Present(status=row.status, paused_from=row.paused_from, revision=row.revision))
            if row.revision != base:
                return None
            conn.execute(
                "UPDATE bulk_actions SET label = ?, sender = ?, message = ?, schedule = ?, warnings = ?, "
                "requested_by = COALESCE(?, requested_by), settled = CASE WHEN ? THEN 0 ELSE settled END, "
                "revision = revision + 1 WHERE id = ?",
                (
                    change.label,
                    change.sender,
                    change.message,
                    change.schedule,
                    change.warnings,
                    change.requested_by,
                    change.settle_anew,
                    action,
                ),
            )
            look(conn, action)
            (number,) = conn.execute(
                "SELECT COALESCE(max(number), 0) + 1 FROM batches WHERE action = ?", (action,)
            ).fetchone()
            found: int = number
            return found

        return await self._database.write(operation)

    async def cancel(self, org: OrgId, action: ActionId, now: datetime) -> Cancelled:
        """Stop it for good, at once; the sweeper turns the rows of who was still waiting into `cancelled`.

        Refused `not_cancellable`.
        """

        def operation(conn: sqlite3.Connection) -> Cancelled:
            row = _read(conn, org, action)
            _move(row, ActionEvent.CANCEL, "not_cancellable", _why_not_cancellable(row.status))
            conn.execute(
                "UPDATE bulk_actions SET status = 'cancelled', completed_at = ?, paused_from = NULL, "
                "pause_reason = NULL, pause_detail = NULL, wait_reason = NULL, next_batch_at = NULL, look_at = NULL, "
                "work_position = CASE work WHEN 'snapshot' THEN work_position ELSE 0 END, "
                "work_argument = NULL, work = CASE work WHEN 'snapshot' THEN 'snapshot' ELSE 'cancel' END WHERE id = ?",
                (to_micros(now), action),
            )
            publish_of_action(conn, action, "cancelled", to_micros(now))
            counts = row.counts
            return Cancelled(
                cancelled=counts.pending + counts.cancelled + _not_yet_taken(row),
                in_flight=counts.in_flight,
                already_sent=counts.handed_over + counts.succeeded + counts.unknown,
            )

        return await self._database.write(operation)

    async def pause(self, org: OrgId, action: ActionId, now: datetime) -> None:
        """Release and send nothing more until somebody resumes it. Refused `not_pausable`."""

        def operation(conn: sqlite3.Connection) -> None:
            row = _read(conn, org, action)
            _move(row, ActionEvent.PAUSE, "not_pausable", f"A bulk action that is {row.status} cannot be paused.")
            conn.execute(
                "UPDATE bulk_actions SET paused_from = status, status = 'paused', pause_reason = 'operator', "
                "pause_detail = NULL, wait_reason = NULL, next_batch_at = NULL, look_at = NULL WHERE id = ?",
                (action,),
            )
            publish_of_action(conn, action, "paused", to_micros(now), pause_reason="operator")

        await self._database.write(operation)

    async def resume(self, org: OrgId, action: ActionId, now: datetime) -> None:
        """Go on where it was paused; batches missed meanwhile are not made up. Refused `not_resumable`."""

        def operation(conn: sqlite3.Connection) -> None:
            row = _read(conn, org, action)
            queued = row.paused_from is ActionStatus.QUEUED
            event = ActionEvent.RESUME_QUEUED if queued else ActionEvent.RESUME_PROCESSING
            detail = f"A bulk action that is {row.status} cannot be resumed: it is not paused."
            status = _move(row, event, "not_resumable", detail)
            conn.execute(
                "UPDATE bulk_actions SET status = ?, paused_from = NULL, pause_reason = NULL, pause_detail = NULL, "
                "resumed_at = ?, look_at = 0 WHERE id = ?",
                (status, to_micros(now), action),
            )
            conn.execute("UPDATE action_counts SET failing = 0 WHERE action = ?", (action,))
            publish_of_action(conn, action, "resumed", to_micros(now))

        await self._database.write(operation)

    async def retry(
        self,
        org: OrgId,
        action: ActionId,
        now: datetime,
        rate_max: int,
        *,
        states: Sequence[RecipientState],
        seqs: Sequence[int] | None,
        schedule: str | None,
        settle_anew: bool,
        requested_by: str | None = None,
        claim: Claim | None = None,
    ) -> int:
        """Start the next round of an action that has ended; its number.

        `seqs`: these recipients, at once (at most 10,000); None: everybody in `states`, by the sweeper. `schedule`,
        JSON, replaces the stored one. Refused `nothing_to_retry`, `in_progress`, `bulk_action_rate` as for `create`.
        """

        def operation(conn: sqlite3.Connection) -> int:
            row = _read(conn, org, action)
            detail = f"A bulk action that is {row.status} has not ended: cancel it, or wait for its end."
            _move(row, ActionEvent.RETRY, "nothing_to_retry", detail)
            if row.work is not None:
                raise Refused("in_progress", "The bulk action is still being stopped: try again in a moment.")
            take_creation(conn, org, to_micros(now), rate_max)
            following = row.round + 1
            if seqs is not None:
                moves = Moves()
                if not bring_back(conn, action, list(seqs), following, moves):
                    raise Refused("nothing_to_retry", "None of these recipients is in a state that can be tried again.")
                moves.write(conn, to_micros(now))
            conn.execute(
                "UPDATE bulk_actions SET status = 'processing', round = ?, work = ?, work_position = 0, "
                "work_argument = ?, completed_at = NULL, resumed_at = ?, wait_reason = NULL, next_batch_at = NULL, "
                "failure_kind = NULL, schedule = COALESCE(?, schedule), requested_by = COALESCE(?, requested_by), "
                "settled = CASE WHEN ? THEN 0 ELSE settled END, look_at = 0 WHERE id = ?",
                (
                    following,
                    None if seqs is not None else "retry",
                    None if seqs is not None else to_json({"states": [int(state) for state in states]}),
                    to_micros(now),
                    schedule,
                    requested_by,
                    settle_anew,
                    action,
                ),
            )
            conn.execute("UPDATE action_counts SET failing = 0 WHERE action = ?", (action,))
            publish_of_action(conn, action, "retried", to_micros(now), round=following)
            if claim is not None:
                remember(conn, claim, format_id(ACTION, action), to_micros(now))
            return following

        return await self._database.write(operation)


def _insert(conn: sqlite3.Connection, new: NewAction, now: int) -> None:
    """The action and its books. `contact_bound` keeps out whoever is created later."""
    scheduled = new.start_at is not None and new.start_at > new.now
    conn.execute(
        "INSERT INTO bulk_actions (id, org, label, operation, channel, sender, status, work, contact_bound, selection, "
        "message, parameters, schedule, warnings, rerun_of, origin, created_by, requested_by, created_at, wait_reason, "
        "next_batch_at) VALUES (?, ?, ?, ?, ?, ?, 'queued', 'snapshot', (SELECT COALESCE(max(id), 0) FROM contacts), "
        "?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            new.id,
            new.org,
            new.label,
            new.operation,
            new.channel,
            new.sender,
            selection_json(new.selection),
            new.message,
            new.parameters,
            new.schedule,
            new.warnings,
            new.rerun_of,
            new.origin,
            new.created_by,
            new.requested_by,
            now,
            "scheduled" if scheduled else None,
            micros_or_none(new.start_at) if scheduled else None,
        ),
    )
    conn.execute("INSERT INTO action_counts (action, told_at) VALUES (?, ?)", (new.id, now))


def _read(conn: sqlite3.Connection, org: OrgId, action: ActionId) -> _Row:
    row = conn.execute(
        "SELECT a.status, a.paused_from, a.work, a.round, a.revision, a.schedule, a.selection, n.unconfirmed, "
        f"{', '.join(f'n.{column}' for column in COLUMNS)} FROM bulk_actions AS a "
        "JOIN action_counts AS n ON n.action = a.id WHERE a.id = ? AND a.org = ?",
        (action, org),
    ).fetchone()
    if row is None:
        raise NotFound("bulk action", str(action))
    (status, paused_from, work, round_, revision, schedule, selection, unconfirmed, *states) = row
    return _Row(
        status=ActionStatus(status),
        paused_from=None if paused_from is None else ActionStatus(paused_from),
        work=work,
        round=round_,
        revision=revision,
        schedule=schedule,
        selection=selection,
        counts=Counts(**dict(zip(COLUMNS, states, strict=True)), unconfirmed=unconfirmed),
    )


def _move(row: _Row, event: ActionEvent, code: str, detail: str) -> ActionStatus:
    """The status after `event`; Refused if the table of states has none."""
    after = ACTIONS.get((row.status, event))
    if after is None:
        raise Refused(code, detail)
    return after


def _why_not_cancellable(status: ActionStatus) -> str:
    if status is ActionStatus.DELEGATED:
        return "Nothing is left to stop: every message has been handed over."
    if status in FINAL_ACTIONS:
        return f"A bulk action that is {status} has ended: nothing is left to stop."
    return f"A bulk action that is {status} cannot be cancelled."


def _not_yet_taken(row: _Row) -> int:
    """Entries of a list that the snapshot has not come to; of other selections nobody knows how many there will be."""
    if row.work != "snapshot":
        return 0
    total: int = from_json(row.selection).get("total", 0)
    return max(0, total - row.counts.total)
