"""What outlives every process of a simulated machine: one database in memory, and which of its rows were changed.

One for all runs of a process: the schema is made once, and statements stay prepared. `wipe` makes it new.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from gateway.store.database import connect, give_hash, migrate

PATH: Final = Path(":memory:")
SECRET: Final = "00" * 32  # of the suppression list: the same in every run
_KEPT: Final = frozenset({"_sqlite_migrations", "meta", "sqlite_sequence"})

Key = tuple[Any, ...]

# What the promises are about: the columns that are looked at, behind those of the key.
_COUNTS: Final = "pending, in_flight, handed_over, succeeded, failed, skipped, unknown, cancelled"
WATCHED: Final[Mapping[str, tuple[str, str]]] = {
    "bulk_actions": ("id", "status, paused_from, round, revision, work, schedule, message, created_by"),
    "action_counts": ("action", f"unreleased, {_COUNTS}"),
    "recipients": ("action, seq", "state, batch, round, attempts, contact, message, zone, not_before"),
    "batches": ("action, number", f"round, planned_at, released_at, quantity, revision, untried, {_COUNTS}"),
    "messages": (
        "id",
        "direction, status, attempt, action, seq, round, address, contact, sender, source, category, attempted_at, "
        "provider_ids, accepted_at",
    ),
    "opt_outs": ("id", "channel, address, contact, category"),
    "contacts": ("id", "deleted_at, phone, time_zone"),
    "senders": ("id", "held"),
    "sender_days": ("sender, day", "sent"),
    "api_keys": ("id", "revoked_at"),
}


class Disk:
    """Everything that is stored. `take_changed` says which of the watched rows were touched since it was last asked."""

    def __init__(self) -> None:
        self.conn = connect(PATH)
        migrate(self.conn)
        self.conn.execute("UPDATE meta SET value = ? WHERE name = 'secret'", (SECRET,))
        give_hash(self.conn)
        self._changed: dict[tuple[str, Key], None] = {}  # in the order of the writes
        self._clean = self.conn.execute("SELECT name, value FROM meta").fetchall()
        self._tables = self._children_first()
        self._select = {
            table: f"SELECT {key}, {columns} FROM {table} WHERE ({key}) = ({', '.join('?' for _ in key.split(', '))})"
            for table, (key, columns) in WATCHED.items()
        }
        self.conn.create_function("note", -1, self._note)
        for table, (key, columns) in WATCHED.items():
            self._watch(table, key, columns)

    def wipe(self) -> None:
        """An empty database. Rows are removed one table after the other, so that statements stay prepared."""
        for table in self._tables:
            self.conn.execute(f"DELETE FROM {table}")
        self.conn.execute("DELETE FROM meta")
        self.conn.executemany("INSERT INTO meta VALUES (?, ?)", self._clean)
        self._changed.clear()

    def take_changed(self) -> Sequence[tuple[str, Key]]:
        """Table and key of each watched row that may be another one now."""
        changed = tuple(self._changed)
        self._changed.clear()
        return changed

    def row(self, table: str, key: Key) -> tuple[Any, ...] | None:
        """A watched row as it is, its key first. None: there is none."""
        found: tuple[Any, ...] | None = self.conn.execute(self._select[table], key).fetchone()
        return found

    def rows(self, table: str) -> list[tuple[Any, ...]]:
        """All rows of a watched table."""
        names, columns = WATCHED[table]
        return self.conn.execute(f"SELECT {names}, {columns} FROM {table}").fetchall()

    def _watch(self, table: str, key: str, columns: str) -> None:
        for event, side in (("INSERT", "NEW"), (f"UPDATE OF {columns}", "NEW"), ("DELETE", "OLD")):
            names = ", ".join(f"{side}.{name}" for name in key.split(", "))
            self.conn.execute(
                f"CREATE TEMP TRIGGER watch_{table}_{event[:6]} AFTER {event} ON main.{table} "
                f"BEGIN SELECT note('{table}', {names}); END"
            )

    def _note(self, table: str, *key: Any) -> None:
        self._changed[table, key] = None

    def _children_first(self) -> list[str]:
        """Each table before those that its rows refer to."""
        names = [
            name
            for (name,) in self.conn.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY rowid DESC")
            if name not in _KEPT
        ]
        return [*names, "sqlite_sequence"]
