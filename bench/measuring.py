"""What the measurements share: the daemon's CPU and memory, a free port, contacts, and watching through the API."""

from __future__ import annotations

import asyncio
import os
import platform
import socket
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from gateway.testing.smtp_process import SmtpProcess
from tests.processes import GatewayProcess

CONCURRENCY = 64
TIMEOUT_SECONDS = 1_200.0
CITIES = ("Lagos", "Ìbàdàn", "Kraków", "München", "São Paulo")
ENDED = ("completed", "partial", "failed")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@asynccontextmanager
async def mailing(concurrency: int = CONCURRENCY) -> AsyncIterator[tuple[GatewayProcess, SmtpProcess]]:
    """A running daemon with a sender of e-mail, and its server, in processes of their own. `concurrency`: W."""
    with tempfile.TemporaryDirectory(prefix="gateway-bench-") as folder:
        async with SmtpProcess(Path(folder) / "mails.tsv") as smtp:
            installation = GatewayProcess(Path(folder), smtp.port, port=free_port(), concurrency=concurrency)
            async with installation as gateway:
                await gateway.start()
                yield gateway, smtp


def percentile_ms(seconds: Sequence[float], percentile: int) -> float:
    """Of durations in seconds, in milliseconds."""
    return statistics.quantiles(seconds, n=100)[percentile - 1] * 1000


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def peak_memory_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    return 0.0


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


def contacts_csv(number: int) -> bytes:
    """Contacts with an e-mail address and a telephone number each."""
    rows = [
        f"m-{n},Ada{n},ada{(n * 7919) % 1_000_003}.{n}@example.org,{phone(n)},{CITIES[n % 5]},gold"
        for n in range(number)
    ]
    return ("id,first_name,email,phone,city,plan\n" + "\n".join(rows) + "\n").encode()


def phone(number: int) -> str:
    """A Nigerian mobile number of its own for each: eight million of them."""
    return f"+23480{(number * 7919) % 8_000_000 + 30_000_000:08d}"


async def import_contacts(gateway: GatewayProcess, number: int) -> float:
    """Import them; how many a second."""
    body = contacts_csv(number)
    started = time.perf_counter()
    status, answer = await gateway.call("POST", "/v1/contacts/import", data=body, headers={"Content-Type": "text/csv"})
    assert (status, answer["created"]) == (200, number), answer
    return number / (time.perf_counter() - started)


async def send_to_all(
    gateway: GatewayProcess, message: Mapping[str, object], schedule: Mapping[str, object] | None = None
) -> str:
    """Have a message sent to every contact, at once if no schedule is given; the action's id."""
    order = {"operation": "send_message", "recipients": {"all": True}, "message": message}
    order |= {} if schedule is None else {"schedule": schedule}
    status, action = await gateway.call("POST", "/v1/bulk-actions", order)
    assert status == 201, action
    return str(action["id"])


@dataclass
class Watch:
    """What polling the API during a send has seen. Seconds since the request."""

    first_message: float
    snapshot: float
    handed_over: float
    finished: float
    latencies: Sequence[float]

    def latency_ms(self, percentile: int) -> float:
        return percentile_ms(self.latencies, percentile)


async def watch(gateway: GatewayProcess, action: str, started: float, until: str = "finished") -> Watch:
    """Poll as a user would, and time every answer. `until`: `finished`, or `handed_over` where no receipts come."""
    seen: dict[str, float] = {}
    latencies = []
    pages = (f"/v1/bulk-actions/{action}", f"/v1/bulk-actions/{action}/recipients?state=failed")
    async with asyncio.timeout(TIMEOUT_SECONDS):
        for turn in range(1_000_000):
            asked = time.perf_counter()
            _, answer = await gateway.call("GET", pages[turn % 2 if "first_message" in seen else 0])
            now = time.perf_counter()
            latencies.append(now - asked)
            if "status" in answer:
                _note(answer, now - started, seen)
                if until in seen:
                    return Watch(**{"finished": seen[until]} | seen, latencies=latencies)
            await asyncio.sleep(0.005 if "first_message" not in seen else 0.02)
    raise AssertionError("unreachable")


def _note(answer: dict[str, object], now: float, seen: dict[str, float]) -> None:
    counts = answer["counts"]
    assert isinstance(counts, dict)
    ended = answer["status"] in ENDED
    for name, reached in (
        ("first_message", counts["succeeded"] + counts["handed_over"] > 0),
        ("snapshot", answer["snapshot"] == "taken"),
        ("handed_over", ended or answer["status"] == "delegated"),
        ("finished", ended),
    ):
        if reached:
            seen.setdefault(name, now)
