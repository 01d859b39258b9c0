"""Another process holds the database's lock for a long time, or reads in it for as long: sending waits, or does not."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from gateway.testing.smtp_server import SmtpProcess
from tests.faults.another_process import another_process
from tests.faults.figures import Figures, size
from tests.faults.people import import_people, lost_and_doubled, mail_all, until_final, until_received
from tests.processes import GatewayProcess

LOCK_SECONDS = size(7, 30)  # longer than the gateway waits for a lock, so that writes do fail
READ_SECONDS = size(2, 30)
RATE = 200
SECONDS_MAX = size(100, 600)

# A sender whose provider is not there, so that somebody probes, and writes about it, while the lock is held.
DEAD = """
[senders.dead]
channel = "email"
adapter = "smtp"
host = "127.0.0.1"
port = {port}
security = "none"
from = "news@grace.example"
"""


async def test_a_lock_held_by_another_process_stops_sending_and_nothing_else(
    tmp_path: Path, smtp: SmtpProcess, unused_tcp_port: int, figures: Figures
) -> None:
    people = RATE * 5
    more = DEAD.format(port=1)  # nobody listens there
    async with GatewayProcess(tmp_path, smtp.port, port=unused_tcp_port, rate=RATE, more=more) as gateway:
        await gateway.start()
        await import_people(gateway, people)
        dead = await mail_all(gateway, "dead")
        action = await mail_all(gateway, "mail")
        await until_received(smtp, RATE, SECONDS_MAX)
        async with another_process(tmp_path / "gateway.db", "BEGIN IMMEDIATE"):
            ends = time.monotonic() + LOCK_SECONDS
            status, headers, _ = await gateway.ask("POST", "/v1/contacts", {"contacts": [{"id": "late"}]})
            read, _ = await gateway.call("GET", f"/v1/bulk-actions/{action}")
            await asyncio.sleep(max(0.0, ends - time.monotonic()))  # the lock's own time is the subject
            held_at = smtp.count()
        freed = time.monotonic()
        await until_received(smtp, held_at + 1, SECONDS_MAX)
        recovered = time.monotonic() - freed
        assert gateway.alive, gateway.log
        assert "sender_held" in gateway.log
        assert read == 200
        await gateway.call("POST", f"/v1/bulk-actions/{dead}/cancel")
        ended = await until_final(gateway, action, SECONDS_MAX)
        lost, doubled = lost_and_doubled(smtp, people)
        assert (await gateway.cli("verify"))["faults"] == []
        figures.hold(
            f"F10 locked for {LOCK_SECONDS} s",
            "no crash, recovers within 1 s, 0 lost, 0 doubled, 503 with Retry-After meanwhile",
            f"{gateway.starts - 1} crashes, first mail after {recovered:.2f} s, {lost} lost, {doubled} doubled, "
            f"API {status} (Retry-After {headers.get('Retry-After')})",
            (ended["counts"]["succeeded"], lost, doubled, status) == (people, 0, 0, 503)
            and "Retry-After" in headers
            and recovered <= 1.0,
        )


async def test_a_long_reader_in_another_process_keeps_nobody_waiting(
    tmp_path: Path, smtp: SmtpProcess, unused_tcp_port: int, figures: Figures
) -> None:
    people = RATE * (READ_SECONDS + 2)
    async with GatewayProcess(tmp_path, smtp.port, port=unused_tcp_port, rate=RATE) as gateway:
        await gateway.start()
        await import_people(gateway, people)
        async with another_process(tmp_path / "gateway.db", "BEGIN"):
            action = await mail_all(gateway)
            await until_received(smtp, 1, SECONDS_MAX)
            started, before = time.monotonic(), smtp.count()
            await until_received(smtp, before + RATE * READ_SECONDS, SECONDS_MAX)
            rate = RATE * READ_SECONDS / (time.monotonic() - started)
        ended = await until_final(gateway, action, SECONDS_MAX)
        log_bytes = (tmp_path / "gateway.db-wal").stat().st_size
        failures = gateway.log.count("store_unavailable")
        figures.hold(
            f"F10 read for {READ_SECONDS} s",
            "no crash, no failed write",
            f"{failures} failed writes, {rate:.0f}/s of {RATE}/s, log of {log_bytes / 1e6:.1f} MB at the end",
            failures == 0 and ended["counts"]["succeeded"] == people,
        )
