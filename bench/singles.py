"""Single messages over the API: how many are accepted, each after its commit, and how long a caller waits for that."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass

from bench.measuring import TIMEOUT_SECONDS, cpu_seconds, mailing, percentile_ms
from gateway.testing.smtp_process import SmtpProcess
from tests.processes import GatewayProcess

POLL_SECONDS = 0.02


@dataclass
class SingleFigures:
    """One run. `sent_per_second` ends with the last mail at its server; CPU is the daemon's own."""

    callers: int
    accepted_per_second: float
    answer_p50_ms: float
    answer_p99_ms: float
    sent_per_second: float
    cpu_ms_per_message: float


async def measure_singles(number: int, callers: int) -> SingleFigures:
    """`number` messages from so many callers at once, each of whom waits for an answer before the next one."""
    async with mailing() as (gateway, smtp):
        return await _run(gateway, smtp, number, callers)


async def _run(gateway: GatewayProcess, smtp: SmtpProcess, number: int, callers: int) -> SingleFigures:
    latencies: list[float] = []
    numbers = iter(range(number))
    cpu, started = cpu_seconds(gateway.pid), time.perf_counter()
    await asyncio.gather(*(_call(gateway, numbers, latencies) for _ in range(callers)))
    accepted = time.perf_counter() - started
    await _until_sent(smtp, number)
    sent = time.perf_counter() - started
    return SingleFigures(
        callers=callers,
        accepted_per_second=number / accepted,
        answer_p50_ms=percentile_ms(latencies, 50),
        answer_p99_ms=percentile_ms(latencies, 99),
        sent_per_second=number / sent,
        cpu_ms_per_message=(cpu_seconds(gateway.pid) - cpu) / number * 1000,
    )


async def _until_sent(smtp: SmtpProcess, number: int) -> None:
    for _ in range(int(TIMEOUT_SECONDS / POLL_SECONDS)):
        if smtp.count() == number:
            return
        await asyncio.sleep(POLL_SECONDS)
    raise AssertionError(f"{smtp.count()} of {number} mails arrived")


async def _call(gateway: GatewayProcess, numbers: Iterator[int], latencies: list[float]) -> None:
    for number in numbers:
        message = {"channel": "email", "to": f"ada.{number}@example.org", "subject": "Hi", "body": "See you on Sunday."}
        started = time.perf_counter()
        status, answer = await gateway.call("POST", "/v1/messages", message)
        latencies.append(time.perf_counter() - started)
        assert status == 202, answer
