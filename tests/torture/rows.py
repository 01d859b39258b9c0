"""How soon the daemon sends again after a kill, with as many rows as are asked for: `--rows 1000000`."""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.measuring import TIMEOUT_SECONDS, cpu_seconds, free_port, import_contacts, machine
from gateway.testing.smtp_process import SmtpProcess
from tests.processes import GatewayProcess
from tests.torture.plan import W

KILLS: Final = 5
RATE: Final = 2_000  # messages a second
ALIVE_SECONDS: Final = 1.0  # between a first message and the next kill
LIMIT_SECONDS: Final = 2.0
POLL_SECONDS: Final = 0.005


@dataclass(frozen=True, slots=True, kw_only=True)
class Restart:
    """Seconds from the start of the process."""

    ready: float
    first_message: float
    cpu: float  # of the processor, until the first message


async def measure(rows: int) -> bool:
    """Print what was measured; whether half of the starts were quick enough, and the books balance."""
    with tempfile.TemporaryDirectory(prefix="torture-rows-") as folder:
        async with SmtpProcess(Path(folder) / "mails.tsv") as smtp:
            installation = GatewayProcess(Path(folder), smtp.port, port=free_port(), rate=RATE, concurrency=W)
            async with installation as gateway:
                await gateway.start()
                await _create(gateway, rows)
                restarts = [await _restart(gateway, Path(folder) / "mails.tsv") for _ in range(KILLS)]
                await gateway.kill()
                verified = await gateway.cli("verify")
    return _report(rows, restarts, verified)


async def _create(gateway: GatewayProcess, rows: int) -> None:
    """A bulk action to everybody, its snapshot taken, its messages leaving."""
    await import_contacts(gateway, rows)
    message = {"channel": "email", "subject": "News", "body": "Hi {{ first_name }}"}
    body = {"operation": "send_message", "recipients": {"all": True}, "message": message}
    status, action = await gateway.call("POST", "/v1/bulk-actions", body)
    assert status == 201, action
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while action["snapshot"] != "taken" or action["counts"]["succeeded"] == 0:
            await asyncio.sleep(0.1)
            _, action = await gateway.call("GET", f"/v1/bulk-actions/{action['id']}")


async def _restart(gateway: GatewayProcess, record: Path) -> Restart:
    """Kill it, start it, and wait for the first message that it sends."""
    await asyncio.sleep(ALIVE_SECONDS)
    await gateway.kill()
    before = _size(record)
    started = time.perf_counter()
    await gateway.launch()
    ready: list[float] = []
    waiting = asyncio.create_task(_note_readiness(gateway, started, ready))
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while _size(record) == before:  # noqa: ASYNC110 - another process writes it
            await asyncio.sleep(POLL_SECONDS)
    first = time.perf_counter() - started
    cpu = cpu_seconds(gateway.pid)
    await waiting
    return Restart(ready=ready[0], first_message=first, cpu=cpu)


def _size(record: Path) -> int:
    return record.stat().st_size


async def _note_readiness(gateway: GatewayProcess, started: float, ready: list[float]) -> None:
    await gateway.wait_until_ready()
    ready.append(time.perf_counter() - started)


def _report(rows: int, restarts: list[Restart], verified: Any) -> bool:
    first = statistics.median(restart.first_message for restart in restarts)
    print(f"{rows:,} recipients, {KILLS} kills -9 and starts, seconds from the start of the process")
    for restart in restarts:
        print(f"  ready {restart.ready:.2f}, first message {restart.first_message:.2f}, CPU {restart.cpu:.2f}")
    print(f"median until the first message {first:.2f}, limit {LIMIT_SECONDS:g}")
    print(f"the books: {verified['faults'] or 'they balance'}")
    print(machine())
    return first < LIMIT_SECONDS and not verified["faults"]
