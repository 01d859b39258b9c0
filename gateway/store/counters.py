"""The books: how many recipients are in each state, moved in the transaction that moves the recipients.

`Moves` gathers what a transaction does to recipients and writes it down once, per action and per batch.
"""

from __future__ import annotations

import sqlite3
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Final

from gateway.core.states import RECIPIENTS, RecipientEvent, RecipientState
from gateway.store.outbox import publish_of_action

COLUMNS: Final = tuple(state.label for state in RecipientState)
PROGRESS_MICROSECONDS: Final = 5_000_000  # an action tells how far it has come at most this often


_IN_EACH: Final = ", ".join(f"COALESCE(sum(state = {state.value}), 0)" for state in RecipientState)


def counted(conn: sqlite3.Connection, action: int) -> list[int]:
    """How many recipients of the action are in each state, by the rows themselves; a third of a second a million.

    One pass: GROUP BY would keep all of them in memory to sort them, which is 45 MB a million.
    """
    return list(conn.execute(f"SELECT {_IN_EACH} FROM recipients WHERE action = ?", (action,)).fetchone())


@dataclass(slots=True)
class Moves:
    """What one transaction does to recipients. Not shared between transactions."""

    _states: defaultdict[int, Counter[RecipientState]] = field(default_factory=lambda: defaultdict(Counter))
    _batches: defaultdict[tuple[int, int], Counter[RecipientState]] = field(
        default_factory=lambda: defaultdict(Counter)
    )
    _unreleased: Counter[int] = field(default_factory=Counter)
    _tried: Counter[tuple[int, int]] = field(default_factory=Counter)
    _left: Counter[tuple[int, int]] = field(default_factory=Counter)
    _unconfirmed: Counter[int] = field(default_factory=Counter)
    _looks: set[int] = field(default_factory=set)

    def move(
        self, action: int, batch: int | None, before: RecipientState, event: RecipientEvent, number: int = 1
    ) -> RecipientState:
        """`number` recipients of one batch (None: in no batch) go through `event`. KeyError: no such transition."""
        after = RECIPIENTS[before, event]
        self._shift(action, batch, before, -number)
        self._shift(action, batch, after, number)
        return after

    def add(self, action: int, batch: int | None, state: RecipientState, number: int) -> None:
        """`number` recipients come into being, by a snapshot."""
        self._shift(action, batch, state, number)

    def release(self, action: int, batch: int, number: int) -> None:
        """`number` pending recipients in no batch get one; the batch's own row is written by the release."""
        self._unreleased[action] -= number

    def take_back(self, action: int, batch: int, number: int) -> None:
        """`number` pending recipients that were never tried leave their batch, and are not of its size any more."""
        self._batches[action, batch][RecipientState.PENDING] -= number
        self._unreleased[action] += number
        self._tried[action, batch] += number
        self._left[action, batch] += number

    def bring_back(self, action: int, batch: int | None, before: RecipientState, number: int) -> None:
        """`number` ended recipients are pending again, in no batch yet; their old batch keeps them out of its books."""
        after = RECIPIENTS[before, RecipientEvent.RETRY]
        self._shift(action, batch, before, -number)
        self._shift(action, None, after, number)

    def tried(self, action: int, batch: int, number: int = 1) -> None:
        """`number` recipients of a batch had their first attempt, or left the batch without one."""
        self._tried[action, batch] += number

    def unconfirmed(self, action: int, number: int) -> None:
        """`number` of the succeeded are so only because no receipt came in time."""
        self._unconfirmed[action] += number

    def look(self, action: int) -> None:
        """Have the scheduler look at the action, for a reason that the counts do not show."""
        self._looks.add(action)

    def _shift(self, action: int, batch: int | None, state: RecipientState, number: int) -> None:
        self._states[action][state] += number
        if batch is not None:
            self._batches[action, batch][state] += number
        elif state is RecipientState.PENDING:
            self._unreleased[action] += number

    def write(self, conn: sqlite3.Connection, now: int) -> bool:
        """Write the books; ask the scheduler to look wherever a count that it waits for has come down to nothing.

        True if it was asked to look anywhere: the caller wakes it after the commit.
        """
        for action in self._looks:
            look(conn, action)
        looks = self._write_batches(conn, now) or bool(self._looks)
        for action in self._states.keys() | self._unreleased.keys() | self._unconfirmed.keys():
            looks = self._write_action(conn, action, now) or looks
        return looks

    def _write_action(self, conn: sqlite3.Connection, action: int, now: int) -> bool:
        changes = {state.label: number for state, number in self._states.get(action, Counter()).items() if number}
        changes |= {"unreleased": self._unreleased[action], "unconfirmed": self._unconfirmed[action]}
        changes = {column: number for column, number in changes.items() if number}
        if not changes:
            return False
        row = conn.execute(
            f"UPDATE action_counts SET {_additions(changes)} WHERE action = ? "
            "RETURNING pending + in_flight, handed_over, told_at",
            (*changes.values(), action),
        ).fetchone()
        if row is None:
            return False
        waiting, handed_over, told_at = row
        if now - told_at >= PROGRESS_MICROSECONDS:
            _tell_progress(conn, action, now)
        # The last one was sent; or the last receipt came, or a late one that may change how it ended.
        if waiting == 0 and (handed_over == 0 or "pending" in changes or "in_flight" in changes):
            look(conn, action)
            return True
        return False

    def _write_batches(self, conn: sqlite3.Connection, now: int) -> bool:
        looks = False
        for action, batch in self._batches.keys() | self._tried.keys():
            states = self._batches.get((action, batch), Counter())
            changes = {state.label: number for state, number in states.items() if number}
            if self._tried[action, batch]:
                changes["untried"] = -self._tried[action, batch]
            if self._left[action, batch]:
                changes["quantity"] = -self._left[action, batch]
            if not changes:
                continue
            row = conn.execute(
                f"UPDATE batches SET {_additions(changes)} WHERE action = ? AND number = ? "
                "RETURNING untried, pending + in_flight, finished_at",
                (*changes.values(), action, batch),
            ).fetchone()
            if row is None:
                continue
            untried, waiting, finished_at = row
            if (waiting == 0) != (finished_at is not None):
                conn.execute(
                    "UPDATE batches SET finished_at = ? WHERE action = ? AND number = ?",
                    (now if waiting == 0 else None, action, batch),
                )
                if waiting == 0:
                    publish_of_action(conn, action, "batch_finished", now, batch=batch)
            if untried == 0 and "untried" in changes:
                look(conn, action)
                looks = True
        return looks


def _tell_progress(conn: sqlite3.Connection, action: int, now: int) -> None:
    row = conn.execute(
        f"UPDATE action_counts SET told_at = ? WHERE action = ? RETURNING {', '.join(COLUMNS)}", (now, action)
    ).fetchone()
    publish_of_action(conn, action, "progress", now, counts=dict(zip(COLUMNS, row, strict=True)))


def look(conn: sqlite3.Connection, action: int) -> None:
    """Have the scheduler look at this action at once, unless it is paused or cancelled."""
    conn.execute(
        "UPDATE bulk_actions SET look_at = 0 WHERE id = ? AND status NOT IN ('paused', 'cancelled')", (action,)
    )


def _additions(changes: dict[str, int]) -> str:
    return ", ".join(f"{column} = {column} + ?" for column in changes)
