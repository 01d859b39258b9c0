"""Copies of the database file: made while it is in use, and put back with care."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import datetime
from pathlib import Path

from gateway.store.codec import to_micros
from gateway.store.database import connect, migrate
from gateway.store.outbox import publish_of_action

PAGES_AT_ONCE = 1_000  # between pieces of 4 MB the writer gets its turn
EVENTS_SKIPPED = 1_000_000  # those told since the copy was made had numbers that must not be given to others


def copy_to(source: Path, target: Path) -> int:
    """Copy the database to a new file; consistent, also while a daemon writes. The number of pages."""
    with closing(connect(source, readonly=True)) as reading, closing(sqlite3.connect(target)) as writing:
        reading.backup(writing, pages=PAGES_AT_ONCE)
        pages: int = writing.execute("PRAGMA page_count").fetchone()[0]
        return pages


def restore_from(copy: Path, target: Path, now: datetime) -> int:
    """Put a copy in the place of the database, with every open bulk action paused. How many were.

    The copy is checked and changed beside the target and then renamed over it, so that a crash leaves the one or the
    other. The old database is kept as `NAME.before-restore`. The caller holds the lock. sqlite3.DatabaseError if the
    copy is damaged or none of ours; SchemaTooNew if a newer version made it. Then nothing was changed.
    """
    fresh = target.with_name(f"{target.name}.restoring")
    fresh.unlink(missing_ok=True)
    copy_to(copy, fresh)
    with closing(connect(fresh)) as conn:
        (answer,) = conn.execute("PRAGMA integrity_check").fetchone()
        if answer != "ok":
            raise sqlite3.DatabaseError(answer)
        migrate(conn)
        conn.execute("UPDATE orgs SET last_event = last_event + ?", (EVENTS_SKIPPED,))
        paused = _pause_open_actions(conn, to_micros(now))
        conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    if target.exists():
        with closing(connect(target)) as old:
            old.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        target.replace(target.with_name(f"{target.name}.before-restore"))
    for suffix in ("-wal", "-shm"):
        target.with_name(f"{target.name}{suffix}").unlink(missing_ok=True)
    fresh.replace(target)
    for suffix in ("-wal", "-shm"):
        fresh.with_name(f"{fresh.name}{suffix}").unlink(missing_ok=True)
    return paused


def _pause_open_actions(conn: sqlite3.Connection, now: int) -> int:
    """Yesterday's file does not know what was sent since: a person must decide for each open action."""
    rows = conn.execute(
        "UPDATE bulk_actions SET paused_from = status, status = 'paused', pause_reason = 'restored_database', "
        "pause_detail = 'The database was restored from a copy, which does not know what was sent after it was made.', "
        "wait_reason = NULL, next_batch_at = NULL, look_at = NULL WHERE status IN ('queued', 'processing') "
        "RETURNING id"
    ).fetchall()
    for (action,) in rows:
        publish_of_action(conn, action, "paused", now, pause_reason="restored_database")
    return len(rows)
