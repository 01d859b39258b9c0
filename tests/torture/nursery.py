"""A process that has imported the gateway already and forks daemons from itself.

Importing takes a second of a core, and nothing can go wrong in it that killing would show: so most of the daemons that
are tortured are born here, and some are started whole, as `gateway serve`. From its first line on a forked daemon is
the same program.

As a program (`python -m tests.torture.nursery`) it reads an order per line, and answers `born PID` and
`dead PID STATUS`. All daemons die with it, and it dies with whoever started it.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import select
import signal
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import NoReturn, Self

import msgspec

import gateway.cli.serve  # noqa: F401 - imported before the forks, which need it
from gateway.cli import main as gateway_main
from gateway.registry import installed
from tests.processes import without_slow_imports

START_SECONDS = 60.0


class Order(msgspec.Struct, frozen=True):
    """One daemon: `gateway ARGUMENTS` with exactly this environment, its output at the end of `log`."""

    arguments: list[str]
    environment: dict[str, str]
    log: str


class Forked:
    """A daemon that was born in a nursery. Like an `asyncio.subprocess.Process`, as far as we use one."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    @property
    def returncode(self) -> int | None:
        return self._ended.result() if self._ended.done() else None

    def send_signal(self, signal: int) -> None:
        os.kill(self.pid, signal)

    async def wait(self) -> int:
        return await asyncio.shield(self._ended)

    def ended(self, status: int) -> None:
        if not self._ended.done():
            self._ended.set_result(status)


class Nursery:
    """`async with Nursery() as nursery: daemon = await nursery.fork(...)`."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None
        self._daemons: dict[int, Forked] = {}
        self._births: asyncio.Queue[Forked] = asyncio.Queue()
        self._reading: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "tests.torture.nursery"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=without_slow_imports(os.environ),
        )
        async with asyncio.timeout(START_SECONDS):
            if await self._line() != "ready":
                raise RuntimeError("the nursery did not start")
        self._reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        assert self._reading is not None
        self._reading.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._reading
        assert self._process.stdin is not None
        self._process.stdin.close()  # the end of its input ends it
        await self._process.communicate()

    async def fork(self, arguments: Sequence[str], environment: Mapping[str, str], log: Path) -> Forked:
        """A new daemon."""
        assert self._process is not None
        assert self._process.stdin is not None
        order = Order(arguments=list(arguments), environment=dict(environment), log=str(log))
        self._process.stdin.write(msgspec.json.encode(order) + b"\n")
        async with asyncio.timeout(START_SECONDS):
            return await self._births.get()

    async def _line(self) -> str:
        assert self._process is not None
        assert self._process.stdout is not None
        return (await self._process.stdout.readline()).decode().rstrip("\n")

    async def _read(self) -> None:
        while line := await self._line():
            word, pid, *status = line.split()
            if word == "born":
                daemon = self._daemons[int(pid)] = Forked(int(pid))
                self._births.put_nowait(daemon)
            else:
                self._daemons.pop(int(pid)).ended(int(status[0]))


# ---- as a program ---------------------------------------------------------------------------------------------------


def _child(order: Order) -> NoReturn:
    """Become the daemon."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    nothing, log = os.open(os.devnull, os.O_RDONLY), os.open(order.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    for source, target in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    os.closerange(3, 256)
    os.environ.clear()
    os.environ.update(order.environment)
    status = 1
    try:
        gateway_main(args=order.arguments, prog_name="gateway")
    except SystemExit as exc:
        status = exc.code if isinstance(exc.code, int) else 1
    except BaseException:  # noqa: BLE001 - nothing may come back into the nursery's own loop
        traceback.print_exc()
    sys.stderr.flush()
    os._exit(status)


def _say(line: str) -> None:
    os.write(1, f"{line}\n".encode())


def _reap(children: set[int]) -> None:
    while children:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        children.discard(pid)
        _say(f"dead {pid} {os.waitstatus_to_exitcode(status)}")


def main() -> None:
    """Fork until the end of standard input."""
    for point in installed():
        point.load()
    deaths, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    gc.freeze()
    children: set[int] = set()
    unread = b""
    _say("ready")
    while True:
        readable, _, _ = select.select([0, deaths], [], [])
        if deaths in readable:
            os.read(deaths, 4096)
            _reap(children)
        if 0 not in readable:
            continue
        read = os.read(0, 65_536)
        if not read:
            break
        *orders, unread = (unread + read).split(b"\n")
        for order in orders:
            decoded = msgspec.json.decode(order, type=Order)
            pid = os.fork()
            if pid == 0:
                _child(decoded)
            children.add(pid)
            _say(f"born {pid}")
    for pid in children:
        os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
