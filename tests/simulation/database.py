"""The real store over a file in memory, without threads: the seed says when a group is committed, and of what size."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final

from gateway.errors import StoreUnavailable
from gateway.store import database as store
from gateway.store.database import Database
from tests.simulation.loop import SimulatedLoop

Look = Callable[[sqlite3.Connection], None]

SECRET: Final = "00" * 32  # of the suppression list: the same in every run


def make_template(path: Path) -> None:
    """A file with the newest schema, to be copied for each run: that takes a hundredth of making it."""
    conn = store.connect(path)
    store.migrate(conn)
    conn.execute("UPDATE meta SET value = ? WHERE name = 'secret'", (SECRET,))
    conn.execute("PRAGMA journal_mode = DELETE")
    conn.close()


def copy_template(template: Path, path: Path) -> None:
    """A fresh file in the place of whatever was there."""
    for ending in ("-wal", "-shm"):
        path.with_name(path.name + ending).unlink(missing_ok=True)
    shutil.copyfile(template, path)


class _Arrivals(SimpleQueue[Any]):
    """What the loops want to be written: it waits for the seed instead of for a thread."""

    def __init__(self, arrived: Callable[[Any], None]) -> None:
        self._arrived = arrived

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        self._arrived(item)


class SimulatedDatabase(Database):
    """The database of one life of the process. `look` is called inside each transaction, after each operation."""

    def __init__(self, path: Path, loop: SimulatedLoop, chance: random.Random, look: Look, faults: float) -> None:
        """`faults`: how often a group cannot be committed, as on a full disk, from 0 to 1."""
        self._loop = loop
        self._chance = chance
        self._look = look
        self._waiting: list[Any] = []
        self.faults = faults
        self.commits = 0
        super().__init__(path)

    def _start(self) -> None:
        self._conn.execute("PRAGMA synchronous = OFF")  # a process that dies loses nothing that it has written
        self._queue = _Arrivals(self._arrived)

    def end(self) -> None:
        """The process is dead. What was not committed never happened."""
        self._closed = True
        self._waiting.clear()
        self._readers.shutdown()
        for conn in self._read_connections:
            conn.close()
        self._conn.close()

    def peek(self, query: str, parameters: Sequence[object]) -> list[tuple[Any, ...]]:
        """What is committed, between two callbacks."""
        return self._conn.execute(query, parameters).fetchall()

    def kill(self) -> None:
        """From now on nothing is written; those who wait for a commit wait for ever."""
        self._closed = True
        self._waiting.clear()

    def _arrived(self, request: Any) -> None:
        self._waiting.append(request)
        if len(self._waiting) == 1:
            self._loop.call_soon(self._commit_some)

    def _commit_some(self) -> None:
        if not self._waiting:
            return
        size = len(self._waiting) if self._chance.random() < 0.7 else self._chance.randint(1, len(self._waiting))
        group, self._waiting = self._waiting[:size], self._waiting[size:]
        if self._waiting:
            self._loop.call_soon(self._commit_some)
        if self.faults and self._chance.random() < self.faults:
            refused = StoreUnavailable("The disk is full.")
            self._loop.call_soon(store._resolve, [(request, None, refused) for request in group])
            return
        self.commits += 1
        self._commit_group([self._watched(request) for request in group])

    def _watched(self, request: Any) -> Any:
        def operation(conn: sqlite3.Connection) -> Any:
            result = request.operation(conn)
            self._look(conn)
            return result

        return store._Request(operation, request.future, request.loop)
