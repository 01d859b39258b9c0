"""The writer commits in groups, one failure undoes only itself, and readers see committed states only."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from pathlib import Path

import pytest

from gateway.errors import SchemaTooNew, StoreUnavailable
from gateway.store import database as database_module
from gateway.store.database import Database, connect


async def test_a_failing_operation_undoes_only_itself(database: Database) -> None:
    async def insert(name: str) -> None:
        def operation(conn: sqlite3.Connection) -> None:
            conn.execute("INSERT INTO meta VALUES (?, 'x')", (name,))
            if name == "bad":
                raise ValueError(name)

        await database.write(operation)

    results = await asyncio.gather(*(insert(name) for name in ("a", "bad", "b")), return_exceptions=True)
    assert [type(result) for result in results] == [type(None), ValueError, type(None)]
    rows = await database.read(
        lambda conn: conn.execute("SELECT name FROM meta WHERE name <> 'secret' ORDER BY name").fetchall()
    )
    assert rows == [("a",), ("b",)]


async def test_a_locked_database_is_reported_as_unavailable_and_recovers(database: Database) -> None:
    await database.write(lambda conn: conn.execute("PRAGMA busy_timeout = 1"))
    other = connect(database.path)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable, match="locked"):
        await database.write(lambda conn: conn.execute("INSERT INTO meta VALUES ('a', 'x')"))
    other.execute("ROLLBACK")
    other.close()
    await database.write(lambda conn: conn.execute("INSERT INTO meta VALUES ('a', 'x')"))
    assert await database.read(
        lambda conn: conn.execute("SELECT count(*) FROM meta WHERE name <> 'secret'").fetchone()
    ) == (1,)


async def test_a_rollback_that_fails_leaves_nobody_waiting_and_is_made_up_for(database: Database) -> None:
    refused = 0

    def authorise(action: int, what: str | None, *rest: object) -> int:
        nonlocal refused
        if action == sqlite3.SQLITE_TRANSACTION and what == "ROLLBACK" and not refused:
            refused += 1
            return sqlite3.SQLITE_DENY
        return sqlite3.SQLITE_OK

    def failing(conn: sqlite3.Connection) -> None:
        conn.set_authorizer(authorise)
        conn.execute("INSERT INTO meta VALUES ('half', 'done')")
        raise RuntimeError("an operation that fails")

    async with asyncio.timeout(10):
        with pytest.raises(RuntimeError, match="that fails"):
            await database.write(failing)
        await database.write(lambda conn: conn.execute("INSERT INTO meta VALUES ('whole', 'done')"))
    rows = await database.read(lambda conn: conn.execute("SELECT name FROM meta WHERE value = 'done'").fetchall())
    assert (refused, rows) == (1, [("whole",)])


async def test_a_reader_cannot_write(database: Database) -> None:
    with pytest.raises(StoreUnavailable):
        await database.read(lambda conn: conn.execute("INSERT INTO meta VALUES ('a', 'x')"))
    with pytest.raises(StoreUnavailable):
        database.read_now(lambda conn: conn.execute("INSERT INTO meta VALUES ('a', 'x')"))


async def test_what_is_read_at_once_is_the_last_that_was_committed(database: Database) -> None:
    held, reached = threading.Event(), threading.Event()

    def insert(conn: sqlite3.Connection) -> None:
        conn.execute("INSERT INTO meta VALUES ('a', 'x')")
        reached.set()
        assert held.wait(10)

    def read() -> object:
        return database.read_now(lambda conn: conn.execute("SELECT value FROM meta WHERE name = 'a'").fetchone())

    writing = asyncio.create_task(database.write(insert))
    await asyncio.to_thread(reached.wait, 10)
    assert read() is None  # and it does not wait for the writer
    held.set()
    await writing
    assert read() == ("x",)


async def test_closing_commits_what_is_queued(tmp_path: Path) -> None:
    database = Database(tmp_path / "x.db")

    async def insert(name: str) -> None:
        await database.write(lambda conn: conn.execute("INSERT INTO meta VALUES (?, '')", (name,)))

    writes = [asyncio.ensure_future(insert(str(number))) for number in range(2000)]
    await asyncio.sleep(0)
    await database.close()
    await asyncio.gather(*writes)
    conn = sqlite3.connect(tmp_path / "x.db")
    assert conn.execute("SELECT count(*) FROM meta WHERE name <> 'secret'").fetchone() == (2000,)
    conn.close()


def test_a_file_from_a_newer_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "new.db"
    conn = sqlite3.connect(path)
    conn.execute("PRAGMA user_version = 9999")
    conn.close()
    with pytest.raises(SchemaTooNew, match="9999"):
        Database(path)
    conn = sqlite3.connect(path)
    assert conn.execute("SELECT name FROM sqlite_master").fetchall() == []
    conn.close()


def test_a_path_that_cannot_be_opened_is_reported(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="cannot be opened"):
        Database(tmp_path / "missing" / "gateway.db")


async def test_a_full_disk_is_reported_and_nothing_of_the_group_is_half_written(database: Database) -> None:
    (pages,) = await database.read(lambda conn: conn.execute("PRAGMA page_count").fetchone())
    await database.write(lambda conn: conn.execute(f"PRAGMA max_page_count = {pages}").fetchone())

    async def insert(name: str, size: int) -> None:
        await database.write(lambda conn: conn.execute("INSERT INTO meta VALUES (?, ?)", (name, "x" * size)))

    results = await asyncio.gather(insert("big", 1_000_000), insert("small", 1), return_exceptions=True)
    assert isinstance(results[0], StoreUnavailable)
    assert "full" in str(results[0])
    stored = await database.read(lambda conn: conn.execute("SELECT name FROM meta WHERE name <> 'secret'").fetchall())
    assert stored == ([("small",)] if results[1] is None else [])
    await database.write(lambda conn: conn.execute("PRAGMA max_page_count = 1000000").fetchone())
    await insert("big", 1_000_000)
    assert await database.probe() is None


async def test_the_probe_writes_to_the_disk_each_time(database: Database) -> None:
    """SQLite writes nothing where a row stays as it is, and then notices neither a full disk nor a read-only one."""
    log = database.path.with_name(f"{database.path.name}-wal")
    seen = {log.read_bytes()}
    for _ in range(3):
        assert await database.probe() is None
        seen.add(log.read_bytes())
    assert len(seen) == 4


async def test_what_a_long_reader_made_the_journal_grow_by_is_given_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "CHECKPOINT_PAGES", 10)
    monkeypatch.setattr(database_module, "WAL_BYTES_KEPT", 100_000)
    path = tmp_path / "gateway.db"
    journal = path.with_name("gateway.db-wal")
    async with Database(path) as database:
        await database.write(lambda conn: conn.execute("CREATE TABLE filling (content BLOB)"))
        reader = connect(path, readonly=True)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM filling").fetchone()

        async def fill() -> None:
            await database.write(lambda conn: conn.execute("INSERT INTO filling VALUES (zeroblob(100000))"))

        for _ in range(20):
            await fill()
        assert journal.stat().st_size > 1_000_000
        reader.close()
        for _ in range(3):  # a checkpoint, the journal from its start, and its end cut off
            await fill()
        assert journal.stat().st_size < 500_000
