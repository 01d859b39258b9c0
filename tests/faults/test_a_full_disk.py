"""The disk gets full, is full, or turns read-only under a daemon that is sending."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from gateway.testing.smtp_server import SmtpProcess
from tests.faults.another_process import another_process
from tests.faults.disks import EXT4, MEGABYTE, Disk
from tests.faults.figures import SHARE, Figures, size
from tests.faults.people import import_people, lost_and_doubled, mail_all, until, until_final, until_received
from tests.processes import GatewayProcess

PEOPLE = size(1_000, 20_000)
RATE = size(400, 2_000)
W = 8
SECONDS_MAX = size(60, 600)
RESERVE = 50 * MEGABYTE  # the default
LATE_MAX = 2_000  # small requests that may still find room on a full disk


@pytest.fixture
async def disk(tmp_path: Path) -> AsyncIterator[Disk]:
    async with Disk(tmp_path / "disk", 160 * MEGABYTE) as disk:
        yield disk


async def readiness(gateway: GatewayProcess) -> tuple[int, str]:
    """The status of /readyz, and what it says of the disk and of the database."""
    async with aiohttp.ClientSession() as session, session.get(f"{gateway.url}/readyz") as answer:
        checks = (await answer.json())["checks"]
        return answer.status, f"{checks['disk']} {checks['store']}"


async def refusal(gateway: GatewayProcess, number: int = 0) -> tuple[int, str | None]:
    """What a request that adds something is answered: status and Retry-After. It adds contact `late-{number}`."""
    contact = {"contacts": [{"id": f"late-{number}", "email": f"late{number}@example.org"}]}
    status, headers, _ = await gateway.ask("POST", "/v1/contacts", contact)
    return status, headers.get("Retry-After")


async def first_refusal(gateway: GatewayProcess) -> tuple[tuple[int, str | None], int]:
    """The first of such requests that is refused, and how many were taken before.

    A turn that did not fit has made SQLite's log longer all the same, as far as there was room. What is smaller than a
    turn is written there, and stays.
    """
    refused, taken = await refusal(gateway), 0
    while refused[0] == 200 and taken < LATE_MAX:
        taken += 1
        refused = await refusal(gateway, taken)
    return refused, taken


async def kept(gateway: GatewayProcess, taken: int) -> int:
    """How many of the contacts are there of which a full disk's gateway said so."""
    answers = [await gateway.call("GET", f"/v1/contacts/late-{number}") for number in range(taken)]
    return sum(status == 200 for status, _ in answers)


async def come_to_rest(smtp: SmtpProcess) -> int:
    """How many mails there are when no more have come for a second."""
    before, quiet = smtp.count(), 0
    async with asyncio.timeout(SECONDS_MAX):
        while quiet < 10:
            await asyncio.sleep(0.1)
            now = smtp.count()
            quiet, before = (quiet + 1, now) if now == before else (0, now)
    return before


