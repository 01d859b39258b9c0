"""The process dies at any statement of a migration: the next start completes it, and nothing of it is there twice."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest
import sqlite_utils

from gateway.errors import SchemaTooNew
from gateway.store.database import connect, migrate
from gateway.store.migrations import MIGRATIONS, NEWEST
from tests.faults.figures import Figures
from tests.processes import GatewayProcess

SECONDS_MAX = 100.0

# Runs as a process of its own, because it forks: for each n a child that migrates the file and is killed when the n-th
# statement is about to begin. It prints how many statements there are.
KILLER = """
import os, signal, sys
from pathlib import Path
from gateway.store.database import connect, migrate

first, folder = Path(sys.argv[1]), Path(sys.argv[2])
for number in range(1, 10_000):
    file = folder / f"killed-{number}.db"
    if first.exists():
        file.write_bytes(first.read_bytes())
    child = os.fork()
    if child == 0:
        left = number

        def count(statement):
            global left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

        conn = connect(file)
        conn.set_trace_callback(count)
        migrate(conn)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if status == 0:
        print(number - 1)
        break
    assert os.WTERMSIG(status) == signal.SIGKILL, status
"""


def old_file(path: Path, schema: int) -> None:
    """A database as the program with that schema left it, with something in it."""
    if schema == 0:
        return
    names = [migration.name for migration in MIGRATIONS.pending(_tables(sqlite3.connect(":memory:")))]
    with closing(connect(path)) as conn:
        MIGRATIONS.apply(_tables(conn), stop_before=names[schema:])
        conn.execute("INSERT INTO orgs (id, name) VALUES (1, 'kept')")


def _tables(conn: sqlite3.Connection) -> sqlite_utils.Database:
    return sqlite_utils.Database(conn, execute_plugins=False, strict=True)


def schema_of(path: Path) -> list[tuple[str, str]]:
    """Every table, index and trigger."""
    with closing(sqlite3.connect(path)) as conn:
        assert conn.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert conn.execute("PRAGMA user_version").fetchone() == (NEWEST,)
        return conn.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name").fetchall()


@pytest.mark.parametrize("schema", range(NEWEST))
async def test_killed_at_each_statement_the_next_start_completes_it(
    schema: int, tmp_path: Path, figures: Figures
) -> None:
    first, clean = tmp_path / "first.db", tmp_path / "clean.db"
    old_file(first, schema)
    if first.exists():
        shutil.copy(first, clean)
    with closing(connect(clean)) as conn:
        migrate(conn)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", KILLER, str(first), str(tmp_path)), stdout=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(SECONDS_MAX):
        said, _ = await process.communicate()
    assert process.returncode == 0
    statements, wanted = int(said), schema_of(clean)
    completed = 0
    for number in range(1, statements + 1):
        file = tmp_path / f"killed-{number}.db"
        with closing(connect(file)) as conn:
            migrate(conn)
            assert schema == 0 or conn.execute("SELECT name FROM orgs").fetchall() == [("kept",)]
            (secrets,) = conn.execute("SELECT count(*) FROM meta WHERE name = 'secret'").fetchone()
        completed += schema_of(file) == wanted and secrets == 1
    figures.hold(
        f"F17 migration from schema {schema}",
        "killed at each statement, restart completes",
        f"{completed} of {statements} completed",
        completed == statements > 0,
    )


async def test_an_older_program_refuses_a_newer_file_and_leaves_it_as_it_is(
    tmp_path: Path, unused_tcp_port: int, figures: Figures
) -> None:
    async with GatewayProcess(tmp_path, 25, port=unused_tcp_port) as gateway:
        file = tmp_path / "gateway.db"
        with closing(sqlite3.connect(file)) as conn:
            conn.execute(f"PRAGMA user_version = {NEWEST + 1}")
            conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        before = file.read_bytes()
        with closing(connect(file)) as conn, pytest.raises(SchemaTooNew, match=str(NEWEST + 1)):
            migrate(conn)
        with pytest.raises(AssertionError, match="the daemon ended while starting"):
            await gateway.start()
        refused = "start the newer version of the gateway" in gateway.log
        figures.hold(
            "F17 newer file",
            "an older program refuses it",
            f"{'refused' if refused else 'taken'}, {'untouched' if file.read_bytes() == before else 'changed'}",
            refused and file.read_bytes() == before,
        )
