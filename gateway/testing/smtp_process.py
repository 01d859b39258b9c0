"""The SMTP server for tests in a process of its own: it outlives the gateway, and its record outlives it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import msgspec

from gateway.testing.smtp_faults import Fault
from gateway.testing.smtp_record import Mail, read_record

START_SECONDS: Final = 20.0


class SmtpProcess:
    """`async with SmtpProcess(folder / "mails.tsv") as smtp: smtp.port ...; smtp.record()`.

    It ends with the block, with `stop`, and by itself when this process dies. The record file stays.
    """

    def __init__(
        self,
        record: Path,
        *,
        port: int = 0,
        faults: Sequence[Fault] = (),
        user: str | None = None,
        pipelining: bool = True,
    ) -> None:
        """`port` 0 takes a free one, known after the start. `user`: demand AUTH, as "name:password".

        `pipelining` False: neither offer it nor stand it (`SmtpServer`).
        """
        self.port = port
        self._record = record
        self._faults = tuple(faults)
        self._user = user
        self._pipelining = pipelining
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def pid(self) -> int:
        """Of the running process."""
        assert self._process is not None
        return self._process.pid

    async def start(self) -> None:
        """Start it and wait until it accepts connections; after `stop` or `kill`, again on the same port."""
        more = ["--user", self._user] if self._user else []
        more += [] if self._pipelining else ["--no-pipelining"]
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "gateway.testing.smtp_server",
            *("--port", str(self.port), "--record", str(self._record), "--print-port"),
            *("--faults", msgspec.json.encode(self._faults).decode(), *more),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        said = await self._line()
        if not said.startswith("port "):
            raise RuntimeError(f"the SMTP server did not start; it said {said!r}")
        self.port = int(said.removeprefix("port "))

    async def _line(self) -> str:
        assert self._process is not None
        assert self._process.stdout is not None
        async with asyncio.timeout(START_SECONDS):
            return (await self._process.stdout.readline()).decode().rstrip("\n")

    async def set_faults(self, faults: Sequence[Fault]) -> None:
        """Replace the faults; they are in force when this returns."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(msgspec.json.encode(list(faults)) + b"\n")
        if await self._line() != "faults":
            raise RuntimeError("the SMTP server ended")

    def record(self) -> list[Mail]:
        """Every mail that was ever accepted, also before a restart, in order."""
        return read_record(self._record)

    def count(self) -> int:
        """How many mails were ever accepted: cheaper than to read them."""
        return self._record.read_bytes().count(b"\n") if self._record.exists() else 0

    async def stop(self) -> None:
        """End it as an operator would."""
        await self._end(kill=False)

    async def kill(self) -> None:
        """End it with SIGKILL."""
        await self._end(kill=True)

    async def _end(self, *, kill: bool) -> None:
        if self._process is None:
            return
        if self._process.returncode is None:
            if kill:
                self._process.kill()
            else:
                self._process.terminate()
        # communicate() closes the pipes as well.
        await self._process.communicate()
        self._process = None
