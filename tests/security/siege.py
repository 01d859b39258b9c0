"""Two thousand connections that trickle, and how long everybody else waits meanwhile: `make siege`.

The real daemon with its real limits, so it takes two minutes. Those who trickle are a process of their own. The figures
to hold: an answer within 50 ms for 99 of 100, no more memory afterwards than before, and everybody who trickles cut.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import aiohttp

from gateway.http.reading import HttpLimits
from gateway.testing.smtp_server import SmtpServer
from tests.processes import GatewayProcess
from tests.security.wire import trickle

CONNECTIONS = 2_000
EACH_SECONDS = 5.0  # between two octets
P99_MILLISECONDS_MAX = 50.0
MEGABYTES_MAX = 40  # more than before, with all of them connected: 2,000 times a connection's own buffers
ASKED_EACH_SECONDS = 0.01
QUIET_SECONDS = 5.0  # asking before anybody trickles: what the machine itself can do at this moment
PORT = 18_473
LIMITS = HttpLimits()
CUT_SECONDS_MAX = LIMITS.idle_seconds + LIMITS.body_seconds + LIMITS.linger_seconds + 20  # and the time to connect

HOST = b" HTTP/1.1\r\nHost: 127.0.0.1\r\n"
BEGINNINGS = (
    b"POS",
    b"GET /v1/me" + HOST + b"X-Slow: ",
    b"POST /callbacks/mail/bounce" + HOST + b"Content-Length: 100000\r\n\r\n",
    b"POST /u/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA" + HOST + b"Transfer-Encoding: chunked\r\n\r\nfffff\r\n",
)


async def besiege(port: int, connections: int) -> None:
    """Be all those who trickle; ends when the last one was cut."""
    print("ready", flush=True)
    await asyncio.gather(
        *(trickle(port, BEGINNINGS[number % len(BEGINNINGS)], EACH_SECONDS) for number in range(connections))
    )


async def ask(port: int, until: asyncio.Task[Any]) -> list[float]:
    """Milliseconds of each answer that a caller of the API got."""
    waited = []
    async with aiohttp.ClientSession() as session:
        while not until.done():
            began = time.perf_counter()
            async with session.get(f"http://127.0.0.1:{port}/healthz") as answer:
                assert answer.status == 200
                await answer.read()
            waited.append((time.perf_counter() - began) * 1_000)
            await asyncio.wait({until}, timeout=ASKED_EACH_SECONDS)
    return waited


def megabytes(pid: int) -> float:
    """Resident memory of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1_024 for line in lines if line.startswith("VmRSS:"))


async def measure(connections: int) -> bool:
    """Print the figures; whether all of them hold."""
    with tempfile.TemporaryDirectory() as folder:
        async with SmtpServer() as smtp, GatewayProcess(Path(folder), smtp.port, port=PORT) as gateway:
            await gateway.start()
            calm = sorted(await ask(PORT, asyncio.create_task(asyncio.sleep(QUIET_SECONDS))))
            before = megabytes(gateway.pid)
            slow = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "tests.security.siege", "--besiege", str(PORT), "--connections", str(connections),
                stdout=asyncio.subprocess.PIPE,
            )  # fmt: skip
            assert slow.stdout is not None
            await slow.stdout.readline()
            began = time.perf_counter()
            ended = asyncio.create_task(slow.wait())
            asking = asyncio.create_task(ask(PORT, ended))
            await asyncio.wait({ended}, timeout=LIMITS.body_seconds / 2)
            grown = megabytes(gateway.pid) - before
            done, _ = await asyncio.wait({ended}, timeout=CUT_SECONDS_MAX)
            if not done:
                slow.kill()
            waited = sorted(await asking)
            faults = gateway.log.count('"level":"error"')
    p99, calm_p99 = waited[int(len(waited) * 0.99)], calm[int(len(calm) * 0.99)]
    print(f"{connections:,} connections trickled for {time.perf_counter() - began:.0f} s; all cut: {bool(done)}")
    print(f"{len(waited):,} answers meanwhile: median {waited[len(waited) // 2]:.1f} ms, 99 % within {p99:.1f} ms")
    print(f"before anybody trickled, 99 % within {calm_p99:.1f} ms: the first figure is one of a quiet machine")
    print(f"memory: {before:.0f} MB before, {grown:.0f} MB more with all of them; errors logged: {faults}")
    return bool(done) and p99 < P99_MILLISECONDS_MAX and grown < MEGABYTES_MAX and not faults


def main() -> None:
    """Exit with 1 if a figure is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--connections", type=int, default=CONNECTIONS)
    parser.add_argument("--besiege", type=int, metavar="PORT")
    arguments = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4 * arguments.connections), hard))
    if arguments.besiege is not None:
        asyncio.run(besiege(arguments.besiege, arguments.connections))
    elif not asyncio.run(measure(arguments.connections)):
        sys.exit("A figure is missed.")


if __name__ == "__main__":
    main()
