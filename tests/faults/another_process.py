"""Somebody else who uses the database: a backup, an administrator's shell, a report."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

OTHER = """
import sqlite3, sys
conn = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)
conn.execute("PRAGMA busy_timeout = 30000")
conn.execute(sys.argv[2])
conn.execute("SELECT count(*) FROM messages").fetchone()
print("there", flush=True)
sys.stdin.read()
"""


@asynccontextmanager
async def another_process(database: Path, begin: str, within: Sequence[str] = ()) -> AsyncIterator[None]:
    """A process that has begun a transaction in the database and does not end it before the block does.

    `within`: a command that runs it, as a prefix.
    """
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *within, *(sys.executable, "-c", OTHER, str(database), begin), stdin=pipe, stdout=pipe
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"there\n"
    try:
        yield
    finally:
        await process.communicate(b"")
