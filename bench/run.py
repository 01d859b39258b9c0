"""`make bench`: what the gateway does end to end, with the SMTP server in a process of its own.

Prints a table and writes `bench/results.json`. It measures and never fails on a figure; tests decide what is right.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import socket
import statistics
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from gateway.testing.smtp_server import SmtpProcess
from tests.processes import GatewayProcess

RESULTS = Path(__file__).with_name("results.json")
CONCURRENCY = 64
TIMEOUT_SECONDS = 1_200.0
CITIES = ("Lagos", "Ìbàdàn", "Kraków", "München", "São Paulo")
TEXT = (
    "Dear {{ first_name }},\n\n"
    "Thank you for being part of our community in {{ city }}. Your plan is “{{ plan }}”, your number is {{ id }}.\n\n"
    + "We would be glad to see you on Sunday — there will be music, food and good company. " * 6
    + "\n\nYours,\nGrace Church\n"
)
HTML = (
    "<html><body><p>Dear <b>{{ first_name }}</b>,</p>"
    "<p>Thank you for being part of our community in {{ city }}. "
    "Your plan is “{{ plan }}”, your number is {{ id }}.</p><p>"
    + "We would be glad to see you on Sunday — there will be music, food and good company. " * 6
    + "</p></body></html>"
)


@dataclass
class Figures:
    """One run. Rates are per second of wall-clock time, CPU is the daemon's own."""

    recipients: int
    imported_per_second: float
    first_message_ms: float
    snapshot_rows_per_second: float
    messages_per_second: float
    cpu_seconds_per_1000: float
    peak_memory_mb: float
    api_p50_ms: float
    api_p99_ms: float
    mails_received: int


def contacts_csv(number: int) -> bytes:
    rows = [f"m-{n},Ada{n},ada{(n * 7919) % 1_000_003}.{n}@example.org,{CITIES[n % 5]},gold" for n in range(number)]
    return ("id,first_name,email,city,plan\n" + "\n".join(rows) + "\n").encode()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def peak_memory_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    return 0.0


@dataclass
class Watch:
    """What polling the API during the send has seen."""

    first_message: float | None = None
    snapshot: float | None = None
    finished: float = 0.0
    latencies: list[float] | None = None


async def watch(gateway: GatewayProcess, action: str, started: float) -> Watch:
    """Poll as a user would, and time every answer."""
    seen = Watch(latencies=[])
    pages = (f"/v1/bulk-actions/{action}", f"/v1/bulk-actions/{action}/recipients?state=failed")
    async with asyncio.timeout(TIMEOUT_SECONDS):
        for turn in range(1_000_000):
            asked = time.perf_counter()
            _, answer = await gateway.call("GET", pages[turn % 2 if seen.first_message else 0])
            now = time.perf_counter()
            assert seen.latencies is not None
            seen.latencies.append(now - asked)
            if "status" in answer:
                counts = answer["counts"]
                if seen.first_message is None and counts["succeeded"]:
                    seen.first_message = now - started
                if seen.snapshot is None and answer["snapshot"] == "taken":
                    seen.snapshot = now - started
                if answer["status"] in ("completed", "partial", "failed"):
                    seen.finished = now - started
                    return seen
            await asyncio.sleep(0.005 if seen.first_message is None else 0.02)
    raise AssertionError("unreachable")


async def measure(recipients: int) -> Figures:
    with tempfile.TemporaryDirectory(prefix="gateway-bench-") as folder:
        async with SmtpProcess(Path(folder) / "mails.tsv") as smtp:
            installation = GatewayProcess(
                Path(folder), smtp.port, port=free_port(), rate=100_000, concurrency=CONCURRENCY
            )
            async with installation as gateway:
                await gateway.start()
                return await run(gateway, smtp, recipients)


async def run(gateway: GatewayProcess, smtp: SmtpProcess, recipients: int) -> Figures:
    body = contacts_csv(recipients)
    started = time.perf_counter()
    status, answer = await gateway.call("POST", "/v1/contacts/import", data=body, headers={"Content-Type": "text/csv"})
    imported = recipients / (time.perf_counter() - started)
    assert (status, answer["created"]) == (200, recipients), answer
    message: dict[str, Any] = {"channel": "email", "subject": "Sunday, {{ first_name }} ✨", "body": TEXT, "html": HTML}
    cpu = cpu_seconds(gateway.pid)
    started = time.perf_counter()
    status, action = await gateway.call(
        "POST",
        "/v1/bulk-actions",
        {"operation": "send_message", "recipients": {"all": True}, "message": message},
    )
    assert status == 201, action
    seen = await watch(gateway, action["id"], started)
    cpu = cpu_seconds(gateway.pid) - cpu
    assert seen.latencies
    assert seen.first_message
    assert seen.snapshot
    latencies = statistics.quantiles(seen.latencies, n=100)
    return Figures(
        recipients=recipients,
        imported_per_second=imported,
        first_message_ms=seen.first_message * 1000,
        snapshot_rows_per_second=recipients / seen.snapshot,
        messages_per_second=recipients / seen.finished,
        cpu_seconds_per_1000=cpu / recipients * 1000,
        peak_memory_mb=peak_memory_mb(gateway.pid),
        api_p50_ms=latencies[49] * 1000,
        api_p99_ms=latencies[98] * 1000,
        mails_received=len(smtp.record()),
    )


def show(runs: list[Figures]) -> None:
    table = Table(title="dripgate, end to end over SMTP")
    table.add_column("figure")
    for figures in runs:
        table.add_column(f"{figures.recipients:,}", justify="right")
    for name in asdict(runs[0]):
        if name != "recipients":
            table.add_row(name.replace("_", " "), *(f"{getattr(figures, name):,.2f}" for figures in runs))
    Console(width=100).print(table)


def machine() -> str:
    processor = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.processor(),
    )
    return f"{processor}, {os.cpu_count()} cores, Python {platform.python_version()}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipients", type=int, nargs="+", default=[10_000, 100_000])
    options = parser.parse_args()
    runs = [asyncio.run(measure(number)) for number in options.recipients]
    show(runs)
    print(machine())
    RESULTS.write_text(json.dumps({"machine": machine(), "runs": [asdict(run) for run in runs]}, indent=2) + "\n")


if __name__ == "__main__":
    main()
