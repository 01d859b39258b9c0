"""One SQLite file: one writer thread that commits in groups, and a few read-only connections.

All writing goes through `Database.write`. The writer takes whatever has queued up meanwhile, up to `GROUP_MAX`
operations, into one `BEGIN IMMEDIATE ... COMMIT`, each inside its own savepoint, so that one that fails undoes only
itself. `synchronous=FULL` makes a finished `write` survive a power cut; the group makes that cheap.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Final, Self, TypeVar

import sqlite_utils

from gateway.core.suppression import HASH_FUNCTION, hasher
from gateway.errors import SchemaTooNew, StoreUnavailable
from gateway.store.migrations import MIGRATIONS, NEWEST

T = TypeVar("T")

GROUP_MAX: Final = 512  # operations per commit: beyond that a commit's own cost no longer shows
READERS: Final = 3  # connections; more would only queue for the same two or four cores
BUSY_MILLISECONDS: Final = 5_000  # how long to wait for another process's lock before answering "unavailable"
CHECKPOINT_PAGES: Final = 4_000  # 16 MB of WAL: rarer checkpoints copy hot pages once instead of many times
WAL_BYTES_KEPT: Final = 64 * 1024 * 1024  # what a long reader made grow beyond that is given back afterwards
WRITER_CACHE_KIB: Final = 16_384
READER_CACHE_KIB: Final = 2_048
# Another value each time: SQLite writes nothing where a row stays as it is, and then notices no fault of the disk.
PROBE: Final = "INSERT INTO meta VALUES ('probe', '0') ON CONFLICT (name) DO UPDATE SET value = 1 - value"

Operation = Callable[[sqlite3.Connection], Any]


@dataclass(frozen=True, slots=True)
class _Request:
    operation: Operation
    future: asyncio.Future[Any]
    loop: asyncio.AbstractEventLoop


def connect(path: Path, *, readonly: bool = False, cache_kib: int = WRITER_CACHE_KIB) -> sqlite3.Connection:
    """A connection with every pragma that the store relies on. StoreUnavailable if the file cannot be opened."""
    try:
        conn = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=512)
        conn.execute(f"PRAGMA busy_timeout = {BUSY_MILLISECONDS}")
        conn.execute(f"PRAGMA cache_size = -{cache_kib}")
        conn.execute("PRAGMA foreign_keys = ON")
        conn.execute("PRAGMA temp_store = MEMORY")
        if readonly:
            conn.execute("PRAGMA query_only = ON")
        else:
            conn.execute("PRAGMA journal_mode = WAL")
            conn.execute("PRAGMA synchronous = FULL")
            conn.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
            conn.execute(f"PRAGMA journal_size_limit = {WAL_BYTES_KEPT}")
    except sqlite3.Error as exc:
        raise StoreUnavailable(f"The database {str(path)!r} cannot be opened: {exc}.") from exc
    return conn


def migrate(conn: sqlite3.Connection) -> None:
    """Bring the file to the newest schema. SchemaTooNew if a newer program wrote it; then nothing is touched.

    Each migration is one transaction together with its record: killed in the middle, it runs again at the next start.
    """
    (version,) = conn.execute("PRAGMA user_version").fetchone()
    if version > NEWEST:
        raise SchemaTooNew(
            f"The database has schema {version}, this program knows schemas up to {NEWEST}: "
            "start the newer version of the gateway, or restore the backup that was made before the upgrade."
        )
    try:
        database = sqlite_utils.Database(conn, execute_plugins=False, strict=True)
        with database.atomic():  # else a process that dies in here leaves the list of migrations without its index
            MIGRATIONS.ensure_migrations_table(database)
        MIGRATIONS.apply(database)
    except sqlite3.Error as exc:
        raise StoreUnavailable(f"The database cannot be migrated: {exc}.") from exc


def give_hash(conn: sqlite3.Connection) -> Callable[[str, str | None], str | None]:
    """Let statements hash addresses with the file's own secret. The function, for further connections to the file."""
    (secret,) = conn.execute("SELECT value FROM meta WHERE name = 'secret'").fetchone()
    hashed = hasher(bytes.fromhex(secret))
    conn.create_function(HASH_FUNCTION, 2, hashed, deterministic=True)
    return hashed


