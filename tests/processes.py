"""Running the real daemon and the real command line as processes of their own, from tests."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import aiohttp

START_SECONDS = 60.0  # for machines that do much else
POLL_SECONDS = 0.02
ALL_PERMISSIONS = ("members.read", "members.edit", "messaging.read", "messaging.send", "optouts.edit", "admin")

CONFIG = """
[server]
listen = "127.0.0.1:{port}"

[store]
url = "sqlite:{store}"
{store_more}

[orgs.default]
time_zone = "UTC"

[senders.mail]
org = "default"
channel = "email"
adapter = "smtp"
default = true
rate = "{rate}/s"
concurrency = {concurrency}
host = "127.0.0.1"
port = {smtp_port}
security = "none"
from = "Grace Church <news@grace.example>"
{more}
"""


def without_slow_imports(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment, but Python may keep the bytecode of our modules: compiling them takes a third of a start."""
    return {name: value for name, value in environment.items() if name != "PYTHONDONTWRITEBYTECODE"}


class Running(Protocol):
    """What of an `asyncio.subprocess.Process` is used of a running daemon."""

    @property
    def pid(self) -> int: ...

    @property
    def returncode(self) -> int | None: ...

    def send_signal(self, signal: int) -> None: ...

    async def wait(self) -> int: ...


class GatewayProcess:
    """One installation in a folder: a configuration, a database, at most one running daemon."""

    def __init__(
        self,
        folder: Path,
        smtp_port: int,
        *,
        port: int,
        rate: int = 100_000,
        concurrency: int = 8,
        more: str = "",
        store: str = "gateway.db",
        store_more: str = "",
        within: Sequence[str] = (),
    ) -> None:
        """`more` and `store_more`: lines of gateway.toml, at its end and in `[store]`. `within`: a command that runs
        another one, as a prefix of every process.
        """
        self.folder = folder
        self._within = tuple(within)
        self.concurrency = concurrency
        self.url = f"http://127.0.0.1:{port}"
        self._config = folder / "gateway.toml"
        self._config.write_text(
            CONFIG.format(
                port=port,
                smtp_port=smtp_port,
                rate=rate,
                concurrency=concurrency,
                more=more,
                store=store,
                store_more=store_more,
            )
        )
        self._process: Running | None = None
        self.starts = 0
        self._session: aiohttp.ClientSession | None = None
        self._log = folder / "gateway.log"

    async def __aenter__(self) -> Self:
        key = await self.cli("key", "create", "--name", "test", *(f"--permission={p}" for p in ALL_PERMISSIONS))
        self._session = aiohttp.ClientSession(self.url, headers={"Authorization": f"Bearer {key['key']}"})
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.alive:
            await self.kill()
        assert self._session is not None
        await self._session.close()

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.returncode is None

    @property
    def pid(self) -> int:
        """Of the running daemon."""
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> str:
        """What the daemon has written so far."""
        return self._log.read_text() if self._log.exists() else ""

    async def start(self, crash_at: str | None = None, **more: str) -> None:
        """Start the daemon, with `more` in its environment, and wait until it is ready.

        With `crash_at` it may die before: then this returns as well.
        """
        await self.launch(crash_at, **more)
        if not await self.wait_until_ready() and crash_at is None:
            raise AssertionError(f"the daemon ended while starting:\n{self.log}")

    async def wait_until_ready(self) -> bool:
        """False if it ends before."""
        async with asyncio.timeout(START_SECONDS):
            while not await self._ready():
                if not self.alive:
                    return False
                await asyncio.sleep(POLL_SECONDS)
        return True

    async def launch(self, crash_at: str | None = None, **more: str) -> None:
        """Start the daemon and wait for nothing."""
        environment = without_slow_imports(os.environ)
        environment.pop("GATEWAY_CRASH_AT", None)
        environment |= more
        environment["GATEWAY_TEST_REPEAT_AFTER_MIN"] = "1"  # drips in tests do not wait for half a minute
        if crash_at is not None:
            environment["GATEWAY_CRASH_AT"] = crash_at
        self.starts += 1
        self._process = await self._spawn(["serve", "--config", str(self._config)], environment)

    async def _spawn(self, arguments: Sequence[str], environment: Mapping[str, str]) -> Running:
        with self._log.open("ab") as log:
            return await asyncio.create_subprocess_exec(
                *self._within,
                *(sys.executable, "-m", "gateway", *arguments),
                stdout=log,
                stderr=log,
                env=environment,
            )

    async def _ready(self) -> bool:
        assert self._session is not None
        try:
            async with self._session.get("/readyz") as answer:
                return answer.status == 200
        except aiohttp.ClientError:
            return False

    async def kill(self) -> None:
        """kill -9."""
        await self._end(signal.SIGKILL)

    async def terminate(self) -> int:
        """SIGTERM, as systemd does; the exit status."""
        return await self._end(signal.SIGTERM)

    async def _end(self, how: signal.Signals) -> int:
        assert self._process is not None
        if self.alive:
            self._process.send_signal(how)
        return await self._process.wait()

    async def wait_for_death(self, seconds: float) -> bool:
        """Whether the daemon died by itself within `seconds`."""
        assert self._process is not None
        try:
            async with asyncio.timeout(seconds):
                await self._process.wait()
        except TimeoutError:
            return False
        return True

    async def call(self, method: str, path: str, body: object = None, **more: Any) -> tuple[int, Any]:
        """One request of the API: status and decoded body."""
        status, _, answer = await self.ask(method, path, body, **more)
        return status, answer

    async def ask(self, method: str, path: str, body: object = None, **more: Any) -> tuple[int, Mapping[str, str], Any]:
        """The same with the headers of the answer."""
        assert self._session is not None
        async with self._session.request(method, path, json=body, **more) as answer:
            raw = await answer.read()
            return answer.status, answer.headers, json.loads(raw) if raw else None

    async def cli(self, *arguments: str, code: int = 0, environment: Mapping[str, str] | None = None) -> Any:
        """Run `gateway ... --json` and decode what it prints. AssertionError if it ends with another status."""
        process = await asyncio.create_subprocess_exec(
            *self._within,
            sys.executable,
            "-m",
            "gateway",
            *arguments,
            "--json",
            "--config",
            str(self._config),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**without_slow_imports(os.environ), **(environment or {})},
        )
        out, err = await process.communicate()
        assert process.returncode == code, (
            f"gateway {' '.join(arguments)}: {process.returncode}\n{err.decode()}{out.decode()}"
        )
        return json.loads(out) if out.strip() else None