async def test_sending_stops_while_there_is_still_room_for_results_and_goes_on_by_itself(
    disk: Disk, tmp_path: Path, smtp: SmtpProcess, unused_tcp_port: int, figures: Figures
) -> None:
    async with GatewayProcess(
        tmp_path, smtp.port, port=unused_tcp_port, rate=RATE, concurrency=W, store="disk/gateway.db", within=disk.within
    ) as gateway:
        await gateway.start()
        await import_people(gateway, PEOPLE)
        action = await mail_all(gateway)
        await until_received(smtp, PEOPLE // 10, SECONDS_MAX)
        disk.fill(leave=RESERVE - 10 * MEGABYTE)
        stopped_at = await come_to_rest(smtp)
        failed_writes = gateway.log.count("store_unavailable")
        status, said = await readiness(gateway)
        refused = await refusal(gateway)
        read, shown = await gateway.call("GET", f"/v1/bulk-actions/{action}")
        assert read == 200
        settled = shown["counts"]["succeeded"]
        paused, _ = await gateway.call("POST", f"/v1/bulk-actions/{action}/pause")
        resumed, _ = await gateway.call("POST", f"/v1/bulk-actions/{action}/resume")
        figures.hold(
            "F8 disk nearly full",
            "sending stops before an intent fails, every result is recorded, 503 with Retry-After, /readyz says so",
            f"stopped at {stopped_at} of {PEOPLE}, {settled} recorded, {failed_writes} failed writes, "
            f"API {refused[0]} (Retry-After {refused[1]}), /readyz {status}",
            stopped_at < PEOPLE
            and settled == stopped_at
            and failed_writes == 0
            and refused[0] == 503
            and refused[1] is not None
            and status == 503
            and "nearly full" in said,
        )
        assert (paused, resumed) == (200, 200)  # stopping things still works
        disk.clear()
        ended = await until_final(gateway, action, SECONDS_MAX)
        lost, doubled = lost_and_doubled(smtp, PEOPLE)
        assert (await gateway.cli("verify"))["faults"] == []
        assert gateway.starts == 1
        assert (await readiness(gateway))[0] == 200
        figures.hold(
            "F8 room again",
            "resumes by itself, 0 lost, 0 doubled",
            f"{ended['counts']['succeeded']} of {PEOPLE} sent, {lost} lost, {doubled} doubled",
            (ended["counts"]["succeeded"], lost, doubled) == (PEOPLE, 0, 0),
        )


async def test_a_disk_without_a_free_byte_loses_and_doubles_nobody(
    disk: Disk, tmp_path: Path, smtp: SmtpProcess, unused_tcp_port: int, figures: Figures
) -> None:
    async with GatewayProcess(
        tmp_path,
        smtp.port,
        port=unused_tcp_port,
        rate=RATE,
        concurrency=W,
        store="disk/gateway.db",
        store_more="free_bytes_min = 0",
        within=disk.within,
    ) as gateway:
        await gateway.start()
        await import_people(gateway, PEOPLE)
        action = await mail_all(gateway)
        await until_received(smtp, PEOPLE // 10, SECONDS_MAX)

        async def full() -> bool:
            disk.fill(leave=0)
            return "store_unavailable" in gateway.log

        # While somebody reads, SQLite cannot use the beginning of its log again: every write needs room.
        async with another_process(disk.folder / "gateway.db", "BEGIN", disk.within):
            await until(full, SECONDS_MAX, "a write that fails")
            stopped_at = await come_to_rest(smtp)
            refused, taken = await first_refusal(gateway)
        assert stopped_at < PEOPLE
        assert gateway.alive, gateway.log
        disk.clear()
        ended = await until_final(gateway, action, SECONDS_MAX)
        verified = await gateway.cli("verify")
        lost, doubled = lost_and_doubled(smtp, PEOPLE)
        found = await kept(gateway, taken)
        figures.hold(
            "F8 disk full",
            "503 with Retry-After, resumes by itself, 0 lost, 0 doubled, 0 unknown, whatever was taken is kept",
            f"API {refused[0]} (Retry-After {refused[1]}) after {taken} that were taken, {found} of them kept; "
            f"{ended['counts']['succeeded']} of {PEOPLE} sent, {lost} lost, {doubled} doubled, "
            f"{verified['unknown']} unknown",
            refused[0] == 503
            and refused[1] is not None
            and found == taken
            and (ended["counts"]["succeeded"], lost, doubled, verified["unknown"]) == (PEOPLE, 0, 0, 0)
            and verified["faults"] == []
            and gateway.starts == 1,
        )


@pytest.mark.skipif(not SHARE, reason="half a minute with a loop device: make faults")
async def test_a_file_system_that_turns_read_only_stops_everything_until_it_is_mounted_again(
    tmp_path: Path, smtp: SmtpProcess, unused_tcp_port: int, figures: Figures
) -> None:
    async with (
        Disk(tmp_path / "disk", 160 * MEGABYTE, EXT4) as disk,
        GatewayProcess(
            tmp_path,
            smtp.port,
            port=unused_tcp_port,
            rate=RATE,
            concurrency=W,
            store="disk/gateway.db",
            within=disk.within,
        ) as gateway,
    ):
        await gateway.start()
        await import_people(gateway, PEOPLE)
        action = await mail_all(gateway)
        await until_received(smtp, PEOPLE // 10, SECONDS_MAX)
        await disk.run("mount", "-o", "remount,abort", str(disk.folder))  # as after an error of the disk
        stopped_at = await come_to_rest(smtp)
        refused = await refusal(gateway)
        status, _ = await readiness(gateway)
        assert gateway.alive, gateway.log
        await gateway.kill()
        await disk.run("umount", str(disk.folder))
        await disk.run("mount", "-o", "loop", f"{disk.folder}.img", str(disk.folder))
        await gateway.start()
        ended = await until_final(gateway, action, SECONDS_MAX)
        lost, doubled = lost_and_doubled(smtp, PEOPLE)
        assert (await gateway.cli("verify"))["faults"] == []
        figures.hold(
            "F8 read-only",
            f"sending stops, 503 with Retry-After, no crash; mounted again: 0 lost, at most {W} doubled",
            f"stopped at {stopped_at} of {PEOPLE}, API {refused[0]} (Retry-After {refused[1]}), /readyz {status}; "
            f"{ended['counts']['succeeded']} sent, {lost} lost, {doubled} doubled",
            stopped_at < PEOPLE
            and refused[0] == 503
            and refused[1] is not None
            and status == 503
            and lost == 0
            and doubled <= W,
        )