class Database:
    """The open file. `close()` finishes what is queued; nothing can be written afterwards."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._conn = self._open()
        self._queue: SimpleQueue[_Request | None] = SimpleQueue()
        self._closed = False
        self._local = threading.local()
        self._read_connections: list[sqlite3.Connection] = []
        self._readers = ThreadPoolExecutor(READERS, "gateway-reader")
        self._start()

    def _open(self) -> sqlite3.Connection:
        """The connection that writes, to a file with the newest schema."""
        conn = connect(self.path)
        migrate(conn)
        self._hash = give_hash(conn)
        return conn

    def _start(self) -> None:
        """Let somebody carry out what is queued: a thread. The simulation decides by itself who does it, and when."""
        self._writer = threading.Thread(target=self._write_loop, name="gateway-writer", daemon=True)
        self._writer.start()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def write(self, operation: Callable[[sqlite3.Connection], T]) -> T:
        """Run `operation` in a transaction; returns after the commit, on disk.

        What `operation` raises is raised here, with everything that it wrote undone. StoreUnavailable: nothing was
        written. A cancelled caller does not undo the operation: it is durable work, and its result is dropped.
        """
        if self._closed:
            raise StoreUnavailable("The database is closed.")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._queue.put(_Request(operation, future, loop))
        return await future

    async def read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """Run `query` on a read-only connection, all its statements seeing one state of the database."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._read, query)

    def read_now(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """As `read`, in the caller's own thread, and for a few rows found by their keys only.

        They take 20 microseconds; to a reader and back it is two turns of an event loop that may be busy, milliseconds.
        Each statement sees what was committed last before it: a transaction around one costs more than the statement.
        """
        try:
            return query(self._reader())
        except sqlite3.OperationalError as exc:
            raise _unavailable(exc) from exc

    async def probe(self) -> str | None:
        """Whether a write can be committed now: None, or what is wrong."""
        try:
            await self.write(lambda conn: conn.execute(PROBE))
        except StoreUnavailable as exc:
            return str(exc)
        return None

    async def close(self) -> None:
        """Commit what is queued, then close every connection. Calling it twice is harmless."""
        if self._closed:
            return
        self._closed = True
        self._queue.put(None)
        await asyncio.to_thread(self._writer.join)
        await asyncio.to_thread(self._readers.shutdown)
        for conn in self._read_connections:
            conn.close()
        self._conn.close()

    def _reader(self) -> sqlite3.Connection:
        """This thread's own connection for reading."""
        conn: sqlite3.Connection | None = getattr(self._local, "conn", None)
        if conn is None:
            conn = connect(self.path, readonly=True, cache_kib=READER_CACHE_KIB)
            conn.create_function(HASH_FUNCTION, 2, self._hash, deterministic=True)
            self._local.conn = conn
            self._read_connections.append(conn)
        return conn

    def _read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        conn = self._reader()
        try:
            conn.execute("BEGIN")
            try:
                return query(conn)
            finally:
                conn.execute("ROLLBACK")
        except sqlite3.OperationalError as exc:
            raise _unavailable(exc) from exc

    def _write_loop(self) -> None:
        while True:
            group, last = self._next_group()
            if group:
                self._commit_group(group)
            if last:
                return

    def _next_group(self) -> tuple[list[_Request], bool]:
        """What is queued, at least one request, and whether the queue was closed behind it."""
        group: list[_Request] = []
        request = self._queue.get()
        while request is not None:
            group.append(request)
            if len(group) == GROUP_MAX:
                return group, False
            try:
                request = self._queue.get_nowait()
            except Empty:
                return group, False
        return group, True

    def _commit_group(self, group: Sequence[_Request]) -> None:
        conn = self._conn
        answers: list[tuple[_Request, Any, BaseException | None]] = []
        try:
            self._rollback()  # of a group before, whose own failed
            conn.execute("BEGIN IMMEDIATE")
            if len(group) == 1:
                answers.append((group[0], group[0].operation(conn), None))
            else:
                answers.extend(self._in_savepoint(request) for request in group)
            conn.execute("COMMIT")
        # Whatever goes wrong, nothing of the group is on disk and every caller must hear of it.
        except BaseException as exc:  # noqa: BLE001
            with suppress(sqlite3.Error):  # raised here it would end the thread, and whoever waits would wait for ever
                self._rollback()
            failure = _unavailable(exc) if isinstance(exc, sqlite3.OperationalError) else exc
            answers = [(request, None, failure) for request in group]
        _complete(answers)

    def _in_savepoint(self, request: _Request) -> tuple[_Request, Any, BaseException | None]:
        conn = self._conn
        conn.execute("SAVEPOINT request")
        try:
            result = request.operation(conn)
        except Exception as exc:
            if not conn.in_transaction:
                raise  # SQLite gave up the whole transaction (disk full): nobody's work stands
            conn.execute("ROLLBACK TO request")
            conn.execute("RELEASE request")
            return request, None, _unavailable(exc) if isinstance(exc, sqlite3.OperationalError) else exc
        conn.execute("RELEASE request")
        return request, result, None

    def _rollback(self) -> None:
        if self._conn.in_transaction:
            self._conn.execute("ROLLBACK")


_PASSING: Final = frozenset(
    {
        "SQLITE_BUSY",
        "SQLITE_LOCKED",
        "SQLITE_FULL",
        "SQLITE_READONLY",
        "SQLITE_IOERR",
        "SQLITE_CANTOPEN",
        "SQLITE_PROTOCOL",
    }
)


def _unavailable(exc: BaseException) -> BaseException:
    """StoreUnavailable for what passes by itself or by an operator's hand; a bug in a statement stays what it is."""
    name = getattr(exc, "sqlite_errorname", "") or ""
    if any(name == kind or name.startswith(f"{kind}_") for kind in _PASSING):
        return StoreUnavailable(f"The database cannot be used now: {exc} ({name}).")
    return exc


def _complete(answers: Sequence[tuple[_Request, Any, BaseException | None]]) -> None:
    """Hand the results over, with one wake-up for each event loop that waits."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[_Request, Any, BaseException | None]]] = {}
    for answer in answers:
        by_loop.setdefault(answer[0].loop, []).append(answer)
    for loop, own in by_loop.items():
        try:
            loop.call_soon_threadsafe(_resolve, own)
        except RuntimeError:
            continue  # that loop is closed: nobody waits any more, and the work is committed


def _resolve(answers: Sequence[tuple[_Request, Any, BaseException | None]]) -> None:
    for request, result, failure in answers:
        if request.future.done():
            continue
        if failure is None:
            request.future.set_result(result)
        else:
            request.future.set_exception(failure)
