"""What drips cost while they wait for their next batch: many of them against none."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.measuring import cpu_seconds, import_contacts, mailing, peak_memory_mb, send_to_all, watch
from tests.processes import GatewayProcess

IDLE_SECONDS = 10.0
MESSAGE = {"channel": "email", "subject": "Sunday", "body": "Dear {{ first_name }}, see you on Sunday."}
DAILY = {"mode": "drip", "drip": {"batch_quantity": 1, "repeat_after": "1d"}}
SECONDS_MAX = 60.0
# Every table that a waiting action has rows in, with the column that names it.
TABLES = {"bulk_actions": "id", "action_counts": "action", "batches": "action", "recipients": "action"}


@dataclass
class WaitingFigures:
    """One run of a daemon that is left alone, and then asked to send something. CPU is the daemon's own."""

    waiting: int
    cpu_ms_per_second: float
    first_message_ms: float
    peak_memory_mb: float


async def measure_waiting(number: int) -> WaitingFigures:
    """So many drips that have sent their first batch, and whose second one is due tomorrow."""
    async with mailing() as (gateway, _):
        await import_contacts(gateway, 2)
        if number:
            await _wait_for_the_first(gateway, await send_to_all(gateway, MESSAGE, DAILY))
            await gateway.terminate()
            _multiply(gateway.folder / "gateway.db", number)
            await gateway.start()
        return await _run(gateway, number)


async def _wait_for_the_first(gateway: GatewayProcess, id: str) -> None:
    """Until the first batch is sent, and the action says when the second one comes."""
    action: dict[str, Any] = {}
    async with asyncio.timeout(SECONDS_MAX):
        while not action or action["counts"]["succeeded"] != 1 or action["next_batch_at"] is None:
            await asyncio.sleep(0.05)
            _, action = await gateway.call("GET", f"/v1/bulk-actions/{id}")


def _multiply(database: Path, number: int) -> None:
    """Write the only action's rows again until there are so many actions: by way of the API that takes minutes."""
    with closing(sqlite3.connect(database)) as conn, conn:
        (key,) = conn.execute("SELECT id FROM bulk_actions").fetchone()
        for table, named in TABLES.items():
            columns = [name for _, name, *_ in conn.execute(f"PRAGMA table_info({table})") if name != named]
            conn.execute(
                f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ? - 1) "
                f"INSERT INTO {table} ({named}, {', '.join(columns)}) "
                f"SELECT {named} + i, {', '.join(columns)} FROM n CROSS JOIN {table} WHERE {named} = ?",
                (number, key),
            )


async def _run(gateway: GatewayProcess, number: int) -> WaitingFigures:
    await asyncio.sleep(1)  # what a start does is no waiting
    cpu, started = cpu_seconds(gateway.pid), time.perf_counter()
    await asyncio.sleep(IDLE_SECONDS)
    cost = (cpu_seconds(gateway.pid) - cpu) / (time.perf_counter() - started)
    started = time.perf_counter()
    seen = await watch(gateway, await send_to_all(gateway, MESSAGE), started)
    return WaitingFigures(
        waiting=number,
        cpu_ms_per_second=cost * 1000,
        first_message_ms=seen.first_message * 1000,
        peak_memory_mb=peak_memory_mb(gateway.pid),
    )
