"""The daemon's books while it is dead: `gateway verify` on a copy, so that the daemon finds the file as it left it."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from gateway.core.ids import MESSAGE, format_id
from gateway.store.database import Database
from gateway.store.verify import verify


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What the books say. `ambiguous`: refs of messages between intent and record, by sender; nobody knows of them."""

    faults: tuple[str, ...]
    sending: dict[str, int]
    ambiguous: frozenset[str]


async def look(store: Path) -> Look:
    """Copy the database with its write-ahead log, and read the copy."""
    with tempfile.TemporaryDirectory(prefix="torture-books-", dir=store.parent) as folder:
        copy = Path(folder) / store.name
        await asyncio.to_thread(_copy, store, copy)
        async with Database(copy) as database:
            verified = await verify(database)
            rows = await database.read(lambda conn: conn.execute("SELECT id FROM messages WHERE status = 1").fetchall())
    return Look(
        faults=verified.faults,
        sending=verified.sending,
        ambiguous=frozenset(format_id(MESSAGE, id) for (id,) in rows),
    )


def _copy(store: Path, copy: Path) -> None:
    for suffix in ("", "-wal"):
        source = store.with_name(store.name + suffix)
        if source.exists():
            shutil.copyfile(source, copy.with_name(copy.name + suffix))
