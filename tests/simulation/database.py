"""The real store in memory, without threads: the seed says when a group is committed, and of what size."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar

from gateway.errors import StoreUnavailable
from gateway.store import database as store
from gateway.store.database import Database
from tests.simulation.disk import PATH, Disk
from tests.simulation.loop import SimulatedLoop

T = TypeVar("T")


class _Arrivals(SimpleQueue[Any]):
    """What the loops want to be written: it waits for the seed instead of for a thread."""

    def __init__(self, arrived: Callable[[Any], None]) -> None:
        self._arrived = arrived

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        self._arrived(item)


class SimulatedDatabase(Database):
    """The database of one life of the process. `look` is called inside each transaction, after each operation.

    `faults`: how often a group cannot be committed now, as on a full disk, from 0 to 1.
    """

    def __init__(
        self,
        disk: Disk,
        loop: SimulatedLoop,
        chance: random.Random,
        look: Callable[[], None],
        faults: Callable[[], float],
    ) -> None:
        self._disk = disk
        self._loop = loop
        self._chance = chance
        self._look = look
        self._waiting: list[Any] = []
        self._faults = faults
        super().__init__(PATH)

    def _open(self) -> sqlite3.Connection:
        return self._disk.conn

    def _start(self) -> None:
        self._queue = _Arrivals(self._arrived)

    def _reader(self) -> sqlite3.Connection:
        """The connection that writes: between two groups there is nothing that is not committed."""
        return self._conn

    def _read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        before = self._conn.total_changes
        found = query(self._conn)
        assert self._conn.total_changes == before, "a read has written"
        return found

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
        if (faults := self._faults()) and self._chance.random() < faults:
            refused = StoreUnavailable("The disk is full.")
            self._loop.call_soon(store._resolve, [(request, None, refused) for request in group])
            return
        self._commit_group([self._watched(request) for request in group])

    def _watched(self, request: Any) -> Any:
        def operation(conn: sqlite3.Connection) -> Any:
            result = request.operation(conn)
            self._look()
            return result

        return store._Request(operation, request.future, request.loop)
